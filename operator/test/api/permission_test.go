package apitest_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/app"
)

// The ClusterRoles of the chart flokoa-operator: what the operator reads, and what it writes.
const readerRole, writerRole = "flokoa-operator", "flokoa-operator-writer"

// install creates the objects of some names that the charts render.
func install(t *testing.T, chart string, names ...string) {
	t.Helper()
	manifest, err := os.ReadFile("../../../overlays/base/" + chart + "/generated.yaml")
	require.NoError(t, err)
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return
		}
		kind := object.GetKind()
		clusterWide := kind == "ClusterRole" || strings.HasPrefix(kind, "ValidatingAdmissionPolicy")
		if clusterWide && slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(object.GetName(), name) }) {
			require.NoError(t, client.IgnoreAlreadyExists(api.Create(t.Context(), object)))
		}
	}
}

// account impersonates a user that has a ClusterRole in every namespace.
func account(t *testing.T, user string, roles ...string) *rest.Config {
	t.Helper()
	for _, role := range roles {
		require.NoError(t, api.Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}, RoleRef: clusterRole(role), Subjects: []rbacv1.Subject{subject(user)},
		}))
	}
	theirs := rest.CopyConfig(config)
	theirs.Impersonate = rest.ImpersonationConfig{UserName: user}
	return theirs
}

func clusterRole(name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
}

func subject(user string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}
}

// A namespace without the RoleBinding of the chart flokoa-environment gets nothing, and its author reads what is missing.
func TestAgentOutsideAnEnvironmentReportsTheMissingBinding(t *testing.T) {
	const user = "operator-of-environments"
	install(t, "operator", readerRole)
	b := newBenchAs(t, newNamespace(t), account(t, user, readerRole))
	agent := b.create(t)
	live := b.settle(t, agent, func(of *v1alpha1.Agent) bool { return ready(of).Reason == v1alpha1.ReasonApplyFailed })
	require.Contains(t, ready(live).Message, "the operator may not write in this namespace, which has no RoleBinding flokoa-operator-writer: install the chart "+
		`flokoa-environment for it, or set permissions: Cluster in the chart flokoa-operator (Deployment: deployments.apps "a" is forbidden: User "`+user+`" cannot patch`)
	require.Contains(t, ready(live).Message, `Service: services "a" is forbidden`)
	_, _, err := b.pass(t, agent)
	require.Error(t, err, "the queue retries with backoff, at the latest after 50 s")

	require.NoError(t, api.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "flokoa-operator"},
		RoleRef:    clusterRole(writerRole), Subjects: []rbacv1.Subject{subject(user)},
	}))
	b.settle(t, agent, func(of *v1alpha1.Agent) bool { return ready(of).Reason == v1alpha1.ReasonRolloutInProgress })
	child(t, agent, &appsv1.Deployment{})
	child(t, agent, &corev1.Service{})
}

// The account is that of the chart's defaults, which the policy of the chart flokoa-policies names.
func TestOperatorKnowsWhetherItIsConfined(t *testing.T) {
	const user = "system:serviceaccount:flokoa-system:flokoa-operator"
	install(t, "operator", readerRole)
	operator := account(t, user, readerRole)
	becomes := func(want bool) {
		t.Helper()
		require.Eventually(t, func() bool { return app.Unconfined(t.Context(), operator) == want }, 20*time.Second, 50*time.Millisecond)
	}
	require.False(t, app.Unconfined(t.Context(), operator), "RBAC confines it")
	account(t, user, writerRole)
	becomes(true)
	install(t, "policies", "flokoa-operator-confined")
	becomes(false)
	require.False(t, app.Unconfined(t.Context(), &rest.Config{Host: "127.0.0.1:1"}), "no answer proves nothing")
}
