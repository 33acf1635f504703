package apitest_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const environmentOperator = "operator-of-environments"

// asEnvironmentOperator returns an account with the ClusterRoles of the chart flokoa-operator with permissions: Environments. The
// second ClusterRole, what it writes, is not bound yet.
func asEnvironmentOperator(t *testing.T) *rest.Config {
	t.Helper()
	manifest, err := os.ReadFile("../../../overlays/base/operator/generated.yaml")
	require.NoError(t, err)
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		object := &rbacv1.ClusterRole{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		if object.Kind == "ClusterRole" && object.Labels["rbac.authorization.k8s.io/aggregate-to-view"] == "" {
			require.NoError(t, api.Create(t.Context(), object))
		}
	}
	require.NoError(t, api.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: environmentOperator},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "flokoa-operator"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: environmentOperator}},
	}))
	account := rest.CopyConfig(config)
	account.Impersonate = rest.ImpersonationConfig{UserName: environmentOperator}
	return account
}

// A namespace without the RoleBinding of the chart flokoa-environment gets nothing, and its author reads what is missing.
func TestAgentOutsideAnEnvironmentReportsTheMissingBinding(t *testing.T) {
	b := newBenchAs(t, newNamespace(t), asEnvironmentOperator(t))
	agent := b.create(t)
	live := b.settle(t, agent, func(of *v1alpha1.Agent) bool { return ready(of).Reason == v1alpha1.ReasonApplyFailed })
	require.Contains(t, ready(live).Message, "the operator may not write in this namespace: install the chart flokoa-environment for it, "+
		`or set permissions: Cluster in the chart flokoa-operator (Deployment: deployments.apps "a" is forbidden: User "`+environmentOperator+`" cannot patch`)
	require.Contains(t, ready(live).Message, `Service: services "a" is forbidden`)
	_, _, err := b.pass(t, agent)
	require.Error(t, err, "the queue retries with backoff, at the latest after 50 s")

	require.NoError(t, api.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "flokoa-operator"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "flokoa-operator-writer"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: environmentOperator}},
	}))
	b.settle(t, agent, func(of *v1alpha1.Agent) bool { return ready(of).Reason == v1alpha1.ReasonRolloutInProgress })
	child(t, agent, &appsv1.Deployment{})
	child(t, agent, &corev1.Service{})
}
