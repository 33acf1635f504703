package cluster_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// What the README of the chart flokoa-agent tells a team to set.
const (
	agentChart = "charts/flokoa-agent"
	agentImage = "spec.runtime.spec.container.image=ghcr.io/example/my-agent:v2.0.0"
	withSecret = `spec.runtime.spec.container.env=[{"name":"API_KEY","valueFrom":{"secretKeyRef":{"name":"model-key","key":"api-key"}}}]`
)

// deployer is the account agent-deployer of an environment, with a token and nothing else.
type deployer struct {
	*environment
	kubeconfig string
}

func (e *environment) newDeployer() *deployer {
	e.Helper()
	config := rest.AnonymousClientConfig(cluster.Config)
	config.BearerToken = strings.TrimSpace(e.kubectl("create", "token", "agent-deployer"))
	d := &deployer{e, filepath.Join(e.TempDir(), "kubeconfig")}
	require.NoError(e, harness.WriteKubeconfig(d.kubeconfig, config))
	return d
}

// run is Helm as the account, or as the cluster's admin with the admin's kubeconfig.
func (d *deployer) run(kubeconfig, driver string, args ...string) (string, error) {
	home := filepath.Dir(d.kubeconfig)
	command := exec.CommandContext(d.Context(), cluster.Helm, append(args, "--namespace", d.namespace)...)
	command.Dir = root
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "HELM_DRIVER="+driver, "HELM_MAX_HISTORY=2",
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := command.CombinedOutput()
	return string(out), err
}

// quotaConflict is what the API server answers if it could not charge a new object to the quota in three attempts, because pods come and
// go at the same time. Nothing is created, and the next attempt passes.
const quotaConflict = `Operation cannot be fulfilled on resourcequotas`

// helm runs Helm as the account; it must succeed, and no policy may warn.
func (d *deployer) helm(args ...string) string {
	d.Helper()
	var out string
	d.eventually("helm "+strings.Join(args, " "), waitTimeout, func() (err error) {
		out, err = d.run(d.kubeconfig, "configmap", args...)
		if err != nil && strings.Contains(out, quotaConflict) {
			return errors.New(out)
		}
		require.NoError(d, err, "helm %s\n%s", strings.Join(args, " "), out)
		return nil
	})
	require.NotContains(d, out, "Warning")
	return out
}

// values are what a team sets: one line differs between the environments.
func (d *deployer) values(more ...string) []string {
	args := []string{"--set", "environment=" + d.kind, "--set", agentImage}
	for _, value := range more {
		args = append(args, "--set-json", value)
	}
	return args
}

func TestATeamInstallsItsAgentWithHelm(t *testing.T) {
	t.Parallel()
	for _, kind := range manifests.Environments {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			e := installWithHelm(t, kind)
			e.waitQuotas()
			d := e.newDeployer()
			d.requireSecretsDriverFails()
			d.requireInstalled()
			d.requireSecretsNeedUse()
			d.requireRollback()
			d.requireHistoryCounted()
			d.requireInstalledBySDK()
			d.requireUninstalled()
		})
	}
}

// requireSecretsDriverFails has Helm store the release in a Secret, as it does by default.
func (d *deployer) requireSecretsDriverFails() {
	d.Helper()
	out, err := d.run(d.kubeconfig, "secret", append([]string{"install", "my-agent", agentChart}, d.values()...)...)
	require.Error(d, err)
	require.Contains(d, out, "secrets is forbidden")
	require.NoError(d, d.checkDeleted("my-agent", &v1alpha1.Agent{}))
}

// requireInstalled installs with the two values of the README, which must satisfy every policy and quota of the environment.
func (d *deployer) requireInstalled() {
	d.Helper()
	out := d.helm(append([]string{"install", "my-agent", agentChart}, d.values()...)...)
	require.Contains(d, out, "kubectl --namespace "+d.namespace+" get agent my-agent -w")
	agent := d.waitReady("my-agent")
	require.Equal(d, minReplicas[d.kind], *agent.Spec.Runtime.Spec.Replicas)
	if d.kind == "production" {
		available := condition(agent, v1alpha1.ConditionHighlyAvailable)
		require.Equal(d, metav1.ConditionTrue, available.Status, available.Message)
	}
}

// requireSecretsNeedUse gives the Agent a Secret, before and after the account may use it.
func (d *deployer) requireSecretsNeedUse() {
	d.Helper()
	d.kubectl("create", "secret", "generic", "model-key", "--from-literal=api-key=x")
	upgrade := append([]string{"upgrade", "my-agent", agentChart}, d.values(withSecret)...)
	out, err := d.run(d.kubeconfig, "configmap", upgrade...)
	require.Error(d, err, out)
	require.Contains(d, out, `you may not reference secrets "model-key" in an Agent without the verb use on it`)

	// No policy stops a cluster admin.
	out, err = d.run(cluster.Kubeconfig, "configmap", append([]string{"install", "of-an-admin", agentChart}, d.values(withSecret)...)...)
	require.NoError(d, err, out)
	out, err = d.run(cluster.Kubeconfig, "configmap", "uninstall", "of-an-admin")
	require.NoError(d, err, out)

	d.environment.helm("upgrade", d.namespace, "charts/flokoa-environment", "--reuse-values",
		"--set", "secretUse.secrets={model-key}", "--set", "access.secretUsers.deployer=true")
	d.eventually("the Role is in force", waitTimeout, func() error {
		account := as("system:serviceaccount:" + d.namespace + ":agent-deployer")
		return d.command(d.Context(), append([]string{"auth", "can-i", "use", "secrets/model-key"}, account...)...).Run()
	})
	d.helm(upgrade...)
	require.Len(d, d.waitReady("my-agent").Spec.Runtime.Spec.Container.Env, 1)
}

// requireRollback goes back to the first revision, and leaves alone a count that somebody else has set.
func (d *deployer) requireRollback() {
	d.Helper()
	more := minReplicas[d.kind] + 1
	d.kubectl("scale", "agent", "my-agent", "--replicas", strconv.Itoa(int(more)))
	d.helm("rollback", "my-agent", "1")
	agent := d.waitReady("my-agent")
	require.Empty(d, agent.Spec.Runtime.Spec.Container.Env)
	require.Equal(d, more, *agent.Spec.Runtime.Spec.Replicas)
}

// requireHistoryCounted finds two revisions, and the quota counts them.
func (d *deployer) requireHistoryCounted() {
	d.Helper()
	d.helm(append([]string{"upgrade", "my-agent", agentChart}, d.values(`labels={"team":"search"}`)...)...)
	require.Len(d, d.list(&corev1.ConfigMapList{}, client.MatchingLabels{"owner": "helm"}), 2)
	all := len(d.list(&corev1.ConfigMapList{}))
	// When a revision is deleted, the quota controller counts what its cache has. If that lags behind the newest revision, it counts again
	// after five minutes.
	d.eventually("the quota counts the revisions", 6*time.Minute, func() error {
		quota := read(d.fixture, "flokoa", &corev1.ResourceQuota{})
		used, ok := quota.Status.Used["count/configmaps"]
		if !ok {
			used = quota.Status.Used[corev1.ResourceConfigMaps]
		}
		return checkEqual("ConfigMaps", int64(all), used.Value())
	})
}

// requireInstalledBySDK upgrades with Helm's Go packages, as Terraform and others do.
func (d *deployer) requireInstalledBySDK() {
	d.Helper()
	values := map[string]any{
		"environment": d.kind, "labels": map[string]any{"by": "sdk"},
		"spec": map[string]any{"runtime": map[string]any{"spec": map[string]any{"container": map[string]any{"image": "ghcr.io/example/my-agent:v2.1.0"}}}},
	}
	require.NoError(d, manifests.InstallWithConfigMaps(d.Context(), d.kubeconfig, fromRoot(agentChart), "my-agent", d.namespace, values))
	require.NoError(d, manifests.InstallWithConfigMaps(d.Context(), d.kubeconfig, fromRoot(agentChart), "another", d.namespace, values))
	require.Equal(d, "sdk", d.waitReady("my-agent").Labels["by"])
	require.Equal(d, "ghcr.io/example/my-agent:v2.1.0", d.waitReady("another").Status.Image)
	d.helm("uninstall", "another")
}

// requireUninstalled leaves nothing of the release.
func (d *deployer) requireUninstalled() {
	d.Helper()
	d.helm("uninstall", "my-agent")
	d.eventually("everything is gone", waitTimeout, func() error {
		if err := d.checkDeleted("my-agent", &v1alpha1.Agent{}); err != nil {
			return err
		}
		return d.checkDeleted("my-agent", &corev1.Service{})
	})
	require.Empty(d, d.list(&corev1.ConfigMapList{}, client.MatchingLabels{"owner": "helm"}))
}
