package model_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/model"
)

// spec returns a Model with everything that its provider allows.
func spec(provider v1alpha1.ModelProvider, changes ...func(*v1alpha1.ModelSpec)) *v1alpha1.ModelSpec {
	s := &v1alpha1.ModelSpec{Provider: provider, Model: "m"}
	switch provider {
	case v1alpha1.ProviderAzureOpenAI:
		s.BaseURL, s.Azure = "https://azure.example", &v1alpha1.AzureModel{APIVersion: "2024-10-21"}
	case v1alpha1.ProviderVertexAI:
		s.VertexAI = &v1alpha1.VertexAIModel{Project: "p", Location: "global"}
	case v1alpha1.ProviderBedrock:
		s.Bedrock = &v1alpha1.BedrockModel{Region: "eu-central-1"}
	case v1alpha1.ProviderCustom:
		s.BaseURL, s.Custom = "http://ollama:11434", &v1alpha1.CustomModel{URLEnv: "OLLAMA_HOST"}
	}
	for _, change := range changes {
		change(s)
	}
	return s
}

func key(s *v1alpha1.ModelSpec)   { s.APIKey = &v1alpha1.ModelAPIKey{Name: "keys", Key: "api-key"} }
func proxy(s *v1alpha1.ModelSpec) { s.BaseURL = "https://proxy.example/v1" }
func customKey(s *v1alpha1.ModelSpec) {
	key(s)
	s.Custom.KeyEnv = "OLLAMA_API_KEY"
}

// text writes variables as NAME=value, and a key as NAME<secret/key.
func text(variables []corev1.EnvVar) string {
	var lines []string
	for _, v := range variables {
		line := v.Name + "=" + v.Value
		if v.ValueFrom != nil {
			line = v.Name + "<" + v.ValueFrom.SecretKeyRef.Name + "/" + v.ValueFrom.SecretKeyRef.Key
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, " ")
}

func TestEachProviderHasItsVariables(t *testing.T) {
	noVersion := func(s *v1alpha1.ModelSpec) { s.Azure = nil }
	for _, r := range []struct {
		name string
		spec *v1alpha1.ModelSpec
		want string
	}{
		{"OpenAI", spec("OpenAI"), "OPENAI_BASE_URL=https://api.openai.com/v1 OPENAI_API_BASE=https://api.openai.com/v1"},
		{"OpenAI, key", spec("OpenAI", key), "OPENAI_API_KEY<keys/api-key OPENAI_BASE_URL=https://api.openai.com/v1 OPENAI_API_BASE=https://api.openai.com/v1"},
		{"OpenAI, proxy", spec("OpenAI", proxy), "OPENAI_BASE_URL=https://proxy.example/v1 OPENAI_API_BASE=https://proxy.example/v1"},
		{"OpenAI, key and proxy", spec("OpenAI", key, proxy), "OPENAI_API_KEY<keys/api-key OPENAI_BASE_URL=https://proxy.example/v1 OPENAI_API_BASE=https://proxy.example/v1"},
		{"AzureOpenAI", spec("AzureOpenAI"), "AZURE_OPENAI_ENDPOINT=https://azure.example AZURE_API_BASE=https://azure.example OPENAI_API_VERSION=2024-10-21 AZURE_API_VERSION=2024-10-21"},
		{"AzureOpenAI, key", spec("AzureOpenAI", key), "AZURE_OPENAI_API_KEY<keys/api-key AZURE_API_KEY<keys/api-key AZURE_OPENAI_ENDPOINT=https://azure.example AZURE_API_BASE=https://azure.example OPENAI_API_VERSION=2024-10-21 AZURE_API_VERSION=2024-10-21"},
		{"AzureOpenAI, no version", spec("AzureOpenAI", noVersion), "AZURE_OPENAI_ENDPOINT=https://azure.example AZURE_API_BASE=https://azure.example"},
		{"AzureOpenAI, key, no version", spec("AzureOpenAI", noVersion, key), "AZURE_OPENAI_API_KEY<keys/api-key AZURE_API_KEY<keys/api-key AZURE_OPENAI_ENDPOINT=https://azure.example AZURE_API_BASE=https://azure.example"},
		{"Anthropic", spec("Anthropic"), "ANTHROPIC_BASE_URL=https://api.anthropic.com ANTHROPIC_API_URL=https://api.anthropic.com"},
		{"Anthropic, key", spec("Anthropic", key), "ANTHROPIC_API_KEY<keys/api-key ANTHROPIC_BASE_URL=https://api.anthropic.com ANTHROPIC_API_URL=https://api.anthropic.com"},
		{"Anthropic, proxy", spec("Anthropic", proxy), "ANTHROPIC_BASE_URL=https://proxy.example/v1 ANTHROPIC_API_URL=https://proxy.example/v1"},
		{"Anthropic, key and proxy", spec("Anthropic", key, proxy), "ANTHROPIC_API_KEY<keys/api-key ANTHROPIC_BASE_URL=https://proxy.example/v1 ANTHROPIC_API_URL=https://proxy.example/v1"},
		{"Gemini", spec("Gemini"), "GOOGLE_GENAI_USE_VERTEXAI=false GOOGLE_GEMINI_BASE_URL=https://generativelanguage.googleapis.com"},
		{"Gemini, key", spec("Gemini", key), "GOOGLE_GENAI_USE_VERTEXAI=false GOOGLE_API_KEY<keys/api-key GEMINI_API_KEY<keys/api-key GOOGLE_GEMINI_BASE_URL=https://generativelanguage.googleapis.com"},
		{"Gemini, proxy", spec("Gemini", proxy), "GOOGLE_GENAI_USE_VERTEXAI=false GOOGLE_GEMINI_BASE_URL=https://proxy.example/v1"},
		{"Gemini, key and proxy", spec("Gemini", key, proxy), "GOOGLE_GENAI_USE_VERTEXAI=false GOOGLE_API_KEY<keys/api-key GEMINI_API_KEY<keys/api-key GOOGLE_GEMINI_BASE_URL=https://proxy.example/v1"},
		{"VertexAI", spec("VertexAI"), "GOOGLE_GENAI_USE_VERTEXAI=true GOOGLE_CLOUD_PROJECT=p GOOGLE_CLOUD_LOCATION=global"},
		{"VertexAI, a key that no rule stopped", spec("VertexAI", key), "GOOGLE_GENAI_USE_VERTEXAI=true GOOGLE_CLOUD_PROJECT=p GOOGLE_CLOUD_LOCATION=global"},
		{"Bedrock", spec("Bedrock"), "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true AWS_REGION=eu-central-1 AWS_DEFAULT_REGION=eu-central-1"},
		{"Bedrock, key", spec("Bedrock", key), "AWS_BEARER_TOKEN_BEDROCK<keys/api-key AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true AWS_REGION=eu-central-1 AWS_DEFAULT_REGION=eu-central-1"},
		{"Custom", spec("Custom"), "OLLAMA_HOST=http://ollama:11434"},
		{"Custom, key", spec("Custom", customKey), "OLLAMA_API_KEY<keys/api-key OLLAMA_HOST=http://ollama:11434"},
		{"Custom, a key without a name", spec("Custom", key), "OLLAMA_HOST=http://ollama:11434"},
	} {
		t.Run(r.name, func(t *testing.T) {
			require.Equal(t, "FLOKOA_MODEL=m FLOKOA_MODEL_PROVIDER="+string(r.spec.Provider)+" "+r.want, text(model.Environment(r.spec)))
		})
	}
}

var providers = []v1alpha1.ModelProvider{"OpenAI", "AzureOpenAI", "Anthropic", "Gemini", "VertexAI", "Bedrock", "Custom"}

// A Model without the fields of its provider cannot be stored, but one may have been before there was a rule.
func TestAnIncompleteModelResolves(t *testing.T) {
	for _, provider := range append(providers, "Unknown", "") {
		require.NotPanics(t, func() { model.Environment(&v1alpha1.ModelSpec{Provider: provider}) }, provider)
	}
}

// The kubelet would expand $(DB_PASSWORD), and a URL would carry a password to the provider.
func TestNoVariableOfAModelIsExpanded(t *testing.T) {
	for _, provider := range providers {
		s := spec(provider, func(s *v1alpha1.ModelSpec) { s.Model = "$(DB_PASSWORD)" })
		if s.VertexAI == nil && s.Bedrock == nil {
			s.BaseURL = "https://evil.example/$(DB_PASSWORD)/$$(TOKEN)"
		}
		for _, variable := range model.Environment(s) {
			rest := strings.ReplaceAll(variable.Value, "$$", "")
			require.NotContains(t, rest, "$", "%s %s", provider, variable.Name)
		}
	}
}

func TestEachVariableOccursOnce(t *testing.T) {
	for _, provider := range providers {
		seen := map[string]bool{}
		s := spec(provider, key)
		if s.Custom != nil {
			customKey(s)
		}
		for _, variable := range model.Environment(s) {
			require.False(t, seen[variable.Name], variable.Name)
			seen[variable.Name] = true
		}
	}
}

// What is not in Fields would change without a rollout.
func TestFieldsCoverEveryFieldOfTheSpec(t *testing.T) {
	full := func() *v1alpha1.ModelSpec {
		return &v1alpha1.ModelSpec{
			Provider: "OpenAI", Model: "m", BaseURL: "https://a", APIKey: &v1alpha1.ModelAPIKey{Name: "n", Key: "k"}, Azure: &v1alpha1.AzureModel{APIVersion: "v"},
			VertexAI: &v1alpha1.VertexAIModel{Project: "p", Location: "l"}, Bedrock: &v1alpha1.BedrockModel{Region: "r"},
			Custom: &v1alpha1.CustomModel{KeyEnv: "A_TOKEN", URLEnv: "A_HOST"},
		}
	}
	require.Len(t, model.Fields(full()), reflect.TypeFor[v1alpha1.ModelSpec]().NumField())
	changed := 0
	var change func(of reflect.Value, spec *v1alpha1.ModelSpec)
	change = func(of reflect.Value, s *v1alpha1.ModelSpec) {
		for i := range of.NumField() {
			field := of.Field(i)
			if field.Kind() == reflect.Pointer {
				change(field.Elem(), s)
				continue
			}
			was := field.String()
			field.SetString(was + "x")
			require.NotEqual(t, model.Fields(full()), model.Fields(s), of.Type().Field(i).Name)
			field.SetString(was)
			changed++
		}
	}
	s := full()
	change(reflect.ValueOf(s).Elem(), s)
	require.Equal(t, 11, changed)
	require.Equal(t, map[string]string{"provider": "OpenAI", "model": "m"}, model.Fields(&v1alpha1.ModelSpec{Provider: "OpenAI", Model: "m", Azure: &v1alpha1.AzureModel{}}))
}
