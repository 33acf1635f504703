package status

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// How long a status may wait to be written, when all that it says anew is how many of the wanted replicas answer, or only how far
// others have come: started, placed, one more than wanted for as long as a rollout goes on, in other words. Every write costs the
// API server as much as one of a child does.
const (
	answeringWaits = 500 * time.Millisecond
	progressWaits  = 30 * time.Second
)

// Urgency is how long a status that differs from the one before may wait to be written: 0, not at all, when a condition, the
// generation or what the Agent runs has changed. wanted is the number of replicas that should answer.
func Urgency(before, after *v1alpha1.AgentStatus, wanted int32) time.Duration {
	switch {
	case before.ObservedGeneration != after.ObservedGeneration || before.Image != after.Image ||
		before.URL != after.URL || before.Selector != after.Selector ||
		!slices.EqualFunc(before.Conditions, after.Conditions, sameVerdict):
		return 0
	case min(before.ReadyReplicas, wanted) != min(after.ReadyReplicas, wanted) ||
		min(before.AvailableReplicas, wanted) != min(after.AvailableReplicas, wanted):
		return answeringWaits
	default:
		return progressWaits
	}
}

// sameVerdict tells whether two conditions say the same in other words or numbers.
func sameVerdict(before, after metav1.Condition) bool {
	return before.Type == after.Type && before.Status == after.Status && before.Reason == after.Reason &&
		before.ObservedGeneration == after.ObservedGeneration
}
