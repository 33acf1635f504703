package app

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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

// A namespace may have many PodDisruptionBudgets that are not the operator's.
func TestCachedForeignBudgetKeepsOnlyWhatDecidesEvictions(t *testing.T) {
	one, selector := ptr.To(intstr.FromInt32(1)), &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}
	budget := func(labels map[string]string) *policyv1.PodDisruptionBudget {
		return &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "b", UID: "u", ResourceVersion: "7", Generation: 2, Labels: labels,
				Annotations: map[string]string{"big": "v"}, OwnerReferences: []metav1.OwnerReference{{Kind: "Other"}},
				ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}},
			Spec:   policyv1.PodDisruptionBudgetSpec{Selector: selector, MaxUnavailable: one, UnhealthyPodEvictionPolicy: ptr.To(policyv1.AlwaysAllow)},
			Status: policyv1.PodDisruptionBudgetStatus{ExpectedPods: 3},
		}
	}
	stripped, err := stripBudget(budget(map[string]string{"l": "v"}))
	require.NoError(t, err)
	require.Equal(t, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "b", UID: "u", ResourceVersion: "7", Generation: 2, OwnerReferences: []metav1.OwnerReference{{Kind: "Other"}}},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: selector, MaxUnavailable: one},
	}, stripped)

	labeled := map[string]string{v1alpha1.LabelAgent: "a"}
	stripped, err = stripBudget(budget(labeled))
	require.NoError(t, err)
	want := budget(labeled)
	want.ManagedFields, want.Status = nil, policyv1.PodDisruptionBudgetStatus{}
	require.Equal(t, want, stripped)
}

func TestCachedAgentDropsLastAppliedConfiguration(t *testing.T) {
	agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Name: "a",
		Annotations:   map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "stays"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}}}
	stripped, err := stripAgent(agent)
	require.NoError(t, err)
	require.Equal(t, &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: map[string]string{"mine": "stays"}}}, stripped)
}

func TestPodTransformIgnoresTombstones(t *testing.T) {
	tombstone := toolscache.DeletedFinalStateUnknown{Key: "ns/a"}
	got, err := compressPod(tombstone)
	require.NoError(t, err)
	require.Equal(t, tombstone, got)
}
