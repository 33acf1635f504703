package agent

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// warnings are the reasons of Ready that a person should look into.
var warnings = map[string]bool{
	v1alpha1.ReasonInvalidSpec:              true,
	v1alpha1.ReasonNameConflict:             true,
	v1alpha1.ReasonApplyFailed:              true,
	v1alpha1.ReasonProgressDeadlineExceeded: true,
	v1alpha1.ReasonReplicasUnavailable:      true,
}

// tell sends an event when Ready has a new reason, after that stands in the status: two for a rollout, none for a change
// of numbers.
func (c *Controller) tell(was, now *v1alpha1.Agent) {
	before := meta.FindStatusCondition(was.Status.Conditions, v1alpha1.ConditionReady)
	after := meta.FindStatusCondition(now.Status.Conditions, v1alpha1.ConditionReady)
	if after == nil || before != nil && before.Reason == after.Reason {
		return
	}
	kind := corev1.EventTypeNormal
	if warnings[after.Reason] {
		kind = corev1.EventTypeWarning
	}
	c.events.Eventf(now, nil, kind, after.Reason, "Reconcile", "%s", after.Message)
}
