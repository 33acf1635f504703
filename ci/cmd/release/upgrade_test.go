package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// accepted is what an upgrade from a version does break, line by line as found below, each with a comment that gives the reason and what
// the changelog advises users to do. A line that is not found any more fails too.
var accepted = map[string][]string{}

// Whoever has installed a release, by its defaults or one of its values files, upgrades with those same values.
func TestAnUpgradeFromEveryReleaseGoesWell(t *testing.T) {
	found := map[string][]string{}
	for _, file := range packages(t) {
		frozen, err := loader.LoadFile(file)
		require.NoError(t, err)
		dir := t.TempDir()
		require.NoError(t, chartutil.ExpandFile(dir, file))
		before, after := filepath.Join(dir, frozen.Name()), filepath.Join(root, "charts", frozen.Name())
		files, err := filepath.Glob(filepath.Join(before, "values*.yaml"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			t.Run(frozen.Metadata.Version+" "+frozen.Name()+" "+filepath.Base(file), func(t *testing.T) {
				values, err := manifests.Values(file)
				require.NoError(t, err)
				minimal, err := manifests.Minimal(before)
				require.NoError(t, err)
				values = chartutil.MergeTables(minimal, values)
				was, err := manifests.Chart(before, values, frozen.Name(), manifests.Platform)
				require.NoError(t, err)
				is, err := manifests.Chart(after, values, frozen.Name(), manifests.Platform)
				require.NoError(t, err, "values that were good are refused; run make freeze if that version is not released yet")
				found[frozen.Metadata.Version] = append(found[frozen.Metadata.Version], broken(t, was, is)...)
			})
		}
	}
	for version, lines := range found {
		slices.Sort(lines)
		require.ElementsMatch(t, accepted[version], slices.Compact(lines), "an upgrade from %s breaks; run make freeze if it is not released yet", version)
	}
}

// immutable are the fields that the API server does not let change: an upgrade that changes one fails half-way.
var immutable = map[string][][]string{
	"Deployment":               {{"spec", "selector"}},
	"Service":                  {{"spec", "clusterIP"}},
	"RoleBinding":              {{"roleRef"}},
	"ClusterRoleBinding":       {{"roleRef"}},
	"CustomResourceDefinition": {{"spec", "group"}, {"spec", "scope"}, {"spec", "names", "kind"}, {"spec", "names", "plural"}},
}

// broken are the lines of what an upgrade would break: objects that are gone, immutable fields that change, an API that takes less.
func broken(t *testing.T, before, after []unstructured.Unstructured) []string {
	t.Helper()
	now := map[string]unstructured.Unstructured{}
	for _, object := range after {
		now[manifests.Identity(object)] = object
	}
	var lines []string
	for _, was := range before {
		name := manifests.Identity(was)
		is, kept := now[name]
		if !kept {
			lines = append(lines, name+" is gone")
			continue
		}
		for _, path := range immutable[was.GetKind()] {
			old, _, err := unstructured.NestedFieldNoCopy(was.Object, path...)
			require.NoError(t, err)
			new, _, err := unstructured.NestedFieldNoCopy(is.Object, path...)
			require.NoError(t, err)
			if !reflect.DeepEqual(old, new) {
				lines = append(lines, fmt.Sprintf("%s: %v changes, and cannot be changed", name, path))
			}
		}
		if was.GetKind() == "CustomResourceDefinition" {
			lines = append(lines, narrowedAPI(crd(t, was), crd(t, is))...)
		}
	}
	return lines
}

func crd(t *testing.T, object unstructured.Unstructured) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	typed := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, typed))
	return typed
}

func narrowedAPI(before, after *apiextensionsv1.CustomResourceDefinition) []string {
	var lines []string
	for _, was := range before.Spec.Versions {
		at := slices.IndexFunc(after.Spec.Versions, func(is apiextensionsv1.CustomResourceDefinitionVersion) bool { return is.Name == was.Name })
		if at < 0 || was.Served && !after.Spec.Versions[at].Served {
			lines = append(lines, before.Name+": version "+was.Name+" is not served any more")
			continue
		}
		lines = append(lines, narrowed(was.Name, *was.Schema.OpenAPIV3Schema, *after.Spec.Versions[at].Schema.OpenAPIV3Schema)...)
	}
	return lines
}

type schema = apiextensionsv1.JSONSchemaProps

// narrowed are the ways in which a schema takes less than it did: stored objects, and manifests in Git, would be rejected.
func narrowed(at string, was, is schema) []string {
	lines := narrowedBounds(at, was, is)
	if was.Type != is.Type {
		lines = append(lines, fmt.Sprintf("%s was a %s and is a %s", at, was.Type, is.Type))
	}
	for _, required := range is.Required {
		if !slices.Contains(was.Required, required) {
			lines = append(lines, at+"."+required+" is required")
		}
	}
	for _, rule := range is.XValidations {
		if !slices.ContainsFunc(was.XValidations, func(old apiextensionsv1.ValidationRule) bool { return old.Rule == rule.Rule }) {
			lines = append(lines, at+" has a new rule: "+rule.Rule)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was.Properties)) {
		property, kept := is.Properties[name]
		if !kept {
			lines = append(lines, at+"."+name+" is gone")
			continue
		}
		lines = append(lines, narrowed(at+"."+name, was.Properties[name], property)...)
	}
	if was.Items != nil && is.Items != nil {
		lines = append(lines, narrowed(at+"[]", *was.Items.Schema, *is.Items.Schema)...)
	}
	if was.AdditionalProperties != nil && is.AdditionalProperties != nil && was.AdditionalProperties.Schema != nil {
		lines = append(lines, narrowed(at+"{}", *was.AdditionalProperties.Schema, *is.AdditionalProperties.Schema)...)
	}
	return lines
}

func narrowedBounds(at string, was, is schema) []string {
	var lines []string
	for name, bounds := range map[string][2]*float64{
		"maximum":       {was.Maximum, is.Maximum},
		"maxLength":     {number(was.MaxLength), number(is.MaxLength)},
		"maxItems":      {number(was.MaxItems), number(is.MaxItems)},
		"maxProperties": {number(was.MaxProperties), number(is.MaxProperties)},
	} {
		if is := bounds[1]; is != nil && (bounds[0] == nil || *is < *bounds[0]) {
			lines = append(lines, fmt.Sprintf("%s: %s is lower", at, name))
		}
	}
	for name, bounds := range map[string][2]*float64{
		"minimum":       {was.Minimum, is.Minimum},
		"minLength":     {number(was.MinLength), number(is.MinLength)},
		"minItems":      {number(was.MinItems), number(is.MinItems)},
		"minProperties": {number(was.MinProperties), number(is.MinProperties)},
	} {
		if is := bounds[1]; is != nil && (bounds[0] == nil || *is > *bounds[0]) {
			lines = append(lines, fmt.Sprintf("%s: %s is higher", at, name))
		}
	}
	if is.Pattern != "" && is.Pattern != was.Pattern {
		lines = append(lines, at+": pattern is another")
	}
	for _, value := range was.Enum {
		same := func(kept apiextensionsv1.JSON) bool { return string(kept.Raw) == string(value.Raw) }
		if len(is.Enum) > 0 && !slices.ContainsFunc(is.Enum, same) {
			lines = append(lines, fmt.Sprintf("%s: %s is not allowed any more", at, value.Raw))
		}
	}
	if len(was.Enum) == 0 && len(is.Enum) > 0 {
		lines = append(lines, at+": only some values are allowed")
	}
	slices.Sort(lines)
	return lines
}

func number(bound *int64) *float64 {
	if bound == nil {
		return nil
	}
	return new(float64(*bound))
}

// Each way of breaking an upgrade, one at a time, on what the charts render now.
func TestBreakingChangesAreDetected(t *testing.T) {
	operator := render(t, "flokoa-operator")
	for line, change := range map[string]func(object map[string]any){
		"Deployment flokoa-system/flokoa-operator is gone": func(object map[string]any) {
			object["metadata"].(map[string]any)["name"] = "renamed"
		},
		"Deployment flokoa-system/flokoa-operator: [spec selector] changes, and cannot be changed": func(object map[string]any) {
			object["spec"].(map[string]any)["selector"] = map[string]any{"matchLabels": map[string]any{"app": "other"}}
		},
	} {
		after := render(t, "flokoa-operator")
		for _, object := range after {
			if object.GetKind() == "Deployment" {
				change(object.Object)
			}
		}
		require.Equal(t, []string{line}, broken(t, operator, after))
	}
	require.Empty(t, broken(t, operator, render(t, "flokoa-operator")))
}

func TestANarrowerAPIIsDetected(t *testing.T) {
	before := slices.DeleteFunc(render(t, "flokoa-crds"), func(o unstructured.Unstructured) bool { return o.GetName() != "agents.agent.flokoa.ai" })
	require.Len(t, before, 1)
	for line, patch := range map[string]string{
		"agents.agent.flokoa.ai: version v1alpha1 is not served any more": `{"served": false}`,
		"v1alpha1.spec.card is gone":                                      `{"schema": {"openAPIV3Schema": {"properties": {"spec": {"properties": {"card": null}}}}}}`,
		"v1alpha1.spec.suspend was a boolean and is a string":             property("suspend", `{"type": "string"}`),
		"v1alpha1.spec.framework: maxLength is lower":                     property("framework", `{"maxLength": 62}`),
		"v1alpha1.spec.framework: minLength is higher":                    property("framework", `{"minLength": 1}`),
		"v1alpha1.spec.framework: pattern is another":                     property("framework", `{"pattern": "^a$"}`),
		"v1alpha1.spec.framework: only some values are allowed":           property("framework", `{"enum": ["langchain"]}`),
		"v1alpha1.spec.card.url is required":                              property("card", `{"required": ["description", "version", "url"]}`),
		"v1alpha1.spec.model has a new rule: true":                        property("model", `{"x-kubernetes-validations": [{"rule": "true"}]}`),
	} {
		t.Run(line, func(t *testing.T) {
			after := before[0].DeepCopy()
			versions, _, err := unstructured.NestedSlice(after.Object, "spec", "versions")
			require.NoError(t, err)
			merge(versions[0].(map[string]any), parse(t, patch))
			require.NoError(t, unstructured.SetNestedSlice(after.Object, versions, "spec", "versions"))
			require.Equal(t, []string{line}, broken(t, before, []unstructured.Unstructured{*after}))
		})
	}
}

func property(name, patch string) string {
	return `{"schema": {"openAPIV3Schema": {"properties": {"spec": {"properties": {"` + name + `": ` + patch + `}}}}}}`
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	parsed := map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(text), &parsed))
	return parsed
}

// merge lays one tree over another; null takes away.
func merge(into, from map[string]any) {
	for key, value := range from {
		below, isMap := value.(map[string]any)
		existing, wasMap := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap && wasMap:
			merge(existing, below)
		default:
			into[key] = value
		}
	}
}

func render(t *testing.T, chart string) []unstructured.Unstructured {
	t.Helper()
	objects, err := manifests.Chart(filepath.Join(root, "charts", chart), nil, chart, manifests.Platform)
	require.NoError(t, err)
	return objects
}
