package agent

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// compressedPod holds what placement and diagnosis read of a pod. There are more pods than anything else, and their events are compared, so
// it is not packed. As with a packed object, its deep copy is a whole Pod.
type compressedPod struct {
	metav1.ObjectMeta            // without labels and owners
	agent, template, zone string // labels; template and zone may be empty
	replicaSet            string // the controller, empty without one or if it is of another kind
	node                  string
	status                *corev1.PodStatus
}

// readyStatus is the status of most pods, which share it.
var readyStatus = corev1.PodStatus{
	Phase:      corev1.PodRunning,
	Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
}

// CompressPod returns a pod as a cache must hold it, with as much of its status as is given.
func CompressPod(pod *corev1.Pod, status corev1.PodStatus) client.Object {
	compressed := &compressedPod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:         pod.Namespace,
			Name:              pod.Name,
			UID:               pod.UID,
			ResourceVersion:   pod.ResourceVersion,
			CreationTimestamp: pod.CreationTimestamp,
			DeletionTimestamp: pod.DeletionTimestamp,
		},
		agent:    pod.Labels[v1alpha1.LabelAgent],
		template: pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey],
		zone:     pod.Labels[corev1.LabelTopologyZone],
		node:     pod.Spec.NodeName,
		status:   &status,
	}
	if controller := metav1.GetControllerOfNoCopy(pod); controller != nil && controller.Kind == "ReplicaSet" {
		compressed.replicaSet = bounded(controller.Name)
	}
	if equality.Semantic.DeepEqual(status, readyStatus) {
		compressed.status = &readyStatus
	}
	return compressed
}

// fails reports whether the status of a pod says that something is wrong with it.
func (p *compressedPod) fails() bool {
	return p.status.Phase == corev1.PodFailed ||
		slices.ContainsFunc(p.status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled }) || // kept only if False
		slices.ContainsFunc(p.status.InitContainerStatuses, containerFails) ||
		slices.ContainsFunc(p.status.ContainerStatuses, containerFails)
}

// containerFails reports whether a container ended with an error, ever, or cannot start.
func containerFails(c corev1.ContainerStatus) bool {
	ended := func(t *corev1.ContainerStateTerminated) bool { return t != nil && t.ExitCode != 0 }
	waiting := c.State.Waiting
	return waiting != nil && waiting.Reason != "ContainerCreating" && waiting.Reason != "PodInitializing" ||
		ended(c.State.Terminated) || ended(c.LastTerminationState.Terminated)
}

// GetObjectKind returns an empty kind, as every cached object has.
func (p *compressedPod) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// GetLabels returns the labels that are kept.
func (p *compressedPod) GetLabels() map[string]string {
	labels := map[string]string{v1alpha1.LabelAgent: p.agent}
	if p.template != "" {
		labels[appsv1.DefaultDeploymentUniqueLabelKey] = p.template
	}
	if p.zone != "" {
		labels[corev1.LabelTopologyZone] = p.zone
	}
	return labels
}

// DeepCopyObject returns a corev1.Pod. It shares its status with the cache, so it must not be changed.
func (p *compressedPod) DeepCopyObject() runtime.Object {
	pod := &corev1.Pod{ObjectMeta: p.ObjectMeta, Spec: corev1.PodSpec{NodeName: p.node}, Status: *p.status}
	pod.Labels = p.GetLabels()
	if p.replicaSet != "" {
		pod.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "ReplicaSet", Name: p.replicaSet, Controller: ptr.To(true)}}
	}
	return pod
}
