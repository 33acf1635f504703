package app

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/yaml"
)

// Thousands of pods are cached, so of each only what is read may stay.
func TestOfAPodOnlyWhatIsReadIsKept(t *testing.T) {
	deleted := metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	stripped, err := stripPod(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "a-1", UID: "u", ResourceVersion: "7", GenerateName: "a-", Generation: 3,
			Labels: map[string]string{"l": "v"}, Annotations: map[string]string{"big": "value"}, Finalizers: []string{"f"},
			OwnerReferences:   []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "a", UID: "r"}},
			DeletionTimestamp: &deleted, CreationTimestamp: deleted,
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubelet"}},
		},
		Spec:   corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Env: []corev1.EnvVar{{Name: "SECRET", Value: "s"}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "192.0.2.1", Conditions: []corev1.PodCondition{{Type: corev1.PodReady}}},
	})
	require.NoError(t, err)
	text, err := yaml.Marshal(stripped)
	require.NoError(t, err)
	require.Equal(t, `metadata:
  deletionTimestamp: "2030-01-02T03:04:05Z"
  labels:
    l: v
  name: a-1
  namespace: ns
  ownerReferences:
  - apiVersion: apps/v1
    kind: ReplicaSet
    name: a
    uid: r
  resourceVersion: "7"
  uid: u
spec:
  containers: null
  nodeName: "n"
status:
  phase: Running
`, string(text))
}

func TestWhatIsNotAPodPassesUntouched(t *testing.T) {
	tombstone := toolscache.DeletedFinalStateUnknown{Key: "ns/a"}
	got, err := stripPod(tombstone)
	require.NoError(t, err)
	require.Equal(t, tombstone, got)
}
