package agent

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// patchStatus writes a status that changed, and then records Events about it. A change that can wait is batched with later ones, so
// that a rollout costs a few writes and not one per step of every pod. patchStatus returns how long the write is delayed, 0 if there
// is nothing left to write. A delayed change is not lost: the next pass computes it again.
func (c *Controller) patchStatus(ctx context.Context, agent *v1alpha1.Agent, updated written, observed status.Observed, state *state) (time.Duration, error) {
	old := written{&agent.Status, ptr.Deref(state.missing.Load(), nil)}
	if equality.Semantic.DeepEqual(old.status, updated.status) {
		state.pendingSince = time.Time{}
		state.missing.Store(&updated.missing)
		return 0, nil
	}
	if state.pendingSince.IsZero() {
		state.pendingSince = observed.Now
	}
	delay := status.WriteDelay(old.status, updated.status, render.Replicas(agent, observed.Live()))
	if remaining := state.pendingSince.Add(delay).Sub(observed.Now); remaining > 0 {
		return remaining, nil
	}
	patch := client.MergeFrom(statusOnly(agent, *old.status))
	if err := c.client.Status().Patch(ctx, statusOnly(agent, *updated.status), patch, FieldOwner); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	state.pendingSince = time.Time{}
	state.missing.Store(&updated.missing)
	c.recordEvents(agent, old, updated)
	return 0, nil
}

// statusOnly returns an Agent with only what a status patch needs, because a patch is computed by encoding both sides whole.
func statusOnly(agent *v1alpha1.Agent, status v1alpha1.AgentStatus) *v1alpha1.Agent {
	return &v1alpha1.Agent{
		ObjectMeta: metav1.ObjectMeta{Namespace: agent.Namespace, Name: agent.Name, UID: agent.UID, ResourceVersion: agent.ResourceVersion},
		Status:     status,
	}
}
