package agent

import (
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

// packedPod is a pod in a cache. A corev1.Pod is mostly room for what is not kept, and there are more pods than anything else.
// Its deep copy is a corev1.Pod again: that is what is read from a cache that copies what it holds, as it has to with pods.
type packedPod struct {
	metav1.ObjectMeta            // without labels and owners
	agent, template, zone string // the labels that are read, the last two "" without one
	replicaSet            string // the controller, "" without one or when it is of another kind
	node                  string
	status                *corev1.PodStatus
}

// answering is the status of most pods, which share it.
var answering = corev1.PodStatus{
	Phase:      corev1.PodRunning,
	Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
}

// PackPod makes of a pod what a cache is to keep, with as much of its status as is given. The cache has to copy what is read from
// it: a list that asks for what is cached itself is refused, because that is no corev1.Pod.
func PackPod(pod *corev1.Pod, status corev1.PodStatus) client.Object {
	packed := &packedPod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:         pod.Namespace,
			Name:              pod.Name,
			UID:               pod.UID,
			ResourceVersion:   pod.ResourceVersion,
			DeletionTimestamp: pod.DeletionTimestamp,
		},
		agent:    pod.Labels[v1alpha1.LabelAgent],
		template: pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey],
		zone:     pod.Labels[corev1.LabelTopologyZone],
		node:     pod.Spec.NodeName,
		status:   &status,
	}
	if controller := metav1.GetControllerOf(pod); controller != nil && controller.Kind == "ReplicaSet" {
		packed.replicaSet = controller.Name
	}
	if equality.Semantic.DeepEqual(status, answering) {
		packed.status = &answering
	}
	return packed
}

// GetObjectKind is that of a cached object, which has none.
func (p *packedPod) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// GetLabels returns those that are kept.
func (p *packedPod) GetLabels() map[string]string {
	labels := map[string]string{v1alpha1.LabelAgent: p.agent}
	if p.template != "" {
		labels[appsv1.DefaultDeploymentUniqueLabelKey] = p.template
	}
	if p.zone != "" {
		labels[corev1.LabelTopologyZone] = p.zone
	}
	return labels
}

// DeepCopyObject unpacks the pod. What it points to is the cache's, and must not be changed.
func (p *packedPod) DeepCopyObject() runtime.Object {
	pod := &corev1.Pod{ObjectMeta: p.ObjectMeta, Spec: corev1.PodSpec{NodeName: p.node}, Status: *p.status}
	pod.Labels = p.GetLabels()
	if p.replicaSet != "" {
		pod.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "ReplicaSet", Name: p.replicaSet, Controller: ptr.To(true)}}
	}
	return pod
}
