package apitest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flokoa/flokoa/operator/api/crds"
)

// fullModels have, together, every field of a Model.
var fullModels = map[string]string{
	"OpenAI":      "apiKey: {name: keys, key: api-key}, baseURL: https://proxy.example/v1",
	"AzureOpenAI": "baseURL: https://resource.openai.azure.com, azure: {apiVersion: 2024-10-21}",
	"VertexAI":    "vertexAI: {project: team, location: europe-west4}",
	"Bedrock":     "bedrock: {region: eu-central-1}",
	"Custom":      "baseURL: http://ollama:11434, apiKey: {name: keys, key: api-key}, custom: {urlEnv: OLLAMA_HOST, keyEnv: OLLAMA_API_KEY}",
	"Anthropic":   "",
	"Gemini":      "",
}

// modelWith is a Model of a provider with other fields, as YAML.
func modelWith(provider, fields string) string {
	text := "{apiVersion: agent.flokoa.ai/v1alpha1, kind: Model, metadata: {name: m}, spec: {provider: " + provider + ", model: m"
	if fields != "" {
		text += ", " + fields
	}
	return text + "}}"
}

func openAI(fields string) string  { return modelWith("OpenAI", fields) }
func baseURL(url string) string    { return openAI("baseURL: '" + url + "'") }
func modelID(name string) string   { return openAI("model: '" + name + "'") }
func customURL(name string) string { return custom("urlEnv: '" + name + "'") }
func customKey(name string) string {
	return modelWith("Custom", "baseURL: https://a.example, apiKey: {name: s, key: k}, custom: {urlEnv: A_HOST, keyEnv: '"+name+"'}")
}

func custom(fields string) string {
	return modelWith("Custom", "baseURL: https://a.example, custom: {"+fields+"}")
}

func each[T any](of func(T) string, values ...T) []string {
	var all []string
	for _, value := range values {
		all = append(all, of(value))
	}
	return all
}

// without returns the full Models of all providers but some.
func without(providers ...string) []string {
	var all []string
	for provider, fields := range fullModels {
		if !strings.Contains(strings.Join(providers, " "), provider) {
			all = append(all, modelWith(provider, fields))
		}
	}
	return all
}

func join(fields ...string) string {
	var some []string
	for _, field := range fields {
		if field != "" {
			some = append(some, field)
		}
	}
	return strings.Join(some, ", ")
}

// with returns the full Models of some providers with another field.
func with(field string, providers ...string) []string {
	var all []string
	for _, provider := range providers {
		all = append(all, modelWith(provider, join(fullModels[provider], field)))
	}
	return all
}

var modelRules = []rule{
	{
		message: "baseURL is required with provider AzureOpenAI or Custom, which have no default: set the URL of the endpoint",
		field:   "spec",
		allowed: without(),
		denied:  []string{modelWith("AzureOpenAI", ""), modelWith("Custom", "custom: {urlEnv: A_HOST}")},
	},
	{
		message: "baseURL has no effect with provider VertexAI or Bedrock, whose SDKs derive it from the location or region: omit it",
		field:   "spec",
		allowed: with("baseURL: https://a.example", "Anthropic", "Gemini"),
		denied:  with("baseURL: https://a.example", "VertexAI", "Bedrock"),
	},
	{
		message: "apiKey has no effect with provider VertexAI, whose SDKs use the identity of the pod: omit it, or set provider Gemini",
		field:   "spec",
		allowed: with("apiKey: {name: s, key: k}", "AzureOpenAI", "Bedrock", "Anthropic", "Gemini"),
		denied:  with("apiKey: {name: s, key: k}", "VertexAI"),
	},
	{
		message: "azure belongs to provider AzureOpenAI: omit it, or set that provider",
		field:   "spec",
		allowed: []string{modelWith("AzureOpenAI", "baseURL: https://a.example"), modelWith("AzureOpenAI", "baseURL: https://a.example, azure: {}")},
		denied:  with("azure: {apiVersion: v}", "OpenAI", "VertexAI", "Bedrock", "Custom", "Anthropic", "Gemini"),
	},
	{
		message: "vertexAI belongs to provider VertexAI, which requires it: set both, or omit vertexAI",
		field:   "spec",
		allowed: without(),
		denied:  append(with("vertexAI: {project: p, location: l}", "OpenAI", "AzureOpenAI", "Bedrock", "Custom", "Anthropic", "Gemini"), modelWith("VertexAI", "")),
	},
	{
		message: "bedrock belongs to provider Bedrock, which requires it: set both, or omit bedrock",
		field:   "spec",
		allowed: without(),
		denied:  append(with("bedrock: {region: r}", "OpenAI", "AzureOpenAI", "VertexAI", "Custom", "Anthropic", "Gemini"), modelWith("Bedrock", "")),
	},
	{
		message: "custom belongs to provider Custom, which requires it: set both, or omit custom",
		field:   "spec",
		allowed: without(),
		denied: append(with("custom: {urlEnv: A_HOST}", "AzureOpenAI", "VertexAI", "Bedrock", "Anthropic", "Gemini"),
			modelWith("OpenAI", "custom: {urlEnv: A_HOST}"), modelWith("Custom", "baseURL: https://a.example")),
	},
	{
		message: "custom.keyEnv names the variable with the value of apiKey: set both or omit both",
		field:   "spec",
		allowed: []string{custom("urlEnv: A_HOST"), customKey("A_API_KEY")},
		denied:  []string{custom("urlEnv: A_HOST, keyEnv: A_API_KEY"), modelWith("Custom", "baseURL: https://a.example, apiKey: {name: s, key: k}, custom: {urlEnv: A_HOST}")},
	},
	{
		message: "model must consist of printable ASCII characters except the space and $: use the name by which the provider knows the model",
		field:   "spec.model",
		allowed: each(modelID, "gpt-4o", "anthropic.claude-3-5-sonnet-20240620-v1:0", "meta-llama/Llama-3.3-70B", "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/x", "llama3.2:latest", "a@b", "~"),
		denied:  each(modelID, "a b", "$(DB_PASSWORD)", "a$", "$$(A)", "é", "a\tb", " a"),
	},
	{
		message: "baseURL must be a URL without user, query, fragment, and $: use https://host/path, with an optional port up to 65535; the host is a DNS name in lowercase, or an IPv4 address",
		field:   "spec.baseURL",
		allowed: each(baseURL, "https://api.openai.com/v1", "https://a", "https://a.example/", "https://a.example:8443/v1/openai", "https://10.0.0.5/v1", "https://xn--bcher-kva.example",
			"https://generativelanguage.googleapis.com/v1beta/openai/", "https://a.example/%20/a_b~c", "https://8.8.8.8:443", "https://a-b.c-d.example", "https://255.249.199.99:65535", "https://a.example:60000/%7Ea"),
		denied: each(baseURL, "https://user@a.example", "https://user:password@a.example/v1", "https://a.example?key=1", "https://a.example/v1?api-key=1", "https://a.example/#f",
			"https://$(DB_PASSWORD).evil.example", "https://evil.example/$(DB_PASSWORD)", "https://evil.example/$$(A)", "ftp://a.example", "HTTPS://a.example", "https://A.example",
			"https://", "https://a.example:", "https://a.example:0", "https://a.example:123456", "https://a..example", "https://-a.example", "https://a.example.", "https:/a.example",
			"a.example", "https://a.example/a b", "https://a.example\\evil.example", "https://2130706433", "https://0x7f000001", "https://127.1", "https://0177.0.0.1", "https://1.2.3",
			"https://[::1]/v1", "https://[fd00::1]:8443", "https://256.1.1.1", "https://425.254.169.254", "https://1.2.3.999", "https://a.example:65536", "https://a.example:99999",
			"https://a.example/%", "https://a.example/%zz", "https://"+strings.Repeat("a", 64)+".example", " https://a.example", "javascript:alert(1)", "https://a_b.example"),
	},
	{
		message: "baseURL must not use http outside of the cluster, where the key could be read: use https, or the name of a Service: one label, or a name that ends with .svc or .svc.cluster.local",
		field:   "spec.baseURL",
		allowed: each(baseURL, "http://ollama:11434", "http://proxy", "http://proxy/v1", "http://proxy.ai.svc", "http://proxy.ai.svc:8080/v1", "http://proxy.ai.svc.cluster.local/v1"),
		denied: each(baseURL, "http://api.openai.com/v1", "http://proxy.ai", "http://10.0.0.5", "http://svc.example", "http://a.svc.example", "http://a.svc.cluster.example",
			"http://a.svccluster.local", "http://a.example/x.svc", "http://a.example:80/.svc"),
	},
	{
		message: "baseURL must not be a loopback or link-local address, or a name of one, where the key would reach the pod or the node instead of a provider: use the address of the provider",
		field:   "spec.baseURL",
		allowed: each(baseURL, "https://localhost.example", "https://128.0.0.1", "https://169.253.1.1", "https://169.25.4.1", "https://1.127.0.0", "https://notlocalhost.example", "https://127.0.0.1.example", "https://10.127.0.1", "https://a0.example", "http://metadata-proxy", "https://metadata.example", "http://ip6-proxy"),
		denied: each(baseURL, "https://localhost", "http://localhost:11434", "https://localhost/v1", "https://a.localhost", "https://127.0.0.1", "https://127.8.9.1:8443/v1", "https://169.254.169.254",
			"https://169.254.169.254/latest", "https://0.0.0.0", "https://0.0.0.0:443/v1", "http://ip6-localhost:8080", "http://ip6-loopback", "https://localhost6", "https://localhost4",
			"https://localhost.localdomain/", "https://localhost6.localdomain6", "http://metadata", "http://metadata/v1", "https://metadata.google.internal", "http://instance-data", "https://instance-data.ec2.internal/latest"),
	},
	{
		message: "custom.keyEnv must be a variable for a key: use uppercase letters, digits, and '_', with _API_KEY or _TOKEN at the end, and not FLOKOA_, KUBERNETES_, or the prefix of another provider, such as OPENAI_, at the start",
		field:   "spec.custom.keyEnv",
		allowed: each(customKey, "MISTRAL_API_KEY", "GROQ_API_KEY", "HF_TOKEN", "A1_B_TOKEN"),
		denied:  each(customKey, "LD_PRELOAD", "API_KEY", "_API_KEY", "1_API_KEY", "mistral_API_KEY", "A-B_TOKEN", "A_API_KEY_", "A_HOST", "FLOKOA_API_KEY", "KUBERNETES_TOKEN", "OPENAI_API_KEY", "AZURE_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY", "AWS_B_TOKEN", "$(A)_TOKEN"),
	},
	{
		message: "custom.urlEnv must be a variable for a URL: use uppercase letters, digits, and '_', with _BASE_URL, _API_BASE, or _HOST at the end, and not FLOKOA_, KUBERNETES_, or the prefix of another provider, such as OPENAI_, at the start",
		field:   "spec.custom.urlEnv",
		allowed: each(customURL, "OLLAMA_HOST", "MISTRAL_BASE_URL", "LITELLM_API_BASE", "OPENAIX_HOST"),
		denied:  each(customURL, "HTTPS_PROXY", "PATH", "HOST", "_HOST", "KUBERNETES_SERVICE_HOST", "FLOKOA_AGENT_HOST", "OPENAI_BASE_URL", "OPENAI_API_BASE", "ANTHROPIC_BASE_URL", "ollama_HOST", "A_TOKEN", "A_HOST_X", "$(A)_HOST"),
	},
}

func modelSchema(t *testing.T) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	crd, err := readCRD(crds.Models)
	require.NoError(t, err)
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

func TestEveryRuleOfAModelLetsGoodOnesThroughAndRefusesBadOnes(t *testing.T) {
	tried := func(text string) error { return dryRun(t, &unstructured.Unstructured{Object: parse(t, text)}) }
	var tested []string
	for _, r := range modelRules {
		tested = append(tested, r.message)
		require.NotEmpty(t, r.allowed, r.message)
		require.NotEmpty(t, r.denied, r.message)
		for _, text := range r.allowed {
			require.NoError(t, tried(text), text)
		}
		for _, text := range r.denied {
			err := tried(text)
			require.Error(t, err, text)
			require.Contains(t, strings.Join(causes(t, err), "\n"), r.message, text)
			require.Contains(t, strings.Join(causes(t, err), "\n"), r.field+": ", text)
		}
	}
	require.ElementsMatch(t, messages(modelSchema(t)), tested, "every rule of the CRD has its rows here")
}

func TestEveryBoundOfAModelHasAValueOnEitherSide(t *testing.T) {
	section := modelSchema(t).Properties["spec"]
	covered := map[string]bool{}
	for provider, fields := range fullModels {
		full := &unstructured.Unstructured{Object: parse(t, modelWith(provider, fields))}
		require.NoError(t, dryRun(t, full.DeepCopy()), provider)
		found := map[string]place{}
		places(&section, "spec", []any{"spec"}, full.Object["spec"], found)
		for name, at := range found {
			if covered[name] {
				continue
			}
			covered[name] = true
			try := func(path []any, value any) error {
				changed := full.DeepCopy()
				put(changed.Object, path, value)
				return dryRun(t, changed)
			}
			for _, b := range bounds(at.schema, at.value) {
				if b.keyword == "pattern" && name == "spec.apiKey.key" {
					b.denied = "a/b" // the key of a Secret may be nearly anything
				}
				requireCause(t, try(at.path, b.denied), at.named())
			}
			for _, key := range at.schema.Required {
				path := append(append([]any{}, at.path...), key)
				requireCause(t, try(path, nil), at.named()+"."+key)
			}
		}
	}
	require.Len(t, covered, len(ownFields(&section, "spec")), "every field has a place in a Model")
}

// Enums, patterns, and lengths have a value inside of the bound, too.
func TestValuesAtTheBoundsOfAModelAreAllowed(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	for _, text := range append(without(),
		openAI("model: "+long(256)), openAI("baseURL: https://"+long(63)+".example/"+long(512-8-63-9)), openAI("apiKey: {name: "+long(253)+", key: "+long(253)+"}"),
		openAI("apiKey: {name: a, key: A_b.c-1}"), openAI("apiKey: {name: a.b-c.d, key: .a}"), openAI("apiKey: {name: a, key: _}"), openAI("apiKey: {name: a, key: a..}"), modelWith("AzureOpenAI", "baseURL: https://a.example, azure: {apiVersion: 2024-08-01-preview}"),
		modelWith("VertexAI", "vertexAI: {project: example.com:team, location: global}"), modelWith("Bedrock", "bedrock: {region: "+long(63)+"}"),
		customKey(strings.Repeat("A", 57)+"_TOKEN"), customURL(strings.Repeat("A", 58)+"_HOST"),
	) {
		require.NoError(t, dryRun(t, &unstructured.Unstructured{Object: parse(t, text)}), text)
	}
}

// A development agent must never talk to a production model: nothing can point to another namespace.
func TestNoReferenceLeavesTheNamespace(t *testing.T) {
	err := dryRun(t, manifest(t, "spec: {model: {name: m, namespace: production}}"))
	require.ErrorContains(t, err, `unknown field "spec.model.namespace"`)
	err = dryRun(t, &unstructured.Unstructured{Object: parse(t, openAI("apiKey: {name: s, key: k, namespace: production}"))})
	require.ErrorContains(t, err, `unknown field "spec.apiKey.namespace"`)
}

// The API server rejects a Deployment with one of these, and every Agent that names the Model would be invalid at once.
func TestAModelNamesASecretAndAKeyThatCanExist(t *testing.T) {
	for _, text := range []string{
		"{name: a, key: .}", "{name: a, key: ..}", "{name: a, key: ..a}", "{name: a..b, key: k}", "{name: a.-b, key: k}", "{name: a-.b, key: k}", "{name: .a, key: k}", "{name: A, key: k}",
	} {
		require.ErrorContains(t, dryRun(t, &unstructured.Unstructured{Object: parse(t, openAI("apiKey: "+text))}), "spec.apiKey.", text)
	}
}
