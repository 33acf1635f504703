package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

const root = "../../.."

func output(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, run(root, args, &out))
	return out.String()
}

func TestRenderPrintsBothHalvesByEitherTool(t *testing.T) {
	for _, with := range []string{"", "helm", "kustomize"} {
		text := output(t, "render", "staging", with)
		_, namespace, found := strings.Cut(text, "# namespace of staging: ")
		require.True(t, found)
		require.True(t, strings.HasPrefix(text, "# cluster of staging: "))
		require.Contains(t, namespace, "namespace: flokoa-staging\n")
		require.NotContains(t, namespace, "CustomResourceDefinition")
		documents := strings.Split(text, "---\n")[1:]
		require.NotEmpty(t, documents)
		for _, document := range documents {
			require.NoError(t, yaml.Unmarshal([]byte(document), &map[string]any{}))
		}
	}
}

func TestDiffPrintsWhatPromotionChangesFieldByField(t *testing.T) {
	text := output(t, "diff", "staging", "production")
	require.Contains(t, text, "From staging to production, names apart:\n")
	require.Contains(t, text, "  ~ ResourceQuota flokoa-production/flokoa\n    spec.hard.configmaps: \"60\" -> \"100\"\n")
	require.NotContains(t, text, "flokoa-staging", "names are no difference")
	require.NotContains(t, text, "flokoa:staging")
	require.LessOrEqual(t, strings.Count(text, "\n"), 45, "a screen")
}

func TestDiffSaysWhatComesAndGoes(t *testing.T) {
	require.Contains(t, output(t, "diff", "dev", "staging"), "  - NetworkPolicy flokoa-staging/allow-public\n")
	require.Contains(t, output(t, "diff", "staging", "dev"), "  + NetworkPolicy flokoa-dev/allow-public\n")
	require.Equal(t, "From production to production, names apart:\n\ncluster: nothing changes\n\nnamespace: nothing changes\n", output(t, "diff", "production", "production"))
}

func TestErrorsListTheAllowedValues(t *testing.T) {
	for _, args := range [][]string{{"render", "prod"}, {"render", ""}, {"diff", "prod", "dev"}, {"diff", "dev", ""}} {
		err := run(root, args, &bytes.Buffer{})
		require.ErrorContains(t, err, "it is one of dev, staging, production")
	}
	require.EqualError(t, run(root, []string{"render", "dev", "jsonnet"}, &bytes.Buffer{}), `"jsonnet" renders nothing: it is helm or kustomize`)
	require.EqualError(t, run(root, []string{"apply"}, &bytes.Buffer{}), `"apply" is neither render nor diff`)
}
