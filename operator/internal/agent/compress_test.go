package agent

import (
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

func TestACopyDecompressesADeployment(t *testing.T) {
	want := settledCache(t, agenttest.Read(t, fullAgent)).deployment
	cached := want.DeepCopy()
	cached.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	object, err := CompressDeployment(cached)
	require.NoError(t, err)
	compressed := object.(*compressedDeployment)
	require.Zero(t, compressed.Spec.Template)
	require.Equal(t, want, compressed.DeepCopyObject())
	require.Zero(t, compressed.Spec.Template, "a copy does not change the cached object")
}

func TestUndecodableDeploymentPanics(t *testing.T) {
	broken := &compressedDeployment{Deployment: appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "a"}}, template: []byte("?")}
	require.PanicsWithValue(t, "decoding the pod template of Deployment n/a, which this process encoded: proto: illegal wireType 7", func() { broken.DeepCopyObject() })
}
