package agent

import (
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// Anybody who may create objects in some namespace may give them an Agent's label, or an Agent as controller, and up to a megabyte of
// content. So a cache keeps whole only a small object that an Agent controls. Of any other it keeps a part: what decides whose it is.
// A pass reads the whole object from the API server if it is its Agent's.

const (
	// maxWhole and maxWholeDeployment are how large an object may be that a cache keeps whole, encoded, in bytes. What the operator
	// applies for a usual Agent is far smaller; a larger child costs a read in each pass of its Agent.
	maxWhole           = 4 << 10
	maxWholeDeployment = 16 << 10
	// maxSelector is how large a selector of a foreign PodDisruptionBudget may be, encoded, in bytes.
	maxSelector = 1 << 10
	// maxAgent is how large an Agent may be as JSON, in bytes: a pod template of the largest size, and as much again for its card and
	// metadata. In memory, an Agent can take five times its size, if it is made of empty strings.
	maxAgent = 192 << 10
	// maxText is the length of the longest name in Kubernetes, in bytes.
	maxText = 253
)

// annotationPartial marks a cached object that is not whole.
const annotationPartial = "flokoa.ai/partial"

func isPartial(object metav1.Object) bool { return object.GetAnnotations()[annotationPartial] != "" }

// Sized is an object that knows the size of its encoded form.
type Sized interface {
	client.Object
	Size() int
}

// KeepChild returns an object as a cache must hold it: packed if it may be an Agent's child, or else in part.
func KeepChild[T any, P packable[T]](object P) (client.Object, error) {
	if mayKeepWhole(object, maxWhole) {
		return pack(object)
	}
	return partial(object), nil
}

// KeepDeployment is KeepChild for a Deployment. Of the managed fields, it keeps who else owns something in the pod template.
func KeepDeployment(deployment *appsv1.Deployment) (client.Object, error) {
	deployment.ManagedFields = templateManagers(deployment.ManagedFields)
	if !mayKeepWhole(deployment, maxWholeDeployment) {
		return partial(deployment), nil
	}
	kept, err := pack(deployment)
	if err != nil {
		return nil, err
	}
	return &packedDeployment{kept, deployment.Annotations[v1alpha1.AnnotationDigest], status.RolledOut(deployment)}, nil
}

// mayKeepWhole reports whether an object may be an Agent's child and is small enough. Caches transform some objects twice.
func mayKeepWhole(object Sized, size int) bool {
	return mayBeChild(object) && object.Size() <= size && !isPartial(object)
}

func mayBeChild(object client.Object) bool { return controllingAgent(object) != "" }

// partial returns the metadata of an object that ownershipOf, the fingerprint, and the handlers of events read, in bounded size.
func partial(of client.Object) client.Object {
	kept := emptyLike(of)
	kept.SetNamespace(of.GetNamespace())
	kept.SetName(of.GetName())
	kept.SetUID(of.GetUID())
	kept.SetResourceVersion(of.GetResourceVersion())
	kept.SetGeneration(of.GetGeneration())
	kept.SetDeletionTimestamp(of.GetDeletionTimestamp())
	kept.SetOwnerReferences(controllerOnly(of))
	if name, labeled := of.GetLabels()[v1alpha1.LabelAgent]; labeled {
		kept.SetLabels(map[string]string{v1alpha1.LabelAgent: name})
	}
	annotations := map[string]string{annotationPartial: "true"}
	if name, adopt := of.GetAnnotations()[v1alpha1.AnnotationAdopt]; adopt {
		annotations[v1alpha1.AnnotationAdopt] = bounded(name)
	}
	kept.SetAnnotations(annotations)
	return kept
}

// controllerOnly returns the reference to an object's controller, in bounded size, and no other owner.
func controllerOnly(object metav1.Object) []metav1.OwnerReference {
	controller := metav1.GetControllerOfNoCopy(object)
	if controller == nil {
		return nil
	}
	return []metav1.OwnerReference{{
		APIVersion: bounded(controller.APIVersion), Kind: bounded(controller.Kind), Name: bounded(controller.Name),
		UID: types.UID(bounded(string(controller.UID))), Controller: ptr.To(true),
	}}
}

// bounded returns a text, cut if it is too long to be the name of anything. The copy does not keep the rest in memory.
func bounded(text string) string { return strings.Clone(text[:min(len(text), maxText)]) }

// KeepAgent returns an Agent as a cache must hold it: without managed fields and the annotation of kubectl apply, which is a second copy of
// the manifest. Of an Agent that is too large to run, it keeps the metadata, the status, and the size of the Deployment.
func KeepAgent(agent *v1alpha1.Agent) (client.Object, error) {
	agent.ManagedFields = nil
	delete(agent.Annotations, corev1.LastAppliedConfigAnnotation)
	if agent.Spec.Runtime.Spec.Container.Image != "" { // whole: the annotation is its author's, and means nothing
		delete(agent.Annotations, annotationPartial)
	}
	raw, err := json.Marshal(agent)
	if err != nil || len(raw) <= maxAgent {
		return agent, err
	}
	kept := partial(agent).(*v1alpha1.Agent)
	kept.CreationTimestamp, kept.Status = agent.CreationTimestamp, agent.Status
	kept.Spec.Suspend, kept.Spec.Runtime.Spec.Replicas = agent.Spec.Suspend, agent.Spec.Runtime.Spec.Replicas
	return kept, nil
}

// errTooLarge is the error of an Agent that the cache holds in part. Its pod template would be too large, or its card or metadata are.
var errTooLarge = fmt.Errorf("the Agent is too large, and the limit is %d KiB: put files and long values into a ConfigMap or the image, and shorten lists", maxAgent>>10)

// KeepBudget returns a PodDisruptionBudget as a cache must hold it. One that is no Agent's child may select an Agent's pods: of it,
// the cache keeps who controls it, which pods it selects, and how many of them it lets go.
func KeepBudget(budget *policyv1.PodDisruptionBudget) (client.Object, error) {
	if mayBeChild(budget) {
		return KeepChild(budget)
	}
	kept := partial(budget).(*policyv1.PodDisruptionBudget)
	kept.Labels, kept.Annotations = nil, nil
	kept.Spec = policyv1.PodDisruptionBudgetSpec{MinAvailable: budget.Spec.MinAvailable, MaxUnavailable: budget.Spec.MaxUnavailable}
	selector := budget.Spec.Selector
	if selector == nil && isPartial(budget) || selector != nil && selector.Size() > maxSelector { // caches transform some objects twice
		kept.Annotations = map[string]string{annotationPartial: "selector"}
	} else {
		kept.Spec.Selector = selector
	}
	return kept, nil
}
