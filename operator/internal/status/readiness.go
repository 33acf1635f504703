package status

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
)

// verdict is what a condition says.
type verdict struct {
	status          metav1.ConditionStatus
	reason, message string
}

// longestMessage bounds a condition's message, in bytes: what the API server says of a pod can be very long.
const longestMessage = 1024

func (v verdict) condition(kind string) metav1.Condition {
	message := v.message
	if len(message) > longestMessage {
		const mark = "..."
		message = strings.ToValidUTF8(message[:longestMessage-len(mark)], "") + mark
	}
	return metav1.Condition{Type: kind, Status: v.status, Reason: v.reason, Message: message}
}

func yes(reason, message string, args ...any) verdict {
	return verdict{metav1.ConditionTrue, reason, fmt.Sprintf(message, args...)}
}

func no(reason, message string, args ...any) verdict {
	return verdict{metav1.ConditionFalse, reason, fmt.Sprintf(message, args...)}
}

var modelResolved = verdict{
	metav1.ConditionUnknown, v1alpha1.ReasonNotResolved,
	"nothing resolves a Model yet: the reference is recorded, and no part of the pod depends on it",
}

// available is about answering at all. It is not the Deployment's own Available, which is False as soon as one pod of
// three is missing, and True at zero.
func available(agent *v1alpha1.Agent, seen Seen) verdict {
	wanted, have := render.Replicas(agent), int32(0)
	if seen.Deployment != nil {
		have = seen.Deployment.Status.AvailableReplicas
	}
	switch {
	case have > 0:
		return yes(v1alpha1.ReasonReplicasAvailable, "%d of %d replicas available", have, wanted)
	case wanted == 0:
		return no(v1alpha1.ReasonScaledToZero, "zero replicas are asked for")
	default:
		return no(v1alpha1.ReasonNoReplicasAvailable, "none of %d replicas available", wanted)
	}
}

// readiness says whether what was asked for is what runs: a failure of this pass first, then the rules of
// `kubectl rollout status`, then the number of replicas.
func readiness(agent *v1alpha1.Agent, seen Seen, err error) verdict {
	if failure := worst(err); failure != nil {
		return no(failure.Reason, "%s", failure.Message)
	}
	wanted := render.Replicas(agent)
	if seen.Deployment == nil {
		return no(v1alpha1.ReasonRolloutInProgress, "the Deployment %q is being created", agent.Name)
	}
	if seen.Deployment.Generation > seen.Deployment.Status.ObservedGeneration {
		return no(v1alpha1.ReasonRolloutInProgress, "the Deployment %q has a new spec that its controller has not observed yet", agent.Name)
	}
	return rollout(seen.Deployment, wanted, wasComplete(agent))
}

// wasComplete tells whether the rollout of this generation had been complete when the status was last written. What is
// missing since then is a loss, not a step.
func wasComplete(agent *v1alpha1.Agent) bool {
	before := meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionReady)
	return before != nil && before.ObservedGeneration == agent.Generation &&
		(before.Status == metav1.ConditionTrue || before.Reason == v1alpha1.ReasonReplicasUnavailable)
}

// rollout judges a Deployment that is up to date.
func rollout(deployment *appsv1.Deployment, wanted int32, wasComplete bool) verdict {
	have := deployment.Status
	switch {
	case progressReason(deployment) == "ProgressDeadlineExceeded":
		return no(v1alpha1.ReasonProgressDeadlineExceeded, "no progress for %d s: %d of %d new replicas started, %d available; the old ones stay until it goes on",
			ptr.Deref(deployment.Spec.ProgressDeadlineSeconds, 0), have.UpdatedReplicas, wanted, have.AvailableReplicas)
	case wasComplete && have.Replicas == have.UpdatedReplicas && have.Replicas <= wanted && have.AvailableReplicas < wanted:
		return no(v1alpha1.ReasonReplicasUnavailable, "%d of %d replicas available", have.AvailableReplicas, wanted)
	case deployment.Spec.Paused && have.UpdatedReplicas < wanted:
		return no(v1alpha1.ReasonRolloutInProgress, "the Deployment is paused: go on with kubectl rollout resume deployment/%s", deployment.Name)
	case have.UpdatedReplicas < wanted:
		return no(v1alpha1.ReasonRolloutInProgress, "%d of %d new replicas started, %d available", have.UpdatedReplicas, wanted, have.AvailableReplicas)
	case have.Replicas > have.UpdatedReplicas:
		return no(v1alpha1.ReasonRolloutInProgress, "%d old replicas still to stop", have.Replicas-have.UpdatedReplicas)
	case have.Replicas > wanted:
		return no(v1alpha1.ReasonRolloutInProgress, "%d replicas still to stop", have.Replicas-wanted)
	case have.AvailableReplicas < wanted:
		return no(v1alpha1.ReasonRolloutInProgress, "%d of %d new replicas available", have.AvailableReplicas, wanted)
	case wanted == 0:
		return yes(v1alpha1.ReasonScaledToZero, "zero replicas are asked for, and none runs")
	default:
		return yes(v1alpha1.ReasonRolloutComplete, "%d of %d replicas available", have.AvailableReplicas, wanted)
	}
}

// progressReason is the reason of the Deployment's condition Progressing: how the Deployment controller itself judges
// the rollout.
func progressReason(deployment *appsv1.Deployment) string {
	for _, condition := range deployment.Status.Conditions {
		if condition.Type == appsv1.DeploymentProgressing {
			return condition.Reason
		}
	}
	return ""
}

// stalled are the reasons for which there is no progress without a change from outside.
var stalled = map[string]bool{
	v1alpha1.ReasonInvalidSpec:              true,
	v1alpha1.ReasonNameConflict:             true,
	v1alpha1.ReasonProgressDeadlineExceeded: true,
}

// progress is the kstatus condition that goes with a verdict on Ready: Stalled or Reconciling, and neither when Ready.
func progress(ready verdict) string {
	switch {
	case ready.status == metav1.ConditionTrue:
		return ""
	case stalled[ready.reason]:
		return v1alpha1.ConditionStalled
	default:
		return v1alpha1.ConditionReconciling
	}
}
