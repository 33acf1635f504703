package configwatch

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/flokoa/flokoa/operator/internal/configrollout"
)

// pageSize is how many objects a list returns at a time. What no Agent references is dropped page by page.
const pageSize = 500

// Watch keeps a store up to date until the context ends: with one watch of the ConfigMaps of each namespace (none means one watch of all
// namespaces), and one of each Secret that the store observes.
func (s *Store) Watch(ctx context.Context, client metadata.Interface, namespaces []string) {
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	var reflectors sync.WaitGroup
	for _, namespace := range namespaces {
		reflectors.Go(func() { s.reflect(ctx, client, scope{kind: configrollout.ConfigMap, namespace: namespace}) })
	}
	for secret := range s.secrets {
		reflectors.Go(func() { s.reflect(ctx, client, scope{secret.Kind, secret.Namespace, secret.Name}) })
	}
	reflectors.Wait()
}

// scope is what one watch is about: the objects of a kind in a namespace, all of them if it is empty; with one name, if it is not empty.
type scope struct{ kind, namespace, name string }

func (s scope) has(key Key) bool {
	return key.Kind == s.kind && (s.namespace == "" || key.Namespace == s.namespace) && (s.name == "" || key.Name == s.name)
}

func (s *Store) reflect(ctx context.Context, client metadata.Interface, of scope) {
	resource := "configmaps"
	if of.kind == configrollout.Secret {
		resource = "secrets"
	}
	source := &pages{store: s, scope: of, client: client.Resource(corev1.SchemeGroupVersion.WithResource(resource)).Namespace(of.namespace)}
	reflector := cache.NewReflectorWithOptions(source, &metav1.PartialObjectMetadata{}, versions{source}, cache.ReflectorOptions{
		Name: "config rollouts", TypeDescription: of.kind + " metadata",
	})
	reflector.RunWithContext(ctx)
}

// pages lists and watches metadata. A list has only what is followed, because a namespace may have thousands of other objects, each with an
// annotation of kubectl apply that repeats its data.
type pages struct {
	store  *Store
	scope  scope
	client metadata.ResourceInterface
	// expected is what was followed when the last list began. A list has all of it that exists.
	expected []Key
}

// IsWatchListSemanticsUnSupported has the reflector list in pages: a streamed list would be in memory whole.
func (*pages) IsWatchListSemanticsUnSupported() bool { return true }

func (p *pages) options(options metav1.ListOptions) metav1.ListOptions {
	if p.scope.name != "" {
		// RBAC authorizes list and watch of one name only with this selector.
		options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, p.scope.name).String()
	}
	return options
}

// List is ListWithContext.
func (p *pages) List(options metav1.ListOptions) (runtime.Object, error) {
	return p.ListWithContext(context.Background(), options)
}

// ListWithContext returns the metadata of what is followed.
func (p *pages) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	// With a resourceVersion, the API server ignores the limit.
	options.Limit, options.ResourceVersion, options.ResourceVersionMatch, options.Continue = pageSize, "", "", ""
	p.expected = p.store.followed(p.scope.has)
	kept := &metav1.PartialObjectMetadataList{}
	for {
		page, err := p.client.List(ctx, p.options(options))
		if err != nil {
			p.noteWatch(err)
			return nil, err
		}
		for i := range page.Items {
			item := &page.Items[i]
			if p.store.follows(keyOf(p.scope.kind, item)) {
				kept.Items = append(kept.Items, versionOnly(item))
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			kept.ResourceVersion = page.ResourceVersion
			return kept, nil
		}
	}
}

// Watch is WatchWithContext.
func (p *pages) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return p.WatchWithContext(context.Background(), options)
}

// WatchWithContext watches the metadata of all objects: the API server cannot select those that are followed.
func (p *pages) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	events, err := p.client.Watch(ctx, p.options(options))
	p.noteWatch(err)
	return events, err
}

// noteWatch notes whether a listed Secret could be watched. That it could be listed does not tell that.
func (p *pages) noteWatch(err error) {
	p.store.notePermission(access{Key{p.scope.namespace, configrollout.Object{Kind: p.scope.kind, Name: p.scope.name}}, true}, err)
}

// versionOnly is the part of metadata that a store reads.
func versionOnly(of *metav1.PartialObjectMetadata) metav1.PartialObjectMetadata {
	return metav1.PartialObjectMetadata{TypeMeta: of.TypeMeta, ObjectMeta: metav1.ObjectMeta{
		Namespace: of.Namespace, Name: of.Name, UID: of.UID, ResourceVersion: of.ResourceVersion,
	}}
}

func keyOf(kind string, object metav1.Object) Key {
	return Key{object.GetNamespace(), configrollout.Object{Kind: kind, Name: object.GetName()}}
}

// Version identifies the state of an object. An object that is created again under the same name has another one.
func Version(object metav1.Object) string {
	return string(object.GetUID()) + "/" + object.GetResourceVersion()
}

// versions passes what a reflector sees to a store. It keeps nothing itself.
type versions struct{ *pages }

// Add notes a version.
func (v versions) Add(object any) error { return v.note(object, false) }

// Update notes a version.
func (v versions) Update(object any) error { return v.note(object, false) }

// Delete notes that an object is gone.
func (v versions) Delete(object any) error { return v.note(object, true) }

func (v versions) note(object any, deleted bool) error {
	of, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	version := Version(of)
	if deleted {
		version = ""
	}
	v.store.Observe(keyOf(v.scope.kind, of), version)
	return nil
}

// Replace notes the versions of a whole list. What was followed when it began, and is not in it, is gone.
func (v versions) Replace(objects []any, _ string) error {
	listed := map[Key]string{}
	for _, object := range objects {
		of, err := meta.Accessor(object)
		if err != nil {
			return err
		}
		listed[keyOf(v.scope.kind, of)] = Version(of)
	}
	for _, key := range v.expected {
		if _, exists := listed[key]; !exists {
			listed[key] = ""
		}
	}
	for key, version := range listed {
		v.store.Observe(key, version)
	}
	return nil
}

// Resync does nothing.
func (versions) Resync() error { return nil }
