package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// What Flux and Argo CD do, they do by Server-Side Apply as the account of the stage. Here the API server checks whether each
// account of examples/gitops may do what its stage has to do, and nothing that is another's.

// apply applies objects in their order, as a stage does, and returns their resource versions.
func apply(t *testing.T, who client.Client, objects []unstructured.Unstructured) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for _, object := range objects {
		name := manifests.Identity(object)
		applied := object.DeepCopy()
		require.NoError(t, who.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("stage"), client.ForceOwnership), name)
		versions[name] = applied.GetResourceVersion()
	}
	return versions
}

func built(t *testing.T, folder string) []unstructured.Unstructured {
	t.Helper()
	objects, err := manifests.Overlay(root + "/" + folder)
	require.NoError(t, err)
	return objects
}

// fluxAccounts makes the accounts of the example for Flux and what they may; Flux's own kinds need Flux.
func fluxAccounts(t *testing.T) *person {
	t.Helper()
	return environmentAccount(t, "examples/gitops/flux/cluster", "flux-system")
}

// environmentAccount makes the accounts of a layout, and waits until flokoa-environments is both permitted and limited.
func environmentAccount(t *testing.T, layout, namespace string) *person {
	t.Helper()
	createNamespace(t, namespace)
	var accounts []unstructured.Unstructured
	for _, object := range built(t, layout) {
		group := object.GroupVersionKind().Group
		if group == rbacv1.GroupName || group == admissionregistrationv1.GroupName || object.GetKind() == "ServiceAccount" {
			accounts = append(accounts, object)
		}
	}
	apply(t, admin, accounts)
	account := as(t, "system:serviceaccount:"+namespace+":flokoa-environments", "system:serviceaccounts", "system:serviceaccounts:"+namespace)
	require.Eventually(t, func() bool {
		err := account.Create(t.Context(), namespaceOf(""), client.DryRunAll)
		return account.Create(t.Context(), baseline(namespaceOf("dev")), client.DryRunAll) == nil && err != nil
	}, taking, taking/300, "flokoa-environments is not limited to environments")
	return account
}

func createNamespace(t *testing.T, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	require.NoError(t, client.IgnoreAlreadyExists(admin.Create(t.Context(), namespace)))
}

// baseline sets the Pod Security level that the environment dev has.
func baseline(namespace *corev1.Namespace) *corev1.Namespace {
	namespace.Labels["pod-security.kubernetes.io/enforce"] = "baseline"
	return namespace
}

// settle does what the quota controller does, which does not run here: without it the API server admits nothing that is counted.
func settle(t *testing.T, namespace string) {
	t.Helper()
	quotas := &corev1.ResourceQuotaList{}
	require.NoError(t, admin.List(t.Context(), quotas, client.InNamespace(namespace)))
	require.NotEmpty(t, quotas.Items)
	for _, quota := range quotas.Items {
		quota.Status.Hard, quota.Status.Used = quota.Spec.Hard, corev1.ResourceList{}
		for name := range quota.Spec.Hard {
			quota.Status.Used[name] = resource.Quantity{}
		}
		require.NoError(t, admin.Status().Update(t.Context(), &quota))
	}
}

func TestAFluxStageAppliesAnEnvironmentIdempotently(t *testing.T) {
	stage := fluxAccounts(t)
	for _, environment := range environments {
		t.Run(environment, func(t *testing.T) {
			objects := built(t, "overlays/"+environment)
			first := apply(t, stage, objects)
			require.Equal(t, first, apply(t, stage, objects), "the second time changes something")
		})
	}
}

func TestTheEnvironmentAccountCreatesNothingElse(t *testing.T) {
	stage := fluxAccounts(t)
	apply(t, stage, built(t, "overlays/dev"))
	namespaced := metav1.ObjectMeta{Namespace: "flokoa-dev", Name: "sneaky"}
	reads := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}}
	binds := func(kind, name string) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{
			ObjectMeta: namespaced, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "eve"}},
		}
	}
	require.NoError(t, admin.Create(t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "flokoa-dev", Name: "other"}, Rules: reads}))
	for name, object := range map[string]client.Object{
		"a Role of its own that reads Secrets": &rbacv1.Role{ObjectMeta: namespaced, Rules: reads},
		"a Role that others have, bound":       binds("Role", "other"),
		"cluster-admin in a namespace":         binds("ClusterRole", "cluster-admin"),
		"a ClusterRole":                        &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "sneaky"}, Rules: reads},
		"a Secret":                             &corev1.Secret{ObjectMeta: namespaced},
		"an Agent":                             newAgent("flokoa-dev", "sneaky"),
	} {
		t.Run(name, func(t *testing.T) {
			err := stage.Create(t.Context(), object, client.DryRunAll)
			require.True(t, apierrors.IsForbidden(err), "%v", err)
		})
	}
	require.True(t, apierrors.IsForbidden(stage.Get(t.Context(), client.ObjectKey{Namespace: "flokoa-dev", Name: "s"}, &corev1.Secret{})))
	for _, name := range []string{"flokoa-secret-use", "flokoa-environments"} {
		metadata := metav1.ObjectMeta{Name: name}
		for _, object := range []client.Object{
			&admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metadata}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metadata},
		} {
			require.True(t, apierrors.IsForbidden(stage.Delete(t.Context(), object, client.DryRunAll)), name)
			label := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`))
			require.True(t, apierrors.IsForbidden(stage.Patch(t.Context(), object, label, client.DryRunAll)), name)
		}
	}
}

// A team's Agent names a Secret. The account of its stage may not reference it until the environment grants it.
func TestATeamsStageIsLimitedToItsServiceAccount(t *testing.T) {
	stage := fluxAccounts(t)
	for _, environment := range environments {
		t.Run(environment, func(t *testing.T) {
			namespace := "flokoa-" + environment
			apply(t, stage, built(t, "overlays/"+environment))
			settle(t, namespace)
			deployer := as(t, "system:serviceaccount:"+namespace+":agent-deployer", "system:serviceaccounts", "system:serviceaccounts:"+namespace)
			var agent unstructured.Unstructured
			var rest []unstructured.Unstructured
			for _, object := range built(t, "examples/environments/kustomize/"+environment) {
				if object.GetKind() == "Agent" {
					agent = object
				} else {
					rest = append(rest, object)
				}
			}
			require.NotEmpty(t, rest)
			require.Eventually(t, func() bool { // the Role was made a moment ago
				return deployer.Create(t.Context(), rest[0].DeepCopy(), client.DryRunAll) == nil
			}, taking, taking/300)
			apply(t, deployer, rest)
			try := func() error {
				object := client.ApplyConfigurationFromUnstructured(agent.DeepCopy())
				return deployer.Apply(t.Context(), object, client.FieldOwner("stage"), client.ForceOwnership)
			}
			require.ErrorContains(t, try(), `you may not reference secrets "order-agent" in an Agent without the verb use on it`)
			require.True(t, apierrors.IsForbidden(try()))

			let(t, namespace, "system:serviceaccount:"+namespace+":agent-deployer", uses("", "secrets", "order-agent"))
			require.Eventually(t, func() bool { return try() == nil }, taking, taking/300, "%v", try())

			err := deployer.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "own"}}, client.DryRunAll)
			require.True(t, apierrors.IsForbidden(err), "%v", err)
			err = deployer.Create(t.Context(), namespaceOf(environment), client.DryRunAll)
			require.True(t, apierrors.IsForbidden(err), "%v", err)
			for _, other := range environments {
				if other != environment {
					elsewhere := agent.DeepCopy()
					elsewhere.SetNamespace("flokoa-" + other)
					err := deployer.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(elsewhere), client.FieldOwner("stage"))
					require.True(t, apierrors.IsForbidden(err), "%v", err)
				}
			}
		})
	}
}
