package agent

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A cache holds an Agent's children encoded: decoded, they are mostly pointers, maps, and room for fields that nothing sets, which is two to
// four times the memory, and work for every garbage collection. The deep copy of a packed object is the object itself again. A cache copies
// what it returns, so every reader gets a whole object. A read that asks for no copy fails, because the types differ.

// packable is a kind of child that can be encoded.
type packable[T any] interface {
	*T
	Sized
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// packed is an encoded object of one kind. It knows its metadata, except for what it would have to decode: labels, annotations, owners,
// and managed fields.
type packed[T any, P packable[T]] struct {
	metav1.ObjectMeta
	// agent is the name of the Agent that controls the object. It spares the handlers of events decoding.
	agent   string
	encoded []byte
}

// packedDeployment is an encoded Deployment. It knows what decides when its Agent is reconciled.
type packedDeployment struct {
	*packed[appsv1.Deployment, *appsv1.Deployment]
	digest    string
	rolledOut bool
}

// pack encodes an object that an Agent controls.
func pack[T any, P packable[T]](object P) (*packed[T, P], error) {
	encoded, err := object.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encoding %T %s: %w", object, client.ObjectKeyFromObject(object), err)
	}
	return &packed[T, P]{encoded: encoded, agent: controllingAgent(object), ObjectMeta: metav1.ObjectMeta{
		Namespace:         object.GetNamespace(),
		Name:              object.GetName(),
		UID:               object.GetUID(),
		ResourceVersion:   object.GetResourceVersion(),
		Generation:        object.GetGeneration(),
		DeletionTimestamp: object.GetDeletionTimestamp(),
	}}, nil
}

// GetObjectKind returns an empty kind, as every cached object has.
func (p *packed[T, P]) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns the whole object.
func (p *packed[T, P]) DeepCopyObject() runtime.Object { return p.unpack() }

func (p *packed[T, P]) unpack() client.Object {
	object := P(new(T))
	if err := object.Unmarshal(p.encoded); err != nil {
		panic(fmt.Sprintf("decoding %T %s/%s, which this process encoded: %v", object, p.Namespace, p.Name, err))
	}
	return object
}

// metadata decodes the metadata alone, which all kinds encode in the same field.
func (p *packed[T, P]) metadata() *metav1.ObjectMeta {
	object := metav1.PartialObjectMetadata{}
	if err := object.Unmarshal(p.encoded); err != nil {
		panic(fmt.Sprintf("decoding the metadata of %s/%s, which this process encoded: %v", p.Namespace, p.Name, err))
	}
	return &object.ObjectMeta
}

// GetLabels decodes the labels.
func (p *packed[T, P]) GetLabels() map[string]string { return p.metadata().Labels }

// GetAnnotations decodes the annotations.
func (p *packed[T, P]) GetAnnotations() map[string]string { return p.metadata().Annotations }

// GetOwnerReferences decodes the owners.
func (p *packed[T, P]) GetOwnerReferences() []metav1.OwnerReference {
	return p.metadata().OwnerReferences
}

// GetManagedFields decodes the managed fields.
func (p *packed[T, P]) GetManagedFields() []metav1.ManagedFieldsEntry {
	return p.metadata().ManagedFields
}

// unpack returns an object that an event or an index gets from a cache, decoded if it is packed.
func unpack(object client.Object) client.Object {
	if p, ok := object.(interface{ unpack() client.Object }); ok {
		return p.unpack()
	}
	return object
}

func (p *packed[T, P]) controllingAgent() string { return p.agent }

// controllingAgent returns the name of the Agent that controls an object, empty if none does.
func controllingAgent(object client.Object) string {
	if known, ok := object.(interface{ controllingAgent() string }); ok {
		return known.controllingAgent()
	}
	if controller := metav1.GetControllerOfNoCopy(object); controller != nil && isAgent(controller) {
		return controller.Name
	}
	return ""
}
