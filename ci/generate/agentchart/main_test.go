package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// crdOf is a CRD whose spec has this schema.
func crdOf(spec string) []byte {
	return []byte("{spec: {versions: [{schema: {openAPIV3Schema: {properties: {spec: " + spec + "}}}}]}}")
}

func TestTheSchemaOfAFieldIsDraft07(t *testing.T) {
	for name, row := range map[string]struct{ crd, want string }{
		"an object is closed": {
			`{type: object, properties: {a: {type: string}}}`,
			`{type: object, properties: {a: {type: string}}, additionalProperties: false}`,
		},
		"a map has the type of its values": {
			`{type: object, additionalProperties: {type: object, properties: {a: {type: string}}}}`,
			`{type: object, additionalProperties: {type: object, properties: {a: {type: string}}, additionalProperties: false}}`,
		},
		"a list has closed items": {
			`{type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [a], items: {type: object, properties: {a: {type: string}}}}`,
			`{type: array, items: {type: object, properties: {a: {type: string}}, additionalProperties: false}}`,
		},
		"a set has unique items":    {`{type: array, x-kubernetes-list-type: set, items: {type: string}}`, `{type: array, uniqueItems: true, items: {type: string}}`},
		"a null that is allowed":    {`{type: string, nullable: true}`, `{type: [string, "null"]}`},
		"unknown fields stay open":  {`{type: object, x-kubernetes-preserve-unknown-fields: true}`, `{type: object, additionalProperties: {}}`},
		"a count or a percentage":   {`{anyOf: [{type: integer}, {type: string}], x-kubernetes-int-or-string: true, pattern: a}`, `{anyOf: [{type: integer}, {type: string}], pattern: a}`},
		"what the server knows":     {`{type: integer, format: int32, default: 1, x-kubernetes-validations: [{rule: a}], maximum: 9}`, `{type: integer, maximum: 9}`},
		"fields called like a word": {`{type: object, properties: {format: {type: string}, default: {type: string}}}`, `{type: object, properties: {format: {type: string}, default: {type: string}}, additionalProperties: false}`},
		"a description on one line": {"{type: string, description: \"a\\nb\"}", `{type: string, description: a b}`},
	} {
		t.Run(name, func(t *testing.T) {
			spec, err := specOf(crdOf("{type: object, properties: {field: " + row.crd + "}}"))
			require.NoError(t, err)
			require.NoError(t, translate(spec, "spec"))
			want := node{}
			require.NoError(t, yaml.Unmarshal([]byte(row.want), &want))
			require.Equal(t, want, spec["properties"].(node)["field"])
		})
	}
}

func TestEveryDefaultIsRequired(t *testing.T) {
	crd := crdOf(`{type: object, required: [b], properties: {a: {type: object, properties: {image: {type: string, minLength: 1}}}, b: {type: string}}}`)
	schema, err := valuesSchema(crd, node{"environment": "production", "spec": node{"a": node{"image": ""}}})
	require.NoError(t, err)
	require.Equal(t, []string{"environment", "spec"}, schema["required"])
	spec := schema["properties"].(node)["spec"].(node)
	require.Equal(t, []string{"a", "b"}, spec["required"])
	below := spec["properties"].(node)["a"].(node)
	require.Equal(t, []string{"image"}, below["required"])
	require.Equal(t, node{"type": "string"}, below["properties"].(node)["image"], "a template rejects the empty default")
}

func TestWhatCannotBeTranslatedIsAnError(t *testing.T) {
	for name, row := range map[string]struct {
		crd      string
		defaults node
		want     string
	}{
		"an object without fields":  {`{type: object, properties: {a: {type: object}}}`, nil, "spec.a is an object of which the CRD says nothing"},
		"a default without a field": {`{type: object, properties: {}}`, node{"spec": node{"b": 1}}, "values.yaml sets spec.b, which is not in the schema"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := valuesSchema(crdOf(row.crd), row.defaults)
			require.ErrorContains(t, err, row.want)
		})
	}
	_, err := valuesSchema([]byte("{spec: {versions: [{}, {}]}}"), nil)
	require.ErrorContains(t, err, "the CRD has 2 versions")
	_, err = valuesSchema([]byte("["), nil)
	require.ErrorContains(t, err, "the CRD")
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
