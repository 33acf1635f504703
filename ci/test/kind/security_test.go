package kind_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// The command of NOTES.txt: helm test runs the chart's test pod, which checks the operator's health.
func TestHelmTestPasses(t *testing.T) {
	out, err := helm(t.Context(), "test", "flokoa-operator", "--timeout", "2m").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "Phase:          Succeeded")
}

// An editor of production has no way to a Secret: not by reading it, not by a pod, not by an Agent that would print it.
func TestAnEditorGetsNoSecret(t *testing.T) {
	s := newFixture(t, "production")
	agent := func(env string) string {
		return `{"apiVersion":"agent.flokoa.ai/v1alpha1","kind":"Agent","metadata":{"name":"thief"},"spec":{"runtime":{"spec":{"replicas":3,"container":{
"image":"` + oldImage() + `","ports":[{"containerPort":8080}],"resources":{"requests":{"cpu":"20m","memory":"24Mi"},"limits":{"cpu":"1","memory":"64Mi"}},` + env + `}}}}}`
	}
	eddie := s.editor()
	s.create("holder", 3, withCredential("API_KEY")) // the name in the guide, which makes the agent call no provider
	holder := "pod/" + s.pods("holder")[0].Name
	pod := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"thief"},"spec":{"containers":[{"name":"a","image":"` + oldImage() + `"}]}}`
	for _, row := range []struct{ what, stdin, args, denied string }{
		{"reads it", "", "get secret agent-secrets -o yaml", "cannot get resource"},
		{"lists all", "", "get secrets", "cannot list resource"},
		{"writes one", "", "create secret generic mine --from-literal=a=b", "cannot create resource"},
		{"runs a pod with it", pod, "create -f -", "cannot create resource"},
		{"opens a shell where it is", "", "exec " + holder + " -- /agent", `cannot create resource "pods/exec"`},
		{"attaches to a pod", "", "attach " + holder, `cannot create resource "pods/attach"`},
		{"requests a ServiceAccount token", "", "create token agent-deployer", `cannot create resource "serviceaccounts/token"`},
		{"acts as an account", "", "get --raw /apis/agent.flokoa.ai/v1alpha1/namespaces/flokoa-production/agents --as system:serviceaccount:flokoa-production:agent-deployer", "cannot impersonate"},
		{"gives it to an Agent as a variable", agent(`"env":[{"name":"API_KEY","valueFrom":{"secretKeyRef":{"name":"agent-secrets","key":"api-key"}}}]`), "create -f -", "the verb use on it"},
		{"gives it to an Agent as all variables", agent(`"envFrom":[{"secretRef":{"name":"agent-secrets"}}]`), "create -f -", "the verb use on it"},
	} {
		t.Run(row.what, func(t *testing.T) {
			out, err := kubectlAs(t, eddie, row.stdin, strings.Fields(row.args)...)
			require.Error(t, err, out)
			require.Contains(t, out, row.denied)
			require.NotContains(t, out, providerKey)
		})
	}
	out, err := kubectlAs(t, eddie, agent(`"name":"agent"`), "create", "--dry-run=server", "-f", "-")
	require.NoError(t, err, "an Agent without a Secret is let through: %s", out)
}

// kubectlAs runs kubectl as another user.
func kubectlAs(t *testing.T, kubeconfig, stdin string, args ...string) (string, error) {
	t.Helper()
	command := kubectl(t.Context(), append([]string{"--kubeconfig", kubeconfig}, args...)...)
	command.Stdin = strings.NewReader(stdin)
	out, err := command.CombinedOutput()
	return string(out), err
}

// Pod Security refuses what is not restricted, to an administrator too, and what the operator makes is restricted.
func TestPodsRunRestricted(t *testing.T) {
	s := newFixture(t, "production")
	for _, row := range []struct{ what, spec, denied string }{
		{"privileged", `"containers":[{"name":"a","image":"a:1","securityContext":{"privileged":true}}]`, "privileged"},
		{"the host's network", `"hostNetwork":true,"containers":[{"name":"a","image":"a:1"}]`, "host namespaces"},
		{"a folder of the host", `"volumes":[{"name":"h","hostPath":{"path":"/"}}],"containers":[{"name":"a","image":"a:1"}]`, "hostPath"},
	} {
		t.Run(row.what, func(t *testing.T) {
			command := kubectl(t.Context(), "--namespace", s.namespace, "create", "--dry-run=server", "-f", "-")
			command.Stdin = strings.NewReader(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bad"},"spec":{` + row.spec + `}}`)
			out, err := command.CombinedOutput()
			require.Error(t, err)
			require.Contains(t, string(out), "violates PodSecurity")
			require.Contains(t, string(out), row.denied)
		})
	}

	s.create("restricted", 3)
	pods := s.pods("restricted")
	require.Len(t, pods, 3)
	for _, pod := range pods {
		container := pod.Spec.Containers[0].SecurityContext
		require.True(t, *container.ReadOnlyRootFilesystem)
		require.False(t, *container.AllowPrivilegeEscalation)
		require.Equal(t, []corev1.Capability{"ALL"}, container.Capabilities.Drop)
		require.True(t, *pod.Spec.SecurityContext.RunAsNonRoot)
		require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.Spec.SecurityContext.SeccompProfile.Type)
	}
}
