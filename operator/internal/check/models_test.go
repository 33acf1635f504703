package check_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/operator/internal/check"
)

// modelNamed is a Model, and withModel a highly available Agent that names one.
func modelNamed(metadata, spec string) string {
	return "{apiVersion: agent.flokoa.ai/v1alpha1, kind: Model, metadata: {" + metadata + "}, spec: {" + spec + "}}\n"
}

func withModel(name string) string {
	return strings.Replace(good("a"), "spec: {", "spec: {model: {name: "+name+"}, ", 1)
}

const openAI = "provider: OpenAI, model: gpt-4o, apiKey: {name: keys, key: k}"

func TestAModelIsReadBesideItsAgents(t *testing.T) {
	for _, text := range []string{
		withModel("m") + "---\n" + modelNamed("name: m", openAI),
		modelNamed("name: m", openAI) + "---\n" + withModel("m"),
		withModel("m") + "---\n{kind: List, items: [" + modelNamed("name: m, namespace: default", openAI) + "]}",
		withModel("m") + "---\n{apiVersion: agent.flokoa.ai/v1alpha1, kind: ModelList, items: [{metadata: {name: m}, spec: {" + openAI + "}}]}",
	} {
		got := run(t, text, "-o", "json", "--render", "-")
		report := reported(t, got)
		require.Equal(t, check.ExitHighlyAvailable, got.code, got.stdout)
		require.Empty(t, report.Agents[0].Warnings)
		require.Equal(t, 1, report.Summary.Models)
		require.Zero(t, report.Summary.Skipped)
		require.Contains(t, got.stdout, `"OPENAI_BASE_URL"`, "it shows what the container gets")
	}
	require.Contains(t, run(t, withModel("m")+"---\n"+modelNamed("name: m", openAI), "-").stdout, "\n1 Agent checked: 1 highly available, 0 not; 1 Model read\n")
}

// A Model may be in the cluster already, so a missing one is no error.
func TestAModelThatIsNotAmongTheManifestsIsAWarning(t *testing.T) {
	const warning = `spec.model: Model "m" is not among these manifests for namespace "default": unless it exists there, the agent runs without its environment`
	for name, models := range map[string]string{
		"none":                 "",
		"of another name":      modelNamed("name: other", openAI),
		"of another namespace": modelNamed("name: m, namespace: production", openAI),
	} {
		got := run(t, withModel("m")+"---\n"+models, "-o", "json", "-")
		require.Equal(t, check.ExitHighlyAvailable, got.code, "%s: %s", name, got.stdout)
		require.Equal(t, []string{warning}, reported(t, got).Agents[0].Warnings, name)
	}
	for _, metadata := range []string{"name: m", "name: m, namespace: team"} {
		got := run(t, withModel("m")+"---\n"+modelNamed(metadata, openAI), "-o", "json", "-n", "team", "-")
		require.Empty(t, reported(t, got).Agents[0].Warnings, "-n is for both")
	}
}

func TestAModelThatCannotBeResolvedIsAnError(t *testing.T) {
	for _, r := range []struct{ spec, field, want string }{
		{"provider: OpenAI", "spec.model", "spec.model is missing: use the name by which the provider knows the model"},
		{"provider: openai, model: m", "spec.provider", "spec.provider: use OpenAI, AzureOpenAI, Anthropic, Gemini, VertexAI, Bedrock, or Custom"},
		{"provider: AzureOpenAI, model: m", "spec.baseURL", "spec.baseURL is missing: provider AzureOpenAI requires it"},
		{"provider: VertexAI, model: m", "spec.vertexAI", "spec.vertexAI is missing: provider VertexAI requires it"},
		{"provider: Bedrock, model: m", "spec.bedrock", "spec.bedrock is missing: provider Bedrock requires it"},
		{"provider: Custom, model: m", "spec.baseURL", "spec.baseURL is missing: provider Custom requires it"},
		{"provider: Custom, model: m, baseURL: 'https://a'", "spec.custom", "spec.custom is missing: provider Custom requires it"},
		{"provider: OpenAI, model: 4", "spec.model", "spec.model takes a string, not this number: quote it"},
		{"provider: OpenAI, model: m, baseUrl: x", "spec.baseUrl", `unknown field "spec.baseUrl"`},
	} {
		got := run(t, withModel("m")+"---\n"+modelNamed("name: m", r.spec), "-o", "json", "-")
		report := reported(t, got)
		require.Equal(t, check.ExitError, got.code, r.spec)
		require.Len(t, report.Errors, 1, r.spec)
		require.Equal(t, [3]string{"m", r.field, r.want}, [3]string{report.Errors[0].Model, report.Errors[0].Field, report.Errors[0].Message})
		require.Empty(t, report.Agents[0].Warnings, "the error says enough")
	}
	require.Contains(t, run(t, modelNamed("name: m", "provider: OpenAI"), "-").stdout, "error: standard input:1, document 1: Model m: spec.model is missing")
}

func TestModelsAloneCanBeChecked(t *testing.T) {
	got := run(t, modelNamed("name: m", openAI), "-")
	require.Equal(t, check.ExitHighlyAvailable, got.code)
	require.Equal(t, "no Agent checked; 1 Model read\n", got.stdout)
}

func TestMisspelledModelsAreNotSkipped(t *testing.T) {
	for _, r := range []struct{ from, to, want string }{
		{"v1alpha1", "v1beta1", "apiVersion agent.flokoa.ai/v1beta1 is not supported: the supported one is agent.flokoa.ai/v1alpha1"},
		{"kind: Model", "kind: model", "kind model does not exist: write Model"},
	} {
		got := run(t, strings.Replace(modelNamed("name: m", openAI), r.from, r.to, 1), "-o", "json", "-")
		require.Equal(t, check.ExitError, got.code)
		require.Equal(t, r.want, reported(t, got).Errors[0].Message)
	}
}
