package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

func TestACopyDecompressesAPod(t *testing.T) {
	ready := corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	waiting := corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{Name: "agent"}}}
	whole := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "team", Name: "a-5d7-x", UID: "u", ResourceVersion: "7", CreationTimestamp: metav1.NewTime(time.Unix(2, 0)), DeletionTimestamp: &metav1.Time{Time: time.Unix(1, 0)},
			Labels:          map[string]string{v1alpha1.LabelAgent: "a", "pod-template-hash": "5d7", "topology.kubernetes.io/zone": "z"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "a-5d7", Controller: new(true)}},
		},
		Spec: corev1.PodSpec{NodeName: "n"},
	}
	bare := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "b", Labels: map[string]string{v1alpha1.LabelAgent: "a"}}}
	for _, r := range []struct {
		name   string
		pod    corev1.Pod
		status corev1.PodStatus
	}{{"ready", whole, ready}, {"waiting", whole, waiting}, {"without a controller", bare, waiting}} {
		t.Run(r.name, func(t *testing.T) {
			r.pod.Status = r.status
			compressed := CompressPod(&r.pod, r.status)
			require.Equal(t, &r.pod, compressed.DeepCopyObject())
			require.Equal(t, r.pod.Labels, compressed.GetLabels())
		})
	}
}

// The controller decides whether a pod is an Agent's.
func TestCompressedPodKeepsOnlyAReplicaSetAsController(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Kind: "StatefulSet", Name: "a-5d7", Controller: new(true)}}}}
	require.Nil(t, metav1.GetControllerOf(CompressPod(pod, pod.Status).DeepCopyObject().(*corev1.Pod)))
}

// Most pods are ready, with identical statuses.
func TestReadyPodsShareTheirStatus(t *testing.T) {
	ready := *readyStatus.DeepCopy()
	require.Same(t, &readyStatus, CompressPod(&corev1.Pod{}, ready).(*compressedPod).status)
}
