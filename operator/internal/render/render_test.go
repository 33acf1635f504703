package render_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/render"
)

// row is an Agent and the expected part of its children. Its YAML is added to a minimal Agent named "a" in the namespace "default",
// whose container has only an image.
type row struct {
	name         string
	availability string // spec.availability
	runtime      string // spec.runtime.spec
	want         string // the part under test; empty for nothing
}

// part returns one part of an Agent's children.
type part func(*testing.T, render.Children) any

// check renders every row and compares one part of the children, as YAML.
func check(t *testing.T, of part, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			children := rendered(t, agentOf(t, r.availability, r.runtime))
			require.Equal(t, canonical(t, r.want), asYAML(t, of(t, children)))
		})
	}
}

// agentOf returns the minimal Agent with this YAML of spec.availability and spec.runtime.spec. An unknown field fails the test.
func agentOf(t testing.TB, availability, runtime string) *v1alpha1.Agent {
	t.Helper()
	agent := agenttest.New("a")
	agent.Spec.Runtime.Spec = v1alpha1.RuntimeSpec{}
	agent.Spec.Runtime.Spec.Container.Image = "registry.example/agent:v1"
	require.NoError(t, yaml.UnmarshalStrict([]byte(runtime), &agent.Spec.Runtime.Spec))
	require.NoError(t, yaml.UnmarshalStrict([]byte(availability), &agent.Spec.Availability))
	return agent
}

// container returns YAML of spec.runtime.spec with a container of these fields.
func container(fields ...string) string {
	return "container: " + fieldsOf(fields...)
}

// fieldsOf returns YAML of an object with these fields.
func fieldsOf(fields ...string) string {
	return "{" + strings.Join(fields, ", ") + "}"
}

// list returns YAML of an object with a list as its only field.
func list(name string, items ...string) string {
	return name + ": [" + strings.Join(items, ", ") + "]"
}

func rendered(t testing.TB, agent *v1alpha1.Agent) render.Children {
	t.Helper()
	children, err := render.Agent(agent, render.Live{})
	require.NoError(t, err)
	return children
}

func podOf(children render.Children) *corev1ac.PodSpecApplyConfiguration {
	return children.Deployment.Spec.Template.Spec
}

// inDeployment, inPod and inContainer return the named fields of the Deployment's spec, of its pod, and of the agent's container.
func inDeployment(names ...string) part {
	return fieldsIn(func(c render.Children) any { return c.Deployment.Spec }, names)
}

func inPod(names ...string) part {
	return fieldsIn(func(c render.Children) any { return podOf(c) }, names)
}

func inContainer(names ...string) part {
	return fieldsIn(func(c render.Children) any { return podOf(c).Containers[0] }, names)
}

func fieldsIn(of func(render.Children) any, names []string) part {
	return func(t *testing.T, children render.Children) any {
		t.Helper()
		return pick(t, of(children), names...)
	}
}

// pick returns the named fields of an object as JSON data, without those that are not set.
func pick(t testing.TB, object any, names ...string) map[string]any {
	t.Helper()
	raw, err := json.Marshal(object)
	require.NoError(t, err)
	all, picked := map[string]any{}, map[string]any{}
	require.NoError(t, json.Unmarshal(raw, &all))
	for _, name := range names {
		if value, ok := all[name]; ok {
			picked[name] = value
		}
	}
	return picked
}

func asYAML(t testing.TB, value any) string {
	t.Helper()
	raw, err := yaml.Marshal(value)
	require.NoError(t, err)
	return canonical(t, string(raw))
}

// canonical normalizes YAML: block style, sorted keys, and an empty string for an empty value.
func canonical(t testing.TB, text string) string {
	t.Helper()
	var value any
	require.NoError(t, yaml.Unmarshal([]byte(text), &value))
	raw, err := yaml.Marshal(value)
	require.NoError(t, err)
	switch text := string(raw); text {
	case "null\n", "{}\n", "[]\n":
		return ""
	default:
		return text
	}
}
