package agent

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// fakeCache holds one Agent and its children, and copies what it returns, as a real cache does. A write panics.
type fakeCache struct {
	client.Client
	agent      *v1alpha1.Agent
	deployment *appsv1.Deployment
	service    *corev1.Service
	disruption *policyv1.PodDisruptionBudget
	autoscaler *autoscalingv2.HorizontalPodAutoscaler
	card       *corev1.ConfigMap
	pods       corev1.PodList
}

func (f *fakeCache) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	none := apierrors.NewNotFound(schema.GroupResource{}, key.Name)
	switch into := into.(type) {
	case *v1alpha1.Agent:
		if f.agent == nil {
			return none
		}
		f.agent.DeepCopyInto(into)
	case *appsv1.Deployment:
		compressed, err := KeepDeployment(f.deployment.DeepCopy())
		if err != nil {
			return err
		}
		*into = *compressed.DeepCopyObject().(*appsv1.Deployment)
	case *corev1.Service:
		f.service.DeepCopyInto(into)
	case *policyv1.PodDisruptionBudget:
		f.disruption.DeepCopyInto(into)
	case *autoscalingv2.HorizontalPodAutoscaler:
		if f.autoscaler == nil {
			return none
		}
		f.autoscaler.DeepCopyInto(into)
	case *corev1.ConfigMap:
		if f.card == nil {
			return none
		}
		f.card.DeepCopyInto(into)
	}
	return nil
}

// Patch answers a dry run of an apply: without admission, the result is what was sent.
func (f *fakeCache) Patch(_ context.Context, into client.Object, patch client.Patch, _ ...client.PatchOption) error {
	raw, err := patch.Data(into)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

func (f *fakeCache) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	if pods, ok := into.(*corev1.PodList); ok {
		pods.Items = append([]corev1.Pod(nil), f.pods.Items...)
	}
	return nil
}

// settledCache returns a cache in which an Agent's children and status are up to date.
func settledCache(t testing.TB, agent *v1alpha1.Agent) *fakeCache {
	t.Helper()
	want, err := render.Agent(agent, render.Live{})
	require.NoError(t, err)
	f := &fakeCache{
		agent:      agent,
		deployment: stored[appsv1.Deployment](t, want.Deployment),
		service:    stored[corev1.Service](t, want.Service),
		disruption: stored[policyv1.PodDisruptionBudget](t, want.Disruption),
	}
	if want.Autoscaler != nil {
		f.autoscaler = stored[autoscalingv2.HorizontalPodAutoscaler](t, want.Autoscaler)
	}
	if want.Card != nil {
		f.card = stored[corev1.ConfigMap](t, want.Card)
	}
	f.deployment.Generation, f.disruption.Generation = 1, 1
	replicas := *f.deployment.Spec.Replicas
	f.deployment.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: replicas, UpdatedReplicas: replicas, ReadyReplicas: replicas, AvailableReplicas: replicas}
	isController := true
	for i := range replicas {
		name := string('a' + i)
		f.pods.Items = append(f.pods.Items, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{
				v1alpha1.LabelAgent: agent.Name, appsv1.DefaultDeploymentUniqueLabelKey: "1", corev1.LabelTopologyZone: "zone-" + name},
				OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: agent.Name + "-1", Controller: &isController}}},
			Spec: corev1.PodSpec{NodeName: "node-" + name},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
				{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		})
	}
	c := New(f, nil, events.NewFakeRecorder(0), false)
	live, err := c.readChildren(t.Context(), agent)
	require.NoError(t, err)
	observed, _, err := c.observe(t.Context(), agent, live, &state{})
	require.NoError(t, err)
	observed.Missing = status.Requirements(agent, want)
	agent.Status, _ = status.Of(agent, observed, nil)
	return f
}

// Every event of a settled Agent costs this pass, which writes nothing.
// storingCache is a cache that also stores the statuses that are written.
type storingCache struct {
	*fakeCache
	writes int
}

func (s *storingCache) Status() client.SubResourceWriter { return storingWriter{cache: s} }

type storingWriter struct {
	client.SubResourceWriter
	cache *storingCache
}

func (w storingWriter) Update(_ context.Context, agent client.Object, _ ...client.SubResourceUpdateOption) error {
	w.cache.writes++
	w.cache.agent.Status = agent.(*v1alpha1.Agent).Status
	return nil
}

func BenchmarkUnchanged(b *testing.B) {
	for name, agent := range map[string]*v1alpha1.Agent{
		"small": agenttest.New("a", agenttest.Replicas(3)),
		"guide": agenttest.Read(b, "../../../examples/agents/production-agent.yaml"),
		"full":  agenttest.Read(b, fullAgent),
	} {
		b.Run(name, func(b *testing.B) {
			cache := &storingCache{fakeCache: settledCache(b, agent)}
			c := New(cache, &fakeReader{}, events.NewFakeRecorder(8), false)
			pass := func() {
				_, err := c.Reconcile(b.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(agent)})
				require.NoError(b, err)
			}
			pass() // what settledCache does not know: the configuration
			cache.writes = 0
			b.ReportAllocs()
			for b.Loop() {
				pass()
			}
			require.Zero(b, cache.writes)
		})
	}
}
