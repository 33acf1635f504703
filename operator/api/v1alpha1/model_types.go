package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Model is an AI model of a provider: how the Agents of its namespace reach it. An Agent names it in spec.model, and the operator
// passes it to the agent container as environment variables. The same name means another Model in another namespace, so one
// manifest of an Agent fits every environment.
//
// A Model has no status, because the operator never contacts the provider. The condition ModelResolved of an Agent says whether
// its Model exists.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=fm,categories=flokoa
// +kubebuilder:printcolumn:name=Provider,type=string,JSONPath=`.spec.provider`
// +kubebuilder:printcolumn:name=Model,type=string,JSONPath=`.spec.model`
// +kubebuilder:printcolumn:name=Base URL,type=string,JSONPath=`.spec.baseURL`,priority=1
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type Model struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the provider, the model, and the credential.
	// +required
	Spec ModelSpec `json:"spec"`
}

// ModelList is a list of Models.
//
// +kubebuilder:object:root=true
type ModelList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Model `json:"items"`
}

// ModelProvider is an API that serves models.
//
// +kubebuilder:validation:Enum=OpenAI;AzureOpenAI;Anthropic;Gemini;VertexAI;Bedrock;Custom
type ModelProvider string

const (
	// ProviderOpenAI is the API of OpenAI, or one that speaks it at baseURL.
	ProviderOpenAI ModelProvider = "OpenAI"
	// ProviderAzureOpenAI is a resource of Azure OpenAI.
	ProviderAzureOpenAI ModelProvider = "AzureOpenAI"
	// ProviderAnthropic is the API of Anthropic.
	ProviderAnthropic ModelProvider = "Anthropic"
	// ProviderGemini is the Gemini API of Google, with an API key.
	ProviderGemini ModelProvider = "Gemini"
	// ProviderVertexAI is Vertex AI of Google Cloud, with the identity of the pod.
	ProviderVertexAI ModelProvider = "VertexAI"
	// ProviderBedrock is Amazon Bedrock.
	ProviderBedrock ModelProvider = "Bedrock"
	// ProviderCustom is any other API, with variables of your own names.
	ProviderCustom ModelProvider = "Custom"
)

// ModelSpec is what a Model consists of. No text may contain a dollar sign, because the kubelet would expand $(NAME) to the value of a
// variable, such as a password.
//
// +kubebuilder:validation:XValidation:rule="has(self.baseURL) || !(self.provider in ['AzureOpenAI', 'Custom'])",message="baseURL is required with provider AzureOpenAI or Custom, which have no default: set the URL of the endpoint"
// +kubebuilder:validation:XValidation:rule="!has(self.baseURL) || !(self.provider in ['VertexAI', 'Bedrock'])",message="baseURL has no effect with provider VertexAI or Bedrock, whose SDKs derive it from the location or region: omit it"
// +kubebuilder:validation:XValidation:rule="!has(self.apiKey) || self.provider != 'VertexAI'",message="apiKey has no effect with provider VertexAI, whose SDKs use the identity of the pod: omit it, or set provider Gemini"
// +kubebuilder:validation:XValidation:rule="!has(self.azure) || self.provider == 'AzureOpenAI'",message="azure belongs to provider AzureOpenAI: omit it, or set that provider"
// +kubebuilder:validation:XValidation:rule="has(self.vertexAI) == (self.provider == 'VertexAI')",message="vertexAI belongs to provider VertexAI, which requires it: set both, or omit vertexAI"
// +kubebuilder:validation:XValidation:rule="has(self.bedrock) == (self.provider == 'Bedrock')",message="bedrock belongs to provider Bedrock, which requires it: set both, or omit bedrock"
// +kubebuilder:validation:XValidation:rule="has(self.custom) == (self.provider == 'Custom')",message="custom belongs to provider Custom, which requires it: set both, or omit custom"
// +kubebuilder:validation:XValidation:rule="!has(self.custom) || has(self.custom.keyEnv) == has(self.apiKey)",message="custom.keyEnv names the variable with the value of apiKey: set both or omit both"
type ModelSpec struct {
	// provider is the API that serves the model: OpenAI, AzureOpenAI, Anthropic, Gemini, VertexAI, Bedrock, or Custom. It decides which
	// environment variables the agent container gets.
	// +required
	Provider ModelProvider `json:"provider"`

	// model is the provider's own name of the model, such as gpt-4o; for AzureOpenAI, the name of the deployment. The agent container
	// finds it in FLOKOA_MODEL.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-#%-~]+$')",message="model must consist of printable ASCII characters except the space and $: use the name by which the provider knows the model"
	Model string `json:"model"`

	// baseURL is the URL of the API, for a proxy, a regional endpoint, or a server of your own. Required for AzureOpenAI and Custom,
	// not allowed for VertexAI and Bedrock. Default: the provider's public URL. Plain HTTP is allowed only to Services of the cluster.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://(([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])*[a-z]([-a-z0-9]{0,61}[a-z0-9])?|((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9]))(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6([0-4][0-9]{3}|5([0-4][0-9]{2}|5([0-2][0-9]|3[0-5])))))?(/([-A-Za-z0-9._~:+,=/]|%[0-9A-Fa-f]{2})*)?$')",message="baseURL must be a URL without user, query, fragment, and $: use https://host/path, with an optional port up to 65535; the host is a DNS name in lowercase, or an IPv4 address"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('http://') || self.matches('^http://([a-z]([-a-z0-9]*[a-z0-9])?|([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])+svc([.]cluster[.]local)?)([:/].*)?$')",message="baseURL must not use http outside of the cluster, where the key could be read: use https, or the name of a Service: one label, or a name that ends with .svc or .svc.cluster.local"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^https?://(([^/:]+[.])?(localhost|localdomain)|localhost[46]([.]localdomain[46])?|ip6-(localhost|loopback)|metadata([.]google[.]internal)?|instance-data([.]ec2[.]internal)?|(0|127|169[.]254)[.][0-9.]+)([:/].*)?$')",message="baseURL must not be a loopback or link-local address, or a name of one, where the key would reach the pod or the node instead of a provider: use the address of the provider"
	BaseURL string `json:"baseURL,omitempty"`

	// apiKey is the key of a Secret that holds the provider's API key. Not allowed for VertexAI. Default: no key, for example because
	// the pod has an identity of its own.
	// +optional
	APIKey *ModelAPIKey `json:"apiKey,omitempty"`

	// azure holds what only AzureOpenAI has.
	// +optional
	Azure *AzureModel `json:"azure,omitempty"`
	// vertexAI holds what only VertexAI has, which requires it.
	// +optional
	VertexAI *VertexAIModel `json:"vertexAI,omitempty"`
	// bedrock holds what only Bedrock has, which requires it.
	// +optional
	Bedrock *BedrockModel `json:"bedrock,omitempty"`
	// custom holds what only Custom has, which requires it.
	// +optional
	Custom *CustomModel `json:"custom,omitempty"`
}

// ModelAPIKey names a key of a Secret in the namespace of the Model.
type ModelAPIKey struct {
	// name is the name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Name string `json:"name"`
	// key is the key in the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$`
	Key string `json:"key"`
}

// AzureModel holds what only AzureOpenAI has.
type AzureModel struct {
	// apiVersion is the version of the API, such as 2024-10-21. Default: the choice of the SDK.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9][-a-z0-9.]*$`
	APIVersion string `json:"apiVersion,omitempty"`
}

// VertexAIModel holds what only VertexAI has.
type VertexAIModel struct {
	// project is the id of the Google Cloud project.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9][-a-z0-9.:]*$`
	Project string `json:"project"`
	// location is a region, such as europe-west4, or global.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9][-a-z0-9]*$`
	Location string `json:"location"`
}

// BedrockModel holds what only Bedrock has.
type BedrockModel struct {
	// region is the AWS region, such as eu-central-1.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9][-a-z0-9]*$`
	Region string `json:"region"`
}

// CustomModel names the environment variables of an API without variables of its own here, such as Ollama, Mistral, Groq, OpenRouter, or a
// LiteLLM proxy.
type CustomModel struct {
	// keyEnv is the variable with the API key, such as MISTRAL_API_KEY. Required with apiKey. It ends with _API_KEY or _TOKEN.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Z][A-Z0-9_]*(_API_KEY|_TOKEN)$') && !self.matches('^(FLOKOA|KUBERNETES|OPENAI|AZURE|ANTHROPIC|GOOGLE|GEMINI|AWS)_')",message="custom.keyEnv must be a variable for a key: use uppercase letters, digits, and '_', with _API_KEY or _TOKEN at the end, and not FLOKOA_, KUBERNETES_, or the prefix of another provider, such as OPENAI_, at the start"
	KeyEnv string `json:"keyEnv,omitempty"`
	// urlEnv is the variable with baseURL, such as OLLAMA_HOST. It ends with _BASE_URL, _API_BASE, or _HOST.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Z][A-Z0-9_]*(_BASE_URL|_API_BASE|_HOST)$') && !self.matches('^(FLOKOA|KUBERNETES|OPENAI|AZURE|ANTHROPIC|GOOGLE|GEMINI|AWS)_')",message="custom.urlEnv must be a variable for a URL: use uppercase letters, digits, and '_', with _BASE_URL, _API_BASE, or _HOST at the end, and not FLOKOA_, KUBERNETES_, or the prefix of another provider, such as OPENAI_, at the start"
	URLEnv string `json:"urlEnv"`
}
