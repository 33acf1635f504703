package status

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// How long the write of a changed status may wait for further changes. A status write costs the API server as much as two writes of
// a child.
const (
	// readyDelay is for a change of how many desired replicas are ready or available.
	readyDelay = 500 * time.Millisecond
	// progressDelay is for rollout progress: started, placed, and surge replicas, and other wording.
	progressDelay = 30 * time.Second
)

// WriteDelay is how long the write of a changed status may be delayed: 0 when a condition, the generation, or what the Agent runs
// changed. desired is the replica count of the Agent.
func WriteDelay(old, updated *v1alpha1.AgentStatus, desired int32) time.Duration {
	switch {
	case old.ObservedGeneration != updated.ObservedGeneration || old.Image != updated.Image ||
		old.URL != updated.URL || old.Selector != updated.Selector ||
		!slices.EqualFunc(old.Conditions, updated.Conditions, sameResult):
		return 0
	case min(old.ReadyReplicas, desired) != min(updated.ReadyReplicas, desired) ||
		min(old.AvailableReplicas, desired) != min(updated.AvailableReplicas, desired):
		return readyDelay
	default:
		return progressDelay
	}
}

// sameResult reports whether two conditions differ in their message only.
func sameResult(old, updated metav1.Condition) bool {
	return old.Type == updated.Type && old.Status == updated.Status && old.Reason == updated.Reason &&
		old.ObservedGeneration == updated.ObservedGeneration
}
