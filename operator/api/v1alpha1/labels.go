package v1alpha1

// Labels and annotations of Flokoa. All keys with ReservedPrefix are reserved.
const (
	// ReservedPrefix is the prefix of all labels and annotations of Flokoa.
	ReservedPrefix = "flokoa.ai/"
	// LabelAgent holds the Agent's name, on every child and pod. It is the whole selector of the Deployment and the Service,
	// and what the user's own affinity rules select (guide, "Pod anti-affinity").
	LabelAgent = "flokoa.ai/agent"
	// LabelEnvironment is dev, staging, or production, on the Namespace of an environment. Policies and alerts select by it.
	LabelEnvironment = "flokoa.ai/environment"
	// LabelFramework holds spec.framework, on children. It is never on the pod template, because a change would restart pods.
	LabelFramework = "flokoa.ai/framework"
	// AnnotationDigest, on a child, is the digest of the configuration that the operator last applied.
	AnnotationDigest = "flokoa.ai/digest"
	// AnnotationCardDigest, on the pod template, is the digest of the agent card, so that a change of it rolls the pods.
	AnnotationCardDigest = "flokoa.ai/card-digest"
	// AnnotationConfigBaseline, on the Deployment, is the configuration that the pods took: digests of ConfigMaps and versions of Secrets.
	// It is not on the pod template, so writing it restarts no pod.
	AnnotationConfigBaseline = "flokoa.ai/config-baseline"
	// AnnotationConfigRevision, on the pod template, changes when a changed configuration rolls the pods. It is absent until then.
	AnnotationConfigRevision = "flokoa.ai/config-revision"
	// AnnotationAdopt lets the Agent that it names take over the annotated object, if nothing controls that object.
	AnnotationAdopt = "flokoa.ai/adopt"
)

// Names of the environment variables that the operator puts before the user's in every agent container.
const (
	// EnvAgentName holds the Agent's name.
	EnvAgentName = "FLOKOA_AGENT_NAME"
	// EnvAgentNamespace holds the Agent's namespace.
	EnvAgentNamespace = "FLOKOA_AGENT_NAMESPACE"
	// EnvAgentURL holds the Agent's URL inside the cluster. It is unset without a TCP port.
	EnvAgentURL = "FLOKOA_AGENT_URL"
	// EnvModel holds the provider's name of the Model, and EnvModelProvider the provider. They are unset without spec.model.
	EnvModel = "FLOKOA_MODEL"
	// EnvModelProvider is next to EnvModel.
	EnvModelProvider = "FLOKOA_MODEL_PROVIDER"
)
