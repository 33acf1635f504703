package kustomize_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// inCopy writes files into a copy of overlays, as users edit theirs, and builds a folder of it. The folder and the files are relative
// to overlays.
func inCopy(t *testing.T, folder string, files map[string]string) []unstructured.Unstructured {
	t.Helper()
	top := t.TempDir()
	require.NoError(t, os.CopyFS(top, os.DirFS(filepath.Join(root, "overlays"))))
	for name, text := range files {
		file := filepath.Join(top, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	objects, err := manifests.Overlay(filepath.Join(top, folder))
	require.NoError(t, err)
	return objects
}

const kustomization = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"

// An operator that the policies do not know could write any Deployment.
func TestThePoliciesRestrictAnOperatorByAnotherName(t *testing.T) {
	objects := inCopy(t, "mine", map[string]string{
		"cluster/operator/kustomization.yaml": kustomization + "namespace: agents\nnamePrefix: acme-\nresources: [../../base/operator]\n",
		"mine/kustomization.yaml":             kustomization + "resources: [../cluster]\ncomponents: [../components/operator-cluster-wide]\n",
	})
	text, err := manifests.Text(objects)
	require.NoError(t, err)
	require.NotContains(t, text, "system:serviceaccount:flokoa-system:")
	require.Equal(t, 6, strings.Count(text, "system:serviceaccount:agents:acme-flokoa-operator"))
	bound := 0
	for _, object := range objects {
		require.NotEqual(t, "ConfigMap", object.GetKind(), "what only kustomize reads is not applied")
		if object.GetKind() != "ClusterRoleBinding" {
			continue
		}
		subjects, _, err := unstructured.NestedSlice(object.Object, "subjects")
		require.NoError(t, err)
		for _, subject := range subjects {
			bound++
			require.Equal(t, "agents", subject.(map[string]any)["namespace"], object.GetName())
		}
	}
	require.Equal(t, 2, bound)
}
