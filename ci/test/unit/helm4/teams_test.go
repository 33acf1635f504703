package helm4_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/chart/common"
)

// teamByHelm4 is what examples/teams/helm/README.md installs for a team in its three environments.
func teamByHelm4(t *testing.T, team string) string {
	t.Helper()
	var rendered strings.Builder
	for _, environment := range []string{"dev", "staging", "production"} {
		values, err := common.ReadValuesFile(filepath.Join(root, "examples/teams/helm", team+".yaml"))
		require.NoError(t, err)
		name := team + "-" + environment
		values["environment"], values["namespace"] = environment, map[string]any{"name": name}
		manifest, err := template(t, name, "flokoa-environment", values)
		require.NoError(t, err)
		rendered.WriteString(manifest + "\n")
	}
	return rendered.String()
}

// teamByKustomize is what kustomize's own command builds.
func teamByKustomize(t *testing.T, team string) string {
	t.Helper()
	tool := exec.CommandContext(t.Context(), filepath.Join(root, "ci/tools/build.sh"), "kustomize-5.7")
	tool.Stderr = os.Stderr
	folder, err := tool.Output()
	require.NoError(t, err)
	build := exec.CommandContext(t.Context(), filepath.Join(strings.TrimSpace(string(folder)), "kustomize"), "build", filepath.Join(root, "examples/teams/kustomize", team))
	build.Stderr = os.Stderr
	built, err := build.Output()
	require.NoError(t, err)
	return string(built)
}

// unmanaged takes away what Helm says about itself.
func unmanaged(objects map[string]map[string]any) map[string]map[string]any {
	for _, object := range objects {
		labels := object["metadata"].(map[string]any)["labels"].(map[string]any)
		delete(labels, "helm.sh/chart")
		delete(labels, "app.kubernetes.io/managed-by")
	}
	return objects
}

// Package parity holds Helm 3 against the same kustomizations.
func TestHelm4InstallsTheTeamsThatKustomizeInstalls(t *testing.T) {
	for _, team := range []string{"payments", "search"} {
		four, kustomize := unmanaged(objects(t, teamByHelm4(t, team))), objects(t, teamByKustomize(t, team))
		require.NotEmpty(t, four)
		require.Len(t, kustomize, len(four))
		for name, want := range kustomize {
			require.Equal(t, want, four[name], name)
		}
		quota := four["ResourceQuota "+team+"-dev/flokoa"]["spec"].(map[string]any)["hard"].(map[string]any)
		quota["pods"] = "31"
		require.NotEqual(t, kustomize["ResourceQuota "+team+"-dev/flokoa"], four["ResourceQuota "+team+"-dev/flokoa"], "one number is seen")
	}
}
