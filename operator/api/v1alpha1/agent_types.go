package v1alpha1

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Agent is a highly available AI agent. The operator turns its container image and settings into a Deployment, a Service,
// and the objects that high availability needs, all with the Agent's name. `kubectl get agents -w` shows its state.
//
// The name must be a DNS-1035 label of at most 63 characters, because it names the Service.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=fa,categories=flokoa
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.runtime.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:printcolumn:name=Framework,type=string,JSONPath=`.spec.framework`
// +kubebuilder:printcolumn:name=Model,type=string,JSONPath=`.spec.model.name`
// +kubebuilder:printcolumn:name=Replicas,type=integer,JSONPath=`.spec.runtime.spec.replicas`
// +kubebuilder:printcolumn:name=Available Replicas,type=integer,JSONPath=`.status.availableReplicas`
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name=HA,type=string,JSONPath=`.status.conditions[?(@.type=="HighlyAvailable")].status`,priority=1
// +kubebuilder:printcolumn:name=Current,type=integer,JSONPath=`.status.replicas`,priority=1
// +kubebuilder:printcolumn:name=Updated,type=integer,JSONPath=`.status.updatedReplicas`,priority=1
// +kubebuilder:printcolumn:name=Image,type=string,JSONPath=`.status.image`,priority=1
// +kubebuilder:printcolumn:name=URL,type=string,JSONPath=`.status.url`,priority=1
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$')",message="metadata.name must be a DNS-1035 label, because it names a Service: use at most 63 lowercase letters, digits, and '-', starting with a letter and ending with a letter or digit",fieldPath=".metadata.name"
type Agent struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the desired state of the agent.
	// +required
	Spec AgentSpec `json:"spec"`

	// status is the observed state of the agent. The operator writes it.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1,"replicas":0,"updatedReplicas":0,"readyReplicas":0,"availableReplicas":0,"conditions":{{"type":"Ready","status":"Unknown","reason":"Pending","message":"the operator has not reconciled this Agent yet","lastTransitionTime":"1970-01-01T00:00:00Z"}}}
	Status AgentStatus `json:"status,omitempty"`
}

// AgentList is a list of Agents.
//
// +kubebuilder:object:root=true
type AgentList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Agent `json:"items"`
}

// AgentSpec is the desired state of an agent.
//
// +kubebuilder:validation:XValidation:rule="has(self.runtime.spec.container.lifecycle) && has(self.runtime.spec.container.lifecycle.preStop) || !has(self.runtime.spec.terminationGracePeriodSeconds) || self.?availability.drainSeconds.orValue(5) == 0 || self.?availability.drainSeconds.orValue(5) < self.runtime.spec.terminationGracePeriodSeconds",message="runtime.spec.terminationGracePeriodSeconds must be greater than availability.drainSeconds (default 5), because the drain counts against the grace period: raise the grace period or lower drainSeconds"
// +kubebuilder:validation:XValidation:rule="!has(self.autoscaling) || !has(self.runtime.spec.replicas) || self.runtime.spec.replicas > 0",message="runtime.spec.replicas must not be 0 with autoscaling: omit replicas, because the autoscaler sets it, or stop the agent with suspend: true"
// +kubebuilder:validation:XValidation:rule="!has(self.card) || !has(self.runtime.spec.volumes) || self.runtime.spec.volumes.all(v, v.name != 'flokoa-agent-card')",message="runtime.spec.volumes: the name flokoa-agent-card is reserved for the agent card: rename the volume or omit card"
// +kubebuilder:validation:XValidation:rule="!has(self.card) || !has(self.runtime.spec.container.volumeMounts) || self.runtime.spec.container.volumeMounts.all(m, m.mountPath != '/etc/flokoa/agent-card.json')",message="runtime.spec.container.volumeMounts: the agent card is mounted at /etc/flokoa/agent-card.json: use another mountPath or omit card"
type AgentSpec struct {
	// framework is the agent framework inside the image: one of pydantic-ai, langchain, langgraph, google-adk, crewai,
	// marvin, autogen, a2a, or a name of your own. It is informational: a column, and the label flokoa.ai/framework on the
	// Agent's child objects. A change does not restart pods.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Framework string `json:"framework,omitempty"`

	// card is the agent's A2A agent card: its identity and capabilities. The container finds it as JSON in
	// /etc/flokoa/agent-card.json and serves it with its own address and protocol version added. Default: no file. A change
	// triggers a rollout.
	// +optional
	Card *Card `json:"card,omitempty"`

	// model names the Model that this agent uses, in the Agent's namespace. The agent container gets it as environment
	// variables: FLOKOA_MODEL, FLOKOA_MODEL_PROVIDER, and those of the provider, such as OPENAI_API_KEY. A variable of the same
	// name in container.env wins. The condition ModelResolved says whether the Model exists; a missing one blocks nothing. A
	// change of this field triggers a rollout, and a change of the Model rolls its Agents in waves.
	// +optional
	Model *ModelReference `json:"model,omitempty"`

	// runtime is how the agent runs.
	// +required
	Runtime Runtime `json:"runtime"`

	// availability is what keeps the agent available through disruptions. Every field has a default that suits production.
	// +optional
	Availability *Availability `json:"availability,omitempty"`

	// autoscaling creates a HorizontalPodAutoscaler that scales this Agent. With it, omit runtime.spec.replicas from your
	// manifest, because the autoscaler sets that field. Default: no autoscaler is created, and one of your own may scale
	// the Agent. A change does not restart pods.
	// +optional
	Autoscaling *Autoscaling `json:"autoscaling,omitempty"`

	// configRollout says what happens when a ConfigMap, Secret, or Model that the pods read changes. Automatic (default) rolls the
	// pods, in waves: one Agent first, then a few at a time. OnNextRollout leaves the pods alone until something else rolls
	// them. Changes of Secrets are observed only if the operator is permitted to read them. A change of this field restarts
	// pods only if a change waits: with Automatic, the pods then take it.
	// +optional
	ConfigRollout ConfigRolloutPolicy `json:"configRollout,omitempty"`

	// suspend stops the agent: true scales it to zero and keeps everything else, runtime.spec.replicas included. Default
	// false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// ConfigRolloutPolicy says whether a changed ConfigMap or Secret rolls the pods that read it.
//
// +kubebuilder:validation:Enum=Automatic;OnNextRollout
type ConfigRolloutPolicy string

const (
	// ConfigRolloutAutomatic rolls the pods, in waves that bound how many Agents roll at a time.
	ConfigRolloutAutomatic ConfigRolloutPolicy = "Automatic"
	// ConfigRolloutOnNextRollout rolls no pod: the next rollout, whatever its cause, takes the change along.
	ConfigRolloutOnNextRollout ConfigRolloutPolicy = "OnNextRollout"
)

// Card is an A2A agent card, as its author writes it.
type Card struct {
	// name is the display name of the agent. Default: the Agent's name.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Name string `json:"name,omitempty"`

	// description says what the agent is for.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Description string `json:"description"`

	// version is the agent's version, as its clients see it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version"`

	// defaultInputModes are the media types that a skill without inputModes accepts. Default text/plain.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	DefaultInputModes []string `json:"defaultInputModes,omitempty"`

	// defaultOutputModes are the media types that a skill without outputModes produces. Default text/plain.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	DefaultOutputModes []string `json:"defaultOutputModes,omitempty"`

	// capabilities are the optional features of the A2A protocol that the agent supports. Default: none.
	// +optional
	Capabilities *CardCapabilities `json:"capabilities,omitempty"`

	// skills are what the agent can do.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=64
	Skills []CardSkill `json:"skills,omitempty"`
}

// CardCapabilities are optional features of the A2A protocol.
type CardCapabilities struct {
	// streaming says whether the agent can stream its answers.
	// +optional
	Streaming *bool `json:"streaming,omitempty"`
	// pushNotifications says whether the agent sends task updates to a client's callback URL.
	// +optional
	PushNotifications *bool `json:"pushNotifications,omitempty"`
	// stateTransitionHistory says whether the agent exposes the state history of a task.
	// +optional
	StateTransitionHistory *bool `json:"stateTransitionHistory,omitempty"`
}

// CardSkill is one skill of an agent.
type CardSkill struct {
	// id identifies the skill. It is unique in the card.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id"`
	// name is the display name of the skill.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Name string `json:"name"`
	// description says what the skill does.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Description string `json:"description"`
	// tags are keywords for finding the skill.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=128
	Tags []string `json:"tags,omitempty"`
	// examples are sample requests for the skill.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=1024
	Examples []string `json:"examples,omitempty"`
	// inputModes are the media types that the skill accepts. Default: defaultInputModes of the card.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=128
	InputModes []string `json:"inputModes,omitempty"`
	// outputModes are the media types that the skill produces. Default: defaultOutputModes of the card.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=128
	OutputModes []string `json:"outputModes,omitempty"`
}

// Autoscaling scales an agent with its load, in the terms of an autoscaling/v2 HorizontalPodAutoscaler.
//
// +kubebuilder:validation:XValidation:rule="(has(self.minReplicas) ? self.minReplicas : 1) <= self.maxReplicas",message="autoscaling.minReplicas (default 1) must not be greater than autoscaling.maxReplicas: lower minReplicas or raise maxReplicas"
type Autoscaling struct {
	// minReplicas is the lower limit of the replica count. High availability needs 3 or more. Default 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	MinReplicas *int32 `json:"minReplicas,omitempty"`

	// maxReplicas is the upper limit of the replica count.
	// +required
	// +kubebuilder:validation:Minimum=1
	MaxReplicas int32 `json:"maxReplicas"`

	// metrics are the autoscaling/v2 MetricSpecs that determine the replica count. Default: 80% of the requested CPU.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Metrics []autoscalingv2.MetricSpec `json:"metrics,omitempty"`

	// behavior limits how fast the replica count changes in each direction. Default: that of autoscaling/v2.
	// +optional
	Behavior *autoscalingv2.HorizontalPodAutoscalerBehavior `json:"behavior,omitempty"`
}

// ModelReference names a Model in the Agent's namespace. There is no field for another namespace: the namespace decides which Model an
// Agent talks to.
type ModelReference struct {
	// name is the name of the Model.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Name string `json:"name"`
}

// RuntimeType is a way to run an agent.
//
// +kubebuilder:validation:Enum=standard
type RuntimeType string

// RuntimeStandard runs the agent as a Deployment behind a Service.
const RuntimeStandard RuntimeType = "standard"

// Runtime is how an agent runs: a type, and the settings of that type.
type Runtime struct {
	// type is the way to run the agent: standard is a Deployment behind a Service. Default standard.
	// +optional
	// +kubebuilder:default:=standard
	Type RuntimeType `json:"type,omitempty"`

	// spec holds the settings of the runtime.
	// +required
	Spec RuntimeSpec `json:"spec"`
}

// SpreadPolicy says how pods are spread over hosts and zones.
//
// +kubebuilder:validation:Enum=Preferred;Required;None
type SpreadPolicy string

const (
	// SpreadPreferred adds soft constraints over hosts and zones. They never block scheduling.
	SpreadPreferred SpreadPolicy = "Preferred"
	// SpreadRequired makes the constraint over hosts hard (maxSkew 1): a pod stays Pending rather than give one host two
	// pods more than another. The constraint over zones stays soft.
	SpreadRequired SpreadPolicy = "Required"
	// SpreadNone adds no constraint: only the user's own affinity and constraints apply.
	SpreadNone SpreadPolicy = "None"
)

// ProbePolicy says whether default probes are added.
//
// +kubebuilder:validation:Enum=Default;None
type ProbePolicy string

const (
	// ProbesDefault adds the probes that the user omits: readiness GET /ready, liveness and startup GET /health.
	ProbesDefault ProbePolicy = "Default"
	// ProbesNone adds no probe: only the user's own probes apply.
	ProbesNone ProbePolicy = "None"
)

// Availability is what keeps an agent available through disruptions.
type Availability struct {
	// spread says how pods are spread over hosts and zones. Preferred (default) adds soft topology spread constraints over
	// both. Required makes the constraint over hosts hard (maxSkew 1): a pod that would violate it stays Pending. None adds
	// no constraint. Your own pod anti-affinity or topologySpreadConstraints that select these pods replace the default for
	// their topology key. A change triggers a rollout.
	// +optional
	Spread SpreadPolicy `json:"spread,omitempty"`

	// probes says whether the probes that you omit are added. Default (default) probes the TCP port named http, or else the
	// first TCP port: readiness GET /ready; liveness GET /health; and, only with that liveness probe, startup GET /health
	// for up to 5 minutes. None adds no probe. A change triggers a rollout.
	// +optional
	Probes ProbePolicy `json:"probes,omitempty"`

	// drainSeconds is how long a terminating pod keeps serving, in seconds, while clients learn that it goes away. It is a
	// preStop sleep, and has no effect if the container has its own preStop hook. 0 turns it off; the maximum is 300.
	// Default 5. A change triggers a rollout.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=300
	DrainSeconds *int32 `json:"drainSeconds,omitempty"`

	// podDisruptionBudget limits how many pods a voluntary disruption, such as a node drain, may evict at a time. The
	// PodDisruptionBudget exists while the Agent has, or can be scaled to, two or more replicas. Default: one pod at a time.
	// A change does not restart pods.
	// +optional
	PodDisruptionBudget *DisruptionBudget `json:"podDisruptionBudget,omitempty"`
}

// DisruptionBudgetMode says whether a PodDisruptionBudget is created.
//
// +kubebuilder:validation:Enum=Auto;None
type DisruptionBudgetMode string

const (
	// DisruptionBudgetAuto creates a PodDisruptionBudget for an Agent of two or more replicas.
	DisruptionBudgetAuto DisruptionBudgetMode = "Auto"
	// DisruptionBudgetNone creates none: a drain may evict all pods at once, unless the user has a budget for them.
	DisruptionBudgetNone DisruptionBudgetMode = "None"
)

// DisruptionBudget limits what voluntary disruptions may evict at a time.
//
// +kubebuilder:validation:XValidation:rule="[has(self.minAvailable), has(self.maxUnavailable), has(self.mode) && self.mode == 'None'].filter(x, x).size() <= 1",message="podDisruptionBudget: minAvailable, maxUnavailable, and mode None exclude each other: set at most one of them"
type DisruptionBudget struct {
	// mode says whether a PodDisruptionBudget is created. Auto (default) creates one for an Agent of two or more replicas.
	// None creates none.
	// +optional
	Mode DisruptionBudgetMode `json:"mode,omitempty"`

	// minAvailable is how many pods must stay available: a count, or a percentage rounded up. A value as high as the
	// replica count blocks every drain. Default: maxUnavailable applies instead.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 : string(self).matches('^(0|[1-9][0-9]?|100)%$')",message="podDisruptionBudget.minAvailable must be a count of 0 or more, or a percentage up to 100%"
	MinAvailable *intstr.IntOrString `json:"minAvailable,omitempty"`

	// maxUnavailable is how many pods may be unavailable: a count, or a percentage rounded up. 0 blocks every drain.
	// Default 1.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 : string(self).matches('^(0|[1-9][0-9]?|100)%$')",message="podDisruptionBudget.maxUnavailable must be a count of 0 or more, or a percentage up to 100%"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}

// RuntimeSpec is the pod of an agent, and how many of it run. Fields that the user sets pass through unchanged; omitted
// fields get a default that suits production.
//
// +kubebuilder:validation:XValidation:rule="!has(self.sidecars) || self.sidecars.all(s, s.name != (has(self.container.name) && self.container.name.size() > 0 ? self.container.name : 'agent') && (!has(self.initContainers) || !self.initContainers.exists(i, i.name == s.name)))",message="sidecars: names must be unique among container (default name agent), initContainers, and sidecars: rename the sidecar"
// +kubebuilder:validation:XValidation:rule="!has(self.initContainers) || self.initContainers.all(i, i.name != (has(self.container.name) && self.container.name.size() > 0 ? self.container.name : 'agent'))",message="initContainers: names must be unique among container (default name agent), initContainers, and sidecars: rename the init container"
// +kubebuilder:validation:XValidation:rule="(has(self.progressDeadlineSeconds) ? self.progressDeadlineSeconds : 600) > (has(self.minReadySeconds) ? self.minReadySeconds : 0)",message="progressDeadlineSeconds (default 600) must be greater than minReadySeconds: raise progressDeadlineSeconds or lower minReadySeconds"
type RuntimeSpec struct {
	// replicas is the desired number of pods. High availability needs 3 or more. `kubectl scale agent`, an HPA, and KEDA
	// set it through the scale subresource. Default 1. A change does not restart pods.
	// +optional
	// +kubebuilder:default:=1
	// +kubebuilder:validation:Minimum=0
	Replicas *int32 `json:"replicas,omitempty"`

	// container is the agent's container, a core/v1 Container. Only image is required; name defaults to agent. The image
	// should serve /health (alive) and /ready (configured, can take requests) on its port. A change triggers a rollout.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.ports) || self.ports.all(p, has(p.name)) || !self.ports.exists(p, has(p.name) && p.name.matches('^port-[0-9]+$'))",message="container.ports: an unnamed port gets the name port-<position>, such as port-0: name every port, or give no port a name of that form"
	Container corev1.Container `json:"container"`

	// initContainers run to completion, one after the other, before the agent starts. Default: none. A change triggers a
	// rollout.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=10
	InitContainers []corev1.Container `json:"initContainers,omitempty"`

	// sidecars run beside the agent. They are native sidecars (restartPolicy Always is set for you): they start before the
	// init containers and stop after the agent. Default: none. A change triggers a rollout.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:XValidation:rule="self.all(c, !has(c.restartPolicy) || c.restartPolicy == 'Always')",message="sidecars: restartPolicy must be Always: omit it, or move the container to initContainers"
	Sidecars []corev1.Container `json:"sidecars,omitempty"`

	// podMetadata adds labels and annotations to the pods, as service meshes, secret injectors, and workload identity
	// require. A change triggers a rollout.
	// +optional
	PodMetadata *PodMetadata `json:"podMetadata,omitempty"`

	// service configures the Service, which exists while the container has ports and has one port for each of them. A
	// change does not restart pods.
	// +optional
	Service *ServiceSpec `json:"service,omitempty"`

	// volumes are the volumes that containers may mount. Default: none. A change triggers a rollout.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Volumes []Volume `json:"volumes,omitempty"`

	// imagePullSecrets name Secrets with registry credentials in the Agent's namespace. Default: none. A change triggers a
	// rollout.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []LocalReference `json:"imagePullSecrets,omitempty"`

	// serviceAccountName is the ServiceAccount that the pods run as. Default: the namespace's account named default. A
	// change triggers a rollout.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// automountServiceAccountToken says whether the ServiceAccount's token is mounted. Default false, because few agents
	// call the Kubernetes API. A change triggers a rollout.
	// +optional
	AutomountServiceAccountToken *bool `json:"automountServiceAccountToken,omitempty"`

	// securityContext is the pod's security context. Omitted fields default to the restricted Pod Security Standard:
	// runAsNonRoot true, seccompProfile RuntimeDefault. A change triggers a rollout.
	// +optional
	SecurityContext *corev1.PodSecurityContext `json:"securityContext,omitempty"`

	// nodeSelector lists the labels that a node must have. Default: any node. A change triggers a rollout.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// tolerations are the taints that the pods tolerate. Default: pods leave a node that is not ready or unreachable after
	// 60 s; your own toleration of those taints replaces that. A change triggers a rollout.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// affinity is the pods' node affinity, pod affinity, and pod anti-affinity. The pods carry the label flokoa.ai/agent
	// with the Agent's name for selectors. Default: none. A change triggers a rollout.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// topologySpreadConstraints are your own spread constraints. availability.spread describes the default ones. A change
	// triggers a rollout.
	// +optional
	// +listType=map
	// +listMapKey=topologyKey
	// +listMapKey=whenUnsatisfiable
	// +kubebuilder:validation:MaxItems=16
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`

	// priorityClassName is the PriorityClass of the pods. Default: the cluster's default. A change triggers a rollout.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// runtimeClassName is the RuntimeClass of the pods. Default: the node's default runtime. A change triggers a rollout.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	RuntimeClassName *string `json:"runtimeClassName,omitempty"`

	// schedulerName is the scheduler of the pods. Default default-scheduler. A change triggers a rollout.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SchedulerName string `json:"schedulerName,omitempty"`

	// dnsPolicy is the pods' DNS policy: ClusterFirst (default), ClusterFirstWithHostNet, Default, or None. A change
	// triggers a rollout.
	// +optional
	// +kubebuilder:validation:Enum=ClusterFirst;ClusterFirstWithHostNet;Default;None
	DNSPolicy corev1.DNSPolicy `json:"dnsPolicy,omitempty"`

	// dnsConfig is merged with the settings that dnsPolicy generates. dnsPolicy None requires it. A change triggers a
	// rollout.
	// +optional
	DNSConfig *corev1.PodDNSConfig `json:"dnsConfig,omitempty"`

	// hostAliases are entries for the pods' /etc/hosts. Default: none. A change triggers a rollout.
	// +optional
	// +listType=map
	// +listMapKey=ip
	// +kubebuilder:validation:MaxItems=64
	HostAliases []corev1.HostAlias `json:"hostAliases,omitempty"`

	// terminationGracePeriodSeconds is how long a pod may take to exit, in seconds, the drain included. Default:
	// availability.drainSeconds plus 30. The maximum is 3600: a pod that ignores SIGTERM holds up a node drain, and its quota, for as
	// long. A change triggers a rollout.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`

	// strategy is how a rollout replaces pods. Default: one extra pod, and never fewer available pods than desired, at
	// every replica count. A change does not restart pods.
	// +optional
	Strategy *RolloutStrategy `json:"strategy,omitempty"`

	// minReadySeconds is how long a new pod must be ready before it counts as available, in seconds. Default 0. A change
	// does not restart pods.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinReadySeconds *int32 `json:"minReadySeconds,omitempty"`

	// progressDeadlineSeconds is how long a rollout may make no progress before it counts as failed, in seconds. Default
	// 600. A change does not restart pods.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`

	// revisionHistoryLimit is how many old ReplicaSets are kept, 0 to 10. Default 3. A change does not restart pods.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	RevisionHistoryLimit *int32 `json:"revisionHistoryLimit,omitempty"`
}

// PodMetadata is metadata for the pods of an agent.
type PodMetadata struct {
	// labels are added to the pods. Keys that the operator sets are reserved: flokoa.ai/*, pod-template-hash, and the name,
	// instance, component, managed-by, and part-of of app.kubernetes.io/.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('flokoa.ai/') && !(k in ['pod-template-hash', 'app.kubernetes.io/name', 'app.kubernetes.io/instance', 'app.kubernetes.io/component', 'app.kubernetes.io/managed-by', 'app.kubernetes.io/part-of']))",message="podMetadata.labels: the operator sets flokoa.ai/*, pod-template-hash, and the name, instance, component, managed-by, and part-of of app.kubernetes.io/: use another key"
	Labels map[string]string `json:"labels,omitempty"`

	// annotations are added to the pods. Keys under flokoa.ai/ are reserved.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('flokoa.ai/'))",message="podMetadata.annotations: the prefix flokoa.ai/ is reserved: use another prefix"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ServiceType says which addresses an agent's Service has.
//
// +kubebuilder:validation:Enum=ClusterIP;Headless
type ServiceType string

const (
	// ServiceClusterIP gives the Service one virtual IP that balances over the ready pods.
	ServiceClusterIP ServiceType = "ClusterIP"
	// ServiceHeadless makes the Service's name resolve to the IPs of the ready pods.
	ServiceHeadless ServiceType = "Headless"
)

// ServiceSpec is how an agent is reached inside the cluster.
type ServiceSpec struct {
	// type is ClusterIP (default), one virtual IP that balances over the ready pods, or Headless, DNS records of the pods
	// themselves. A change deletes and re-creates the Service, which then has another IP.
	// +optional
	Type ServiceType `json:"type,omitempty"`

	// appProtocol is the application protocol of the TCP ports, such as http, kubernetes.io/h2c, or kubernetes.io/ws.
	// Default: unset.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	AppProtocol string `json:"appProtocol,omitempty"`

	// annotations are added to the Service.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('flokoa.ai/'))",message="service.annotations: the prefix flokoa.ai/ is reserved: use another prefix"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// RolloutStrategy is how a rollout replaces pods.
//
// +kubebuilder:validation:XValidation:rule="!has(self.maxSurge) || !(self.maxSurge == 0 || self.maxSurge == '0%') || has(self.maxUnavailable) && !(self.maxUnavailable == 0 || self.maxUnavailable == '0%')",message="strategy.maxSurge and strategy.maxUnavailable (default 0) must not both be 0, because the rollout could not progress: set maxSurge to 1 or more"
type RolloutStrategy struct {
	// maxSurge is how many pods may run beyond the desired count during a rollout: a count, or a percentage rounded up.
	// Default 1.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 : string(self).matches('^(0|[1-9][0-9]{0,2})%$')",message="strategy.maxSurge must be a count of 0 or more, or a percentage such as 25%"
	MaxSurge *intstr.IntOrString `json:"maxSurge,omitempty"`

	// maxUnavailable is how many of the desired pods may be unavailable during a rollout: a count, or a percentage rounded
	// down. Default 0: a new pod is available before an old one terminates.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 : string(self).matches('^(0|[1-9][0-9]?|100)%$')",message="strategy.maxUnavailable must be a count of 0 or more, or a percentage up to 100%"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}

// LocalReference names an object in the Agent's namespace.
type LocalReference struct {
	// name is the name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// Volume is storage that containers may mount, from one of a closed set of sources. Its JSON is that of a core/v1 Volume.
//
// +kubebuilder:validation:XValidation:rule="[has(self.configMap), has(self.secret), has(self.projected), has(self.emptyDir), has(self.downwardAPI), has(self.persistentVolumeClaim), has(self.ephemeral), has(self.image), has(self.csi)].filter(s, s).size() == 1",message="volumes: each volume needs exactly one source: set one of configMap, secret, projected, emptyDir, downwardAPI, persistentVolumeClaim, ephemeral, image, or csi"
type Volume struct {
	// name is the name that volumeMounts refer to.
	// +required
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// configMap provides the keys of a ConfigMap as files.
	// +optional
	ConfigMap *corev1.ConfigMapVolumeSource `json:"configMap,omitempty"`
	// secret provides the keys of a Secret as files.
	// +optional
	Secret *corev1.SecretVolumeSource `json:"secret,omitempty"`
	// projected combines several sources in one directory.
	// +optional
	Projected *corev1.ProjectedVolumeSource `json:"projected,omitempty"`
	// emptyDir is an empty directory with the lifetime of the pod.
	// +optional
	EmptyDir *corev1.EmptyDirVolumeSource `json:"emptyDir,omitempty"`
	// downwardAPI provides fields of the pod as files.
	// +optional
	DownwardAPI *corev1.DownwardAPIVolumeSource `json:"downwardAPI,omitempty"`
	// persistentVolumeClaim is a claim in the Agent's namespace. All replicas mount the same claim.
	// +optional
	PersistentVolumeClaim *corev1.PersistentVolumeClaimVolumeSource `json:"persistentVolumeClaim,omitempty"`
	// ephemeral creates a PersistentVolumeClaim for each pod. The claim is deleted with the pod.
	// +optional
	Ephemeral *corev1.EphemeralVolumeSource `json:"ephemeral,omitempty"`
	// image provides the files of an OCI image, read-only.
	// +optional
	Image *corev1.ImageVolumeSource `json:"image,omitempty"`
	// csi is an ephemeral volume that a CSI driver creates for each pod.
	// +optional
	CSI *CSIVolumeSource `json:"csi,omitempty"`
}

// CSIVolumeSource is an ephemeral volume of a CSI driver. It is the core/v1 source without nodePublishSecretRef, which
// would be one more way to give an agent a Secret.
type CSIVolumeSource struct {
	// driver is the name of the CSI driver.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Driver string `json:"driver"`
	// readOnly says whether the volume is read-only. Default false.
	// +optional
	ReadOnly *bool `json:"readOnly,omitempty"`
	// fsType is the file system to mount. Default: the driver's choice.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	FSType *string `json:"fsType,omitempty"`
	// volumeAttributes are settings for the driver.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	VolumeAttributes map[string]string `json:"volumeAttributes,omitempty"`
}

// AgentStatus is the observed state of an agent. The operator writes it whole, observedGeneration included.
type AgentStatus struct {
	// conditions are Available, Ready, HighlyAvailable, ModelResolved, ConfigOutdated, Reconciling, and Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status describes; -1 before the first reconcile.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// replicas is the number of pods that exist, old and new.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Replicas int32 `json:"replicas"`
	// updatedReplicas is the number of pods with the current pod template.
	// +optional
	// +kubebuilder:validation:Minimum=0
	UpdatedReplicas int32 `json:"updatedReplicas"`
	// readyReplicas is the number of pods that are ready.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ReadyReplicas int32 `json:"readyReplicas"`
	// availableReplicas is the number of pods that have been ready for minReadySeconds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	AvailableReplicas int32 `json:"availableReplicas"`

	// selector is the pods' label selector as a string, for the scale subresource.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Selector string `json:"selector,omitempty"`

	// url is the agent's URL inside the cluster: the TCP port named http, or else the first TCP port. Empty without one.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	URL string `json:"url,omitempty"`

	// image is the image of the agent container in the current pod template.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image,omitempty"`

	// placement is where the running pods are.
	// +optional
	Placement *Placement `json:"placement,omitempty"`
}

// Placement is where the running pods of an agent are.
type Placement struct {
	// nodes is the number of distinct nodes.
	// +required
	// +kubebuilder:validation:Minimum=0
	Nodes int32 `json:"nodes"`
	// zones is the number of distinct zones (label topology.kubernetes.io/zone).
	// +required
	// +kubebuilder:validation:Minimum=0
	Zones int32 `json:"zones"`
}
