package status

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

func TestConditionsAreWrittenAtOnceAndCountsAreDelayed(t *testing.T) {
	const atOnce = time.Duration(0)
	for _, r := range []struct {
		name   string
		change func(*v1alpha1.AgentStatus)
		want   time.Duration
	}{
		{"the generation", func(s *v1alpha1.AgentStatus) { s.ObservedGeneration++ }, atOnce},
		{"the image", func(s *v1alpha1.AgentStatus) { s.Image = "b" }, atOnce},
		{"the URL", func(s *v1alpha1.AgentStatus) { s.URL = "" }, atOnce},
		{"the selector", func(s *v1alpha1.AgentStatus) { s.Selector = "" }, atOnce},
		{"a condition's status", func(s *v1alpha1.AgentStatus) { s.Conditions[0].Status = metav1.ConditionTrue }, atOnce},
		{"a condition's reason", func(s *v1alpha1.AgentStatus) { s.Conditions[0].Reason = "ImagePullFailed" }, atOnce},
		{"a condition's generation", func(s *v1alpha1.AgentStatus) { s.Conditions[0].ObservedGeneration++ }, atOnce},
		{"one more condition", func(s *v1alpha1.AgentStatus) { s.Conditions = append(s.Conditions, metav1.Condition{}) }, atOnce},
		{"a condition and numbers", func(s *v1alpha1.AgentStatus) { s.AvailableReplicas++; s.Conditions[0].Reason = "b" }, atOnce},
		{"fewer ready replicas", func(s *v1alpha1.AgentStatus) { s.ReadyReplicas-- }, readyDelay},
		{"available replicas, also in a message", func(s *v1alpha1.AgentStatus) { s.AvailableReplicas++; s.Conditions[0].Message = "2 of 3" }, readyDelay},
		{"fewer available replicas", func(s *v1alpha1.AgentStatus) { s.AvailableReplicas-- }, readyDelay},
		{"more than desired, after fewer", func(s *v1alpha1.AgentStatus) { s.AvailableReplicas += 2 }, readyDelay},
		{"more than desired, after enough", func(s *v1alpha1.AgentStatus) { s.ReadyReplicas++ }, progressDelay},
		{"a message", func(s *v1alpha1.AgentStatus) { s.Conditions[0].Message = "2 of 3" }, progressDelay},
		{"replicas that started", func(s *v1alpha1.AgentStatus) { s.Replicas++; s.UpdatedReplicas++ }, progressDelay},
		{"placement", func(s *v1alpha1.AgentStatus) { s.Placement.Nodes++ }, progressDelay},
	} {
		t.Run(r.name, func(t *testing.T) {
			before := &v1alpha1.AgentStatus{ReadyReplicas: 3, AvailableReplicas: 2, Image: "a", URL: "u", Selector: "s", Placement: &v1alpha1.Placement{},
				Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "RolloutInProgress"}}}
			after := before.DeepCopy()
			r.change(after)
			require.Equal(t, r.want, WriteDelay(before, after, 3, before.Conditions[0].LastTransitionTime.Time, 1))
		})
	}
}

func TestDelaysGrowWithTheTimeSinceTheAgentWasReady(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	counts := func(s *v1alpha1.AgentStatus) { s.ReadyReplicas-- }
	progress := func(s *v1alpha1.AgentStatus) { s.UpdatedReplicas++ }
	end := func(s *v1alpha1.AgentStatus) { s.Conditions[0].Status = metav1.ConditionTrue }
	failure := func(s *v1alpha1.AgentStatus) { s.Conditions[0].Reason = v1alpha1.ReasonCrashLooping }
	for _, r := range []struct {
		name    string
		ready   metav1.ConditionStatus
		change  func(*v1alpha1.AgentStatus)
		elapsed time.Duration
		want    time.Duration
	}{
		{"counts after a second", metav1.ConditionFalse, counts, time.Second, readyDelay},
		{"counts after a minute", metav1.ConditionFalse, counts, time.Minute, 3 * time.Second},
		{"counts after a day", metav1.ConditionFalse, counts, 24 * time.Hour, maxReadyDelay},
		{"progress after a second", metav1.ConditionFalse, progress, time.Second, progressDelay},
		{"progress after a minute", metav1.ConditionFalse, progress, time.Minute, time.Minute},
		{"progress after an hour", metav1.ConditionFalse, progress, time.Hour, maxProgressDelay},
		{"the end after an hour", metav1.ConditionFalse, end, time.Hour, 0},
		{"a failure after an hour", metav1.ConditionFalse, failure, time.Hour, 0},
		{"counts of an Agent that is Ready", metav1.ConditionTrue, counts, time.Hour, readyDelay},
		{"progress of an Agent that is Ready", metav1.ConditionTrue, progress, time.Hour, progressDelay},
	} {
		t.Run(r.name, func(t *testing.T) {
			before := &v1alpha1.AgentStatus{ReadyReplicas: 2, Conditions: []metav1.Condition{
				{Type: v1alpha1.ConditionReady, Status: r.ready, LastTransitionTime: metav1.NewTime(began)}}}
			after := before.DeepCopy()
			r.change(after)
			require.Equal(t, r.want, WriteDelay(before, after, 3, began.Add(r.elapsed), 1))
		})
	}
}

func TestProgressWaitsLongerTheMoreStatusesWait(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	progress := func(s *v1alpha1.AgentStatus) { s.UpdatedReplicas++ }
	for _, r := range []struct {
		name    string
		change  func(*v1alpha1.AgentStatus)
		waiting int64
		want    time.Duration
	}{
		{"progress of a few", progress, 60, progressDelay},
		{"progress of a thousand", progress, 1000, 500 * time.Second},
		{"progress of ten thousand", progress, 10_000, 5000 * time.Second},
		{"counts", func(s *v1alpha1.AgentStatus) { s.ReadyReplicas-- }, 10_000, readyDelay},
		{"the end", func(s *v1alpha1.AgentStatus) { s.Conditions[0].Status = metav1.ConditionTrue }, 10_000, 0},
		{"a failure", func(s *v1alpha1.AgentStatus) { s.Conditions[0].Reason = v1alpha1.ReasonCrashLooping }, 10_000, 0},
	} {
		t.Run(r.name, func(t *testing.T) {
			before := &v1alpha1.AgentStatus{ReadyReplicas: 2, Conditions: []metav1.Condition{
				{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, LastTransitionTime: metav1.NewTime(began)}}}
			after := before.DeepCopy()
			r.change(after)
			require.Equal(t, r.want, WriteDelay(before, after, 3, began.Add(time.Second), r.waiting))
		})
	}
}
