package manifests_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

func TestBoundAreRolesThatABindingNames(t *testing.T) {
	const role = "\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: "
	objects, err := manifests.Chart(newChart(t, map[string]string{"a.yaml": configMap +
		role + "Role\nmetadata: {name: a, namespace: here}" +
		role + "Role\nmetadata: {name: a, namespace: there}" +
		role + "ClusterRole\nmetadata: {name: a}" +
		role + "ClusterRole\nmetadata: {name: b}" +
		role + "RoleBinding\nmetadata: {name: x, namespace: here}\nroleRef: {kind: Role, name: a}" +
		role + "RoleBinding\nmetadata: {name: y, namespace: there}\nroleRef: {kind: ClusterRole, name: b}",
	}), nil, "rel", "ns")
	require.NoError(t, err)
	var bound []string
	for _, object := range manifests.Bound(objects) {
		bound = append(bound, object.GetKind()+" "+object.GetNamespace()+"/"+object.GetName())
	}
	require.Equal(t, []string{"ClusterRole /b", "Role here/a"}, bound)
}
