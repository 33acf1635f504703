package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// flokoa-environments may write Roles and RoleBindings that hold more than it does. Were it to write them outside of environments, it
// would be cluster-admin after three requests.

// accountLayouts are the layouts that have an account flokoa-environments, by the namespace of the account.
var accountLayouts = map[string]string{"flux-system": "examples/gitops/flux/cluster", "argocd": "examples/teams/argocd"}

// teamEnvironment is what the release of an environment of a team installs; package gitops holds Flux and Argo CD against the same.
func teamEnvironment(t *testing.T, team, environment, namespace string) []unstructured.Unstructured {
	t.Helper()
	values, err := manifests.Values(root + "/examples/teams/helm/" + team + ".yaml")
	require.NoError(t, err)
	values["environment"], values["namespace"] = environment, map[string]any{"name": namespace}
	objects, err := manifests.Chart(root+"/charts/flokoa-environment", values, namespace, manifests.Platform)
	require.NoError(t, err)
	return objects
}

func TestTheEnvironmentAccountAppliesTheTeams(t *testing.T) {
	for system, layout := range accountLayouts {
		t.Run(system, func(t *testing.T) {
			account := environmentAccount(t, layout, system)
			for _, team := range []string{"payments", "search"} {
				for _, environment := range environments {
					objects := teamEnvironment(t, team, environment, system+"-"+team+"-"+environment)
					first := apply(t, account, objects)
					require.Equal(t, first, apply(t, account, objects), "the second time changes something")
					for _, object := range objects {
						object.SetLabels(map[string]string{"upgraded": "true"})
						if object.GetKind() == "Namespace" {
							object.SetLabels(map[string]string{
								"flokoa.ai/environment": environment, "pod-security.kubernetes.io/enforce": "restricted", "upgraded": "true",
							})
						}
					}
					require.NotEqual(t, first, apply(t, account, objects))
				}
			}
		})
	}
}

// grants are a Role of everything and its RoleBinding. By the names of an environment, RBAC lets the account write both.
func grants(namespace, user string) (*rbacv1.Role, *rbacv1.RoleBinding) {
	metadata := metav1.ObjectMeta{Namespace: namespace, Name: "agent-editor"}
	role := &rbacv1.Role{
		TypeMeta: metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role"}, ObjectMeta: metadata,
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}},
	}
	binding := &rbacv1.RoleBinding{
		TypeMeta: metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"}, ObjectMeta: metadata,
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "agent-editor"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
	}
	return role, binding
}

// applyOne applies an object as GitOps controllers do, by Server-Side Apply.
func applyOne(t *testing.T, who client.Client, object client.Object) error {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	require.NoError(t, err)
	configuration := client.ApplyConfigurationFromUnstructured(&unstructured.Unstructured{Object: content})
	return who.Apply(t.Context(), configuration, client.FieldOwner("stage"), client.ForceOwnership)
}

func TestTheEnvironmentAccountWritesOnlyInEnvironments(t *testing.T) {
	for system, layout := range accountLayouts {
		t.Run(system, func(t *testing.T) {
			account := environmentAccount(t, layout, system)
			for _, namespace := range []string{"flux-system", "kube-system", manifests.Platform, "argocd", "default"} {
				createNamespace(t, namespace)
				role, binding := grants(namespace, "system:serviceaccount:"+system+":flokoa-environments")
				metadata := metav1.ObjectMeta{Namespace: namespace, Name: "sneaky"}
				for resource, object := range map[string]client.Object{
					"roles": role, "rolebindings": binding,
					"serviceaccounts": &corev1.ServiceAccount{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: metadata},
					"resourcequotas":  &corev1.ResourceQuota{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ResourceQuota"}, ObjectMeta: metadata},
					"limitranges":     &corev1.LimitRange{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "LimitRange"}, ObjectMeta: metadata},
					"networkpolicies": &networkingv1.NetworkPolicy{
						TypeMeta: metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "NetworkPolicy"}, ObjectMeta: metadata,
					},
				} {
					t.Run(namespace+" "+resource, func(t *testing.T) {
						says := "flokoa-environments may write " + resource + " only in an environment, and the namespace " + namespace +
							" has no label flokoa.ai/environment: apply the object as a cluster admin"
						err := applyOne(t, account, object)
						require.True(t, apierrors.IsForbidden(err), "%v", err)
						require.ErrorContains(t, err, says)
						require.NoError(t, admin.Create(t.Context(), object.DeepCopyObject().(client.Object)))
						label := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`))
						require.ErrorContains(t, account.Patch(t.Context(), object.DeepCopyObject().(client.Object), label), says)
						require.ErrorContains(t, account.Delete(t.Context(), object), says)
						require.NoError(t, admin.Delete(t.Context(), object))
					})
				}
			}
		})
	}
}

func TestTheEnvironmentAccountLabelsNoOtherNamespace(t *testing.T) {
	const label, level = "flokoa-environments may write only a Namespace that has, and keeps, the label flokoa.ai/environment",
		"metadata.labels[pod-security.kubernetes.io/enforce] of an environment must be baseline or restricted"
	for system, layout := range accountLayouts {
		t.Run(system, func(t *testing.T) {
			account := environmentAccount(t, layout, system)
			plain, dev := namespaceOf(""), baseline(namespaceOf("dev"))
			require.NoError(t, admin.Create(t.Context(), plain))
			require.NoError(t, account.Create(t.Context(), dev))
			require.ErrorContains(t, account.Create(t.Context(), namespaceOf("")), label)
			require.ErrorContains(t, account.Create(t.Context(), namespaceOf("dev")), level)
			for name, row := range map[string]struct{ namespace, labels, says string }{
				"kube-system becomes an environment":    {"kube-system", `{"flokoa.ai/environment":"dev","pod-security.kubernetes.io/enforce":"baseline"}`, label},
				"its own becomes one":                   {system, `{"flokoa.ai/environment":"dev","pod-security.kubernetes.io/enforce":"baseline"}`, label},
				"an empty namespace becomes one":        {plain.Name, `{"flokoa.ai/environment":"dev","pod-security.kubernetes.io/enforce":"baseline"}`, label},
				"another label of no environment":       {plain.Name, `{"team":"b"}`, label},
				"an environment becomes none":           {dev.Name, `{"flokoa.ai/environment":null}`, label},
				"an environment admits privileged pods": {dev.Name, `{"pod-security.kubernetes.io/enforce":"privileged"}`, level},
				"an environment loses its Pod Security": {dev.Name, `{"pod-security.kubernetes.io/enforce":null}`, level},
				"another environment":                   {dev.Name, `{"flokoa.ai/environment":"staging"}`, ""},
				"another label of an environment":       {dev.Name, `{"team":"b"}`, ""},
				"an environment with more Pod Security": {dev.Name, `{"pod-security.kubernetes.io/enforce":"restricted"}`, ""},
			} {
				t.Run(name, func(t *testing.T) {
					patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":`+row.labels+`}}`))
					err := account.Patch(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: row.namespace}}, patch, client.DryRunAll)
					if row.says == "" {
						require.NoError(t, err)
						return
					}
					require.True(t, apierrors.IsForbidden(err), "%v", err)
					require.ErrorContains(t, err, row.says)
				})
			}
		})
	}
}

// A Role in a namespace can grant the deletion and the subresources of that Namespace.
func TestTheEnvironmentAccountCannotGrantItselfANamespace(t *testing.T) {
	for system, layout := range accountLayouts {
		t.Run(system, func(t *testing.T) {
			account := environmentAccount(t, layout, system)
			dev := baseline(namespaceOf("dev"))
			require.NoError(t, account.Create(t.Context(), dev))
			err := account.Delete(t.Context(), dev.DeepCopy(), client.DryRunAll)
			require.True(t, apierrors.IsForbidden(err), "%v", err)
			require.ErrorContains(t, err, `cannot delete resource "namespaces"`)

			role, binding := grants(dev.Name, "system:serviceaccount:"+system+":flokoa-environments")
			require.NoError(t, applyOne(t, account, role))
			require.NoError(t, applyOne(t, account, binding))
			require.Eventually(t, func() bool {
				return account.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: dev.Name, Name: "own"}}, client.DryRunAll) == nil
			}, taking, taking/300)
			require.ErrorContains(t, account.Delete(t.Context(), dev.DeepCopy()), "flokoa-environments may not delete a Namespace: delete it as a cluster admin")
			patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`))
			require.ErrorContains(t, account.Status().Patch(t.Context(), dev.DeepCopy(), patch), "must be baseline or restricted: set it")
		})
	}
}
