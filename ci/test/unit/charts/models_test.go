package charts_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The schema of the chart flokoa-agent comes from the CRD. That of flokoa-environment is written by hand, and must have the same fields.
func TestBothChartsTakeTheSameModels(t *testing.T) {
	schemaOf := func(chart string) map[string]any {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(agentChart), chart, "values.schema.json"))
		require.NoError(t, err)
		schema := map[string]any{}
		require.NoError(t, json.Unmarshal(text, &schema))
		return schema
	}
	below := func(schema map[string]any, path ...string) map[string]any {
		for _, key := range path {
			schema = schema[key].(map[string]any)
		}
		return schema
	}
	want := fieldsOf(below(schemaOf("flokoa-agent"), "properties", "models", "additionalProperties"), "spec")
	require.Contains(t, want, "spec.apiKey.name required")
	require.Equal(t, want, fieldsOf(below(schemaOf("flokoa-environment"), "definitions", "modelSpec"), "spec"))
}

// fieldsOf lists the fields of a schema, which are required, and what an enum allows.
func fieldsOf(schema map[string]any, path string) []string {
	var fields []string
	if enum, ok := schema["enum"].([]any); ok {
		for _, value := range enum {
			fields = append(fields, path+" = "+value.(string))
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		field := path + "." + name
		if slices.Contains(required, any(name)) {
			field += " required"
		}
		fields = append(fields, field)
		fields = append(fields, fieldsOf(properties[name].(map[string]any), path+"."+name)...)
	}
	slices.Sort(fields)
	return fields
}
