package app

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agent"
)

// CacheOptions limit the caches to some namespaces (none means all), to labeled children and pods, and to the fields that the operator
// reads. Of an object that an Agent does not control, or that is large, they keep metadata, because anybody may create many such
// objects. A PodDisruptionBudget that is not an Agent's also keeps what decides evictions. Of managed fields, a Deployment and a Service keep
// whether others own something that the operator replaces. A Model keeps its spec. A pod keeps where it runs and why it is not ready. A node keeps what
// decides which pods it accepts, and a Namespace its environment.
func CacheOptions(namespaces []string) cache.Options {
	onlyRead := ptr.To(true) // reads return the cached object, not a copy: writes use apply configurations of their own
	children := withLabel(v1alpha1.LabelAgent)
	return cache.Options{
		DefaultNamespaces:           perNamespace(namespaces),
		DefaultTransform:            cache.TransformStripManagedFields(),
		NewInformer:                 newInformer,
		ReaderFailOnMissingInformer: true, // reading a kind that is not listed here is a bug, not a new watch
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.Agent{}:                        {Transform: keepAgent},
			&v1alpha1.Model{}:                        {Transform: stripModel, UnsafeDisableDeepCopy: onlyRead},
			&appsv1.Deployment{}:                     {Label: children, Transform: stripDeployment},
			&corev1.Service{}:                        {Label: children, Transform: stripService},
			&corev1.ConfigMap{}:                      {Label: children, Transform: stripConfigMap},
			&policyv1.PodDisruptionBudget{}:          {Transform: stripBudget}, // those of others too: they may select an Agent's pods
			&autoscalingv2.HorizontalPodAutoscaler{}: {Label: children, Transform: stripAutoscaler},
			&corev1.Node{}:                           {Transform: stripNode, UnsafeDisableDeepCopy: onlyRead},
			&corev1.Pod{}:                            {Label: children, Transform: compressPod},
			&corev1.Namespace{}:                      {Label: withLabel(v1alpha1.LabelEnvironment), Transform: stripNamespace, UnsafeDisableDeepCopy: onlyRead},
			&coordinationv1.Lease{}:                  {Field: namespaceLeases, Transform: stripLease, UnsafeDisableDeepCopy: onlyRead},
		},
	}
}

func perNamespace(namespaces []string) map[string]cache.Config {
	if len(namespaces) == 0 {
		return nil
	}
	configs := map[string]cache.Config{}
	for _, namespace := range namespaces {
		configs[namespace] = cache.Config{}
	}
	return configs
}

// withLabel selects the objects that have a label, which must be valid.
func withLabel(name string) labels.Selector {
	requirement, err := labels.NewRequirement(name, selection.Exists, nil)
	if err != nil {
		panic(err) // the label is a constant
	}
	return labels.NewSelector().Add(*requirement)
}

// keepAgent keeps an Agent that is too large only in part.
func keepAgent(object any) (any, error) {
	if kept, ok := object.(*v1alpha1.Agent); ok {
		return agent.KeepAgent(kept)
	}
	return object, nil
}

// stripModel keeps the spec of a Model: annotations may be 256 KiB, and kubectl apply repeats the spec in one.
func stripModel(object any) (any, error) {
	model, ok := object.(*v1alpha1.Model)
	if !ok {
		return object, nil
	}
	return &v1alpha1.Model{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: model.Namespace, Name: model.Name, UID: model.UID, ResourceVersion: model.ResourceVersion, Generation: model.Generation,
		},
		Spec: model.Spec,
	}, nil
}

// stripDeployment keeps who else owns something in the pod template.
func stripDeployment(object any) (any, error) {
	if deployment, ok := object.(*appsv1.Deployment); ok {
		return agent.KeepDeployment(deployment)
	}
	return object, nil
}

// stripService keeps which ports other field managers own.
func stripService(object any) (any, error) {
	if service, ok := object.(*corev1.Service); ok {
		agent.StripService(service)
		return agent.KeepChild(service)
	}
	return object, nil
}

func stripConfigMap(object any) (any, error) {
	if configMap, ok := object.(*corev1.ConfigMap); ok {
		configMap.ManagedFields = nil
		return agent.KeepChild(configMap)
	}
	return object, nil
}

// namespaceLeases selects the Leases that decide which operator reconciles a namespace. Each namespace has one of that name.
var namespaceLeases = fields.OneTermEqualSelector("metadata.name", agent.NamespaceLease)

// stripLease keeps the holder of a Lease and what a renewal changes, because anyone who may write the Lease decides its size.
func stripLease(object any) (any, error) {
	lease, ok := object.(*coordinationv1.Lease)
	if !ok {
		return object, nil
	}
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: lease.Namespace, Name: lease.Name, UID: lease.UID, ResourceVersion: lease.ResourceVersion},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity:       ptr.To(cut(ptr.Deref(lease.Spec.HolderIdentity, ""))),
			LeaseDurationSeconds: lease.Spec.LeaseDurationSeconds, AcquireTime: lease.Spec.AcquireTime, RenewTime: lease.Spec.RenewTime,
		},
	}, nil
}

// stripAutoscaler drops the status that other controllers write: nothing here reads it.
func stripAutoscaler(object any) (any, error) {
	if autoscaler, ok := object.(*autoscalingv2.HorizontalPodAutoscaler); ok {
		autoscaler.ManagedFields, autoscaler.Status = nil, autoscalingv2.HorizontalPodAutoscalerStatus{}
		return agent.KeepChild(autoscaler)
	}
	return object, nil
}

// stripBudget drops the status, as stripAutoscaler does.
func stripBudget(object any) (any, error) {
	if budget, ok := object.(*policyv1.PodDisruptionBudget); ok {
		budget.ManagedFields, budget.Status = nil, policyv1.PodDisruptionBudgetStatus{}
		return agent.KeepBudget(budget)
	}
	return object, nil
}

// stripNode keeps what decides which pods the scheduler can place on a node.
func stripNode(object any) (any, error) {
	node, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	stripped := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion, Labels: node.Labels},
		Spec:       corev1.NodeSpec{Unschedulable: node.Spec.Unschedulable, Taints: node.Spec.Taints},
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			stripped.Status.Conditions = []corev1.NodeCondition{{Type: condition.Type, Status: condition.Status}}
		}
	}
	return stripped, nil
}

// stripNamespace keeps the environment of a Namespace.
func stripNamespace(object any) (any, error) {
	namespace, ok := object.(*corev1.Namespace)
	if !ok {
		return object, nil
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace.Name, UID: namespace.UID, ResourceVersion: namespace.ResourceVersion,
		Labels: map[string]string{v1alpha1.LabelEnvironment: namespace.Labels[v1alpha1.LabelEnvironment]},
	}}, nil
}

// compressPod keeps what placement and diagnosis read.
func compressPod(object any) (any, error) {
	if pod, ok := object.(*corev1.Pod); ok {
		return agent.CompressPod(pod, stripPodStatus(&pod.Status)), nil
	}
	return object, nil
}

// stripPodStatus keeps the conditions that the operator reads, why the pod failed, and, if it is not ready, the state of its
// containers. The rest changes with every restart and probe, and would enqueue the Agent.
func stripPodStatus(status *corev1.PodStatus) corev1.PodStatus {
	stripped, ready := corev1.PodStatus{Phase: status.Phase}, false
	if status.Phase == corev1.PodFailed { // why a node rejected or evicted it
		stripped.Reason, stripped.Message = status.Reason, cut(status.Message)
	}
	for _, condition := range status.Conditions {
		switch {
		case condition.Type == corev1.PodReady:
			ready = condition.Status == corev1.ConditionTrue
			stripped.Conditions = append(stripped.Conditions, corev1.PodCondition{Type: condition.Type, Status: condition.Status})
		case condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse:
			stripped.Conditions = append(stripped.Conditions, corev1.PodCondition{
				Type: condition.Type, Status: condition.Status, Reason: condition.Reason, Message: cut(condition.Message)})
		}
	}
	if !ready {
		stripped.InitContainerStatuses = stripContainers(status.InitContainerStatuses)
		stripped.ContainerStatuses = stripContainers(status.ContainerStatuses)
	}
	return stripped
}

// maxContainers bounds the containers of a pod whose states are kept. An Agent has at most 10 of each kind, and webhooks add a few.
const maxContainers = 32

func stripContainers(statuses []corev1.ContainerStatus) []corev1.ContainerStatus {
	statuses = statuses[:min(len(statuses), maxContainers)]
	stripped := make([]corev1.ContainerStatus, 0, len(statuses))
	for _, status := range statuses {
		stripped = append(stripped, corev1.ContainerStatus{
			Name:                 status.Name,
			Ready:                status.Ready,
			Started:              status.Started,
			State:                stripState(status.State),
			LastTerminationState: stripState(status.LastTerminationState),
		})
	}
	return stripped
}

func stripState(state corev1.ContainerState) corev1.ContainerState {
	stripped := corev1.ContainerState{Running: state.Running}
	if waiting := state.Waiting; waiting != nil {
		stripped.Waiting = &corev1.ContainerStateWaiting{Reason: waiting.Reason, Message: cut(waiting.Message)}
		if waiting.Reason == "CrashLoopBackOff" {
			stripped.Waiting.Message = "" // the backoff changes every time, and the last termination says more
		}
	}
	if end := state.Terminated; end != nil {
		stripped.Terminated = &corev1.ContainerStateTerminated{ExitCode: end.ExitCode, Reason: end.Reason, Message: cut(end.Message)}
	}
	return stripped
}

// maxMessage bounds a message in the cache, in bytes. A condition has no room for more.
const maxMessage = 1024

// cut returns a message of at most maxMessage bytes. It copies a longer one: a part would keep all of it in memory.
func cut(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.Clone(strings.ToValidUTF8(message[:maxMessage], ""))
}
