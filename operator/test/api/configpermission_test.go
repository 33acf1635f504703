package apitest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// Whoever lists a Secret without the Role, or loses the Role with its namespace, must not believe that a change rolls the pods.
func TestTheStatusSaysThatTheRoleOfAListedSecretIsMissing(t *testing.T) {
	t.Parallel()
	const user = "operator-without-the-role"
	install(t, "operator", readerRole, writerRole)
	f := fleet{account: account(t, user, readerRole, writerRole)}
	start := func() {
		f.bench = newBenchAs(t, f.namespace, f.account)
		f.rollConfigs(t, "tokens")
	}
	f.namespace = newNamespace(t)
	f.allowTokens(t, user)
	start()
	f.writeConfig(t, "log-level", "info")
	f.write(t, secretObject(f), `{"stringData":{"token":"guess-me-1"}}`)
	f.add(t, []string{"a"}, readsToken)

	f.denyTokens(t)
	start() // it could never read the Secret
	f.passUntil(t, "a", v1alpha1.ReasonSecretsNotObserved)
	require.Contains(t, f.outdated(t, "a").Message, "the operator has no permission to get, list, and watch it")

	f.allowTokens(t, user)
	f.passUntil(t, "a", "")
	before := f.revisions(t)
	f.write(t, secretObject(f), `{"stringData":{"token":"guess-me-2"}}`)
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before))
	f.complete(t, "a")

	f.denyTokens(t)
	f.write(t, secretObject(f), `{"stringData":{"token":"guess-me-3"}}`)
	f.passUntil(t, "a", v1alpha1.ReasonSecretsNotObserved)
}

// passUntil reconciles an Agent until its condition ConfigOutdated has a reason, or none. A watch that RBAC denied, or a read, is repeated
// after up to 30 s.
func (f *fleet) passUntil(t *testing.T, name, reason string) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := f.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Namespace: f.namespace, Name: name}})
		return err == nil && f.outdated(t, name).Reason == reason
	}, 2*time.Minute, 200*time.Millisecond)
}

// allowTokens creates what the chart creates for configRollouts.secrets.
func (f *fleet) allowTokens(t *testing.T, user string) {
	t.Helper()
	of := metav1.ObjectMeta{Namespace: f.namespace, Name: "flokoa-operator-config"}
	require.NoError(t, api.Create(t.Context(), &rbacv1.Role{ObjectMeta: of, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"tokens"}, Verbs: []string{"get", "list", "watch"}}}}))
	require.NoError(t, client.IgnoreAlreadyExists(api.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: of, Subjects: []rbacv1.Subject{subject(user)}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: of.Name},
	})))
	f.awaitTokens(t, true)
}

func (f *fleet) denyTokens(t *testing.T) {
	t.Helper()
	require.NoError(t, api.Delete(t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "flokoa-operator-config"}}))
	f.awaitTokens(t, false)
}

// awaitTokens waits until the API server knows what the account may read.
func (f *fleet) awaitTokens(t *testing.T, allowed bool) {
	t.Helper()
	secrets := kubernetes.NewForConfigOrDie(f.account).CoreV1().Secrets(f.namespace)
	require.Eventually(t, func() bool {
		_, err := secrets.Get(t.Context(), "tokens", metav1.GetOptions{})
		return apierrors.IsForbidden(err) != allowed
	}, time.Minute, 100*time.Millisecond)
}
