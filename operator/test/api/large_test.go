package apitest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
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

// The CRD bounds each field, and not their sum. An Agent that an older operator deployed keeps running.
func TestATooLargeAgentChangesAndDeletesNothing(t *testing.T) {
	for values, want := range map[int]string{
		5: "spec.runtime.spec makes a pod template of 149 KiB, and the limit is 128 KiB: put files and long values into a ConfigMap or the image",
		7: "the Agent is too large, and the limit is 192 KiB: put files and long values into a ConfigMap or the image, and shorten lists",
	} {
		t.Run(fmt.Sprint(values), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			stored := b.create(t)
			b.place(t, stored)
			before := child(t, stored, &appsv1.Deployment{})
			require.NoError(t, api.Get(t.Context(), client.ObjectKeyFromObject(stored), stored))
			for i := range values {
				stored.Spec.Runtime.Spec.Container.Env = append(stored.Spec.Runtime.Spec.Container.Env, corev1.EnvVar{Name: fmt.Sprint("LARGE_", i), Value: strings.Repeat("x", 30_000)})
			}
			require.NoError(t, api.Update(t.Context(), stored))
			live, _, err := b.pass(t, stored)
			require.Error(t, err)
			require.Equal(t, v1alpha1.ReasonInvalidSpec, ready(live).Reason)
			require.Equal(t, want, ready(live).Message)
			require.Equal(t, before.ResourceVersion, child(t, stored, &appsv1.Deployment{}).ResourceVersion)
			require.Len(t, live.Spec.Runtime.Spec.Container.Env, values, "the status is all that the operator writes")
		})
	}
}

// Each template is a ReplicaSet. No Deployment controller runs here, so no rollout completes.
func TestTemplatesOfAStuckRolloutAreAppliedWithBackoff(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	stored := b.create(t)
	b.place(t, stored)
	change := func(i int) *v1alpha1.Agent {
		require.NoError(t, api.Get(t.Context(), client.ObjectKeyFromObject(stored), stored))
		agenttest.Image(fmt.Sprint("registry.example/agent:", i))(stored)
		require.NoError(t, api.Update(t.Context(), stored))
		live, result, err := b.pass(t, stored)
		require.NoError(t, err)
		require.LessOrEqual(t, result.RequeueAfter, 10*time.Second)
		return live
	}
	image := func() string {
		return child(t, stored, &appsv1.Deployment{}).Spec.Template.Spec.Containers[0].Image
	}
	for i := range 5 {
		change(i)
		require.Equal(t, fmt.Sprint("registry.example/agent:", i), image())
	}
	live := change(5)
	require.Equal(t, "registry.example/agent:4", image())
	require.Equal(t, v1alpha1.ReasonRolloutInProgress, ready(live).Reason)
	require.Contains(t, ready(live).Message, "the new pod template waits until ")
	b.writes.Store(0)
	for range 3 {
		_, _, err := b.pass(t, stored)
		require.NoError(t, err)
	}
	require.Zero(t, b.writes.Load(), "a wait costs no request that writes")

	stored.Spec.Suspend = true
	stored.ResourceVersion = live.ResourceVersion
	require.NoError(t, api.Update(t.Context(), stored))
	_, _, err := b.pass(t, stored)
	require.NoError(t, err)
	require.Zero(t, *child(t, stored, &appsv1.Deployment{}).Spec.Replicas, "suspension is never delayed")
	require.Equal(t, "registry.example/agent:4", image())

	restarted := newBenchIn(t, b.namespace)
	_, _, err = restarted.pass(t, stored)
	require.NoError(t, err)
	require.Equal(t, "registry.example/agent:5", image(), "a restart forgets the count")
}
