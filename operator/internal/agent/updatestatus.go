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

// restoreInterval is how often a status that somebody else writes is put back. Two writers that react to each other would otherwise
// never pause.
const restoreInterval = 10 * time.Second

// updateStatus writes a status that changed, and then records Events about it. A change that can wait is batched with later ones, so
// that a rollout costs a few writes and not one per step of every pod. updateStatus returns how long the write is delayed, 0 if there
// is nothing left to write. A delayed change is not lost: the next pass computes it again.
func (c *Controller) updateStatus(ctx context.Context, agent *v1alpha1.Agent, updated written, observed status.Observed, state *state) (time.Duration, error) {
	old := written{&agent.Status, ptr.Deref(state.missing.Load(), nil)}
	sum := statusSum(old.status)
	if equality.Semantic.DeepEqual(old.status, updated.status) {
		c.states.SetPending(state, time.Time{})
		state.lastStatus.Store(sum)
		state.missing.Store(&updated.missing)
		return 0, nil
	}
	overwritten := state.overwritten(sum)
	remaining := state.restored.Add(restoreInterval).Sub(observed.Now)
	if !overwritten {
		remaining = c.untilWrite(old.status, updated.status, render.Replicas(agent, observed.Live()), state, observed.Now)
	}
	if remaining > 0 {
		return remaining, nil
	}
	if state.replaced = sum; overwritten {
		state.replaced = 0
	}
	state.lastStatus.Store(statusSum(updated.status)) // before the event about the write can arrive
	if err := c.client.Status().Update(ctx, statusOnly(agent, *updated.status), FieldOwner); err != nil {
		return 0, client.IgnoreNotFound(err) // a conflict, too, is retried with backoff: the cache may lag behind somebody's change
	}
	c.states.SetPending(state, time.Time{})
	state.missing.Store(&updated.missing)
	switch {
	case overwritten: // the Agent itself did not change
		state.restored = observed.Now
	case agent.DeletionTimestamp.IsZero():
		c.recordEvents(agent, old, updated, len(state.config.rolled) > 0)
	}
	return 0, nil
}

// untilWrite is how long the write of a changed status still waits for further changes, or for the next look at how many wait.
func (c *Controller) untilWrite(old, updated *v1alpha1.AgentStatus, desired int32, state *state, now time.Time) time.Duration {
	if state.pendingSince.IsZero() {
		c.states.SetPending(state, now)
	}
	delay := status.WriteDelay(old, updated, desired, state.pendingSince, c.states.pending.Load())
	return min(state.pendingSince.Add(delay).Sub(now), status.RecheckDelay)
}

// statusOnly returns an Agent with only what an update of the status needs: the API server keeps its own copy of the rest. An update
// costs the API server a fifth less than a merge patch, for which it encodes and decodes the whole Agent twice more.
func statusOnly(agent *v1alpha1.Agent, status v1alpha1.AgentStatus) *v1alpha1.Agent {
	return &v1alpha1.Agent{
		ObjectMeta: metav1.ObjectMeta{Namespace: agent.Namespace, Name: agent.Name, UID: agent.UID, ResourceVersion: agent.ResourceVersion},
		Status:     status,
	}
}
