package agent

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// packed marks what stands in for the managed fields of a packed Deployment. The API knows no such operation, so nobody else can
// have written it.
const packed metav1.ManagedFieldsOperationType = "Packed"

// Pack has a cached Deployment hold its pod template encoded, where its managed fields were: as many bytes as the template has
// letters, and not a struct for every field that a pod can have. A template is half of what an Agent costs in memory, and is
// looked at in few passes. Packing twice is packing once; what reads a packed Deployment has to unpack it.
func Pack(deployment *appsv1.Deployment) error {
	if isPacked(deployment) {
		return nil
	}
	encoded, err := deployment.Spec.Template.Marshal()
	if err != nil {
		return fmt.Errorf("packing the pod template of Deployment %s/%s: %w", deployment.Namespace, deployment.Name, err)
	}
	deployment.Spec.Template = corev1.PodTemplateSpec{}
	deployment.ManagedFields = []metav1.ManagedFieldsEntry{{Operation: packed, FieldsV1: metav1.NewFieldsV1(string(encoded))}}
	return nil
}

func isPacked(deployment *appsv1.Deployment) bool {
	return len(deployment.ManagedFields) == 1 && deployment.ManagedFields[0].Operation == packed
}

// unpack undoes Pack. The object that is given may share everything but its own struct with the cache.
func unpack(object client.Object) error {
	deployment, ok := object.(*appsv1.Deployment)
	if !ok || !isPacked(deployment) {
		return nil
	}
	encoded := deployment.ManagedFields[0].FieldsV1.GetRawBytes()
	deployment.ManagedFields = nil
	if err := deployment.Spec.Template.Unmarshal(encoded); err != nil {
		return fmt.Errorf("unpacking the pod template of Deployment %s/%s: %w", deployment.Namespace, deployment.Name, err)
	}
	return nil
}
