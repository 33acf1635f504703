package agent

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// ownership is whose an object of a child's name is.
type ownership int

const (
	// strangers objects are never touched.
	strangers ownership = iota
	// ours are controlled by the Agent, or put into its hands by a person.
	ours
	// departing objects are on their way out: they belong to an earlier Agent of the same name, or are being deleted.
	departing
)

// judge tells whose an object of a child's name is, by its controller reference. An object without a controller is the
// Agent's only by the annotation that a person puts on it, after a restore or a deletion that orphaned it.
func judge(agent *v1alpha1.Agent, object metav1.Object) ownership {
	controller := metav1.GetControllerOf(object)
	switch {
	case controller == nil && object.GetAnnotations()[v1alpha1.AnnotationAdopt] == agent.Name:
		return ours
	case controller == nil:
		return strangers
	case controller.UID == agent.UID && object.GetDeletionTimestamp() == nil:
		return ours
	case controller.UID == agent.UID, isAgent(controller) && controller.Name == agent.Name:
		return departing
	default:
		return strangers
	}
}

func isAgent(reference *metav1.OwnerReference) bool {
	return schema.FromAPIVersionAndKind(reference.APIVersion, reference.Kind).GroupKind() ==
		v1alpha1.GroupVersion.WithKind(v1alpha1.AgentKind).GroupKind()
}
