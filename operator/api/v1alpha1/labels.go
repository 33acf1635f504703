package v1alpha1

// Labels and annotations that Flokoa gives a meaning. Every key under flokoa.ai/ is reserved.
const (
	// LabelAgent is the Agent's name, on every child and every pod: the whole selector of Deployment and Service, and
	// what a user's own affinity rules refer to (guide, "Pod anti-affinity").
	LabelAgent = "flokoa.ai/agent"
	// LabelFramework is spec.framework, on children, never on the pod template: changing it restarts nothing.
	LabelFramework = "flokoa.ai/framework"
	// AnnotationDigest, on a child, is the digest of what the operator last applied to it.
	AnnotationDigest = "flokoa.ai/digest"
	// AnnotationCardDigest, on the pod template of an Agent with a card, is the digest of the card: a change rolls the pods.
	AnnotationCardDigest = "flokoa.ai/card-digest"
	// AnnotationAdopt, put by a person on an object nobody controls, allows the Agent it names to take that object over.
	AnnotationAdopt = "flokoa.ai/adopt"
)

// Names of the environment variables that every agent container is given, ahead of the user's own.
const (
	// EnvAgentName holds the Agent's name.
	EnvAgentName = "FLOKOA_AGENT_NAME"
	// EnvAgentNamespace holds the Agent's namespace.
	EnvAgentNamespace = "FLOKOA_AGENT_NAMESPACE"
	// EnvAgentURL holds the URL other workloads reach the Agent at; unset when the container has no ports.
	EnvAgentURL = "FLOKOA_AGENT_URL"
)
