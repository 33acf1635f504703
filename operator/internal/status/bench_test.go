package status_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// Every pass ends with this computation, also for a settled Agent.
func BenchmarkOf(b *testing.B) {
	for _, replicas := range []int32{1, 3, 30} {
		b.Run(fmt.Sprintf("replicas=%d", replicas), func(b *testing.B) {
			agent := agenttest.New("a", agenttest.Replicas(replicas))
			observed := status.Observed{Now: now, Deployment: deployment(counts(replicas, replicas, replicas, replicas))}
			for i := range replicas {
				observed.Pods = append(observed.Pods, corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i), Labels: map[string]string{corev1.LabelTopologyZone: fmt.Sprint(i % 3)}},
					Spec:       corev1.PodSpec{NodeName: fmt.Sprint(i)},
					Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
						{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
				})
			}
			agent.Status = statusOf(agent, observed, nil)
			b.ReportAllocs()
			for b.Loop() {
				statusOf(agent, observed, nil)
			}
		})
	}
}
