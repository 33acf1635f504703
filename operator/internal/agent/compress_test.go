package agent

import (
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

func TestACopyDecompressesADeployment(t *testing.T) {
	want := settledCache(t, agenttest.Read(t, fullAgent)).deployment
	cached := want.DeepCopy()
	cached.ManagedFields = []metav1.ManagedFieldsEntry{
		managedFields("flokoa-operator", "Apply", "", `{"f:spec":{"f:template":{"f:spec":{"f:hostNetwork":{}}}}}`),
		managedFields("kubectl-rollout", "Update", "", `{"f:spec":{"f:template":{"f:metadata":{"f:annotations":{"f:a":{}}}}}}`),
		managedFields("kube-controller-manager", "Update", "status", `{"f:status":{"f:replicas":{}}}`),
	}
	object, err := CompressDeployment(cached)
	require.NoError(t, err)
	compressed := object.(*compressedDeployment)
	require.Zero(t, compressed.Spec.Template)
	require.Equal(t, want, compressed.DeepCopyObject())
	require.Zero(t, compressed.Spec.Template, "a copy does not change the cached object")
}

func TestACachedDeploymentKeepsWhoElseOwnsSomethingInItsTemplate(t *testing.T) {
	for name, fields := range map[string]string{
		"a container":            `{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"old\"}":{".":{}}}}}}}`,
		"a label":                `{"f:spec":{"f:template":{"f:metadata":{"f:labels":{"f:track":{}}}}}}`,
		"what cannot be decoded": `{`,
	} {
		t.Run(name, func(t *testing.T) {
			deployment := settledCache(t, agenttest.New("a")).deployment
			deployment.ManagedFields = []metav1.ManagedFieldsEntry{managedFields("kubectl-set", "Update", "", fields)}
			object, err := CompressDeployment(deployment)
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

func TestUndecodableDeploymentPanics(t *testing.T) {
	broken := &compressedDeployment{Deployment: appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "a"}}, template: []byte("?")}
	require.PanicsWithValue(t, "decoding the pod template of Deployment n/a, which this process encoded: proto: illegal wireType 7", func() { broken.DeepCopyObject() })
}
