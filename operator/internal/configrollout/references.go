// Package configrollout decides when a changed ConfigMap, Secret, or Model rolls the pods of an Agent: what an Agent references, whether the
// content changed since its pods took it, and which Agents roll next. It is pure: no client, no context, no logger, no clock, no globals.
package configrollout

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// The kinds of objects that pods read their configuration from.
const (
	ConfigMap = "ConfigMap"
	Secret    = "Secret"
	Model     = "Model"
)

// Object is a ConfigMap, a Secret, or a Model in the namespace of an Agent.
type Object struct{ Kind, Name string }

// String returns the kind and the name, as messages show an object.
func (o Object) String() string { return o.Kind + " " + o.Name }

// MarshalText returns the kind and the name as an annotation holds them.
func (o Object) MarshalText() ([]byte, error) { return []byte(o.Kind + "/" + o.Name), nil }

// UnmarshalText reads what MarshalText returns.
func (o *Object) UnmarshalText(text []byte) error {
	o.Kind, o.Name, _ = strings.Cut(string(text), "/")
	return nil
}

// compareObjects orders objects by kind and name.
func compareObjects(a, b Object) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// Use is what the pods of an Agent read of an object.
type Use struct {
	// All is true if the pods read every key.
	All bool
	// Required is true if no pod starts while the object does not exist.
	Required bool
	// Keys are the keys that are read by name. The value is true if no pod starts without the key.
	Keys map[string]bool
}

// References are the objects that the pods of an Agent read.
type References map[Object]Use

// Objects returns the referenced objects in order.
func (r References) Objects() []Object { return slices.SortedFunc(maps.Keys(r), compareObjects) }

// revision returns the revision of an object as the pods read it now, empty if it is not known, or keeps pods from starting.
func (r References) revision(object Object, contents Contents) string {
	content, known := contents[object]
	if use := r[object]; known && use.missing(object, content) == "" {
		return use.revision(object.Kind, content)
	}
	return ""
}

// ReferencesOf returns what the pods of an Agent read: in the environment and the volumes of all containers.
func ReferencesOf(spec *v1alpha1.RuntimeSpec) References {
	references := References{}
	references.addContainer(&spec.Container)
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Sidecars} {
		for i := range containers {
			references.addContainer(&containers[i])
		}
	}
	for i := range spec.Volumes {
		references.addVolume(&spec.Volumes[i])
	}
	return references
}

// AddModel adds the Model that an Agent names, and the Secret that the variables of the Model read. A Model is optional: pods start without
// it.
func (r References) AddModel(name string, variables []corev1.EnvVar) {
	r[Object{Model, name}] = Use{All: true}
	r.addContainer(&corev1.Container{Env: variables})
}

// Model returns the Model among the references.
func (r References) Model() (Object, bool) {
	for object := range r {
		if object.Kind == Model {
			return object, true
		}
	}
	return Object{}, false
}

func (r References) addContainer(container *corev1.Container) {
	for _, source := range container.EnvFrom {
		if of := source.ConfigMapRef; of != nil {
			r.addAll(Object{ConfigMap, of.Name}, of.Optional)
		}
		if of := source.SecretRef; of != nil {
			r.addAll(Object{Secret, of.Name}, of.Optional)
		}
	}
	for _, variable := range container.Env {
		if variable.ValueFrom == nil {
			continue
		}
		if of := variable.ValueFrom.ConfigMapKeyRef; of != nil {
			r.addKey(Object{ConfigMap, of.Name}, of.Key, of.Optional)
		}
		if of := variable.ValueFrom.SecretKeyRef; of != nil {
			r.addKey(Object{Secret, of.Name}, of.Key, of.Optional)
		}
	}
}

func (r References) addVolume(volume *v1alpha1.Volume) {
	if of := volume.ConfigMap; of != nil {
		r.addItems(Object{ConfigMap, of.Name}, of.Items, of.Optional)
	}
	if of := volume.Secret; of != nil {
		r.addItems(Object{Secret, of.SecretName}, of.Items, of.Optional)
	}
	if volume.Projected == nil {
		return
	}
	for _, source := range volume.Projected.Sources {
		if of := source.ConfigMap; of != nil {
			r.addItems(Object{ConfigMap, of.Name}, of.Items, of.Optional)
		}
		if of := source.Secret; of != nil {
			r.addItems(Object{Secret, of.Name}, of.Items, of.Optional)
		}
	}
}

// addItems adds the keys of a volume, all of them if it lists none.
func (r References) addItems(object Object, items []corev1.KeyToPath, optional *bool) {
	if len(items) == 0 {
		r.addAll(object, optional)
	}
	for _, item := range items {
		r.addKey(object, item.Key, optional)
	}
}

func (r References) addAll(object Object, optional *bool) {
	if object.Name == "" {
		return
	}
	use := r[object]
	use.All = true
	use.Required = use.Required || !ptr.Deref(optional, false)
	r[object] = use
}

func (r References) addKey(object Object, key string, optional *bool) {
	if object.Name == "" {
		return
	}
	use, required := r[object], !ptr.Deref(optional, false)
	if use.Keys == nil {
		use.Keys = map[string]bool{}
	}
	use.Keys[key] = use.Keys[key] || required
	use.Required = use.Required || required
	r[object] = use
}
