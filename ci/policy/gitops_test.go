package policy_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/manifests"
)

// The identities of the example for Flux can do their stages, as Flux would have them by impersonation, and no more.
func TestTheIdentitiesOfTheGitOpsExampleCanDoTheirStagesAndNoMore(t *testing.T) {
	text, err := os.ReadFile(root + "/examples/gitops/flux/cluster/identities.yaml")
	require.NoError(t, err)
	for _, document := range strings.Split(string(text), "\n---\n") {
		object := &unstructured.Unstructured{}
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), &object.Object))
		if object.GetKind() != "ServiceAccount" { // who impersonates need not exist
			require.NoError(t, admin.Create(t.Context(), object))
		}
	}
	const namespace = "flokoa-production"
	environments := as(t, "system:serviceaccount:flux-system:flokoa-environments", "system:serviceaccounts")
	objects, err := manifests.Overlay(root + "/overlays/production")
	require.NoError(t, err)
	for _, object := range objects { // the Namespace is first
		require.Eventually(t, func() bool {
			err = environments.Create(t.Context(), object.DeepCopy())
			return err == nil
		}, taking, taking/300, "%s: %v", manifests.Identity(object), err)
	}

	refused := func(what string, err error) {
		t.Helper()
		require.True(t, apierrors.IsForbidden(err), "%s: %v", what, err)
	}
	deployer := as(t, "system:serviceaccount:"+namespace+":agent-deployer", "system:serviceaccounts", "system:serviceaccounts:"+namespace)
	require.Eventually(t, func() bool { return deployer.Create(t.Context(), newAgent(namespace, "a")) == nil }, taking, taking/300, "its binding is heeded")
	refused("an Agent with a Secret, as the deployer", deployer.Create(t.Context(), newAgent(namespace, "b", container(fromSecret("agent-secrets")))))
	refused("a Secret, as the deployer", deployer.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "s"}, &corev1.Secret{}))
	refused("an Agent elsewhere, as the deployer", deployer.Create(t.Context(), newAgent("default", "a")))
	refused("a label of the environment, as the deployer", deployer.Create(t.Context(), namespaceOf("production")))

	everything := []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}}
	require.NoError(t, environments.Create(t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "other"}, Rules: everything}))
	refused("another Role, bound", environments.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "other"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "other"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "thief"}},
	}))
	refused("a ClusterRole", environments.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Rules: everything}))
	refused("a Secret", environments.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "s"}, &corev1.Secret{}))
	refused("a policy away", environments.DeleteAllOf(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding"}}))
	refused("an Agent", environments.Create(t.Context(), newAgent(namespace, "c")))
}
