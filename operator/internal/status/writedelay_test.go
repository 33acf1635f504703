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
			require.Equal(t, r.want, WriteDelay(before, after, 3))
		})
	}
}
