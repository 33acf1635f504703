package gitops_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// of are the objects of a kind, by namespace and name.
func of(t *testing.T, folder, kind string) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for _, objects := range examples(t, folder) {
		for _, object := range objects {
			if object.GetKind() == kind {
				all[object.GetNamespace()+"/"+object.GetName()] = object.Object
			}
		}
	}
	require.NotEmpty(t, all, "no %s in %s", kind, folder)
	return all
}

func text(object map[string]any, path ...string) string {
	value, _, _ := unstructured.NestedString(object, path...)
	return value
}

// Without serviceAccountName Flux applies as cluster-admin; with postBuild it would substitute ${...} in an Agent.
func TestEveryFluxStageImpersonatesAndSubstitutesNothing(t *testing.T) {
	accounts := of(t, "flux", "ServiceAccount")
	for name, stage := range of(t, "flux", "Kustomization") {
		namespace, account := text(stage, "metadata", "namespace"), text(stage, "spec", "serviceAccountName")
		require.NotEmpty(t, account, name)
		if namespace == "flux-system" {
			require.Contains(t, accounts, namespace+"/"+account, name)
			require.DirExists(t, filepath.Join(root, text(stage, "spec", "path")), name)
		} else {
			require.Equal(t, "agent-deployer", account, name)
			require.Equal(t, namespace, text(stage, "spec", "targetNamespace"), "the repository of the team names no namespace")
		}
		require.NotContains(t, stage["spec"], "postBuild", name)
		require.Equal(t, true, stage["spec"].(map[string]any)["prune"], name)
	}
}

// The account of the platform is cluster-admin.
func TestEnvironmentsAreNotAppliedAsThePlatform(t *testing.T) {
	found := 0
	for name, stage := range of(t, "flux", "Kustomization") {
		if strings.HasPrefix(text(stage, "spec", "path"), "./overlays/") && !strings.Contains(text(stage, "spec", "path"), "cluster") {
			require.Equal(t, "flokoa-environments", text(stage, "spec", "serviceAccountName"), name)
			found++
		}
	}
	require.Equal(t, 3, found)
}

func TestStagesOfFluxWaitForWhatTheyNeed(t *testing.T) {
	stages := of(t, "flux", "Kustomization")
	needs := map[string][]string{}
	for name, stage := range stages {
		dependencies, _, err := unstructured.NestedSlice(stage, "spec", "dependsOn")
		require.NoError(t, err)
		for _, dependency := range dependencies {
			on := "flux-system/" + dependency.(map[string]any)["name"].(string)
			require.Contains(t, stages, on, name)
			require.Equal(t, true, stages[on]["spec"].(map[string]any)["wait"], "%s waits for %s, which is ready at once", name, on)
			needs[name] = append(needs[name], on)
		}
	}
	require.Equal(t, map[string][]string{
		"flux-system/flokoa-dev":                {"flux-system/flokoa-platform"},
		"flux-system/flokoa-staging":            {"flux-system/flokoa-platform"},
		"flux-system/flokoa-production":         {"flux-system/flokoa-platform"},
		"flux-system/flokoa-tenants-dev":        {"flux-system/flokoa-dev"},
		"flux-system/flokoa-tenants-staging":    {"flux-system/flokoa-staging"},
		"flux-system/flokoa-tenants-production": {"flux-system/flokoa-production"},
	}, needs)
}
