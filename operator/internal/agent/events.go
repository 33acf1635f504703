package agent

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// written is a status as it was written, and the ids of the requirements that it reports as missing.
type written struct {
	status  *v1alpha1.AgentStatus
	missing []string
}

// recordEvents records an Event for each transition from one written status to the next: one for a new Agent, two for a rollout,
// none for other numbers. explained is true if the Event ConfigChanged reports the start of the rollout.
func (c *Controller) recordEvents(agent *v1alpha1.Agent, old, updated written, explained bool) {
	before, after := conditions(old, updated, v1alpha1.ConditionReady)
	explained = explained && after != nil && after.Reason == v1alpha1.ReasonRolloutInProgress
	if after != nil && (before == nil || before.Reason != after.Reason) && !starts(before, after) && !explained {
		c.recordCondition(agent, isWarning(after), after)
	}
	// The end of the rollout reports that the Agent became highly available; nothing else reports that it no longer is.
	before, after = conditions(old, updated, v1alpha1.ConditionHighlyAvailable)
	if after == nil {
		return
	}
	lost := before != nil && before.Status == metav1.ConditionTrue && after.Status == metav1.ConditionFalse
	if lost || deadlockForecast(old, updated) && (before == nil || before.Message != after.Message) {
		c.recordCondition(agent, true, after)
	}
}

// deadlockForecast reports whether a status is the first to forecast a rollout that cannot complete.
func deadlockForecast(old, updated written) bool {
	return status.ForecastsDeadlock(updated.missing) && !status.ForecastsDeadlock(old.missing)
}

// starts reports whether the first rollout of a new Agent has started, which everybody expects.
func starts(before, after *metav1.Condition) bool {
	isNew := before == nil || before.Reason == v1alpha1.ReasonPending
	return isNew && after.Reason == v1alpha1.ReasonRolloutInProgress
}

// isWarning reports whether a user should investigate why an Agent is not Ready. A rollout in progress needs no attention.
func isWarning(ready *metav1.Condition) bool {
	return ready.Status == metav1.ConditionFalse && ready.Reason != v1alpha1.ReasonRolloutInProgress
}

// conditions returns the condition of one type in both statuses, nil where there is none.
func conditions(old, updated written, kind string) (before, after *metav1.Condition) {
	return meta.FindStatusCondition(old.status.Conditions, kind), meta.FindStatusCondition(updated.status.Conditions, kind)
}

// recordCondition records an Event with the reason and message of a condition.
func (c *Controller) recordCondition(agent *v1alpha1.Agent, warning bool, condition *metav1.Condition) {
	kind := corev1.EventTypeNormal
	if warning {
		kind = corev1.EventTypeWarning
	}
	c.record(agent, kind, condition.Reason, "%s", condition.Message)
}

// record records an Event about an Agent. The arguments may be foreign text, such as the name of a field manager.
func (c *Controller) record(agent *v1alpha1.Agent, kind, reason, note string, args ...any) {
	c.events.Eventf(agent, nil, kind, reason, "Reconcile", "%s", status.Message(fmt.Sprintf(note, args...)))
}
