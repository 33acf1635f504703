package agent

import (
	"encoding/json"
	"hash/maphash"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// Each pod template is a ReplicaSet, which the Deployment controller deletes only after a complete rollout. So while no rollout
// completes, the operator applies the first few templates at once, because people correct mistakes, and later ones with exponential
// backoff.
const (
	freeTemplates        = 5
	firstTemplateBackoff = 10 * time.Second
	lastTemplateBackoff  = 5 * time.Minute
)

// templateHistory is what the controller remembers of the pod templates that it applied since the last complete rollout. After a
// restart, it starts again with the template that is applied then: no template is applied twice, and at most one does not wait.
type templateHistory struct {
	// applied and complete are the hashes of the last template, and of that of the last complete rollout; 0 if unknown.
	applied, complete uint64
	// changes counts the templates after the first, and changed is when the last one was applied.
	changes int
	changed time.Time
	// template is the last one, encoded, because an apply overwrites its configuration. It is nil while the next one would be applied
	// at once.
	template []byte
}

// observe forgets the history if the rollout of the last template is complete. A rollout that was not complete when the operator started
// may be stuck, so its next templates are not free: otherwise each restart would allow some more ReplicaSets.
func (h *templateHistory) observe(deployment *appsv1.Deployment, now time.Time) {
	switch {
	case deployment == nil || status.RolledOut(deployment):
		*h = templateHistory{applied: h.applied, complete: h.applied}
	case h.applied == 0:
		h.changes, h.changed = freeTemplates, now
	}
}

// dueAt returns when a template may be applied, zero for at once. A template that is applied or was complete makes no new ReplicaSet.
func (h *templateHistory) dueAt(template uint64, now time.Time) time.Time {
	if h.changes < freeTemplates || h.template == nil || template == h.applied || template == h.complete {
		return time.Time{}
	}
	backoff := firstTemplateBackoff
	for range h.changes - freeTemplates {
		backoff = min(2*backoff, lastTemplateBackoff)
	}
	if due := h.changed.Add(backoff); due.After(now) {
		return due
	}
	return time.Time{}
}

// apply notes that a template, here encoded, is applied.
func (h *templateHistory) apply(template []byte, now time.Time) {
	sum := maphash.Bytes(seed, template)
	if sum != h.applied && h.applied != 0 {
		h.changes, h.changed = h.changes+1, now
	}
	h.applied = sum
	if h.changes >= freeTemplates {
		h.template = template
	}
}

// delayTemplate replaces the desired pod template by the last one that was applied, if it is not due yet. Everything else is applied at
// once. It returns when the desired template is due, zero if it is.
func (c *Controller) delayTemplate(desired render.Children, live *appsv1.Deployment, state *state) (time.Time, error) {
	template, err := json.Marshal(desired.Deployment.Spec.Template)
	if err != nil {
		return time.Time{}, err
	}
	now := c.now()
	due := state.templates.dueAt(maphash.Bytes(seed, template), now)
	if live == nil || due.IsZero() {
		state.templates.apply(template, now)
		return time.Time{}, nil
	}
	last := &corev1ac.PodTemplateSpecApplyConfiguration{}
	if err := json.Unmarshal(state.templates.template, last); err != nil {
		return time.Time{}, err
	}
	desired.ReplaceTemplate(last)
	return due, nil
}
