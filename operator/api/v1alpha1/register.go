package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of every type in this package.
var GroupVersion = schema.GroupVersion{Group: "agent.flokoa.ai", Version: "v1alpha1"}

// AgentKind is the kind of an Agent, for owner references and events.
const AgentKind = "Agent"

// ModelKind is the kind of a Model.
const ModelKind = "Model"

// AddToScheme adds the types of this package to a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &Agent{}, &AgentList{}, &Model{}, &ModelList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
