// Package jsonschema makes JSON Schemas from CustomResourceDefinitions: an editor completes and checks a manifest while it is written, and
// Helm checks values, without a cluster.
package jsonschema

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"sigs.k8s.io/yaml"
)

type node = map[string]any

// Schema is one version of a kind.
type Schema struct {
	Group, Kind, Version string
	// Content is JSON Schema, draft 7.
	Content node
}

// FromCRD returns a schema for each served version of a CustomResourceDefinition. Objects are closed, so that an editor marks a
// misspelled field, which the API server would drop with a warning. What only the API server understands is left out, such as rules in CEL.
func FromCRD(crd []byte) ([]Schema, error) {
	var parsed struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Served bool
				Schema struct {
					OpenAPIV3Schema node `json:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(crd, &parsed); err != nil {
		return nil, fmt.Errorf("read the CustomResourceDefinition: %w", err)
	}
	var all []Schema
	for _, version := range parsed.Spec.Versions {
		root := version.Schema.OpenAPIV3Schema
		properties, isObject := root["properties"].(node)
		if !version.Served || !isObject {
			continue
		}
		one := Schema{Group: parsed.Spec.Group, Kind: parsed.Spec.Names.Kind, Version: version.Name}
		properties["apiVersion"] = node{"type": "string", "enum": []any{one.Group + "/" + one.Version}}
		properties["kind"] = node{"type": "string", "enum": []any{one.Kind}}
		properties["metadata"] = node{"type": "object", "properties": node{
			"name": node{"type": "string"}, "generateName": node{"type": "string"}, "namespace": node{"type": "string"},
			"labels": stringMap(), "annotations": stringMap(),
		}} // open: the API server adds more
		translate(root)
		properties["metadata"].(node)["additionalProperties"] = true
		root["$schema"] = "http://json-schema.org/draft-07/schema#"
		root["title"] = one.Kind + " " + one.Group + "/" + one.Version
		root["required"] = []any{"apiVersion", "kind", "metadata", "spec"}
		one.Content = root
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil, errors.New("the CustomResourceDefinition serves no version with a schema")
	}
	return all, nil
}

func stringMap() node { return node{"type": "object", "additionalProperties": node{"type": "string"}} }

// translate turns one schema of OpenAPI, and those below it, into JSON Schema.
func translate(schema node) {
	if schema["x-kubernetes-preserve-unknown-fields"] == true {
		schema["additionalProperties"] = true
	}
	if schema["x-kubernetes-list-type"] == "set" {
		schema["uniqueItems"] = true
	}
	if schema["nullable"] == true {
		schema["type"] = []any{schema["type"], "null"}
	}
	maps.DeleteFunc(schema, func(key string, _ any) bool {
		return strings.HasPrefix(key, "x-kubernetes-") || key == "format" || key == "nullable"
	})
	if properties, ok := schema["properties"].(node); ok {
		for _, property := range properties {
			translate(property.(node))
		}
		if _, open := schema["additionalProperties"]; !open {
			schema["additionalProperties"] = false
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if below, ok := schema[key].(node); ok {
			translate(below)
		}
	}
}
