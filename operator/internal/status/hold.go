package status

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// failureHold is how long Ready keeps reporting a pod creation failure that the Deployment no longer reports.
const failureHold = 10 * time.Second

// FailureHold is what one pass leaves to the next to debounce pod creation failures: the last failure, or the quota contention that
// may turn out to be one. The zero value holds nothing.
type FailureHold struct {
	at         time.Time
	generation int64
	message    string // empty for contention that is not a failure yet
	created    int32
}

// HoldFailure decides which pod creation failure to report in addition to those that the Deployment reports now, empty for none. The
// ReplicaSet controller withdraws a failure whenever it syncs between two tries. Without debouncing, an Agent whose quota admits
// some pods would alternate between two reasons. recheck is when the answer can change by itself, 0 for never.
func HoldFailure(last FailureHold, generation int64, deployment *appsv1.Deployment, now time.Time) (next FailureHold, failure string, recheck time.Duration) {
	if deployment == nil {
		return last, "", 0
	}
	next = FailureHold{now, generation, podFailure(deployment), deployment.Status.UpdatedReplicas}
	if next.message != "" {
		return next, "", 0
	}
	complete := next.created >= ptr.Deref(deployment.Spec.Replicas, 0)
	if complete || last.generation != generation {
		last = FailureHold{}
	}
	if contention := quotaContention(deployment); contention != "" && !complete {
		return holdContention(last, next, contention)
	}
	remaining := last.at.Add(failureHold).Sub(now)
	if last.message == "" || remaining <= 0 {
		return FailureHold{}, "", 0
	}
	return last, last.message, remaining
}

// holdContention is for pods that lost a race for a quota. The Deployment keeps that message until a pod is admitted, so an earlier
// failure still holds, and contention during which no pod is created for failureHold is a failure.
func holdContention(last, next FailureHold, contention string) (FailureHold, string, time.Duration) {
	if last.message == "" {
		if last.at.IsZero() || last.created != next.created {
			last = next
		}
		if remaining := last.at.Add(failureHold).Sub(next.at); remaining > 0 {
			return last, "", remaining
		}
		last.message = contention
	}
	next.message = last.message
	return next, next.message, 0
}

// contentionWords are in the answer to a pod that was counted against a quota at the same instant as others. The ReplicaSet
// controller tries again, but keeps this message until a try succeeds, whatever later answers say.
const contentionWords = `cannot be fulfilled on resourcequotas "`

// podFailure is why the API server rejects the Deployment's pods, empty if it does not. Quota contention is not a failure.
func podFailure(deployment *appsv1.Deployment) string {
	if message := replicaFailure(deployment); !strings.Contains(message, contentionWords) {
		return message
	}
	return ""
}

// quotaContention is the message for quota contention that admits no pod at all, empty without contention.
func quotaContention(deployment *appsv1.Deployment) string {
	if message := replicaFailure(deployment); strings.Contains(message, contentionWords) {
		return `no pod fits into a ResourceQuota (see "kubectl describe resourcequotas"): ` + message
	}
	return ""
}

// replicaSetCreateError is the reason of Progressing=False while the Deployment controller cannot create a ReplicaSet, for example because
// of a quota. It is in no API package.
const replicaSetCreateError = "ReplicaSetCreateError"

// replicaFailure is why pods cannot be created: the message of the Deployment's ReplicaFailure condition, which the Deployment controller
// copies from the ReplicaSet, or why there is no ReplicaSet.
func replicaFailure(deployment *appsv1.Deployment) string {
	for _, condition := range deployment.Status.Conditions {
		if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue ||
			condition.Type == appsv1.DeploymentProgressing && condition.Status == corev1.ConditionFalse && condition.Reason == replicaSetCreateError {
			return condition.Message
		}
	}
	return ""
}
