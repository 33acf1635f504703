package agent

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// isWarning tells whether a person should look into why an Agent is not Ready: into every reason but that it is under way.
func isWarning(ready *metav1.Condition) bool {
	return ready.Status == metav1.ConditionFalse && ready.Reason != v1alpha1.ReasonRolloutInProgress
}

// tell sends events for what has changed, after it stands in the status.
func (c *Controller) tell(was, now *v1alpha1.Agent) {
	before, after := conditions(was, now, v1alpha1.ConditionReady)
	if after != nil && (before == nil || before.Reason != after.Reason) && !begins(before, after) {
		c.tellCondition(now, isWarning(after), after)
	}
	// That it has become highly available is told by the end of the rollout; that it is no longer, by nothing else.
	before, after = conditions(was, now, v1alpha1.ConditionHighlyAvailable)
	lost := before != nil && before.Status == metav1.ConditionTrue && after != nil && after.Status == metav1.ConditionFalse
	deadlock := status.DeadlockForeseen(after) && !status.DeadlockForeseen(before)
	if lost || deadlock {
		c.tellCondition(now, true, after)
	}
}

// begins tells whether a new Agent is under way, which is what everybody expects of one.
func begins(before, after *metav1.Condition) bool {
	fresh := before == nil || before.Reason == v1alpha1.ReasonPending
	return fresh && after.Reason == v1alpha1.ReasonRolloutInProgress
}

// conditions are those of one type before and after; nil where there is none.
func conditions(was, now *v1alpha1.Agent, kind string) (before, after *metav1.Condition) {
	return meta.FindStatusCondition(was.Status.Conditions, kind), meta.FindStatusCondition(now.Status.Conditions, kind)
}

// tellCondition sends the reason and message of a condition: one event for a new Agent, two for a rollout, none for a change of
// numbers.
func (c *Controller) tellCondition(agent *v1alpha1.Agent, warning bool, condition *metav1.Condition) {
	kind := corev1.EventTypeNormal
	if warning {
		kind = corev1.EventTypeWarning
	}
	c.events.Eventf(agent, nil, kind, condition.Reason, "Reconcile", "%s", condition.Message)
}
