package jsonschema

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chartutil"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/crds"
)

func agentSchema(t *testing.T) []byte {
	t.Helper()
	all, err := FromCRD(crds.Agents)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, [3]string{"agent.flokoa.ai", "Agent", "v1alpha1"}, [3]string{all[0].Group, all[0].Kind, all[0].Version})
	text, err := json.Marshal(all[0].Content)
	require.NoError(t, err)
	require.NotContains(t, string(text), "x-kubernetes-")
	return text
}

func TestEveryExampleAgentSatisfiesTheSchema(t *testing.T) {
	files, err := filepath.Glob("../../../examples/agents/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	schema := agentSchema(t)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		values := map[string]any{}
		require.NoError(t, yaml.Unmarshal(text, &values))
		require.NoError(t, chartutil.ValidateAgainstSingleSchema(values, schema), file)
	}
}

func TestAnEditorMarksWhatTheAPIServerRejectsOrDrops(t *testing.T) {
	schema := agentSchema(t)
	const good = `{"apiVersion": "agent.flokoa.ai/v1alpha1", "kind": "Agent", "metadata": {"name": "a", "finalizers": ["b"]},
		"spec": {"runtime": {"spec": {"container": {"image": "a:v1", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}}}}}`
	for _, row := range []struct{ path, patch, wrong string }{
		{"", `{}`, ""},
		{"", `{"kind": "Agents"}`, "kind"},
		{"", `{"apiVersion": "agent.flokoa.ai/v1"}`, "apiVersion"},
		{"", `{"spec": null}`, "spec"},
		{"metadata", `{"labels": {"a": 1}}`, "labels"},
		{"spec", `{"suspended": true}`, "suspended"},
		{"spec", `{"suspend": "yes"}`, "suspend"},
	} {
		values := map[string]any{}
		require.NoError(t, json.Unmarshal([]byte(good), &values))
		at := values
		if row.path != "" {
			at = values[row.path].(map[string]any)
		}
		require.NoError(t, json.Unmarshal([]byte(row.patch), &at))
		err := chartutil.ValidateAgainstSingleSchema(values, schema)
		if row.wrong == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, row.wrong, row.patch)
	}
}

func TestPartsOfASchemaAreTranslated(t *testing.T) {
	for from, to := range map[string]string{
		`{type: object, properties: {a: {type: string}}}`:                                                    `{type: object, properties: {a: {type: string}}, additionalProperties: false}`,
		`{type: object, x-kubernetes-preserve-unknown-fields: true}`:                                         `{type: object, additionalProperties: true}`,
		`{type: object, additionalProperties: {type: object, properties: {a: {type: string}}}}`:              `{type: object, additionalProperties: {type: object, properties: {a: {type: string}}, additionalProperties: false}}`,
		`{type: array, x-kubernetes-list-type: set, items: {type: integer, format: int32}}`:                  `{type: array, uniqueItems: true, items: {type: integer}}`,
		`{type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [a], items: {type: string}}`: `{type: array, items: {type: string}}`,
		`{type: string, nullable: true}`:                                                                     `{type: [string, "null"]}`,
		`{anyOf: [{type: integer}, {type: string}], x-kubernetes-int-or-string: true}`:                       `{anyOf: [{type: integer}, {type: string}]}`,
		`{type: object, properties: {format: {type: string}}, x-kubernetes-validations: [{rule: "true"}]}`:   `{type: object, properties: {format: {type: string}}, additionalProperties: false}`,
	} {
		was, is := node{}, node{}
		require.NoError(t, yaml.Unmarshal([]byte(from), &was))
		require.NoError(t, yaml.Unmarshal([]byte(to), &is))
		translate(was)
		require.Equal(t, is, was, from)
	}
}

func TestACRDWithoutASchemaIsAnError(t *testing.T) {
	for _, crd := range []string{"{}", "{spec: {versions: [{name: v1, served: true}]}}", "["} {
		_, err := FromCRD([]byte(crd))
		require.ErrorContains(t, err, "CustomResourceDefinition", crd)
	}
}
