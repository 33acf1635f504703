package apitest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// The cache holds only a part of a large child, so a pass reads it from the API server.
func TestALargeChildIsKeptUpToDate(t *testing.T) {
	large := strings.Repeat("x", 20_000)
	for _, kind := range []client.Object{&appsv1.Deployment{}, &corev1.Service{}, &corev1.ConfigMap{}, &policyv1.PodDisruptionBudget{}, &autoscalingv2.HorizontalPodAutoscaler{}} {
		t.Run(fmt.Sprintf("%T", kind), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			stored := b.create(t, threeReplicas, withAllChildren)
			b.place(t, stored)
			name := stored.Name
			if _, card := kind.(*corev1.ConfigMap); card {
				name = "a-card"
			}
			live := kind.DeepCopyObject().(client.Object)
			key := client.ObjectKey{Namespace: b.namespace, Name: name}
			require.NoError(t, api.Get(t.Context(), key, live))
			patch := fmt.Sprintf(`{"metadata":{"annotations":{"large":%q},"labels":{"app.kubernetes.io/name":"changed"}}}`, large)
			require.NoError(t, api.Patch(t.Context(), live, client.RawPatch(types.MergePatchType, []byte(patch))))
			b.settle(t, stored, func(*v1alpha1.Agent) bool {
				require.NoError(t, api.Get(t.Context(), key, live))
				return live.GetLabels()["app.kubernetes.io/name"] == "a"
			})
			require.Len(t, live.GetAnnotations()["large"], len(large))
			b.requireAtRest(t, stored)
		})
	}
}

// Whoever may create PodDisruptionBudgets decides how large they are.
func TestAPodDisruptionBudgetWithALargeSelectorIsNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	stored := b.create(t, threeReplicas)
	b.place(t, stored)
	makeAvailable(t, stored)
	b.settle(t, stored, met)
	budget := largeBudget()
	budget.ObjectMeta = metav1.ObjectMeta{Namespace: b.namespace, Name: "large"}
	require.NoError(t, api.Create(t.Context(), budget))
	b.settle(t, stored, missing(`disruption-budget: the operator does not evaluate a selector of more than 1 KiB, which may select the pods and make every eviction fail: give PodDisruptionBudget "large" a smaller one`))
	b.requireNoRequest(t, stored)
	require.NoError(t, api.Delete(t.Context(), budget))
	b.settle(t, stored, met)
}
