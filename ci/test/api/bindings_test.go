package api_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// An empty list of groups takes back what the default groups had, and an apply that changes nothing writes nothing.
func TestBindingWithoutSubjectsIsStable(t *testing.T) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "nobody-"}}
	require.NoError(t, admin.Create(t.Context(), namespace))
	apply := func(editors map[string]any) *unstructured.Unstructured {
		t.Helper()
		objects, err := manifests.Chart(filepath.Join(root, "charts/flokoa-environment"), map[string]any{
			"namespace": map[string]any{"name": namespace.Name}, "access": map[string]any{"editors": editors},
		}, "a-release", manifests.Platform)
		require.NoError(t, err)
		for _, object := range objects {
			if object.GetKind() == "RoleBinding" && object.GetName() == "agent-editor" {
				require.NoError(t, admin.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(&object), client.FieldOwner("helm")))
				live := object.DeepCopy()
				require.NoError(t, admin.Get(t.Context(), client.ObjectKeyFromObject(&object), live))
				return live
			}
		}
		require.Fail(t, "no RoleBinding agent-editor")
		return nil
	}
	subjects, _, _ := unstructured.NestedSlice(apply(map[string]any{}).Object, "subjects")
	require.Len(t, subjects, 1)
	nobody := apply(map[string]any{"groups": []any{}})
	require.NotContains(t, nobody.Object, "subjects")
	require.Equal(t, nobody.GetResourceVersion(), apply(map[string]any{"groups": []any{}}).GetResourceVersion(), "a second apply is a write")
}
