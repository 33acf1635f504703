package guardrails_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// presets are the rows of files/presets.yaml, by the path of the value.
func presets(t *testing.T) map[string]map[string]any {
	t.Helper()
	text, err := os.ReadFile(environmentChart + "/files/presets.yaml")
	require.NoError(t, err)
	rows := map[string]map[string]any{}
	require.NoError(t, yaml.UnmarshalStrict(text, &rows))
	require.NotEmpty(t, rows)
	return rows
}

// A user reads the default in values.yaml, where it is an empty string.
func TestValuesDocumentThePresets(t *testing.T) {
	readme, err := os.ReadFile(environmentChart + "/README.md")
	require.NoError(t, err)
	values, err := os.ReadFile(environmentChart + "/values.yaml")
	require.NoError(t, err)
	for path, row := range presets(t) {
		var columns []string
		for _, environment := range manifests.Environments {
			require.Contains(t, row, environment, path)
			columns = append(columns, fmt.Sprintf("%s `%v`", environment, row[environment]))
		}
		require.Len(t, row, len(manifests.Environments), path)
		_, line, found := strings.Cut(string(readme), "\n| "+path+" | ")
		require.True(t, found, path)
		line, _, _ = strings.Cut(line, "\n")
		require.Contains(t, line, " | "+strings.Join(columns, ", ")+" | ", path)
	}
	require.Equal(t, len(presets(t)), strings.Count(string(values), "@default -- dev"), "a value documents a preset that does not exist")
}

// The environment alone selects the presets, and one value of the user replaces one of them.
func TestValuesReplacePresetsKeyByKey(t *testing.T) {
	objects, err := manifests.Chart(environmentChart, map[string]any{
		"environment": "dev", "quota": map[string]any{"requests": map[string]any{"cpu": "7"}},
	}, "a-release", manifests.Platform)
	require.NoError(t, err)
	for _, own := range all[corev1.ResourceQuota](t, objects, "ResourceQuota") {
		if own.Name == "flokoa" {
			want := quota(t, "dev")
			require.NotEqual(t, want[corev1.ResourceRequestsCPU], own.Spec.Hard[corev1.ResourceRequestsCPU])
			want[corev1.ResourceRequestsCPU] = own.Spec.Hard[corev1.ResourceRequestsCPU]
			require.Equal(t, want, own.Spec.Hard)
			return
		}
	}
	require.Fail(t, "no ResourceQuota flokoa")
}

// The Namespace tells the policy flokoa-replicas the number with which the quota was calculated.
func TestNamespaceNamesTheReplicasOfTheQuota(t *testing.T) {
	for _, environment := range manifests.Environments {
		namespace := all[corev1.Namespace](t, render(t, environment, nil), "Namespace")[0]
		require.Equal(t, fmt.Sprint(leastReplicas[environment]), namespace.Labels["flokoa.ai/min-replicas"])
	}
}
