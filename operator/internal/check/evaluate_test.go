package check_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/check"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

func TestRenderingErrorsNameTheField(t *testing.T) {
	for _, r := range []struct{ name, text, want string }{
		{"no image", runtimeOf("a", `{container: {}}`), `a spec.runtime.spec.container.image: spec.runtime.spec.container.image is empty: name the agent's image`},
		{"no spec", `{apiVersion: agent.flokoa.ai/v1alpha1, kind: Agent, metadata: {name: a}}`, `a spec.runtime.spec.container.image: spec.runtime.spec.container.image is empty: name the agent's image`},
		{"no name", strings.Replace(good("a"), "{name: a}", "{}", 1), ` metadata.name: metadata.name "" must be a DNS-1035 label of at most 63 characters, because it names a Service`},
		{"two ports of the same name", runtimeOf("a", `{container: {image: "a:v1", ports: [{name: x, containerPort: 1}, {name: x, containerPort: 2}]}}`),
			`a spec.runtime.spec.container.ports: ` + `spec.runtime.spec.container.ports: two ports are named "x": rename one of them`},
	} {
		t.Run(r.name, func(t *testing.T) {
			require.Equal(t, r.want, problems(t, r.text))
		})
	}
}

// kubectl create accepts an Agent without a name. The API server appends five characters to generateName.
func TestANameMayBeGenerated(t *testing.T) {
	for metadata, want := range map[string]string{
		"{generateName: a-}":                                     "a-xxxxx",
		"{generateName: a}":                                      "axxxxx",
		"{generateName: a-, name: b}":                            "b",
		"{generateName: " + strings.Repeat("a", 80) + "}":        strings.Repeat("a", 58) + "xxxxx",
		"{generateName: a-, namespace: team, labels: {a: b}}":    "a-xxxxx",
		`{generateName: "` + strings.Repeat("a", 58) + `-long"}`: strings.Repeat("a", 58) + "xxxxx",
	} {
		got := run(t, strings.Replace(good("a"), "{name: a}", metadata, 1), "-o", "json", "--render", "-")
		require.Equal(t, check.ExitHighlyAvailable, got.code, got.stdout)
		agent := reported(t, got).Agents[0]
		require.Equal(t, want, agent.Name)
		require.Equal(t, want, agent.Children[0]["metadata"].(map[string]any)["name"])
	}
	for prefix, want := range map[string]string{
		"A-":         `A-xxxxx metadata.generateName: metadata.generateName "A-xxxxx" must be a DNS-1035 label`,
		"1a-":        `1a-xxxxx metadata.generateName: metadata.generateName "1a-xxxxx" must be a DNS-1035 label`,
		"a.":         `a.xxxxx metadata.generateName: metadata.generateName "a.xxxxx" must be a DNS-1035 label`,
		`"{{ .x }}"`: `metadata.generateName: metadata.generateName has {{ in it`,
	} {
		require.Contains(t, problems(t, strings.Replace(good("a"), "{name: a}", "{generateName: "+prefix+"}", 1)), want)
	}
	unknown := strings.Replace(runtimeOf("a", `{container: {image: a, live: 1}}`), "{name: a}", "{generateName: a-}", 1)
	require.Contains(t, problems(t, unknown), "a-xxxxx spec.runtime.spec.container.live")
}

func TestHelmTemplatesThatAreValidYAMLAreDetected(t *testing.T) {
	const advice = " has {{ in it: this looks like a Helm template that was not rendered: pipe in the output of helm template with -f -"
	for _, r := range []struct{ text, field string }{
		{block(`"{{ .Release.Name }}"`), "metadata.name"},
		{strings.Replace(block("a"), "{name: a}", `{name: a, namespace: "{{ .Release.Namespace }}"}`, 1), "metadata.namespace"},
		{strings.Replace(block("a"), "a:v1", "a:{{ .Values.tag }}", 1), "spec.runtime.spec.container.image"},
		{runtimeOf("a", `{container: {image: "a:v1"}, sidecars: [{name: s, image: "s:v1"}, {name: t, image: "{{ .Values.t }}"}]}`), "spec.runtime.spec.sidecars[1].image"},
		{runtimeOf("a", `{container: {image: "a:v1"}, initContainers: [{name: t, image: "{{ .Values.t }}"}]}`), "spec.runtime.spec.initContainers[0].image"},
	} {
		require.Contains(t, problems(t, r.text), r.field+": "+r.field+advice)
	}
	got := run(t, strings.Replace(good("a"), "ports:", `env: [{name: PROMPT, value: "Dear {{ user }}"}], ports:`, 1), "-")
	require.Equal(t, check.ExitHighlyAvailable, got.code, "braces in a prompt are allowed: %s", got.stdout)
}

func TestReplicasWithAutoscalingCauseAWarning(t *testing.T) {
	agent := func(replicas, autoscaling string) string {
		return `{apiVersion: agent.flokoa.ai/v1alpha1, kind: Agent, metadata: {name: a}, spec: {` + autoscaling + `
			runtime: {spec: {` + replicas + ` container: {image: "a:v1", ports: [{containerPort: 80}], ` + resources + `}}}}}`
	}
	const autoscaling = "autoscaling: {minReplicas: 3, maxReplicas: 9},"
	for _, r := range []struct {
		name, text string
		warned     bool
	}{
		{"both", agent("replicas: 3,", autoscaling), true},
		{"only autoscaling", agent("", autoscaling), false},
		{"only replicas", agent("replicas: 3,", ""), false},
	} {
		t.Run(r.name, func(t *testing.T) {
			got := run(t, r.text, "-")
			require.Equal(t, check.ExitHighlyAvailable, got.code, got.stdout)
			require.Equal(t, r.warned, strings.Contains(got.stdout, "  warning: spec.runtime.spec.replicas is set together with spec.autoscaling: omit replicas"), got.stdout)
			warnings := reported(t, run(t, r.text, "-o", "json", "-")).Agents[0].Warnings
			require.Equal(t, r.warned, len(warnings) == 1)
		})
	}
}

func TestMissingRequirementsMatchTheCondition(t *testing.T) {
	for _, agent := range []*v1alpha1.Agent{
		agenttest.New("a"),
		agenttest.New("b", agenttest.Replicas(2), agenttest.Image("b:latest")),
		agenttest.New("c", agenttest.Availability(v1alpha1.Availability{Spread: v1alpha1.SpreadNone, Probes: v1alpha1.ProbesNone})),
		agenttest.New("e", agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) {
			s.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, MaxSkew: 1}}
		})),
		agenttest.New("d", func(a *v1alpha1.Agent) { a.Spec.Suspend = true }),
	} {
		children, err := render.Agent(agent, render.Live{})
		require.NoError(t, err)
		text, err := yaml.Marshal(agent)
		require.NoError(t, err)
		want := status.Requirements(agent, children)
		require.NotEmpty(t, want, agent.Name)
		require.Equal(t, want, reported(t, run(t, string(text), "-o", "json", "-")).Agents[0].Missing)
	}
}

// The operator cannot add its own constraint beside the author's: the list allows one per key and action.
func TestConstraintsThatSelectOtherPodsAreReported(t *testing.T) {
	constraints := func(more string) string {
		return runtimeOf("a", `{replicas: 6, container: {image: "a:v1", ports: [{containerPort: 80}], `+resources+`}, topologySpreadConstraints: [
			{topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, maxSkew: 1`+more+`},
			{topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway, maxSkew: 1`+more+`}]}`)
	}
	const advice = "  spread: nothing spreads the pods over hosts and zones: the topologySpreadConstraints over them select other pods: " +
		"add a labelSelector that selects flokoa.ai/agent: a\n"
	for _, r := range []struct {
		name, more string
		code       int
	}{
		{"no selector", "", check.ExitMissing},
		{"another app's", ", labelSelector: {matchLabels: {app: other}}", check.ExitMissing},
		{"not these pods", ", labelSelector: {matchExpressions: [{key: flokoa.ai/agent, operator: NotIn, values: [a]}]}", check.ExitMissing},
		{"these pods", ", labelSelector: {matchLabels: {flokoa.ai/agent: a}}", check.ExitHighlyAvailable},
	} {
		t.Run(r.name, func(t *testing.T) {
			got := run(t, constraints(r.more), "-")
			require.Equal(t, r.code, got.code, got.stdout)
			require.Equal(t, r.code == check.ExitMissing, strings.Contains(got.stdout, advice), got.stdout)
		})
	}
}

// decoded returns the documents of YAML text, decoded as kubectl does.
func decoded(t *testing.T, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		object := map[string]any{}
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, object)
	}
}

func TestRenderedObjectsOmitOnlyWhatDependsOnTheUID(t *testing.T) {
	agent := agenttest.New("a", agenttest.In("ns"), agenttest.Replicas(3), func(a *v1alpha1.Agent) {
		a.Spec.Card = &v1alpha1.Card{Description: "d", Version: "v1"}
		a.Spec.Autoscaling = &v1alpha1.Autoscaling{MaxReplicas: 5}
		a.Spec.Runtime.Spec.Service = &v1alpha1.ServiceSpec{Annotations: map[string]string{"example.com/kept": "yes"}}
	})
	text, err := yaml.Marshal(agent)
	require.NoError(t, err)

	inYAML := decoded(t, run(t, string(text), "-", "--render").stdout)
	require.Len(t, inYAML, 5)
	for i, kind := range []string{"Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ConfigMap"} {
		require.Equal(t, kind, inYAML[i]["kind"])
		metadata := inYAML[i]["metadata"].(map[string]any)
		require.Equal(t, "ns", metadata["namespace"])
		require.NotContains(t, metadata, "ownerReferences")
		require.Equal(t, kind == "Service", metadata["annotations"] != nil, "only the user's annotations are left")
	}

	inJSON := reported(t, run(t, string(text), "-", "--render", "-o", "json")).Agents[0].Children
	require.JSONEq(t, asJSON(t, inYAML), asJSON(t, inJSON))

	children, err := render.Agent(agent, render.Live{})
	require.NoError(t, err)
	children.Deployment.OwnerReferences = nil
	delete(children.Deployment.Annotations, v1alpha1.AnnotationDigest)
	require.Empty(t, children.Deployment.Annotations)
	children.Deployment.Annotations = nil
	require.JSONEq(t, asJSON(t, children.Deployment), asJSON(t, inYAML[0]), "nothing else is left out")
}

func asJSON(t *testing.T, value any) string {
	t.Helper()
	raw, err := json.Marshal(value)
	require.NoError(t, err)
	return string(raw)
}

func TestRenderedObjectsHaveTheReportedNamespace(t *testing.T) {
	for _, r := range []struct {
		args, want string
		assumed    bool
	}{
		{"- --render", "default", true},
		{"- --render -n given", "given", false},
		{"- --render -n default", "default", false},
	} {
		out := run(t, good("a"), strings.Fields(r.args)...).stdout
		require.Equal(t, r.assumed, strings.Contains(out, "# Rendered for namespace default: the manifest names none, and -n was not given.\n"), out)
		objects := decoded(t, out)
		require.Len(t, objects, 3, "Deployment, Service and PodDisruptionBudget")
		for _, object := range objects {
			require.Equal(t, r.want, object["metadata"].(map[string]any)["namespace"])
		}
		require.Contains(t, out, "http://a."+r.want+".svc:80")
	}
}

func TestRenderedAgentsAreSeparateDocuments(t *testing.T) {
	files(t, map[string]string{"odd\nname: x.yaml": good("a"), "b.yaml": bare("b") + "---\nbad: [\n"})
	got := run(t, "", "--render", "odd\nname: x.yaml", "b.yaml")
	require.Equal(t, check.ExitError, got.code)
	var kinds []string
	for _, object := range decoded(t, got.stdout) {
		require.Subset(t, []string{"apiVersion", "kind", "metadata", "spec"}, slices.Collect(maps.Keys(object)), "a file name never becomes YAML")
		kinds = append(kinds, object["kind"].(string)+" "+object["metadata"].(map[string]any)["name"].(string))
	}
	require.Equal(t, []string{"Deployment a", "Service a", "PodDisruptionBudget a", "Deployment b"}, kinds)
	require.Contains(t, got.stderr, "error: b.yaml:3, document 2: ")
}

func TestChildrenArePrintedOnlyWithRender(t *testing.T) {
	require.NotContains(t, run(t, good("a"), "-", "-o", "json").stdout, "children")
	require.NotContains(t, run(t, good("a"), "-").stdout, "Deployment")
}

// Whatever the input, check ends with one of its exit codes and valid JSON.
func FuzzRun(f *testing.F) {
	for _, seed := range []string{good("a"), bare("b") + "---\n" + configMap, block("c") + "...\n", "{}{", "{{", "--- {}\n", "kind: List\nitems: [{}, []]\n", "a: &a [*a]\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var stdout, stderr bytes.Buffer
		code := check.Run([]string{"-", "--render", "-o", "json"}, strings.NewReader(text), &stdout, &stderr)
		report := check.Report{}
		require.NoError(t, json.Unmarshal(stdout.Bytes(), &report))
		require.Equal(t, code == check.ExitError, len(report.Errors) > 0)
		require.Equal(t, code == check.ExitHighlyAvailable, len(report.Errors) == 0 && report.Summary.Agents == report.Summary.HighlyAvailable)
		require.Empty(t, stderr.String())
	})
}
