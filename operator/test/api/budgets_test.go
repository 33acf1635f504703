package apitest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

const secondBudget = `disruption-budget: more than one PodDisruptionBudget selects the pods, so every eviction fails and no node can be drained: delete "other"`

// threeReplicas gives an Agent what high availability requires.
func threeReplicas(a *v1alpha1.Agent) {
	a.Spec.Runtime.Spec.Replicas = ptr.To[int32](3)
	a.Spec.Runtime.Spec.Container.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi")}
}

// ownBudget turns the operator's budget off.
func ownBudget(a *v1alpha1.Agent) {
	a.Spec.Availability = &v1alpha1.Availability{PodDisruptionBudget: &v1alpha1.DisruptionBudget{Mode: v1alpha1.DisruptionBudgetNone}}
}

// createBudget stores a PodDisruptionBudget of somebody else.
func createBudget(t *testing.T, namespace, name string, selector *metav1.LabelSelector, maxUnavailable int32) *policyv1.PodDisruptionBudget {
	t.Helper()
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: selector, MaxUnavailable: ptr.To(intstr.FromInt32(maxUnavailable))},
	}
	require.NoError(t, api.Create(t.Context(), budget))
	return budget
}

// makeAvailable writes the status of a Deployment with three available replicas: no Deployment controller runs here.
func makeAvailable(t *testing.T, of *v1alpha1.Agent) {
	t.Helper()
	deployment := child(t, of, &appsv1.Deployment{})
	deployment.Status = appsv1.DeploymentStatus{ObservedGeneration: deployment.Generation, Replicas: 3, UpdatedReplicas: 3, ReadyReplicas: 3, AvailableReplicas: 3}
	require.NoError(t, api.Status().Update(t.Context(), deployment))
}

func highlyAvailable(of *v1alpha1.Agent) metav1.Condition {
	return ptr.Deref(meta.FindStatusCondition(of.Status.Conditions, v1alpha1.ConditionHighlyAvailable), metav1.Condition{})
}

// met and missing are conditions to wait for.
func met(a *v1alpha1.Agent) bool { return highlyAvailable(a).Status == metav1.ConditionTrue }
func missing(message string) func(*v1alpha1.Agent) bool {
	return func(a *v1alpha1.Agent) bool { return highlyAvailable(a).Message == message }
}

// requireNoRequest requires that a settled Agent costs no request, not even one that reads.
func (b bench) requireNoRequest(t *testing.T, of *v1alpha1.Agent) {
	t.Helper()
	b.requireAtRest(t, of)
	b.reads.Store(0)
	b.place(t, of)
	require.Zero(t, b.reads.Load())
}

func TestASecondPodDisruptionBudgetIsNamed(t *testing.T) {
	for name, selector := range map[string]*metav1.LabelSelector{
		"the same selector":     agenttest.Selecting("a"),
		"every pod":             {},
		"a label of the author": {MatchLabels: map[string]string{"app": "mine"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			stored := b.create(t, threeReplicas, agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) {
				s.PodMetadata = &v1alpha1.PodMetadata{Labels: map[string]string{"app": "mine"}}
			}))
			b.place(t, stored)
			makeAvailable(t, stored)
			createBudget(t, b.namespace, "unrelated", &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}, 0)
			b.settle(t, stored, met)
			b.requireNoRequest(t, stored)

			second := createBudget(t, b.namespace, "other", selector, 1)
			b.settle(t, stored, missing(secondBudget))
			b.requireNoRequest(t, stored)
			require.NoError(t, api.Delete(t.Context(), second))
			b.settle(t, stored, met)
			b.requireNoRequest(t, stored)
		})
	}
}

func TestTheAuthorsOwnPodDisruptionBudgetMeetsTheRequirement(t *testing.T) {
	b := newBench(t)
	stored := b.create(t, threeReplicas, ownBudget)
	b.place(t, stored)
	makeAvailable(t, stored)
	b.settle(t, stored, missing("disruption-budget: none protects the pods while nodes are drained: leave availability.podDisruptionBudget.mode out"))
	budget := createBudget(t, b.namespace, "mine", agenttest.Selecting("a"), 1)
	b.settle(t, stored, met)
	b.requireNoRequest(t, stored)
	require.NoError(t, api.Patch(t.Context(), budget, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"maxUnavailable":0}}`))))
	b.settle(t, stored, missing(`disruption-budget: PodDisruptionBudget "mine": maxUnavailable 0 never lets a node be drained: make it 1 or more`))
	b.requireNoRequest(t, stored)
}

// The cache holds only a part of it, so whether the Agent may have it is decided on what the API server returns.
func TestAForeignPodDisruptionBudgetOfTheChildsNameIsAConflict(t *testing.T) {
	b := newBench(t)
	foreign := createBudget(t, b.namespace, "a", &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}, 2)
	stored := b.create(t, threeReplicas)
	live, _, err := b.pass(t, stored)
	require.Error(t, err)
	require.Equal(t, v1alpha1.ReasonNameConflict, ready(live).Reason)
	require.Contains(t, ready(live).Message, `a PodDisruptionBudget named "a" exists that this Agent does not control`)
	b.reads.Store(0)
	_, _, err = b.pass(t, stored)
	require.Error(t, err)
	require.EqualValues(t, 1, b.reads.Load(), "a try costs one read")
	require.Equal(t, foreign.ResourceVersion, child(t, stored, &policyv1.PodDisruptionBudget{}).ResourceVersion)

	adopt := []byte(`{"metadata":{"annotations":{"` + v1alpha1.AnnotationAdopt + `":"a"}}}`)
	require.NoError(t, api.Patch(t.Context(), foreign, client.RawPatch(types.MergePatchType, adopt)))
	makeAvailable(t, stored)
	b.settle(t, stored, met)
	adopted := child(t, stored, &policyv1.PodDisruptionBudget{})
	require.Equal(t, foreign.UID, adopted.UID)
	require.True(t, metav1.IsControlledBy(adopted, stored))
	require.Equal(t, agenttest.Selecting("a"), adopted.Spec.Selector)
	require.Equal(t, 1, adopted.Spec.MaxUnavailable.IntValue())
	b.requireNoRequest(t, stored)
}

// setUpTimeout bounds what a test waits for on a machine that does other things too, where the time is not what it tests.
const setUpTimeout = time.Minute

// Its caches hold some namespaces, as those of an operator with --namespaces.
func TestAPodDisruptionBudgetOfAnotherAppCostsNoRequest(t *testing.T) {
	t.Parallel()
	team, elsewhere := newNamespace(t), newNamespace(t)
	operator := work(t, "platform/all", false, team, elsewhere)
	stored := agenttest.New("a", agenttest.In(team), threeReplicas)
	stored.UID, stored.Generation, stored.CreationTimestamp = "", 0, metav1.Time{}
	require.NoError(t, api.Create(t.Context(), stored))
	operator.reconciles(t, team, "a", setUpTimeout)
	makeAvailable(t, stored)
	wait := func(until func(*v1alpha1.Agent) bool) {
		t.Helper()
		require.Eventually(t, func() bool {
			live := &v1alpha1.Agent{}
			require.NoError(t, api.Get(t.Context(), client.ObjectKeyFromObject(stored), live))
			return until(live)
		}, setUpTimeout, 50*time.Millisecond)
	}
	wait(met)

	before := operator.requests()
	other := createBudget(t, team, "unrelated", &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}, 0)
	createBudget(t, elsewhere, "a", agenttest.Selecting("a"), 1)
	require.NoError(t, api.Get(t.Context(), client.ObjectKeyFromObject(other), other))
	other.Status.ExpectedPods = 3
	require.NoError(t, api.Status().Update(t.Context(), other))
	require.Never(t, func() bool { return operator.requests() != before }, 2*time.Second, 100*time.Millisecond)

	second := createBudget(t, team, "other", agenttest.Selecting("a"), 1)
	wait(missing(secondBudget))
	require.NoError(t, api.Delete(t.Context(), second))
	wait(met)
}

// requests counts all requests but watches.
func (i *installation) requests() int {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return len(i.wrote) + len(i.read)
}
