package app

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agent"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

// The cache holds thousands of pods, so each keeps only the fields that the operator reads.
func TestCachedPodKeepsOnlyTheFieldsThatAreRead(t *testing.T) {
	deleted := metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	compressed, err := compressPod(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "a-1", UID: "u", ResourceVersion: "7", GenerateName: "a-", Generation: 3,
			Labels:      map[string]string{"flokoa.ai/agent": "a", "pod-template-hash": "1", "topology.kubernetes.io/zone": "z", "l": "v"},
			Annotations: map[string]string{"big": "value"}, Finalizers: []string{"f"},
			OwnerReferences:   []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "a", UID: "r", Controller: new(true)}},
			DeletionTimestamp: &deleted, CreationTimestamp: deleted,
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubelet"}},
		},
		Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Env: []corev1.EnvVar{{Name: "SECRET", Value: "s"}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "192.0.2.1", Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: deleted}, {Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
		}, ContainerStatuses: []corev1.ContainerStatus{{Name: "c", Ready: true, RestartCount: 4}}},
	})
	require.NoError(t, err)
	text, err := yaml.Marshal(compressed.(client.Object).DeepCopyObject())
	require.NoError(t, err)
	require.Equal(t, `metadata:
  creationTimestamp: "2030-01-02T03:04:05Z"
  deletionTimestamp: "2030-01-02T03:04:05Z"
  labels:
    flokoa.ai/agent: a
    pod-template-hash: "1"
    topology.kubernetes.io/zone: z
  name: a-1
  namespace: ns
  ownerReferences:
  - apiVersion: apps/v1
    controller: true
    kind: ReplicaSet
    name: a
    uid: ""
  resourceVersion: "7"
  uid: u
spec:
  containers: null
  nodeName: "n"
status:
  conditions:
  - lastProbeTime: null
    lastTransitionTime: null
    status: "True"
    type: Ready
  phase: Running
`, string(text))
}

// The dropped fields change with every restart, and would enqueue the Agent each time.
func TestCachedUnreadyPodKeepsItsContainerStates(t *testing.T) {
	long := strings.Repeat("é", maxMessage)
	started := metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	terminated := &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled", Message: "m", ContainerID: "x", StartedAt: started, FinishedAt: started}
	got := stripPodStatus(&corev1.PodStatus{
		Phase: corev1.PodPending,
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionFalse, Message: "containers with unready status: [c]"},
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: long},
		},
		InitContainerStatuses: []corev1.ContainerStatus{{Name: "i", Image: "i", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}}},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "c", Image: "i", ImageID: "i", RestartCount: 4,
			State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 40s"}},
			LastTerminationState: corev1.ContainerState{Terminated: terminated},
		}},
	})
	require.Equal(t, corev1.PodStatus{
		Phase: corev1.PodPending,
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionFalse},
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: strings.Repeat("é", maxMessage/2)},
		},
		InitContainerStatuses: []corev1.ContainerStatus{{Name: "i", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}}},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name:                 "c",
			State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled", Message: "m"}},
		}},
	}, got)
}

// Anybody may create a pod with the label of an Agent and any number of containers that fail.
func TestCachedPodKeepsABoundedNumberOfContainers(t *testing.T) {
	got := stripPodStatus(&corev1.PodStatus{ContainerStatuses: make([]corev1.ContainerStatus, 1000), InitContainerStatuses: make([]corev1.ContainerStatus, 1000)})
	require.Len(t, got.ContainerStatuses, maxContainers)
	require.Len(t, got.InitContainerStatuses, maxContainers)
}

// A node that rejects pods leaves many of them.
func TestCachedFailedPodKeepsWhyItFailed(t *testing.T) {
	long := strings.Repeat("x", 2*maxMessage)
	conditions := []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	failed := &corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfcpu", Message: long, Conditions: conditions, NominatedNodeName: "n"}
	require.Equal(t, corev1.PodStatus{
		Phase: corev1.PodFailed, Reason: "OutOfcpu", Message: long[:maxMessage],
		InitContainerStatuses: []corev1.ContainerStatus{}, ContainerStatuses: []corev1.ContainerStatus{},
	}, stripPodStatus(failed))
	running := &corev1.PodStatus{Phase: corev1.PodRunning, Reason: "r", Message: "m", Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	require.Equal(t, corev1.PodStatus{Phase: corev1.PodRunning, Conditions: running.Conditions}, stripPodStatus(running))
}

func TestCachedNodeKeepsOnlyWhatSchedulingNeeds(t *testing.T) {
	stripped, err := stripNode(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", ResourceVersion: "7", Labels: map[string]string{"l": "v"}, Annotations: map[string]string{"big": "v"}},
		Spec:       corev1.NodeSpec{Unschedulable: true, Taints: []corev1.Taint{{Key: "t"}}, PodCIDR: "10.0.0.0/24"},
		Status: corev1.NodeStatus{
			Images:     []corev1.ContainerImage{{Names: []string{"i"}}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeDiskPressure}, {Type: corev1.NodeReady, Status: corev1.ConditionTrue, Message: "heartbeat"}},
		},
	})
	require.NoError(t, err)
	require.Equal(t, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", ResourceVersion: "7", Labels: map[string]string{"l": "v"}},
		Spec:       corev1.NodeSpec{Unschedulable: true, Taints: []corev1.Taint{{Key: "t"}}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}, stripped)
}

func TestCachedNamespaceKeepsOnlyItsEnvironment(t *testing.T) {
	stripped, err := stripNamespace(&corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{
			Name: "n", ResourceVersion: "7", Labels: map[string]string{v1alpha1.LabelEnvironment: "dev", "l": "v"}, Annotations: map[string]string{"big": "v"},
		},
		Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"kubernetes"}},
	})
	require.NoError(t, err)
	require.Equal(t, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: "n", ResourceVersion: "7", Labels: map[string]string{v1alpha1.LabelEnvironment: "dev"}},
	}, stripped)
}

func TestCachedModelKeepsOnlyItsSpec(t *testing.T) {
	spec := v1alpha1.ModelSpec{Provider: "OpenAI", Model: "m"}
	stripped, err := stripModel(&v1alpha1.Model{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "m", UID: "u", ResourceVersion: "7", Generation: 2, Annotations: map[string]string{"big": "v"}, Labels: map[string]string{"l": "v"},
		},
		Spec: spec,
	})
	require.NoError(t, err)
	require.Equal(t, &v1alpha1.Model{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "m", UID: "u", ResourceVersion: "7", Generation: 2}, Spec: spec,
	}, stripped)
}

// Anyone who may write Leases in a namespace could fill the operator's memory with a large one.
func TestCachedLeaseKeepsOnlyItsHolderAndTimes(t *testing.T) {
	renewed := ptr.To(metav1.NowMicro())
	stripped, err := stripLease(&coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "scope.flokoa.ai", ResourceVersion: "7", Annotations: map[string]string{"big": "v"}, Labels: map[string]string{"l": "v"}},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To(strings.Repeat("x", 2*maxMessage)), LeaseDurationSeconds: ptr.To[int32](60), AcquireTime: renewed, RenewTime: renewed,
			PreferredHolder: ptr.To("big"), Strategy: ptr.To(coordinationv1.OldestEmulationVersion), LeaseTransitions: ptr.To[int32](3),
		},
	})
	require.NoError(t, err)
	require.Equal(t, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "scope.flokoa.ai", ResourceVersion: "7"},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To(strings.Repeat("x", maxMessage)), LeaseDurationSeconds: ptr.To[int32](60), AcquireTime: renewed, RenewTime: renewed,
		},
	}, stripped)
}

// controlledBy is the reference to an Agent that controls an object, as anybody may write it.
func controlledBy(name string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Agent", Name: name, UID: "u", Controller: ptr.To(true)}}
}

// Anybody may create objects with the label of an Agent, in any namespace, and of any size.
func TestCacheKeepsOnlySmallObjectsOfAgentsWhole(t *testing.T) {
	large := strings.Repeat("x", 100_000)
	transforms := map[client.Object]func(any) (any, error){
		&appsv1.Deployment{}: stripDeployment, &corev1.Service{}: stripService, &corev1.ConfigMap{}: stripConfigMap,
		&policyv1.PodDisruptionBudget{}: stripBudget, &autoscalingv2.HorizontalPodAutoscaler{}: stripAutoscaler,
	}
	for kind, transform := range transforms {
		for name, r := range map[string]struct {
			owners     []metav1.OwnerReference
			annotation string
			whole      bool
		}{
			"a small child":                  {controlledBy("a"), "small", true},
			"a large child":                  {controlledBy("a"), large, false},
			"an object without a controller": {nil, "small", false},
			"an object of another controller": {[]metav1.OwnerReference{
				{APIVersion: "v1", Kind: "Other", Name: large, UID: "u", Controller: ptr.To(true)}, {Kind: "Other", Name: large}}, "small", false},
		} {
			t.Run(fmt.Sprintf("%T/%s", kind, name), func(t *testing.T) {
				object := kind.DeepCopyObject().(client.Object)
				object.SetName("a")
				object.SetUID("u")
				object.SetResourceVersion("7")
				object.SetLabels(map[string]string{v1alpha1.LabelAgent: "a", "l": "v"})
				object.SetAnnotations(map[string]string{"large": r.annotation, v1alpha1.AnnotationAdopt: "a"})
				object.SetOwnerReferences(r.owners)
				kept, err := transform(object)
				require.NoError(t, err)
				again, err := transform(kept)
				require.NoError(t, err)
				require.Equal(t, kept, again, "caches transform some objects twice")
				_, whole := kept.(client.Object).GetAnnotations()["large"]
				require.Equal(t, r.whole, whole)
				require.Less(t, kept.(client.Object).DeepCopyObject().(agent.Sized).Size(), 1200)
				require.Equal(t, "7", kept.(client.Object).GetResourceVersion())
				require.Equal(t, metav1.GetControllerOf(object) != nil, metav1.GetControllerOf(kept.(client.Object)) != nil)
			})
		}
	}
}

// A part of a large text keeps all of it in memory.
func TestACutMessageDoesNotKeepTheRest(t *testing.T) {
	long := strings.Repeat("x", 2*maxMessage)
	require.NotSame(t, unsafe.StringData(long), unsafe.StringData(cut(long)))
}

// A namespace may have many PodDisruptionBudgets that are not the operator's, with or without the label of an Agent.
func TestCachedForeignBudgetKeepsOnlyWhatDecidesEvictions(t *testing.T) {
	one, selector := ptr.To(intstr.FromInt32(1)), &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}
	large := &metav1.LabelSelector{MatchLabels: map[string]string{"app": strings.Repeat("x", 2000)}}
	other := metav1.OwnerReference{Kind: "Other", Name: "o", Controller: ptr.To(true)}
	budget := func(owners []metav1.OwnerReference, selector *metav1.LabelSelector) *policyv1.PodDisruptionBudget {
		return &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "b", UID: "u", ResourceVersion: "7", Generation: 2, Labels: map[string]string{v1alpha1.LabelAgent: "a"},
				Annotations: map[string]string{"big": "v"}, OwnerReferences: owners, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}},
			Spec:   policyv1.PodDisruptionBudgetSpec{Selector: selector, MaxUnavailable: one, UnhealthyPodEvictionPolicy: ptr.To(policyv1.AlwaysAllow)},
			Status: policyv1.PodDisruptionBudgetStatus{ExpectedPods: 3},
		}
	}
	want := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "b", UID: "u", ResourceVersion: "7", Generation: 2, OwnerReferences: []metav1.OwnerReference{other}},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: selector, MaxUnavailable: one},
	}
	stripped, err := stripBudget(budget([]metav1.OwnerReference{{Kind: "Other"}, other}, selector))
	require.NoError(t, err)
	require.Equal(t, want, stripped)

	stripped, err = stripBudget(budget([]metav1.OwnerReference{other}, large))
	require.NoError(t, err)
	want.Spec.Selector, want.Annotations = nil, map[string]string{"flokoa.ai/partial": "selector"}
	require.Equal(t, want, stripped)
	again, err := stripBudget(stripped)
	require.NoError(t, err)
	require.Equal(t, want, again)

	stripped, err = stripBudget(budget(controlledBy("b"), selector))
	require.NoError(t, err)
	want = budget(controlledBy("b"), selector)
	want.ManagedFields, want.Status = nil, policyv1.PodDisruptionBudgetStatus{}
	require.Equal(t, want, stripped.(client.Object).DeepCopyObject(), "a child is kept whole")
}

func TestCachedAgentDropsLastAppliedConfiguration(t *testing.T) {
	agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Name: "a",
		Annotations:   map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "stays"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}}}
	stripped, err := keepAgent(agent)
	require.NoError(t, err)
	require.Equal(t, &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: map[string]string{"mine": "stays"}}}, stripped)
}

func TestAuthorsCannotMarkObjectsAsPartial(t *testing.T) {
	marked := map[string]string{"flokoa.ai/partial": "true"}
	kept, err := keepAgent(agenttest.New("a", func(a *v1alpha1.Agent) { a.Annotations = marked }))
	require.NoError(t, err)
	require.Empty(t, kept.(*v1alpha1.Agent).Annotations)
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "b"}}
	kept, err = stripBudget(&policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"flokoa.ai/partial": "true"}}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: selector}})
	require.NoError(t, err)
	require.Empty(t, kept.(*policyv1.PodDisruptionBudget).Annotations)
	require.Equal(t, selector, kept.(*policyv1.PodDisruptionBudget).Spec.Selector)
}

// Three bytes of JSON are an empty string of 16 bytes: twenty such Agents used more memory than the operator may have.
func TestCachedAgentOfManyEmptyStringsIsBounded(t *testing.T) {
	terms := make([]corev1.PreferredSchedulingTerm, 64)
	for i := range terms {
		for range 64 {
			terms[i].Preference.MatchExpressions = append(terms[i].Preference.MatchExpressions,
				corev1.NodeSelectorRequirement{Key: "k", Operator: corev1.NodeSelectorOpIn, Values: make([]string, 64)})
		}
	}
	large := agenttest.New("a", agenttest.Replicas(3), func(a *v1alpha1.Agent) {
		a.Annotations = map[string]string{"mine": "goes"}
		a.Spec.Suspend = true
		a.Spec.Runtime.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: terms}}
		a.Status.ObservedGeneration = 7
	})
	for range 2 { // a transform may get its own result
		object, err := keepAgent(large)
		require.NoError(t, err)
		kept := object.(*v1alpha1.Agent)
		require.Nil(t, kept.Spec.Runtime.Spec.Affinity)
		require.Empty(t, kept.Spec.Runtime.Spec.Container.Image)
		require.Equal(t, map[string]string{"flokoa.ai/partial": "true"}, kept.Annotations)
		require.Equal(t, []any{large.Name, large.Namespace, large.UID, large.Generation, large.CreationTimestamp, large.Status},
			[]any{kept.Name, kept.Namespace, kept.UID, kept.Generation, kept.CreationTimestamp, kept.Status})
		require.True(t, kept.Spec.Suspend)
		require.EqualValues(t, 3, *kept.Spec.Runtime.Spec.Replicas)
		large = kept
	}
}

func TestPodTransformIgnoresTombstones(t *testing.T) {
	tombstone := toolscache.DeletedFinalStateUnknown{Key: "ns/a"}
	got, err := compressPod(tombstone)
	require.NoError(t, err)
	require.Equal(t, tombstone, got)
}
