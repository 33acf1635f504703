package v1alpha1

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Agent is an AI agent that runs on Kubernetes and stays up: a container image, described once, that the operator turns
// into a Deployment, a Service and what high availability needs around them, all of the same name. `kubectl get agents -w`
// shows how it is doing.
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
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$')",message="metadata.name names a Service: use at most 63 lower-case letters, digits and '-', starting with a letter and ending with a letter or digit",fieldPath=".metadata.name"
type Agent struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// The agent as it should run.
	// +required
	Spec AgentSpec `json:"spec"`

	// The agent as it does run, written by the operator.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1,"replicas":0,"updatedReplicas":0,"readyReplicas":0,"availableReplicas":0,"conditions":{{"type":"Ready","status":"Unknown","reason":"Pending","message":"the operator has not looked at this Agent yet","lastTransitionTime":"1970-01-01T00:00:00Z"}}}
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

// AgentSpec is what a team asks for.
//
// +kubebuilder:validation:XValidation:rule="has(self.runtime.spec.container.lifecycle) && has(self.runtime.spec.container.lifecycle.preStop) || !has(self.runtime.spec.terminationGracePeriodSeconds) || self.?availability.drainSeconds.orValue(5) == 0 || self.?availability.drainSeconds.orValue(5) < self.runtime.spec.terminationGracePeriodSeconds",message="runtime.spec.terminationGracePeriodSeconds must be greater than availability.drainSeconds (5 when left out): the drain runs inside the grace period; raise the first or lower the second"
// +kubebuilder:validation:XValidation:rule="!has(self.autoscaling) || !has(self.runtime.spec.replicas) || self.runtime.spec.replicas > 0",message="runtime.spec.replicas cannot be 0 with autoscaling: leave replicas out and let the autoscaler count, or stop the agent with suspend: true"
// +kubebuilder:validation:XValidation:rule="!has(self.card) || !has(self.runtime.spec.volumes) || self.runtime.spec.volumes.all(v, v.name != 'flokoa-agent-card')",message="runtime.spec.volumes: the name flokoa-agent-card belongs to the volume of card: call yours something else, or leave card out"
// +kubebuilder:validation:XValidation:rule="!has(self.card) || !has(self.runtime.spec.container.volumeMounts) || self.runtime.spec.container.volumeMounts.all(m, m.mountPath != '/etc/flokoa/agent-card.json')",message="runtime.spec.container.volumeMounts: card is mounted at /etc/flokoa/agent-card.json: mount yours elsewhere, or leave card out"
type AgentSpec struct {
	// The agent framework inside the image, for people and for selecting: one of pydantic-ai, langchain, langgraph,
	// google-adk, crewai, marvin, autogen, a2a, or a name of your own. A column and a label; changing it restarts nothing.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Framework string `json:"framework,omitempty"`

	// The agent's A2A agent card: who it is and what it can do. The container finds it as JSON in the file
	// /etc/flokoa/agent-card.json, to serve with its own address and protocol added. A change rolls the pods.
	// +optional
	Card *Card `json:"card,omitempty"`

	// The Model this agent talks to. Recorded and shown in a column; nothing in the pod depends on it yet, and the
	// condition ModelResolved says so. A missing Model never blocks a Deployment.
	// +optional
	Model *ModelReference `json:"model,omitempty"`

	// How the agent runs.
	// +required
	Runtime Runtime `json:"runtime"`

	// What keeps the agent available through disruptions. Every part has a default that is good for production.
	// +optional
	Availability *Availability `json:"availability,omitempty"`

	// Lets the number of replicas follow the load: makes a HorizontalPodAutoscaler that scales this Agent. Leave
	// runtime.spec.replicas out of your manifest then: the autoscaler writes it. Without this section, an autoscaler of
	// your own may scale the Agent.
	// +optional
	Autoscaling *Autoscaling `json:"autoscaling,omitempty"`

	// Stops the agent: true runs no replica and keeps everything else, runtime.spec.replicas included. Default false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// Card is what an agent says about itself, in the terms of an A2A agent card.
type Card struct {
	// The name people read; the Agent's own when left out.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Name string `json:"name,omitempty"`

	// What the agent is for.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Description string `json:"description"`

	// The version of the agent, as its clients know it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version"`

	// The media types every skill takes unless it says otherwise. Default text/plain.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	DefaultInputModes []string `json:"defaultInputModes,omitempty"`

	// The media types every skill gives unless it says otherwise. Default text/plain.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	DefaultOutputModes []string `json:"defaultOutputModes,omitempty"`

	// What of the protocol the agent offers beyond answering.
	// +optional
	Capabilities *CardCapabilities `json:"capabilities,omitempty"`

	// What the agent can do.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=64
	Skills []CardSkill `json:"skills,omitempty"`
}

// CardCapabilities are optional parts of the A2A protocol.
type CardCapabilities struct {
	// Whether answers can be streamed.
	// +optional
	Streaming *bool `json:"streaming,omitempty"`
	// Whether the agent calls back with updates of a task.
	// +optional
	PushNotifications *bool `json:"pushNotifications,omitempty"`
	// Whether the agent tells the history of a task's states.
	// +optional
	StateTransitionHistory *bool `json:"stateTransitionHistory,omitempty"`
}

// CardSkill is one thing an agent can do.
type CardSkill struct {
	// What clients call the skill by; unique in the card.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id"`
	// The name people read.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Name string `json:"name"`
	// What the skill does.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Description string `json:"description"`
	// Words to find the skill by.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=128
	Tags []string `json:"tags,omitempty"`
	// Requests the skill is made for.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=1024
	Examples []string `json:"examples,omitempty"`
	// The media types the skill takes; those of the card when left out.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=128
	InputModes []string `json:"inputModes,omitempty"`
	// The media types the skill gives; those of the card when left out.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=128
	OutputModes []string `json:"outputModes,omitempty"`
}

// Autoscaling lets the number of replicas follow the load, in the terms of an autoscaling/v2 HorizontalPodAutoscaler.
//
// +kubebuilder:validation:XValidation:rule="(has(self.minReplicas) ? self.minReplicas : 1) <= self.maxReplicas",message="autoscaling.minReplicas (1 when left out) must not be greater than autoscaling.maxReplicas: lower the first or raise the second"
type Autoscaling struct {
	// The least number of replicas; three or more for high availability. Default 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	MinReplicas *int32 `json:"minReplicas,omitempty"`

	// The greatest number of replicas.
	// +required
	// +kubebuilder:validation:Minimum=1
	MaxReplicas int32 `json:"maxReplicas"`

	// What the load is measured by, autoscaling/v2 MetricSpecs; 80% of the requested CPU when left out.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Metrics []autoscalingv2.MetricSpec `json:"metrics,omitempty"`

	// How fast the count may follow, up and down.
	// +optional
	Behavior *autoscalingv2.HorizontalPodAutoscalerBehavior `json:"behavior,omitempty"`
}

// ModelReference names a Model.
type ModelReference struct {
	// The Model's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Name string `json:"name"`

	// The Model's namespace; the Agent's own when left out.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Namespace string `json:"namespace,omitempty"`
}

// RuntimeType is a way to run an agent.
//
// +kubebuilder:validation:Enum=standard
type RuntimeType string

// RuntimeStandard runs the agent as a Deployment behind a Service.
const RuntimeStandard RuntimeType = "standard"

// Runtime is how an agent runs: a type, and the settings of that type.
type Runtime struct {
	// The way to run: standard is a Deployment behind a Service.
	// +optional
	// +kubebuilder:default:=standard
	Type RuntimeType `json:"type,omitempty"`

	// The settings of the runtime.
	// +required
	Spec RuntimeSpec `json:"spec"`
}

// SpreadPolicy is how pods are spread over hosts and zones.
//
// +kubebuilder:validation:Enum=Preferred;Required;None
type SpreadPolicy string

const (
	// SpreadPreferred adds soft constraints over hosts and zones: a strong wish that never blocks scheduling.
	SpreadPreferred SpreadPolicy = "Preferred"
	// SpreadRequired makes the constraint over hosts hard: a pod that could only go where it would make one host carry two
	// pods more than another waits. The constraint over zones stays soft.
	SpreadRequired SpreadPolicy = "Required"
	// SpreadNone adds nothing: only your own affinity and constraints count.
	SpreadNone SpreadPolicy = "None"
)

// ProbePolicy is whether default probes are added.
//
// +kubebuilder:validation:Enum=Default;None
type ProbePolicy string

const (
	// ProbesDefault adds the probes you left out: readiness GET /ready, liveness and startup GET /health.
	ProbesDefault ProbePolicy = "Default"
	// ProbesNone adds no probe: only your own count.
	ProbesNone ProbePolicy = "None"
)

// Availability is what keeps an agent available through disruptions.
type Availability struct {
	// How pods are spread over hosts and zones. Preferred (the default): soft constraints over both. Required: the one
	// over hosts is hard, so no host carries two pods more than another, and a pod that cannot keep to that waits. None: no constraint is added. Where your
	// own pod anti-affinity or topologySpreadConstraints already spread these pods over a topology, yours stand.
	// +optional
	Spread SpreadPolicy `json:"spread,omitempty"`

	// Whether probes you left out are added when the container has a TCP port (named http, else the first): readiness
	// GET /ready, liveness GET /health, and, with that liveness, startup GET /health for up to 5 minutes. Default or None.
	// +optional
	Probes ProbePolicy `json:"probes,omitempty"`

	// How long a pod that is about to stop goes on serving, in seconds, so that every client has learnt that it goes:
	// a preStop sleep, unless the container has a preStop of its own. 0 to 300, default 5; 0 for none.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=300
	DrainSeconds *int32 `json:"drainSeconds,omitempty"`

	// How many pods a voluntary disruption, such as the drain of a node, may take away at a time: a PodDisruptionBudget,
	// made when the Agent has or can be scaled to two replicas or more. One at a time when left out.
	// +optional
	PodDisruptionBudget *DisruptionBudget `json:"podDisruptionBudget,omitempty"`
}

// DisruptionBudgetMode is whether a PodDisruptionBudget is made.
//
// +kubebuilder:validation:Enum=Auto;None
type DisruptionBudgetMode string

const (
	// DisruptionBudgetAuto makes a PodDisruptionBudget for an Agent of two replicas or more.
	DisruptionBudgetAuto DisruptionBudgetMode = "Auto"
	// DisruptionBudgetNone makes none: a drain may take all pods at once, unless a budget of your own is there.
	DisruptionBudgetNone DisruptionBudgetMode = "None"
)

// DisruptionBudget bounds what voluntary disruptions may take away at a time.
//
// +kubebuilder:validation:XValidation:rule="[has(self.minAvailable), has(self.maxUnavailable), has(self.mode) && self.mode == 'None'].filter(x, x).size() <= 1",message="podDisruptionBudget takes one of minAvailable, maxUnavailable and mode None: leave the others out"
type DisruptionBudget struct {
	// Auto (the default) makes a PodDisruptionBudget for an Agent of two replicas or more; None makes none.
	// +optional
	Mode DisruptionBudgetMode `json:"mode,omitempty"`

	// How many pods must stay: a count, or a percentage rounded up. As many as there are replicas blocks every drain.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 : string(self).matches('^(0|[1-9][0-9]?|100)%$')",message="podDisruptionBudget.minAvailable must be a count of 0 or more, or a percentage up to 100%"
	MinAvailable *intstr.IntOrString `json:"minAvailable,omitempty"`

	// How many pods may be missing: a count, or a percentage rounded up. Default 1. 0 blocks every drain.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 : string(self).matches('^(0|[1-9][0-9]?|100)%$')",message="podDisruptionBudget.maxUnavailable must be a count of 0 or more, or a percentage up to 100%"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}

// RuntimeSpec is the pod behind an agent and how many of it run. What you set passes through untouched; what you leave
// out gets a default that is good for production.
//
// +kubebuilder:validation:XValidation:rule="!has(self.sidecars) || self.sidecars.all(s, s.name != (has(self.container.name) && self.container.name.size() > 0 ? self.container.name : 'agent') && (!has(self.initContainers) || !self.initContainers.exists(i, i.name == s.name)))",message="sidecars: container (agent when unnamed), initContainers and sidecars share one set of names: give each a name of its own"
// +kubebuilder:validation:XValidation:rule="!has(self.initContainers) || self.initContainers.all(i, i.name != (has(self.container.name) && self.container.name.size() > 0 ? self.container.name : 'agent'))",message="initContainers: container (agent when unnamed), initContainers and sidecars share one set of names: give each a name of its own"
// +kubebuilder:validation:XValidation:rule="(has(self.progressDeadlineSeconds) ? self.progressDeadlineSeconds : 600) > (has(self.minReadySeconds) ? self.minReadySeconds : 0)",message="progressDeadlineSeconds (600 when left out) must be greater than minReadySeconds: raise the first or lower the second"
type RuntimeSpec struct {
	// The number of pods wanted; three or more for high availability. `kubectl scale agent`, an HPA or KEDA write it
	// through the scale subresource. Scaling restarts no pod. Default 1.
	// +optional
	// +kubebuilder:default:=1
	// +kubebuilder:validation:Minimum=0
	Replicas *int32 `json:"replicas,omitempty"`

	// The agent's container, a core/v1 Container; only image is required. The name is agent when left out. It should
	// serve /health (alive) and /ready (configuration loaded, can take requests) on its port.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.ports) || self.ports.all(p, !has(p.name) || self.ports.exists_one(q, has(q.name) && q.name == p.name))",message="container.ports: two ports have the same name: give each a name of its own"
	// +kubebuilder:validation:XValidation:rule="!has(self.ports) || self.ports.all(p, has(p.name)) || !self.ports.exists(p, has(p.name) && p.name.matches('^(tcp|udp|sctp)-[0-9]+$'))",message="container.ports: a port without a name is called <protocol>-<port>, such as tcp-8080: name every port, or none in that form"
	Container corev1.Container `json:"container"`

	// Containers that run one after the other before the agent starts.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=10
	InitContainers []corev1.Container `json:"initContainers,omitempty"`

	// Containers that run beside the agent, started before it and before the init containers, and stopped after it:
	// native sidecars (restartPolicy Always is set for you).
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:XValidation:rule="self.all(c, !has(c.restartPolicy) || c.restartPolicy == 'Always')",message="sidecars: restartPolicy is always Always; leave it out, or move the container to initContainers"
	Sidecars []corev1.Container `json:"sidecars,omitempty"`

	// Labels and annotations for the pods: meshes, secret injectors and workload identity ask for them.
	// +optional
	PodMetadata *PodMetadata `json:"podMetadata,omitempty"`

	// How the agent is reached inside the cluster. A Service with one port for each container port is made whenever the
	// container has ports.
	// +optional
	Service *ServiceSpec `json:"service,omitempty"`

	// Volumes that containers may mount.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Volumes []Volume `json:"volumes,omitempty"`

	// Secrets of this namespace that hold registry credentials.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []LocalReference `json:"imagePullSecrets,omitempty"`

	// The ServiceAccount the pods run as; default when left out.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// Whether the ServiceAccount's token is mounted. Default false: an agent seldom has business with the API server.
	// +optional
	AutomountServiceAccountToken *bool `json:"automountServiceAccountToken,omitempty"`

	// Pod-level security settings. What you leave out makes the pod restricted: runAsNonRoot true, seccomp RuntimeDefault.
	// +optional
	SecurityContext *corev1.PodSecurityContext `json:"securityContext,omitempty"`

	// Labels a node must have.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// Taints the pods tolerate. Unless you say otherwise, pods leave a node that is not ready or unreachable after 60 s.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// Node affinity, pod affinity and anti-affinity. Pods carry the label flokoa.ai/agent: <name> to refer to.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// Spread constraints of your own; see availability.spread for the ones you get by default.
	// +optional
	// +listType=map
	// +listMapKey=topologyKey
	// +listMapKey=whenUnsatisfiable
	// +kubebuilder:validation:MaxItems=16
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`

	// The PriorityClass of the pods.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// The RuntimeClass of the pods.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	RuntimeClassName *string `json:"runtimeClassName,omitempty"`

	// The scheduler of the pods.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SchedulerName string `json:"schedulerName,omitempty"`

	// Where the pods resolve names: ClusterFirst (default), ClusterFirstWithHostNet, Default or None.
	// +optional
	// +kubebuilder:validation:Enum=ClusterFirst;ClusterFirstWithHostNet;Default;None
	DNSPolicy corev1.DNSPolicy `json:"dnsPolicy,omitempty"`

	// DNS settings merged with those of dnsPolicy; required with dnsPolicy None.
	// +optional
	DNSConfig *corev1.PodDNSConfig `json:"dnsConfig,omitempty"`

	// Entries for the pods' /etc/hosts.
	// +optional
	// +listType=map
	// +listMapKey=ip
	// +kubebuilder:validation:MaxItems=64
	HostAliases []corev1.HostAlias `json:"hostAliases,omitempty"`

	// How long a pod may take to stop, in seconds, drain included. Default 30 more than availability.drainSeconds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`

	// How a rollout replaces pods. Default: one extra pod, never one too few, at every replica count.
	// +optional
	Strategy *RolloutStrategy `json:"strategy,omitempty"`

	// How long a new pod must be ready before it counts as available, in seconds. Default 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinReadySeconds *int32 `json:"minReadySeconds,omitempty"`

	// How long a rollout may go without progress before it counts as failed, in seconds. Default 600.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`

	// How many old ReplicaSets are kept for `kubectl rollout undo`. 0 to 10, default 3.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	RevisionHistoryLimit *int32 `json:"revisionHistoryLimit,omitempty"`
}

// PodMetadata is metadata for the pods of an agent.
type PodMetadata struct {
	// Labels for the pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, k != 'pod-template-hash' && !k.startsWith('flokoa.ai/') && !k.matches('^([^/]+[.])?kubernetes[.]io/'))",message="podMetadata.labels: pod-template-hash and the prefixes flokoa.ai/, kubernetes.io/ and *.kubernetes.io/ are reserved; use a prefix of your own"
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations for the pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('flokoa.ai/') && !k.matches('^([^/]+[.])?kubernetes[.]io/'))",message="podMetadata.annotations: the prefixes flokoa.ai/, kubernetes.io/ and *.kubernetes.io/ are reserved; use a prefix of your own"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ServiceType is how an agent's Service hands out addresses.
//
// +kubebuilder:validation:Enum=ClusterIP;Headless
type ServiceType string

const (
	// ServiceClusterIP gives the Service one virtual address that balances over the ready pods.
	ServiceClusterIP ServiceType = "ClusterIP"
	// ServiceHeadless makes the Service's name resolve to the addresses of the ready pods.
	ServiceHeadless ServiceType = "Headless"
)

// ServiceSpec is how an agent is reached inside the cluster.
type ServiceSpec struct {
	// ClusterIP (the default) balances over the ready pods behind one address; Headless resolves to the pods
	// themselves. A change replaces the Service, which gets a new address.
	// +optional
	Type ServiceType `json:"type,omitempty"`

	// The application protocol of the TCP ports, such as http, kubernetes.io/h2c or kubernetes.io/ws.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	AppProtocol string `json:"appProtocol,omitempty"`

	// Annotations for the Service.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('flokoa.ai/'))",message="service.annotations: the prefix flokoa.ai/ is reserved; use a prefix of your own"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// RolloutStrategy is how a rollout replaces pods.
//
// +kubebuilder:validation:XValidation:rule="!has(self.maxSurge) || !(self.maxSurge == 0 || self.maxSurge == '0%') || has(self.maxUnavailable) && !(self.maxUnavailable == 0 || self.maxUnavailable == '0%')",message="maxSurge and maxUnavailable (0 when left out) cannot both be 0, a rollout could never take a step: set maxSurge to 1 or more"
type RolloutStrategy struct {
	// How many pods may run beyond the wanted number during a rollout: a count, or a percentage rounded up. Default 1.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 : string(self).matches('^(0|[1-9][0-9]{0,2})%$')",message="strategy.maxSurge must be a count of 0 or more, or a percentage such as 25%"
	MaxSurge *intstr.IntOrString `json:"maxSurge,omitempty"`

	// How many pods may be missing from the wanted number during a rollout: a count, or a percentage rounded down.
	// Default 0: a new pod is available before an old one goes.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 : string(self).matches('^(0|[1-9][0-9]?|100)%$')",message="strategy.maxUnavailable must be a count of 0 or more, or a percentage up to 100%"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}

// LocalReference names an object of the Agent's namespace.
type LocalReference struct {
	// The object's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// Volume is storage that containers may mount, from one of a closed set of sources. Its JSON is that of a core/v1 Volume.
//
// +kubebuilder:validation:XValidation:rule="[has(self.configMap), has(self.secret), has(self.projected), has(self.emptyDir), has(self.downwardAPI), has(self.persistentVolumeClaim), has(self.ephemeral), has(self.image), has(self.csi)].filter(s, s).size() == 1",message="volumes: give each volume exactly one source: configMap, secret, projected, emptyDir, downwardAPI, persistentVolumeClaim, ephemeral, image or csi"
type Volume struct {
	// What volumeMounts refer to.
	// +required
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// The keys of a ConfigMap, as files.
	// +optional
	ConfigMap *corev1.ConfigMapVolumeSource `json:"configMap,omitempty"`
	// The keys of a Secret, as files.
	// +optional
	Secret *corev1.SecretVolumeSource `json:"secret,omitempty"`
	// Several sources in one folder.
	// +optional
	Projected *corev1.ProjectedVolumeSource `json:"projected,omitempty"`
	// An empty folder that lives as long as the pod.
	// +optional
	EmptyDir *corev1.EmptyDirVolumeSource `json:"emptyDir,omitempty"`
	// Facts about the pod, as files.
	// +optional
	DownwardAPI *corev1.DownwardAPIVolumeSource `json:"downwardAPI,omitempty"`
	// A PersistentVolumeClaim of this namespace; every replica mounts the same one.
	// +optional
	PersistentVolumeClaim *corev1.PersistentVolumeClaimVolumeSource `json:"persistentVolumeClaim,omitempty"`
	// A PersistentVolumeClaim made for each pod, and removed with it.
	// +optional
	Ephemeral *corev1.EphemeralVolumeSource `json:"ephemeral,omitempty"`
	// The files of an OCI image, read-only.
	// +optional
	Image *corev1.ImageVolumeSource `json:"image,omitempty"`
	// Storage of a CSI driver, made for each pod.
	// +optional
	CSI *CSIVolumeSource `json:"csi,omitempty"`
}

// CSIVolumeSource is storage of a CSI driver, made for each pod. It is the core/v1 source without
// nodePublishSecretRef, which would be one more way to hand a Secret to an agent.
type CSIVolumeSource struct {
	// The driver's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Driver string `json:"driver"`
	// Whether the volume is read-only. Default false.
	// +optional
	ReadOnly *bool `json:"readOnly,omitempty"`
	// The file system to mount; the driver's choice when left out.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	FSType *string `json:"fsType,omitempty"`
	// Settings for the driver.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	VolumeAttributes map[string]string `json:"volumeAttributes,omitempty"`
}

// AgentStatus is how the agent is doing. The operator writes it whole, observedGeneration with it.
type AgentStatus struct {
	// The generation of the spec this status speaks of; -1 before the operator has looked.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Pods that exist, old and new.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Replicas int32 `json:"replicas"`
	// Pods of the current template.
	// +optional
	// +kubebuilder:validation:Minimum=0
	UpdatedReplicas int32 `json:"updatedReplicas"`
	// Pods whose readiness probe passes.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ReadyReplicas int32 `json:"readyReplicas"`
	// Pods that have been ready for minReadySeconds: the ones that count.
	// +optional
	// +kubebuilder:validation:Minimum=0
	AvailableReplicas int32 `json:"availableReplicas"`

	// The pods' label selector in text form, for the scale subresource.
	// +optional
	Selector string `json:"selector,omitempty"`

	// Where the agent is reached inside the cluster: the port named http, else the first. Empty without ports.
	// +optional
	URL string `json:"url,omitempty"`

	// The image that was last rolled out.
	// +optional
	Image string `json:"image,omitempty"`

	// Where the running pods are.
	// +optional
	Placement *Placement `json:"placement,omitempty"`

	// Available, Ready, HighlyAvailable, ModelResolved, Reconciling and Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Placement is where the running pods of an agent are.
type Placement struct {
	// The number of distinct nodes.
	// +kubebuilder:validation:Minimum=0
	Nodes int32 `json:"nodes"`
	// The number of distinct zones (label topology.kubernetes.io/zone).
	// +kubebuilder:validation:Minimum=0
	Zones int32 `json:"zones"`
}
