package kind_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// cluster is the one that the tests disturb; set before the first one runs.
var cluster struct {
	kubeconfig, kubectl, helm string
	// kind is the name of the kind cluster whose nodes are containers of this machine; empty for any other cluster.
	kind string
	// images is where the images of the tests are, as ci/test/kind/images.sh made them: a registry and a folder of it.
	images string
	config *rest.Config
	nodes  []corev1.Node
	// callerNode is the node of the load generators: it is left in peace.
	callerNode string
}

// api is a client of the cluster's administrator, without a cache.
var api client.WithWatch

// workDir is where kubectl and Helm keep what they remember.
var workDir string

func loadCluster(ctx context.Context) (err error) {
	for name, into := range map[string]*string{"KUBECONFIG": &cluster.kubeconfig, "KUBECTL": &cluster.kubectl, "HELM": &cluster.helm, "FLOKOA_IMAGES": &cluster.images} {
		if *into = os.Getenv(name); *into == "" {
			return fmt.Errorf("%s is not set: run make test-kind, which sets it", name)
		}
	}
	cluster.kind = os.Getenv("FLOKOA_KIND")
	if workDir, err = os.MkdirTemp("", "flokoa-live-"); err != nil {
		return err
	}
	if cluster.config, err = clientcmd.BuildConfigFromFlags("", cluster.kubeconfig); err != nil {
		return err
	}
	cluster.config.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	if api, err = client.NewWithWatch(cluster.config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	return findNodes(ctx)
}

// findNodes separates the node of the callers from the nodes of the Agents.
func findNodes(ctx context.Context) error {
	list := &corev1.NodeList{}
	if err := api.List(ctx, list); err != nil {
		return err
	}
	for _, node := range list.Items {
		if _, controls := node.Labels["node-role.kubernetes.io/control-plane"]; controls {
			cluster.callerNode = node.Name
		} else {
			cluster.nodes = append(cluster.nodes, node)
		}
	}
	if cluster.callerNode == "" && len(cluster.nodes) > 1 { // the provider keeps the control plane to itself
		last := len(cluster.nodes) - 1
		cluster.callerNode, cluster.nodes = cluster.nodes[last].Name, cluster.nodes[:last]
	}
	if len(cluster.nodes) < 2 {
		return fmt.Errorf("the cluster has %d nodes for Agents: two at least are needed, and one more for their callers", len(cluster.nodes))
	}
	return nil
}

// testLabels mark the objects that these tests create.
var testLabels = client.MatchingLabels{"made-by": "flokoa-live"}

// callerNamespaces are the namespaces of the pods in these tests that belong to no Agent.
var callerNamespaces = []string{"live-gateway", "live-monitoring", "live-provider", devProvider, "live-unrelated"}

// outsideNamespace is the namespace of who answers at addresses that are not the cluster's. Its pod uses the node's network.
const outsideNamespace = "live-outside"

func environmentNamespaces() []string {
	var names []string
	for _, kind := range manifests.Environments {
		names = append(names, "flokoa-"+kind)
	}
	return names
}

// requireUnusedCluster keeps these tests, which are destructive, away from a cluster that uses Flokoa: the cleanup deletes the CRD, and
// with it the Agents of every namespace.
func requireUnusedCluster(ctx context.Context) error {
	ours := api.Get(ctx, keyOf(system), &corev1.Namespace{}) == nil
	if !ours && installed(ctx, "crd", "agents.agent.flokoa.ai") {
		return fmt.Errorf("the CRD agents.agent.flokoa.ai exists and was not created by these tests: run them on a cluster that does not use Flokoa")
	}
	for _, name := range slices.Concat([]string{system, outsideNamespace}, environmentNamespaces(), callerNamespaces) {
		namespace := &corev1.Namespace{}
		err := api.Get(ctx, client.ObjectKey{Name: name}, namespace)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err == nil && namespace.Labels["made-by"] != testLabels["made-by"] {
			return fmt.Errorf("namespace %s exists and was not created by these tests: run them on a cluster that does not use Flokoa", name)
		}
	}
	return nil
}

// installDefinitions installs the CRDs and the policies, which a cluster has once.
func installDefinitions(ctx context.Context) error {
	if err := makeNamespaces(ctx, system); err != nil {
		return err
	}
	for _, chart := range []string{"flokoa-crds", "flokoa-policies"} {
		if err := manifests.Install(ctx, cluster.kubeconfig, fromRoot("charts", chart), chart, system, nil); err != nil {
			return err
		}
	}
	// Kubernetes looks twice a minute for kinds to count; a quota made before it found Agents would count them five minutes later.
	return waitAgentsCounted(ctx)
}

// installOperator runs after the environments exist: the chart creates a Role in the namespace of each Secret whose changes roll Agents.
func installOperator(ctx context.Context) error {
	return manifests.Install(ctx, cluster.kubeconfig, fromRoot("charts/flokoa-operator"), "flokoa-operator", system, operatorValues())
}

func operatorValues() map[string]any {
	registry, repository, _ := strings.Cut(image("flokoa-operator", ""), "/")
	repository = strings.TrimSuffix(repository, ":")
	return map[string]any{
		"image":          map[string]any{"registry": registry, "repository": repository, "tag": "test"},
		"configRollouts": map[string]any{"secrets": map[string]any{"flokoa-" + configEnvironment: []any{"agent-secrets"}}},
	}
}

// image is the full name of one of the images that ci/test/kind/images.sh makes.
func image(name, tag string) string { return cluster.images + "/" + name + ":" + tag }

func makeNamespaces(ctx context.Context, names ...string) error {
	for _, name := range names {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			"made-by": testLabels["made-by"], "pod-security.kubernetes.io/enforce": "restricted"}}}
		if err := api.Create(ctx, namespace); err != nil {
			return err
		}
	}
	return nil
}

// installEnvironments brings dev, staging and production, each open to one gateway and one reader of metrics; staging and
// production may call the provider, dev what is public and a provider of its own.
func installEnvironments(ctx context.Context) error {
	for _, kind := range manifests.Environments {
		values, err := manifests.Values(fromRoot("charts/flokoa-environment/values-" + kind + ".yaml"))
		if err != nil {
			return err
		}
		values["network"] = networkOf(kind)
		release := "flokoa-" + kind
		if err := manifests.Install(ctx, cluster.kubeconfig, fromRoot("charts/flokoa-environment"), release, system, values); err != nil {
			return err
		}
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: release}}
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"made-by":"`+testLabels["made-by"]+`"}}}`))
		if err := api.Patch(ctx, namespace, patch); err != nil {
			return err
		}
	}
	if err := waitQuotas(ctx); err != nil {
		return err
	}
	return api.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "flokoa-production", Name: "agent-secrets"}, StringData: map[string]string{"api-key": providerKey}})
}

func networkOf(kind string) map[string]any {
	peer := func(namespace, app string) []any {
		return []any{map[string]any{"namespace": namespace, "podLabels": map[string]any{"app": app}}}
	}
	egress := map[string]any{"cidrs": []any{providerAddress + "/32"}, "ports": []any{int64(providerPort)}}
	if kind == "dev" {
		egress = map[string]any{"public": true, "pods": []any{
			map[string]any{"namespace": devProvider, "podLabels": map[string]any{"app": "provider"}, "port": int64(providerPort)}}}
	}
	return map[string]any{"gateways": peer("live-gateway", "gateway"), "monitoring": peer("live-monitoring", "prometheus"), "egress": egress}
}

// tearDown removes all that these tests created: Agents, environments, policies, CRDs. It is idempotent. The platform's namespace goes
// last: after an interrupted run, it marks the rest as created by these tests.
func tearDown(ctx context.Context) error {
	remove := func(names ...string) []string {
		return append([]string{"delete", "namespaces", "--ignore-not-found", "--timeout=2m"}, names...)
	}
	restoreNodes(ctx)
	if installed(ctx, "crd", "agents.agent.flokoa.ai") {
		for _, namespace := range environmentNamespaces() {
			if out, err := kubectl(ctx, "--namespace", namespace, "delete", "agents", "--all", "--timeout=2m").CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
		}
	}
	steps := [][]string{remove(slices.Concat(environmentNamespaces(), callerNamespaces, []string{outsideNamespace})...)}
	for _, kind := range []string{"validatingadmissionpolicybindings", "validatingadmissionpolicies", "clusterroles", "clusterrolebindings", "crds"} {
		steps = append(steps, []string{"delete", kind, "--selector", "app.kubernetes.io/part-of=flokoa", "--ignore-not-found"})
	}
	for _, args := range append(steps, remove(system)) {
		if out, err := kubectl(ctx, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

func installed(ctx context.Context, kind, name string) bool {
	return kubectl(ctx, "get", kind, name).Run() == nil
}

// kubectl is what a person types.
func kubectl(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, cluster.kubectl, args...)
	command.Dir = root
	command.Env = append(os.Environ(), "KUBECONFIG="+cluster.kubeconfig, "KUBERC=off", "KUBECACHEDIR="+filepath.Join(workDir, "kubectl"))
	return command
}

// helm is Helm against the releases of the platform's namespace.
func helm(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, cluster.helm, append([]string{"--namespace", system}, args...)...)
	command.Dir = root
	command.Env = append(os.Environ(), "KUBECONFIG="+cluster.kubeconfig, "HELM_CACHE_HOME="+workDir, "HELM_CONFIG_HOME="+workDir, "HELM_DATA_HOME="+workDir)
	return command
}

// waitFor polls until something holds; otherwise it fails with the last error.
func waitFor(ctx context.Context, what string, limit time.Duration, missing func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 500*time.Millisecond, limit, true, func(ctx context.Context) (bool, error) {
		last = missing(ctx)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waited %s until %s: %w", limit, what, errors.Join(last, context.Cause(ctx)))
	}
	return nil
}

// needsKind skips what can only be done where the nodes are containers of this machine.
func needsKind(t *testing.T, what string) {
	t.Helper()
	if cluster.kind == "" {
		t.Skipf("skipped: %s needs the machine under the nodes, and this is not a kind cluster of this machine", what)
	}
}

// onNode runs a command on a node of kind.
func onNode(ctx context.Context, node string, command ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, "docker", append([]string{"exec", node}, command...)...).CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("on %s: %s: %w: %s", node, strings.Join(command, " "), err, out)
	}
	return out, nil
}
