package agent

import (
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

// packer packs one kind of child.
type packer struct {
	object client.Object
	pack   func() (client.Object, error)
}

func packerOf[T any, P packable[T]](object P) packer {
	return packer{object, func() (client.Object, error) { return KeepChild(object) }}
}

func TestTheCopyOfAPackedChildIsTheWholeChild(t *testing.T) {
	cached := settledCache(t, agenttest.Read(t, fullAgent))
	for _, p := range []packer{
		packerOf(cached.deployment), packerOf(cached.service), packerOf(cached.disruption), packerOf(cached.autoscaler), packerOf(cached.card),
	} {
		p.object.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{}) // no cached object has one
		p.object.SetResourceVersion("7")
		p.object.SetDeletionTimestamp(ptr.To(metav1.Unix(1, 0)))
		kept, err := p.pack()
		require.NoError(t, err)
		require.NotEqual(t, p.object, kept)
		require.Equal(t, p.object, kept.DeepCopyObject())
		require.Equal(t, p.object, unpack(kept))
		require.Equal(t, metadataOf(p.object), metadataOf(kept), "handlers of events read it")
	}
}

// metadataOf returns what the handlers of events read of an object.
func metadataOf(o client.Object) []any {
	return []any{
		o.GetNamespace(), o.GetName(), o.GetUID(), o.GetResourceVersion(), o.GetGeneration(), o.GetDeletionTimestamp(),
		o.GetLabels(), o.GetAnnotations(), o.GetOwnerReferences(), o.GetManagedFields(),
	}
}

func TestACachedDeploymentKeepsWhoElseOwnsSomethingInItsTemplate(t *testing.T) {
	for name, fields := range map[string]string{
		"a container":            `{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"old\"}":{".":{}}}}}}}`,
		"a label":                `{"f:spec":{"f:template":{"f:metadata":{"f:labels":{"f:track":{}}}}}}`,
		"what cannot be decoded": `{`,
	} {
		t.Run(name, func(t *testing.T) {
			deployment := settledCache(t, agenttest.New("a")).deployment
			deployment.ManagedFields = []metav1.ManagedFieldsEntry{
				managedFields("flokoa-operator", "Apply", "", `{"f:spec":{"f:template":{"f:spec":{"f:hostNetwork":{}}}}}`),
				managedFields("kubectl-set", "Update", "", fields),
				managedFields("kubectl-rollout", "Update", "", `{"f:spec":{"f:template":{"f:metadata":{"f:annotations":{"f:a":{}}}}}}`),
				managedFields("kube-controller-manager", "Update", "status", `{"f:status":{"f:replicas":{}}}`),
			}
			object, err := KeepDeployment(deployment)
			require.NoError(t, err)
			kept := object.GetManagedFields()
			require.Equal(t, []metav1.ManagedFieldsEntry{{Manager: "kubectl-set", Operation: "Update", APIVersion: "apps/v1"}}, kept)
			require.Equal(t, kept, templateManagers(kept), "a read through a cache and a live read are treated alike")
		})
	}
}

func managedFields(manager string, operation metav1.ManagedFieldsOperationType, subresource, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, APIVersion: "apps/v1", Subresource: subresource,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}
}

func TestUndecodableChildPanics(t *testing.T) {
	broken := &packed[appsv1.Deployment, *appsv1.Deployment]{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "a"}, encoded: []byte("?")}
	for _, read := range []func(){
		func() { broken.DeepCopyObject() },
		func() { broken.GetLabels() },
	} {
		require.Panics(t, read)
	}
}
