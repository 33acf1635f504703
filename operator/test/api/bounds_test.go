package apitest_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// These tests read every bound of our own fields from the schema and try a value on either side of it, at its place in an
// Agent that has every field. What core/v1 embeds is left to the API server of the child.

// bound is one bound of one field: values that pass it and one that does not.
type bound struct {
	keyword string
	denied  any
	allowed []any
}

// bounds are those of one field. A value of the field itself, from the Agent that has every field, stands for what passes
// a pattern.
func bounds(s *apiextensionsv1.JSONSchemaProps, value any) []bound {
	var all []bound
	add := func(keyword string, denied any, allowed ...any) { all = append(all, bound{keyword, denied, allowed}) }
	if len(s.Enum) > 0 {
		var values []any
		for _, one := range s.Enum {
			values = append(values, strings.Trim(string(one.Raw), `"`))
		}
		add("enum", "Nonsense", values...)
	}
	if s.Pattern != "" {
		add("pattern", "Not_a.name-", value)
	}
	if s.Minimum != nil {
		add("minimum", int64(*s.Minimum)-1, int64(*s.Minimum))
	}
	if s.Maximum != nil {
		add("maximum", int64(*s.Maximum)+1, int64(*s.Maximum))
	}
	if s.XIntOrString { // what is allowed is the business of a rule of its own, which has its rows
		add("maxLength", strings.Repeat("a", int(*s.MaxLength)+1))
		for i := range all {
			all[i].allowed = nil
		}
		return all
	}
	if s.MinLength != nil {
		add("minLength", "", strings.Repeat("a", int(*s.MinLength)))
	}
	if s.MaxLength != nil {
		add("maxLength", strings.Repeat("a", int(*s.MaxLength)+1), strings.Repeat("a", int(*s.MaxLength)))
	}
	if s.MaxItems != nil {
		add("maxItems", items(s, value, *s.MaxItems+1), items(s, value, *s.MaxItems))
	}
	if s.MaxProperties != nil {
		add("maxProperties", properties(*s.MaxProperties+1), properties(*s.MaxProperties))
	}
	return all
}

// items is a list of n items like the first of a list, each with keys of its own.
func items(s *apiextensionsv1.JSONSchemaProps, list any, n int64) []any {
	all := make([]any, n)
	for i := range all {
		first, keyed := list.([]any)[0].(map[string]any)
		if !keyed {
			all[i] = list.([]any)[0]
			continue
		}
		item := runtime.DeepCopyJSON(first)
		for _, key := range s.XListMapKeys {
			if key != "whenUnsatisfiable" {
				item[key] = fmt.Sprintf("key-%d", i)
			}
		}
		all[i] = item
	}
	return all
}

func properties(n int64) map[string]any {
	all := map[string]any{}
	for i := range n {
		all[fmt.Sprintf("key-%d", i)] = "v"
	}
	return all
}

// place is a field of ours in the Agent that has every field.
type place struct {
	path   []any // keys of objects and indices of lists
	schema *apiextensionsv1.JSONSchemaProps
	value  any
}

// named is the path as the API server writes it.
func (p place) named() string {
	var text strings.Builder
	for _, part := range p.path {
		if index, ok := part.(int); ok {
			fmt.Fprintf(&text, "[%d]", index)
		} else {
			fmt.Fprintf(&text, ".%s", part)
		}
	}
	return strings.TrimPrefix(text.String(), ".")
}

// places finds our own fields, which are described, as embedded ones are not, with the items and values of their lists and
// maps. It fills in one place for each, by path without indices.
func places(s *apiextensionsv1.JSONSchemaProps, name string, path []any, value any, found map[string]place) {
	if _, before := found[name]; !before {
		found[name] = place{path, s, value}
	}
	switch value := value.(type) {
	case []any:
		for i, item := range value {
			places(s.Items.Schema, name+"[]", append(slices.Clone(path), i), item, found)
		}
	case map[string]any:
		for key, below := range value {
			property, declared := s.Properties[key]
			switch {
			case s.AdditionalProperties != nil:
				places(s.AdditionalProperties.Schema, name+"{}", append(slices.Clone(path), key), below, found)
			case declared && property.Description != "":
				places(&property, name+"."+key, append(slices.Clone(path), key), below, found)
			}
		}
	}
}

// ownFields are the paths of the same fields as the schema alone has them.
func ownFields(s *apiextensionsv1.JSONSchemaProps, name string) []string {
	all := []string{name}
	for key, property := range s.Properties {
		if property.Description != "" {
			all = append(all, ownFields(&property, name+"."+key)...)
		}
	}
	if s.Items != nil {
		all = append(all, ownFields(s.Items.Schema, name+"[]")...)
	}
	if s.AdditionalProperties != nil {
		all = append(all, ownFields(s.AdditionalProperties.Schema, name+"{}")...)
	}
	return all
}

// roomy is the Agent that has every field, with values that leave the rules between fields room for every bound.
func roomy(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	agent := fromFile(t, fullAgent)
	merge(agent.Object, parse(t, `spec: {availability: {drainSeconds: 0}, runtime: {spec: {terminationGracePeriodSeconds: 3600, minReadySeconds: 0}}}`))
	return agent
}

func TestEveryBoundOfASpecHasAValueOnEitherSide(t *testing.T) {
	agent := roomy(t)
	require.NoError(t, dryRun(t, agent.DeepCopy()))
	spec := schema(t).Properties["spec"]
	// Only one of the two may be set; minAvailable, which is, has the same bounds.
	delete(spec.Properties["availability"].Properties["podDisruptionBudget"].Properties, "maxUnavailable")
	requireBounds(t, &spec, "spec", agent, func(changed *unstructured.Unstructured) error { return dryRun(t, changed) })
}

// A pattern has more sides than two.
func TestNamesAreCheckedWhereTheyAreGiven(t *testing.T) {
	for _, r := range []struct {
		field, overlay  string // %s is the name
		allowed, denied []string
	}{
		{"spec.framework", "spec: {framework: %s}", []string{"pydantic-ai", "a2a", "x", `"0"`}, []string{`""`, "CrewAI", "a.b", "a_b", "a b", `"-"`, `"-a"`, `"a-"`}},
		{"spec.model.name", "spec: {model: {name: %s}}", []string{"gpt-4o-model", "a.b", `"0"`}, []string{`""`, "GPT", "a_b", `"-a"`, `"a-"`, `".a"`, `"a."`}},
		{"spec.runtime.spec.volumes[0].name", "spec: {runtime: {spec: {volumes: [{name: %s, emptyDir: {}}]}}}", []string{"v", "0-v"}, []string{`""`, "V", "a.b", `"-a"`, `"a-"`}},
		{"spec.runtime.spec.container.image", "spec: {runtime: {spec: {container: {image: %s}}}}", []string{"i", "r/i:v1", "r/i@sha256:0"}, []string{`""`}},
	} {
		for _, name := range r.allowed {
			t.Run(r.field+" allows "+name, func(t *testing.T) { require.NoError(t, dryRun(t, manifest(t, fmt.Sprintf(r.overlay, name)))) })
		}
		for _, name := range r.denied {
			t.Run(r.field+" denies "+name, func(t *testing.T) {
				requireCause(t, dryRun(t, manifest(t, fmt.Sprintf(r.overlay, name))), r.field)
			})
		}
	}
}

func TestEveryBoundOfAStatusHasAValueOnEitherSide(t *testing.T) {
	agent := roomy(t)
	agent.SetNamespace(newNamespace(t))
	require.NoError(t, api.Create(t.Context(), agent))
	merge(agent.Object, parse(t, `
status:
  {observedGeneration: 1, replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1, selector: s, url: u, image: i, placement: {nodes: 1, zones: 1},
  conditions: [{type: T, status: "True", reason: R, message: M, lastTransitionTime: "2030-01-01T00:00:00Z"}]}
`))
	status := schema(t).Properties["status"]
	requireBounds(t, &status, "status", agent, func(changed *unstructured.Unstructured) error {
		return api.Status().Update(t.Context(), changed, client.DryRunAll)
	})
}

// requireBounds tries every bound of every field of ours below one section of an Agent.
func requireBounds(t *testing.T, section *apiextensionsv1.JSONSchemaProps, name string, agent *unstructured.Unstructured, dryRun func(*unstructured.Unstructured) error) {
	t.Helper()
	found := map[string]place{}
	places(section, name, []any{name}, agent.Object[name], found)
	require.Equal(t, slices.Sorted(slices.Values(ownFields(section, name))), slices.Sorted(maps.Keys(found)), "every field of ours has a place in the Agent that has every field")
	try := func(at place, value any) error {
		changed := agent.DeepCopy()
		put(changed.Object, at.path, value)
		return dryRun(changed)
	}
	tried := 0
	for name, at := range found {
		for _, b := range bounds(at.schema, at.value) {
			tried++
			t.Run(name+" "+b.keyword, func(t *testing.T) {
				requireCause(t, try(at, b.denied), at.named())
				for _, value := range b.allowed {
					requireNoCause(t, try(at, value), at.named())
				}
			})
		}
		for _, key := range at.schema.Required {
			tried++
			t.Run(name+" required "+key, func(t *testing.T) {
				below := place{path: append(slices.Clone(at.path), key)}
				requireCause(t, try(below, nil), below.named())
			})
		}
	}
	t.Logf("%d bounds of %d fields", tried, len(found))
	require.NotZero(t, tried)
}

// requireNoCause requires that no cause names the field; a rule about several fields, which has its own rows, may reject the Agent.
func requireNoCause(t *testing.T, err error, field string) {
	t.Helper()
	if err == nil {
		return
	}
	for _, cause := range causes(t, err) {
		about, _, _ := strings.Cut(cause, ": ")
		require.True(t, about != field && strings.HasPrefix(field, about), "%s", cause)
	}
}

// requireCause requires that a cause of the rejection names the field.
func requireCause(t *testing.T, err error, field string) {
	t.Helper()
	require.Error(t, err, field)
	all := causes(t, err)
	require.True(t, slices.ContainsFunc(all, func(cause string) bool {
		return strings.HasPrefix(strings.TrimPrefix(cause, "."), field+": ") // the check of the scale subresource writes a dot
	}), "%v is not about %s", all, field)
}

// put sets a value below an object, or removes it when it is nil.
func put(object any, path []any, value any) {
	switch at := object.(type) {
	case []any:
		if len(path) == 1 {
			at[path[0].(int)] = value
			return
		}
		put(at[path[0].(int)], path[1:], value)
	case map[string]any:
		switch {
		case len(path) > 1:
			put(at[path[0].(string)], path[1:], value)
		case value == nil:
			delete(at, path[0].(string))
		default:
			at[path[0].(string)] = value
		}
	}
}
