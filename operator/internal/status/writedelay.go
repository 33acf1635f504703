package status

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// How long the write of a changed status may wait for further changes. A status write costs the API server as much as two writes of
// a child, so the delays grow with the time for which the Agent has not been Ready: a rollout of any length costs a few writes.
const (
	// A change of how many desired replicas are ready or available waits for a twentieth of that time, within these bounds.
	readyDelay, maxReadyDelay = 500 * time.Millisecond, 30 * time.Second
	readyShare                = 20
	// Rollout progress waits for as long as that time: started, placed, and surge replicas, and other wording.
	progressDelay, maxProgressDelay = 30 * time.Second, 5 * time.Minute
	// It also waits for this long for each status that waits: all Agents together write progress about twice a second.
	progressInterval = 500 * time.Millisecond
	// RecheckDelay is how often to ask for the delay again, because fewer statuses may wait by then.
	RecheckDelay = maxProgressDelay
)

// WriteDelay is how long the write of a changed status may be delayed: 0 when a condition, the generation, or what the Agent runs
// changed. desired is the replica count of the Agent. since is when the status changed first. waiting is how many Agents have a
// status that waits.
func WriteDelay(old, updated *v1alpha1.AgentStatus, desired int32, since time.Time, waiting int64) time.Duration {
	switch {
	case old.ObservedGeneration != updated.ObservedGeneration || old.Image != updated.Image ||
		old.URL != updated.URL || old.Selector != updated.Selector ||
		!slices.EqualFunc(old.Conditions, updated.Conditions, sameResult):
		return 0
	case min(old.ReadyReplicas, desired) != min(updated.ReadyReplicas, desired) ||
		min(old.AvailableReplicas, desired) != min(updated.AvailableReplicas, desired):
		return min(max(readyDelay, notReadyFor(updated, since)/readyShare), maxReadyDelay)
	default:
		return max(progressDelay, min(notReadyFor(updated, since), maxProgressDelay), time.Duration(waiting)*progressInterval)
	}
}

// notReadyFor is how long an Agent had not been Ready at a time, 0 if it is Ready.
func notReadyFor(s *v1alpha1.AgentStatus, at time.Time) time.Duration {
	ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status == metav1.ConditionTrue {
		return 0
	}
	return at.Sub(ready.LastTransitionTime.Time)
}

// sameResult reports whether two conditions differ in their message only.
func sameResult(old, updated metav1.Condition) bool {
	return old.Type == updated.Type && old.Status == updated.Status && old.Reason == updated.Reason &&
		old.ObservedGeneration == updated.ObservedGeneration
}
