// Package model resolves a Model to the environment of an agent container. It is pure: no client, no context, no logger, no clock, no
// globals. The operator never contacts a provider.
package model

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// The public URLs of providers. A URL is always written out: an explicit variable beats envFrom, so a ConfigMap in envFrom cannot send
// the key elsewhere.
const (
	openAIURL    = "https://api.openai.com/v1"
	anthropicURL = "https://api.anthropic.com"
	geminiURL    = "https://generativelanguage.googleapis.com"
)

// Environment returns the variables that pass a Model to an agent container, in a fixed order. A key is only ever a reference to a Secret.
func Environment(spec *v1alpha1.ModelSpec) []corev1.EnvVar {
	e := environment{key: spec.APIKey}
	e.text(v1alpha1.EnvModel, spec.Model)
	e.text(v1alpha1.EnvModelProvider, string(spec.Provider))
	switch spec.Provider {
	case v1alpha1.ProviderOpenAI:
		e.secret("OPENAI_API_KEY")
		e.url(spec, openAIURL, "OPENAI_BASE_URL", "OPENAI_API_BASE")
	case v1alpha1.ProviderAzureOpenAI: // OPENAI_BASE_URL would make its SDK call another API
		e.secret("AZURE_OPENAI_API_KEY", "AZURE_API_KEY")
		e.url(spec, "", "AZURE_OPENAI_ENDPOINT", "AZURE_API_BASE")
		if spec.Azure != nil {
			e.text("OPENAI_API_VERSION", spec.Azure.APIVersion)
			e.text("AZURE_API_VERSION", spec.Azure.APIVersion)
		}
	case v1alpha1.ProviderAnthropic:
		e.secret("ANTHROPIC_API_KEY")
		e.url(spec, anthropicURL, "ANTHROPIC_BASE_URL", "ANTHROPIC_API_URL")
	case v1alpha1.ProviderGemini: // with Vertex AI turned on, its SDK would send the key to the URL of another variable
		e.text("GOOGLE_GENAI_USE_VERTEXAI", "false")
		e.secret("GOOGLE_API_KEY", "GEMINI_API_KEY")
		e.url(spec, geminiURL, "GOOGLE_GEMINI_BASE_URL")
	case v1alpha1.ProviderVertexAI:
		e.vertexAI(spec.VertexAI)
	case v1alpha1.ProviderBedrock:
		e.bedrock(spec.Bedrock)
	case v1alpha1.ProviderCustom:
		e.custom(spec)
	}
	return e.variables
}

// environment collects variables.
type environment struct {
	key       *v1alpha1.ModelAPIKey
	variables []corev1.EnvVar
}

// text adds a variable, unless its value is empty. The kubelet expands $(NAME), and reads $$ as one dollar sign: the rules of the CRD
// forbid dollar signs, and this holds for a Model that was stored before there was a rule.
func (e *environment) text(name, value string) {
	if value != "" && name != "" {
		e.variables = append(e.variables, corev1.EnvVar{Name: name, Value: strings.ReplaceAll(value, "$", "$$")})
	}
}

// url adds the URL of the API under each name.
func (e *environment) url(spec *v1alpha1.ModelSpec, public string, names ...string) {
	url := spec.BaseURL
	if url == "" {
		url = public
	}
	for _, name := range names {
		e.text(name, url)
	}
}

// secret adds the key under each name, if there is one.
func (e *environment) secret(names ...string) {
	for _, name := range names {
		if e.key != nil && name != "" {
			e.variables = append(e.variables, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: e.key.Name}, Key: e.key.Key}}})
		}
	}
}

// vertexAI adds no key: the SDK ignores one beside a project.
func (e *environment) vertexAI(of *v1alpha1.VertexAIModel) {
	e.text("GOOGLE_GENAI_USE_VERTEXAI", "true")
	if of != nil {
		e.text("GOOGLE_CLOUD_PROJECT", of.Project)
		e.text("GOOGLE_CLOUD_LOCATION", of.Location)
	}
}

// bedrock has the SDK ignore URLs in other variables.
func (e *environment) bedrock(of *v1alpha1.BedrockModel) {
	e.secret("AWS_BEARER_TOKEN_BEDROCK")
	e.text("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
	if of != nil {
		e.text("AWS_REGION", of.Region)
		e.text("AWS_DEFAULT_REGION", of.Region)
	}
}

func (e *environment) custom(spec *v1alpha1.ModelSpec) {
	if spec.Custom != nil {
		e.secret(spec.Custom.KeyEnv)
		e.url(spec, "", spec.Custom.URLEnv)
	}
}

// Fields returns the fields of a Model that are set, each as one text. They tell which fields of a changed Model changed.
func Fields(spec *v1alpha1.ModelSpec) map[string]string {
	fields := map[string]string{"provider": string(spec.Provider), "model": spec.Model, "baseURL": spec.BaseURL}
	if of := spec.APIKey; of != nil {
		fields["apiKey"] = of.Name + "/" + of.Key
	}
	if of := spec.Azure; of != nil {
		fields["azure"] = of.APIVersion
	}
	if of := spec.VertexAI; of != nil {
		fields["vertexAI"] = of.Project + "/" + of.Location
	}
	if of := spec.Bedrock; of != nil {
		fields["bedrock"] = of.Region
	}
	if of := spec.Custom; of != nil {
		fields["custom"] = of.KeyEnv + "/" + of.URLEnv
	}
	for name, text := range fields {
		if text == "" {
			delete(fields, name)
		}
	}
	return fields
}

// Validate returns the field without which a Model cannot be resolved, and what to do, empty if there is none. The rules of the CRD are
// stricter.
func Validate(spec *v1alpha1.ModelSpec) (field, problem string) {
	required := func(name string, present bool) {
		if problem == "" && !present {
			field, problem = "spec."+name, "spec."+name+" is missing: provider "+string(spec.Provider)+" requires it"
		}
	}
	if spec.Model == "" {
		return "spec.model", "spec.model is missing: use the name by which the provider knows the model"
	}
	switch spec.Provider {
	case v1alpha1.ProviderOpenAI, v1alpha1.ProviderAnthropic, v1alpha1.ProviderGemini:
	case v1alpha1.ProviderAzureOpenAI:
		required("baseURL", spec.BaseURL != "")
	case v1alpha1.ProviderVertexAI:
		required("vertexAI", spec.VertexAI != nil)
	case v1alpha1.ProviderBedrock:
		required("bedrock", spec.Bedrock != nil)
	case v1alpha1.ProviderCustom:
		required("baseURL", spec.BaseURL != "")
		required("custom", spec.Custom != nil)
	default:
		return "spec.provider", "spec.provider: use OpenAI, AzureOpenAI, Anthropic, Gemini, VertexAI, Bedrock, or Custom"
	}
	return field, problem
}
