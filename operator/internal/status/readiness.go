package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
)

// conditionResult is the status, reason, and message of a condition.
type conditionResult struct {
	status          metav1.ConditionStatus
	reason, message string
}

// maxMessage bounds a condition's message, in bytes, because the API server may report a pod's failure at length and an Event's
// note holds no more. maxCause leaves room behind a cause for the replica counts.
const (
	maxMessage = 1024
	maxCause   = 800
)

func (r conditionResult) condition(kind string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: r.status, Reason: r.reason, Message: Message(r.message)}
}

func conditionTrue(reason, message string, args ...any) conditionResult {
	return conditionResult{metav1.ConditionTrue, reason, fmt.Sprintf(message, args...)}
}

func conditionFalse(reason, message string, args ...any) conditionResult {
	return conditionResult{metav1.ConditionFalse, reason, fmt.Sprintf(message, args...)}
}

// available reports whether any replica serves. The Deployment's own Available condition is False as soon as one pod of three is
// gone, and True at zero replicas.
func available(agent *v1alpha1.Agent, observed Observed) conditionResult {
	desired, current := render.Replicas(agent, observed.Live()), availableReplicas(observed)
	switch {
	case current > 0:
		return conditionTrue(v1alpha1.ReasonReplicasAvailable, "%s", availableText(current, desired))
	case agent.Spec.Suspend:
		return conditionFalse(v1alpha1.ReasonSuspended, "suspended: no replica runs")
	case desired == 0:
		return conditionFalse(v1alpha1.ReasonScaledToZero, "zero replicas are asked for")
	default:
		return conditionFalse(v1alpha1.ReasonNoReplicasAvailable, "0 of %d replicas available", desired)
	}
}

// availableText counts the available replicas. During a rollout there may be more than desired.
func availableText(current, desired int32) string {
	if current > desired {
		return fmt.Sprintf("%s available, %d desired", plural(int(current), "replica"), desired)
	}
	return fmt.Sprintf("%d of %d replicas available", current, desired)
}

// readiness reports whether the running pods match the spec: the worst of this pass's failures and of the causes that keep the
// rollout from being complete by the rules of `kubectl rollout status`. progress is the state of the rollout without the cause.
func readiness(agent *v1alpha1.Agent, observed Observed, err error) (ready, progress conditionResult) {
	progress = rollout(agent, observed)
	ready = progress
	if ready.status != metav1.ConditionTrue && observed.Deployment != nil {
		ready = diagnose(observed, progress)
	}
	if ready.reason == v1alpha1.ReasonRolloutComplete && len(observed.Rewritten) > 0 {
		ready = mutated(ready, observed.Rewritten)
	}
	if !observed.TemplateDue.IsZero() {
		ready, progress = delayed(ready, observed.TemplateDue)
	}
	failure := worst(err)
	if failure == nil || ready.status != metav1.ConditionTrue && compareSeverity(ready.reason, failure.Reason) < 0 {
		return ready, progress
	}
	failed := conditionFalse(failure.Reason, "%s", failure.Message)
	return failed, failed
}

// delayed is the state of a rollout that does not complete, while a new pod template waits. The new one may well complete, so the
// rollout is not stalled.
func delayed(ready conditionResult, due time.Time) (delayedReady, progress conditionResult) {
	waiting := "the new pod template waits until " + due.UTC().Format(time.RFC3339) + ", because several were applied and no rollout " +
		"completed; only the template of the last complete rollout, if there is one, does not wait"
	progress = conditionFalse(v1alpha1.ReasonRolloutInProgress, "%s", waiting)
	if ready.status == metav1.ConditionTrue {
		return progress, progress
	}
	return conditionFalse(ready.reason, "%s; %s", ready.message, waiting), progress
}

// mutated is a complete rollout of something that admission changed: what runs is not what the Agent asks for.
func mutated(complete conditionResult, fields []string) conditionResult {
	return conditionTrue(v1alpha1.ReasonMutatedByAdmission, "%s; a mutating admission policy or webhook changes, at every write, %s",
		complete.message, strings.Join(fields, ", "))
}

// wasComplete reports whether the rollout of this generation was complete when the status was last written. A replica that is
// missing since then was lost.
func wasComplete(agent *v1alpha1.Agent) bool {
	ready := meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.ObservedGeneration != agent.Generation {
		return false
	}
	reconciling := meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionReconciling)
	return ready.Status == metav1.ConditionTrue || reconciling != nil && reconciling.Reason == v1alpha1.ReasonReplicasUnavailable
}

// rollout reports the progress of the Deployment's rollout.
func rollout(agent *v1alpha1.Agent, observed Observed) conditionResult {
	deployment, desired := observed.Deployment, render.Replicas(agent, observed.Live())
	switch {
	case deployment == nil && agent.DeletionTimestamp != nil:
		return conditionFalse(v1alpha1.ReasonRolloutInProgress, "the Agent is being deleted, and Deployment %q no longer exists", agent.Name)
	case observed.Config.Model.Awaited:
		return conditionFalse(v1alpha1.ReasonRolloutInProgress, "waiting up to 10 s for Model %q before applying Deployment %q", agent.Spec.Model.Name, agent.Name)
	case deployment == nil:
		return conditionFalse(v1alpha1.ReasonRolloutInProgress, "creating Deployment %q", agent.Name)
	case deployment.Generation > deployment.Status.ObservedGeneration:
		return conditionFalse(v1alpha1.ReasonRolloutInProgress, "waiting for the Deployment controller to observe Deployment %q", agent.Name)
	case desired == 0 && deployment.Status.Replicas == 0:
		return scaledDown(agent)
	default:
		return rolloutProgress(deployment, desired, wasComplete(agent))
	}
}

// scaledDown is the result for an Agent that desires no replicas and has none.
func scaledDown(agent *v1alpha1.Agent) conditionResult {
	if agent.Spec.Suspend {
		return conditionTrue(v1alpha1.ReasonSuspended, "suspended: no replica runs")
	}
	return conditionTrue(v1alpha1.ReasonScaledToZero, "zero replicas are asked for, and none runs")
}

// rolloutProgress is for a Deployment whose status is up to date.
func rolloutProgress(deployment *appsv1.Deployment, desired int32, wasComplete bool) conditionResult {
	current := deployment.Status
	switch {
	case DeadlineExceeded(deployment):
		return conditionFalse(v1alpha1.ReasonProgressDeadlineExceeded, "no progress for %d s: %d of %d replicas updated, %d available; old replicas keep running until the rollout proceeds",
			ptr.Deref(deployment.Spec.ProgressDeadlineSeconds, 0), current.UpdatedReplicas, desired, current.AvailableReplicas)
	case wasComplete && current.Replicas == current.UpdatedReplicas && current.Replicas <= desired && current.AvailableReplicas < desired:
		return conditionFalse(v1alpha1.ReasonReplicasUnavailable, "%d of %d replicas available", current.AvailableReplicas, desired)
	case deployment.Spec.Paused && current.UpdatedReplicas < desired:
		return conditionFalse(v1alpha1.ReasonRolloutInProgress, "the Deployment is paused: resume it with kubectl rollout resume deployment/%s", deployment.Name)
	case current.UpdatedReplicas < desired:
		return conditionFalse(v1alpha1.ReasonRolloutInProgress, "%d of %d replicas updated, %d available", current.UpdatedReplicas, desired, current.AvailableReplicas)
	case current.Replicas > current.UpdatedReplicas:
		return conditionFalse(v1alpha1.ReasonRolloutInProgress, "%s pending termination", plural(int(current.Replicas-current.UpdatedReplicas), "old replica"))
	case current.Replicas > desired:
		return conditionFalse(v1alpha1.ReasonRolloutInProgress, "%s pending termination", plural(int(current.Replicas-desired), "replica"))
	case current.AvailableReplicas < desired:
		return conditionFalse(v1alpha1.ReasonRolloutInProgress, "%d of %d updated replicas available", current.AvailableReplicas, desired)
	default:
		return conditionTrue(v1alpha1.ReasonRolloutComplete, "%d of %d replicas available", current.AvailableReplicas, desired)
	}
}

// RolledOut reports whether only pods of a Deployment's current template run, and all desired ones are available, by the rules of
// `kubectl rollout status`.
func RolledOut(deployment *appsv1.Deployment) bool {
	if deployment == nil || deployment.Generation > deployment.Status.ObservedGeneration {
		return false
	}
	desired := ptr.Deref(deployment.Spec.Replicas, 1)
	if desired == 0 {
		return deployment.Status.Replicas == 0
	}
	return rolloutProgress(deployment, desired, false).status == metav1.ConditionTrue
}

// Completed reports whether the Deployment controller considers the last rollout complete. That does not change when pods are lost later.
func Completed(deployment *appsv1.Deployment) bool {
	return deployment != nil && deployment.Generation <= deployment.Status.ObservedGeneration && progresses(deployment, "NewReplicaSetAvailable")
}

// DeadlineExceeded reports whether the Deployment controller considers the rollout failed.
func DeadlineExceeded(deployment *appsv1.Deployment) bool {
	return progresses(deployment, "ProgressDeadlineExceeded")
}

// progresses reports whether the condition Progressing of a Deployment has a reason.
func progresses(deployment *appsv1.Deployment, reason string) bool {
	return deployment != nil && slices.ContainsFunc(deployment.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
		return c.Type == appsv1.DeploymentProgressing && c.Reason == reason
	})
}

// stalledReasons are the reasons that only a change from outside resolves.
var stalledReasons = map[string]bool{
	v1alpha1.ReasonInvalidSpec:              true,
	v1alpha1.ReasonNameConflict:             true,
	v1alpha1.ReasonProgressDeadlineExceeded: true,
}

// progressCondition is the kstatus condition for the progress of a rollout: Stalled or Reconciling, and neither when Ready.
func progressCondition(progress conditionResult) string {
	switch {
	case progress.status == metav1.ConditionTrue:
		return ""
	case stalledReasons[progress.reason]:
		return v1alpha1.ConditionStalled
	default:
		return v1alpha1.ConditionReconciling
	}
}
