package agent

import (
	"fmt"

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

// Caches hold Deployments and pods in types of their own, because corev1's structs are mostly room for fields that nothing here
// reads. The deep copy of a compressed object is the object itself again. A cache copies what it returns, so every reader gets a
// whole Deployment or pod. A read that asks for no copy fails, because the types differ.

// compressedDeployment holds the pod template encoded. The template is half of what an Agent costs in memory.
type compressedDeployment struct {
	appsv1.Deployment // without template; of the managed fields, only who else owns something in the template
	template          []byte
}

// CompressDeployment returns a Deployment as a cache must hold it: in part, as KeepChild does, or whole with its template encoded.
func CompressDeployment(deployment *appsv1.Deployment) (client.Object, error) {
	if isPartial(deployment) {
		return deployment, nil // caches transform some objects twice
	}
	template, err := deployment.Spec.Template.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encoding the pod template of Deployment %s/%s: %w", deployment.Namespace, deployment.Name, err)
	}
	compressed := &compressedDeployment{Deployment: *deployment, template: template}
	compressed.ManagedFields, compressed.Spec.Template = templateManagers(deployment.ManagedFields), corev1.PodTemplateSpec{}
	return keepDeployment(compressed), nil
}

// DeepCopyObject returns the whole Deployment. It shares everything but the template with the cache, so it must not be changed.
func (d *compressedDeployment) DeepCopyObject() runtime.Object {
	deployment := d.Deployment
	if err := deployment.Spec.Template.Unmarshal(d.template); err != nil {
		panic(fmt.Sprintf("decoding the pod template of Deployment %s/%s, which this process encoded: %v", d.Namespace, d.Name, err))
	}
	return &deployment
}

// compressedPod holds what placement and diagnosis read of a pod. There are more pods than anything else.
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
