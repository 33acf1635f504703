package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// --- which environment a namespace is -----------------------------------------------------------------------------------

// landlord may write every Namespace and assign dev to one, but is not the platform.
func landlord(t *testing.T) *person {
	t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: "landlord-"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"namespaces", "namespaces/status", "namespaces/finalize"}, Verbs: []string{"*"}},
		{APIGroups: []string{"flokoa.ai"}, Resources: []string{"environments"}, ResourceNames: []string{"dev"}, Verbs: []string{"assign"}},
	}}
	require.NoError(t, admin.Create(t.Context(), role))
	require.NoError(t, admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "larry"}},
	}))
	larry := as(t, "larry")
	require.Eventually(t, func() bool { return larry.Create(t.Context(), namespaceOf(""), client.DryRunAll) == nil }, taking, taking/300)
	return larry
}

// namespaceOf is a new Namespace for an environment, or for none.
func namespaceOf(kind string) *corev1.Namespace {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "n-", Labels: map[string]string{"team": "a"}}}
	if kind != "" {
		namespace.Labels[environment] = kind
	}
	return namespace
}

func TestOnlyThePlatformTeamAssignsEnvironments(t *testing.T) {
	larry := landlord(t)
	require.NoError(t, larry.Create(t.Context(), namespaceOf("dev"), client.DryRunAll), "larry may assign dev")
	err := larry.Create(t.Context(), namespaceOf("production"), client.DryRunAll)
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	require.ErrorContains(t, err, "you may not change metadata.labels of a Namespace (flokoa.ai/environment) without the verb assign on environments.flokoa.ai/production: ask the platform team for the ClusterRole flokoa-environment-assigner")
	plain := namespaceOf("")
	require.NoError(t, larry.Create(t.Context(), plain))
	pod := `"pod-security.kubernetes.io/enforce"`
	for name, row := range map[string]struct {
		namespace, patch string
		allowed          bool
	}{
		"none to dev":                       {plain.Name, `{"metadata":{"labels":{"flokoa.ai/environment":"dev"}}}`, true},
		"none to production":                {plain.Name, `{"metadata":{"labels":{"flokoa.ai/environment":"production"}}}`, false},
		"another label of Flokoa's":         {plain.Name, `{"metadata":{"labels":{"flokoa.ai/other":"x"}}}`, false},
		"Pod Security outside environments": {plain.Name, `{"metadata":{"labels":{` + pod + `:"baseline"}}}`, true},
		"any other label":                   {"production", `{"metadata":{"labels":{"team":"b"}}}`, true},
		"an annotation":                     {"production", `{"metadata":{"annotations":{"a":"b"}}}`, true},
		"production to dev":                 {"production", `{"metadata":{"labels":{"flokoa.ai/environment":"dev"}}}`, false},
		"dev to production":                 {"dev", `{"metadata":{"labels":{"flokoa.ai/environment":"production"}}}`, false},
		"production to none":                {"production", `{"metadata":{"labels":{"flokoa.ai/environment":null}}}`, false},
		"dev to none":                       {"dev", `{"metadata":{"labels":{"flokoa.ai/environment":null}}}`, true},
		"all labels away":                   {"production", `{"metadata":{"labels":null}}`, false},
		"Pod Security of production":        {"production", `{"metadata":{"labels":{` + pod + `:"privileged"}}}`, false},
		"Pod Security of dev":               {"dev", `{"metadata":{"labels":{` + pod + `:"privileged"}}}`, true},
		"to what there is not":              {"dev", `{"metadata":{"labels":{"flokoa.ai/environment":"prod"}}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			patch := client.RawPatch(types.MergePatchType, []byte(row.patch))
			object := func() *corev1.Namespace { return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: row.namespace}} }
			err := larry.Patch(t.Context(), object(), patch, client.DryRunAll)
			if row.allowed {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, "'flokoa-environment-label'")
				require.ErrorContains(t, larry.Status().Patch(t.Context(), object(), patch), "'flokoa-environment-label'", "by its status")
			}
			require.NoError(t, admin.Patch(t.Context(), object(), patch, client.DryRunAll), "a cluster admin")
		})
	}
}

func TestTheLabelCannotBeWrittenByFinalizing(t *testing.T) {
	landlord(t)
	theirs := rest.CopyConfig(config)
	theirs.Impersonate = rest.ImpersonationConfig{UserName: "larry", Groups: []string{"system:authenticated"}}
	set, err := kubernetes.NewForConfig(theirs)
	require.NoError(t, err)
	namespace, err := set.CoreV1().Namespaces().Get(t.Context(), "production", metav1.GetOptions{})
	require.NoError(t, err)
	delete(namespace.Labels, environment)
	_, err = set.CoreV1().Namespaces().Finalize(t.Context(), namespace, metav1.UpdateOptions{})
	require.ErrorContains(t, err, "'flokoa-environment-label'")
}
