package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// crdOf is a CRD whose spec has this schema.
func crdOf(spec string) []byte {
	return []byte("{spec: {versions: [{name: v1, served: true, schema: {openAPIV3Schema: {properties: {spec: " + spec + "}}}}]}}")
}

func TestEveryDefaultIsRequired(t *testing.T) {
	crd := crdOf(`{type: object, required: [b], properties: {a: {type: object, properties: {image: {type: string, minLength: 1}}}, b: {type: string}}}`)
	schema, err := valuesSchema(crd, crdOf(`{type: object, properties: {provider: {type: string}}}`), node{"environment": "production", "spec": node{"a": node{"image": ""}}})
	require.NoError(t, err)
	require.Equal(t, []string{"environment", "spec"}, schema["required"])
	spec := schema["properties"].(node)["spec"].(node)
	require.Equal(t, []string{"a", "b"}, spec["required"])
	below := spec["properties"].(node)["a"].(node)
	require.Equal(t, []string{"image"}, below["required"])
	require.Equal(t, node{"type": "string"}, below["properties"].(node)["image"], "a template rejects the empty default")
	model := schema["properties"].(node)["models"].(node)["additionalProperties"].(node)
	require.Equal(t, false, model["additionalProperties"], "a misspelled field of a Model is an error")
	require.Contains(t, model["properties"], "provider")
}

func TestWhatCannotBeTranslatedIsAnError(t *testing.T) {
	_, err := valuesSchema(crdOf(`{type: object, properties: {}}`), crdOf(`{type: object}`), node{"spec": node{"b": 1}})
	require.ErrorContains(t, err, "values.yaml sets spec.b, which is not in the schema")
	version := "{name: v1, served: true, schema: {openAPIV3Schema: {properties: {spec: {type: object}}}}}"
	_, err = valuesSchema([]byte("{spec: {versions: ["+version+", "+version+"]}}"), nil, nil)
	require.ErrorContains(t, err, "the CRD has 2 versions")
	_, err = valuesSchema([]byte("["), nil, nil)
	require.ErrorContains(t, err, "the CustomResourceDefinition")
	_, err = valuesSchema(crdOf(`{type: object}`), []byte("["), nil)
	require.ErrorContains(t, err, "the CustomResourceDefinition")
	require.ErrorContains(t, run(t.TempDir()+"/"), "values.yaml")
}

// make verify compares every generated file; this one is compared here too, because the schema decides what users may write.
func TestTheChartHasTheSchemaOfTheCRD(t *testing.T) {
	dir := t.TempDir() + "/"
	values, err := os.ReadFile("../../../" + chart + "values.yaml")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir+"values.yaml", values, 0o600))
	require.NoError(t, run(dir))
	want, err := os.ReadFile(dir + "values.schema.json")
	require.NoError(t, err)
	require.True(t, json.Valid(want))
	got, err := os.ReadFile("../../../" + chart + "values.schema.json")
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run make generate")
}
