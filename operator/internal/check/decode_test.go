package check_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/operator/internal/check"
)

// problems returns the errors of an input, one per line, with Agent and field.
func problems(t *testing.T, stdin string) string {
	t.Helper()
	got := run(t, stdin, "-o", "json", "-")
	report := reported(t, got)
	require.Equal(t, check.ExitError, got.code, got.stdout)
	require.Len(t, report.Errors, report.Summary.Errors)
	var all []string
	for _, p := range report.Errors {
		require.Equal(t, "-", p.File)
		require.Positive(t, p.Document)
		all = append(all, p.Agent+" "+p.Field+": "+p.Message)
	}
	return strings.Join(all, "\n")
}

func TestAgentsAreDecodedStrictly(t *testing.T) {
	agent := func(runtime string) string { return runtimeOf("a", runtime) }
	const container = `container: {image: "a:v1"}`
	for _, r := range []struct{ name, text, want string }{
		{"an unknown field", agent(`{replica: 3, ` + container + `}`),
			`a spec.runtime.spec.replica: unknown field "spec.runtime.spec.replica"`},
		{"an unknown field of a core type in a list", agent(`{container: {image: "a:v1", ports: [{containerPort: 1}, {contanerPort: 2}]}}`),
			`a spec.runtime.spec.container.ports[1].contanerPort: unknown field "spec.runtime.spec.container.ports[1].contanerPort"`},
		{"a field in the wrong case", agent(`{Replicas: 3, ` + container + `}`),
			`a spec.runtime.spec.Replicas: unknown field "spec.runtime.spec.Replicas"`},
		{"an unknown field of the metadata", strings.Replace(agent(`{`+container+`}`), "{name: a}", "{name: a, label: {}}", 1),
			`a metadata.label: unknown field "metadata.label"`},
		{"an unknown field at the top", strings.Replace(agent(`{`+container+`}`), "kind:", "data: {}, kind:", 1),
			`a data: unknown field "data"`},
		{"a volume that does not exist in the schema", agent(`{volumes: [{name: v, hostPath: {path: /}}], ` + container + `}`),
			`a spec.runtime.spec.volumes[0].hostPath: unknown field "spec.runtime.spec.volumes[0].hostPath"`},
		{"a duplicate field", agent(`{replicas: 1, replicas: 3, ` + container + `}`),
			`a : line 1: mapping key "replicas" already defined at line 1`},
		{"a duplicate field in JSON", `{"apiVersion": "agent.flokoa.ai/v1alpha1", "kind": "Agent", "metadata": {"name": "a"}, "spec": {"runtime": {"spec": {"replicas": 1, "replicas": 3, "container": {"image": "a:v1"}}}}}`,
			`a : duplicate field "spec.runtime.spec.replicas"`},
		{"a duplicate field in a later document", configMap + "---\n\n" + block("a") + "kind: Agent\n",
			`a : line 8: mapping key "kind" already defined at line 5`},
		{"a string for a number", agent(`{replicas: "3", ` + container + `}`),
			`a spec.runtime.spec.replicas: spec.runtime.spec.replicas takes a whole number, not a string`},
		{"a fraction", agent(`{replicas: 1.5, ` + container + `}`),
			`a spec.runtime.spec.replicas: spec.runtime.spec.replicas takes a whole number, not this number`},
		{"a number too large", agent(`{replicas: 99999999999, ` + container + `}`),
			`a spec.runtime.spec.replicas: spec.runtime.spec.replicas takes a whole number, not this number`},
		{"a number for a string", agent(`{container: {image: "a:v1", env: [{name: A, value: a}, {name: B, value: 1e3}]}}`),
			`a spec.runtime.spec.container.env[1].value: spec.runtime.spec.container.env[1].value takes a string, not this number: quote it`},
		{"yes for a string", agent(`{container: {image: "a:v1", env: [{name: A, value: yes}]}}`),
			`a spec.runtime.spec.container.env[0].value: spec.runtime.spec.container.env[0].value takes a string, not true or false: quote it`},
		{"a string for a boolean", agent(`{automountServiceAccountToken: "true", ` + container + `}`),
			`a spec.runtime.spec.automountServiceAccountToken: spec.runtime.spec.automountServiceAccountToken takes true or false, not a string`},
		{"a list for a mapping", agent(`{container: [{image: "a:v1"}]}`),
			`a spec.runtime.spec.container: spec.runtime.spec.container takes a mapping, not a list`},
		{"a mapping for a list", agent(`{container: {image: "a:v1", ports: {containerPort: 80}}}`),
			`a spec.runtime.spec.container.ports: spec.runtime.spec.container.ports takes a list, not a mapping`},
		{"a string for the spec", `{apiVersion: agent.flokoa.ai/v1alpha1, kind: Agent, metadata: {name: a}, spec: x}`,
			`a spec: spec takes a mapping, not a string`},
		{"a name that is a number", block("7"),
			` metadata.name: metadata.name takes a string, not this number: quote it`},
		{"two invalid quantities", agent(`{container: {image: "a:v1", resources: {requests: {memory: 1Go}, limits: {memory: 1Go}}}}`),
			`a spec.runtime.spec.container.resources.limits.memory: spec.runtime.spec.container.resources.limits.memory takes a quantity, such as 500m or 2Gi` + "\n" +
				`a spec.runtime.spec.container.resources.requests.memory: spec.runtime.spec.container.resources.requests.memory takes a quantity, such as 500m or 2Gi`},
		{"a field of the wrong type and an unknown field", agent(`{replicas: x, replica: 3, ` + container + `}`),
			`a spec.runtime.spec.replicas: spec.runtime.spec.replicas takes a whole number, not a string` + "\n" +
				`a spec.runtime.spec.replica: unknown field "spec.runtime.spec.replica"`},
		{"an item of a list", `{kind: List, items: [` + configMap + `, {apiVersion: agent.flokoa.ai/v1alpha1, kind: Agent, metadata: {namespace: ns, name: b}, spec: {x: 1}}]}`,
			`ns/b spec.x: unknown field "spec.x"`},
	} {
		t.Run(r.name, func(t *testing.T) {
			require.Equal(t, r.want, problems(t, r.text))
		})
	}
}

func TestManifestsThatTheAPIServerAcceptsAreValid(t *testing.T) {
	for name, text := range map[string]string{
		"a number with an exponent":   strings.Replace(good("a"), "replicas: 3", "replicas: 1e3", 1),
		"quantities as numbers":       strings.Replace(good("a"), "memory: 1Gi", "memory: 1073741824", 1),
		"fractions of a quantity":     strings.Replace(good("a"), "cpu: 1", "cpu: 0.5", 1),
		"a port as a name":            strings.Replace(good("a"), "ports:", "readinessProbe: {httpGet: {port: http}}, ports:", 1),
		"optional fields set to null": strings.Replace(good("a"), "replicas: 3", "replicas: 3, affinity: null, nodeSelector: ", 1),
		"an object read from a cluster": strings.Replace(good("a"), "{name: a}",
			"{name: a, namespace: ns, uid: u, generation: 2, creationTimestamp: '2026-01-01T00:00:00Z', resourceVersion: '1', managedFields: [{manager: m, fieldsV1: {'f:spec': {}}}]}, status: {observedGeneration: 2, replicas: 3}", 1),
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, text, "-")
			require.Equal(t, check.ExitHighlyAvailable, got.code, got.stdout)
		})
	}
}

func TestOtherKindsAreSkippedWhateverTheirContent(t *testing.T) {
	for _, text := range []string{
		configMap,
		"{apiVersion: kagent.dev/v1alpha2, kind: Agent, metadata: {name: other}, spec: {x: 1}}\n",
		"{apiVersion: example.com/v1, kind: Model, metadata: {name: m}, spec: {x: 1}}\n",
		"{kind: Model, metadata: {name: m}, spec: {x: 1}}\n",
		"{apiVersion: v1, kind: ConfigMap, data: {a: x, a: x}}\n",
		"{apiVersion: 1, kind: [Agent]}\n",
		"replicas: 3\n",
		"- Agent\n",
		"Agent\n",
	} {
		got := run(t, good("a")+"---\n"+text, "-")
		require.Equal(t, check.ExitHighlyAvailable, got.code, got.stdout)
		require.Contains(t, got.stdout, "\n1 Agent checked: 1 highly available, 0 not; 1 other object skipped\n")
	}
}

func TestMisspelledAgentsAreNotSkipped(t *testing.T) {
	for _, r := range []struct{ apiVersion, kind, want string }{
		{"agent.flokoa.ai/v1beta1", "Agent", "a apiVersion: apiVersion agent.flokoa.ai/v1beta1 is not supported: the supported one is agent.flokoa.ai/v1alpha1"},
		{"agent.flokoa.ai/v1alpha2", "Agent", "a apiVersion: apiVersion agent.flokoa.ai/v1alpha2 is not supported: the supported one is agent.flokoa.ai/v1alpha1"},
		{"agent.flokoa.ai", "Agent", "a apiVersion: apiVersion agent.flokoa.ai is not supported: the supported one is agent.flokoa.ai/v1alpha1"},
		{"agents.flokoa.ai/v1alpha1", "Agent", "a apiVersion: apiVersion agents.flokoa.ai/v1alpha1 is not supported: the supported one is agent.flokoa.ai/v1alpha1"},
		{"", "Agent", "a apiVersion: apiVersion is missing: an Agent's is agent.flokoa.ai/v1alpha1"},
		{"agent.flokoa.ai/v1alpha1", "", "a kind: kind is missing: an Agent's is Agent, and a Model's is Model"},
		{"agent.flokoa.ai/v1alpha1", "agent", "a kind: kind agent does not exist: write Agent"},
	} {
		t.Run(r.apiVersion+" "+r.kind, func(t *testing.T) {
			text := strings.NewReplacer("apiVersion: agent.flokoa.ai/v1alpha1", "apiVersion: '"+r.apiVersion+"'", "kind: Agent", "kind: '"+r.kind+"'").Replace(block("a"))
			require.Equal(t, r.want, problems(t, text))
		})
	}
}
