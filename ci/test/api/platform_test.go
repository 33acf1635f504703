package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
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

// --- the operator -------------------------------------------------------------------------------------------------------

const operator = "system:serviceaccount:flokoa-system:flokoa-operator"

// workload is a Deployment of an owner.
func workload(namespace, name string, owners ...metav1.OwnerReference) *appsv1.Deployment {
	labels := map[string]string{"a": "b"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, OwnerReferences: owners},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "a:v1"}}}},
		},
	}
}

func owner(kind, name string, controls bool) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Name: name, UID: "u", Controller: ptr.To(controls)}
}

func TestTheOperatorWritesOnlyWhatAnAgentOfThatNameControls(t *testing.T) {
	writes := rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"*"}}
	binding := func(user string) {
		for _, namespace := range []string{"production", "default", "kube-system"} {
			let(t, namespace, user, writes)
		}
	}
	binding(operator)
	binding("other")
	them, user := as(t, operator), as(t, "other")
	owned := workload("production", "a", owner("Agent", "a", true))
	require.Eventually(t, func() bool { return them.Create(t.Context(), owned.DeepCopy(), client.DryRunAll) == nil }, taking, taking/300)
	require.Eventually(t, func() bool {
		return user.Create(t.Context(), workload("kube-system", "a"), client.DryRunAll) == nil
	}, taking, taking/300)
	only := "a Flokoa operator may write only Deployments whose metadata.ownerReferences name an Agent of the same name as controller: create an Agent instead"
	for name, row := range map[string]struct {
		deployment *appsv1.Deployment
		message    string
	}{
		"unowned":                     {workload("production", "a"), only},
		"an Agent's of another name":  {workload("production", "a", owner("Agent", "b", true)), only},
		"one that an Agent only owns": {workload("production", "a", owner("Agent", "a", false)), only},
		"another kind's":              {workload("production", "a", owner("Model", "a", true)), only},
		"outside environments too":    {workload("default", "a"), only},
		"an Agent's, in kube-system":  {workload("kube-system", "a", owner("Agent", "a", true)), "a Flokoa operator may not write Deployments in a kube-* namespace: create the Agent in another namespace"},
		"an Agent's outside":          {workload("default", "a", owner("Agent", "a", true)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := them.Create(t.Context(), row.deployment.DeepCopy(), client.DryRunAll)
			if row.message == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, row.message)
				require.NoError(t, user.Create(t.Context(), row.deployment.DeepCopy(), client.DryRunAll), "other users are not restricted")
			}
		})
	}
	t.Run("takes over only what it was given", func(t *testing.T) { requireAdoption(t, them) })
}

func requireAdoption(t *testing.T, them client.Client) {
	t.Helper()
	foreign := workload("production", "found")
	require.NoError(t, admin.Create(t.Context(), foreign))
	take := func() error {
		taken := foreign.DeepCopy()
		taken.OwnerReferences = []metav1.OwnerReference{owner("Agent", "found", true)}
		return them.Update(t.Context(), taken, client.DryRunAll)
	}
	require.ErrorContains(t, take(), "a Flokoa operator may adopt only a Deployment with the annotation flokoa.ai/adopt set to its own name: annotate it, or rename the Agent")
	foreign.Annotations = map[string]string{v1alpha1.AnnotationAdopt: "another"}
	require.NoError(t, admin.Update(t.Context(), foreign))
	require.ErrorContains(t, take(), "flokoa.ai/adopt", "for another Agent")
	foreign.Annotations = map[string]string{v1alpha1.AnnotationAdopt: "found"}
	require.NoError(t, admin.Update(t.Context(), foreign))
	require.NoError(t, take())
}
