package status

import (
	"fmt"
	"slices"
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

// longestMessage bounds a condition's message, in bytes: what the API server says of a pod can be very long. longestCause
// leaves room behind a cause for the numbers.
const (
	longestMessage = 1024
	longestCause   = 800
)

func (v verdict) condition(kind string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: v.status, Reason: v.reason, Message: shorten(v.message, longestMessage)}
}

// shorten cuts a text to a length in bytes, between characters.
func shorten(text string, most int) string {
	const mark = "..."
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len(mark)], "") + mark
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
	wanted, have := render.Replicas(agent, seen.Live()), availableReplicas(seen)
	switch {
	case have > 0:
		return yes(v1alpha1.ReasonReplicasAvailable, "%s", countAvailable(have, wanted))
	case agent.Spec.Suspend:
		return no(v1alpha1.ReasonSuspended, "suspended: no replica runs")
	case wanted == 0:
		return no(v1alpha1.ReasonScaledToZero, "zero replicas are asked for")
	default:
		return no(v1alpha1.ReasonNoReplicasAvailable, "none of %d replicas available", wanted)
	}
}

// countAvailable says how many of the wanted replicas are available. In a rollout there may be more.
func countAvailable(have, wanted int32) string {
	if have > wanted {
		return fmt.Sprintf("%s available, %d wanted", plural(int(have), "replica"), wanted)
	}
	return fmt.Sprintf("%d of %d replicas available", have, wanted)
}

// readiness says whether what was asked for is what runs: the worst of the failures of this pass and the causes for which the
// rollout, by the rules of `kubectl rollout status`, is not complete. step is where the work stands, without the cause.
func readiness(agent *v1alpha1.Agent, seen Seen, err error) (ready, step verdict) {
	step = rollout(agent, seen)
	ready = step
	if ready.status != metav1.ConditionTrue && seen.Deployment != nil {
		ready = diagnose(seen, step)
	}
	failure := worst(err)
	if failure == nil || ready.status != metav1.ConditionTrue && worseFirst(ready.reason, failure.Reason) < 0 {
		return ready, step
	}
	failed := no(failure.Reason, "%s", failure.Message)
	return failed, failed
}

// wasComplete tells whether the rollout of this generation had been complete when the status was last written. What is
// missing since then is a loss, not a step.
func wasComplete(agent *v1alpha1.Agent) bool {
	before := meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionReady)
	if before == nil || before.ObservedGeneration != agent.Generation {
		return false
	}
	step := meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionReconciling)
	return before.Status == metav1.ConditionTrue || step != nil && step.Reason == v1alpha1.ReasonReplicasUnavailable
}

// rollout judges how far the Deployment is.
func rollout(agent *v1alpha1.Agent, seen Seen) verdict {
	deployment, wanted := seen.Deployment, render.Replicas(agent, seen.Live())
	switch {
	case deployment == nil:
		return no(v1alpha1.ReasonRolloutInProgress, "the Deployment %q is being created", agent.Name)
	case deployment.Generation > deployment.Status.ObservedGeneration:
		return no(v1alpha1.ReasonRolloutInProgress, "the Deployment %q begins to roll out", agent.Name)
	case wanted == 0 && deployment.Status.Replicas == 0:
		return stopped(agent)
	default:
		return progressed(deployment, wanted, wasComplete(agent))
	}
}

// stopped is the verdict on an Agent of which nothing should run and nothing does.
func stopped(agent *v1alpha1.Agent) verdict {
	if agent.Spec.Suspend {
		return yes(v1alpha1.ReasonSuspended, "suspended: no replica runs")
	}
	return yes(v1alpha1.ReasonScaledToZero, "zero replicas are asked for, and none runs")
}

// progressed judges a Deployment that is up to date.
func progressed(deployment *appsv1.Deployment, wanted int32, wasComplete bool) verdict {
	have := deployment.Status
	switch {
	case deadlineExceeded(deployment):
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
	default:
		return yes(v1alpha1.ReasonRolloutComplete, "%d of %d replicas available", have.AvailableReplicas, wanted)
	}
}

// deadlineExceeded is how the Deployment controller itself judges the rollout.
func deadlineExceeded(deployment *appsv1.Deployment) bool {
	return deployment != nil && slices.ContainsFunc(deployment.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
		return c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded"
	})
}

// stalled are the reasons for which there is no progress without a change from outside.
var stalled = map[string]bool{
	v1alpha1.ReasonInvalidSpec:              true,
	v1alpha1.ReasonNameConflict:             true,
	v1alpha1.ReasonProgressDeadlineExceeded: true,
}

// progress is the kstatus condition that goes with a step: Stalled or Reconciling, and neither when Ready.
func progress(step verdict) string {
	switch {
	case step.status == metav1.ConditionTrue:
		return ""
	case stalled[step.reason]:
		return v1alpha1.ConditionStalled
	default:
		return v1alpha1.ConditionReconciling
	}
}
