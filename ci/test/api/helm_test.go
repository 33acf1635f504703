package api_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
)

// releaseNamespace is where examples/gitops/flux/helm stores the releases of environments.
const releaseNamespace = "flokoa-releases"

// helmAs runs Helm 4, which Flux has as a library, as the account flokoa-environments of Flux.
func helmAs(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	build := exec.CommandContext(t.Context(), "ci/tools/build.sh", "helm4")
	build.Dir, build.Stderr = root, os.Stderr
	folder, err := build.Output()
	require.NoError(t, err)
	home := t.TempDir()
	kubeconfig := filepath.Join(home, "kubeconfig")
	require.NoError(t, harness.WriteKubeconfig(kubeconfig, config))
	command := exec.CommandContext(t.Context(), filepath.Join(strings.TrimSpace(string(folder)), "helm"), append(arguments,
		"--kubeconfig", kubeconfig, "--kube-as-user", "system:serviceaccount:flux-system:flokoa-environments",
		"--kube-as-group", "system:serviceaccounts:flux-system", "--kube-as-group", "system:authenticated")...)
	command.Dir = root
	command.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := command.CombinedOutput()
	return string(out), err
}

// The account needs its ClusterRole and the Role for stored releases, and nothing else, to install, upgrade, and remove old revisions.
func TestTheEnvironmentAccountInstallsByHelm(t *testing.T) {
	fluxAccounts(t)
	var permissions []client.Object
	for _, object := range built(t, "examples/gitops/flux/helm") {
		if object.GetNamespace() == releaseNamespace && object.GroupVersionKind().Group == rbacv1.GroupName {
			permissions = append(permissions, object.DeepCopy())
		}
	}
	require.Len(t, permissions, 2)
	require.NoError(t, admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: releaseNamespace}}))
	install := func(flags ...string) (string, error) {
		return helmAs(t, append([]string{"upgrade", "--install", "by-helm", "charts/flokoa-environment", "--namespace", releaseNamespace,
			"--set", "environment=production,namespace.name=by-helm", "--history-max", "1"}, flags...)...)
	}
	out, err := install()
	require.Error(t, err, out)
	require.Contains(t, out, `secrets is forbidden`)
	for _, object := range permissions {
		require.NoError(t, admin.Create(t.Context(), object))
	}
	require.Eventually(t, func() bool { out, err = install("--server-side=true"); return err == nil }, taking, taking/30, "%s", &out)
	for _, team := range []string{"payments", "search"} {
		out, err = install("--set", "commonLabels.team="+team)
		require.NoError(t, err, out)
	}
	first := client.ObjectKey{Namespace: releaseNamespace, Name: "sh.helm.release.v1.by-helm.v1"}
	require.True(t, apierrors.IsNotFound(admin.Get(t.Context(), first, &corev1.Secret{})), "an old revision is removed")

	// A create request has no name, which is why the example asks for Server-Side Apply.
	out, err = helmAs(t, "install", "by-create", "charts/flokoa-environment", "--namespace", releaseNamespace, "--server-side=false",
		"--set", "environment=production,namespace.name=by-create")
	require.Error(t, err, out)
	require.Contains(t, out, "is attempting to grant RBAC permissions not currently held")
}
