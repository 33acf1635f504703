package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// swagger is the API of the pinned Kubernetes. It comes with the module that the local control plane is built from, so that no schema has
// to be downloaded from elsewhere.
type swagger struct {
	definitions map[string]any
	// kinds has the name of each kind's definition.
	kinds map[schema.GroupVersionKind]string
}

func readSwagger(root string) (*swagger, error) {
	command := exec.Command("go", "mod", "download", "-json", "k8s.io/kubernetes")
	command.Dir = filepath.Join(root, "ci/tools/kubernetes")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("download the module k8s.io/kubernetes, which has the schemas: %w", err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(module.Dir, "api/openapi-spec/swagger.json"))
	if err != nil {
		return nil, err
	}
	return parseSwagger(text)
}

func parseSwagger(text []byte) (*swagger, error) {
	var document struct{ Definitions map[string]any }
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("read Kubernetes' OpenAPI document: %w", err)
	}
	s := &swagger{document.Definitions, map[schema.GroupVersionKind]string{}}
	for name, definition := range s.definitions {
		kinds, _, _ := unstructured.NestedSlice(definition.(map[string]any), "x-kubernetes-group-version-kind")
		if len(kinds) != 1 { // options of requests have many
			continue
		}
		kind := kinds[0].(map[string]any)
		s.kinds[schema.GroupVersionKind{Group: kind["group"].(string), Version: kind["version"].(string), Kind: kind["kind"].(string)}] = name
	}
	// These are written as a number as well, which their type does not say.
	for name, types := range map[string][]any{"util.intstr.IntOrString": {"string", "integer"}, "api.resource.Quantity": {"string", "number"}} {
		s.definitions["io.k8s.apimachinery.pkg."+name] = map[string]any{"type": types}
	}
	for _, definition := range s.definitions {
		closeObjects(definition)
	}
	return s, nil
}

// schemaOf returns a kind's schema with all that it refers to, or nil for a kind that is not in Kubernetes.
func (s *swagger) schemaOf(kind schema.GroupVersionKind) map[string]any {
	name, found := s.kinds[kind]
	if !found {
		return nil
	}
	used := map[string]any{}
	s.collect(name, used)
	return map[string]any{"$ref": "#/definitions/" + name, "definitions": used}
}

// collect adds a definition, and those that it refers to.
func (s *swagger) collect(name string, into map[string]any) {
	if into[name] != nil {
		return
	}
	into[name] = s.definitions[name]
	visit(s.definitions[name], func(node map[string]any) {
		if ref, ok := node["$ref"].(string); ok {
			s.collect(strings.TrimPrefix(ref, "#/definitions/"), into)
		}
	})
}

// customSchemas returns the schemas of the CustomResourceDefinitions among the objects.
func customSchemas(objects []unstructured.Unstructured) map[schema.GroupVersionKind]map[string]any {
	all := map[schema.GroupVersionKind]map[string]any{}
	for _, object := range objects {
		if object.GetKind() != "CustomResourceDefinition" {
			continue
		}
		group, _, _ := unstructured.NestedString(object.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(object.Object, "spec", "names", "kind")
		versions, _, _ := unstructured.NestedSlice(object.Object, "spec", "versions")
		for _, version := range versions {
			version := version.(map[string]any)
			found, _, _ := unstructured.NestedMap(version, "schema", "openAPIV3Schema")
			closeObjects(found)
			// The CRD bounds the name only. The API server knows the other fields.
			unstructured.RemoveNestedField(found, "properties", "metadata", "additionalProperties")
			all[schema.GroupVersionKind{Group: group, Version: version["name"].(string), Kind: kind}] = found
		}
	}
	return all
}

// closeObjects makes a field that no schema names an error: the API server drops it, and the user does not learn why it has no effect.
func closeObjects(node any) {
	visit(node, func(object map[string]any) {
		// Not a schema, but the fields of one, if type is the field's schema.
		properties, _ := object["properties"].(map[string]any)
		if object["type"] != "object" || len(properties) == 0 || object["additionalProperties"] != nil ||
			object["x-kubernetes-preserve-unknown-fields"] == true {
			return
		}
		object["additionalProperties"] = false
	})
}

// visit calls a function for each object in a document.
func visit(node any, each func(map[string]any)) {
	switch node := node.(type) {
	case map[string]any:
		each(node)
		for _, child := range node {
			visit(child, each)
		}
	case []any:
		for _, child := range node {
			visit(child, each)
		}
	}
}
