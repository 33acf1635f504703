package agent

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// ownership is the relation of an object with a child's name to the Agent.
type ownership int

const (
	// foreign objects are never touched.
	foreign ownership = iota
	// owned objects are controlled by the Agent, or annotated for adoption by it.
	owned
	// terminating objects are being deleted, or belong to an earlier Agent of the same name and will be garbage-collected.
	terminating
)

// ownershipOf decides by the controller reference. An object without a controller is the Agent's only if a user annotates it for
// adoption, after a restore or a deletion that orphaned it.
func ownershipOf(object metav1.Object, agent *v1alpha1.Agent) ownership {
	controller := metav1.GetControllerOf(object)
	switch {
	case controller == nil && object.GetAnnotations()[v1alpha1.AnnotationAdopt] == agent.Name:
		return owned
	case controller == nil:
		return foreign
	case controller.UID == agent.UID && object.GetDeletionTimestamp() == nil:
		return owned
	case controller.UID == agent.UID, isAgent(controller) && controller.Name == agent.Name:
		return terminating
	default:
		return foreign
	}
}

func isAgent(reference *metav1.OwnerReference) bool {
	return schema.FromAPIVersionAndKind(reference.APIVersion, reference.Kind).GroupKind() ==
		v1alpha1.GroupVersion.WithKind(v1alpha1.AgentKind).GroupKind()
}
