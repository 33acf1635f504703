package cluster_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// installFixture is an empty cluster on which everything is installed as the README describes, and uninstalled again.
type installFixture struct {
	*testing.T
	kubeconfig string
	api        client.WithWatch
}

var kinds = []string{"dev", "staging", "production"}

func newInstallFixture(t *testing.T, name string) *installFixture {
	t.Helper()
	down := exec.CommandContext(t.Context(), "ci/clusters/local/cluster.sh", "down", name)
	down.Dir = root
	out, err := down.CombinedOutput()
	require.NoError(t, err, "%s", out)
	output, err := harness.Up(t.Context(), root, name, os.Stderr)
	require.NoError(t, err, output)
	t.Cleanup(func() {
		last := exec.CommandContext(context.Background(), "ci/clusters/local/cluster.sh", "down", name)
		last.Dir = root
		_ = last.Run()
	})
	s := &installFixture{T: t, kubeconfig: filepath.Join(filepath.Dir(cluster.Folder), name, "kubeconfig")}
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	require.NoError(t, err)
	config.QPS = -1
	s.api, err = harness.NewClient(config)
	require.NoError(t, err)
	return s
}

func (s *installFixture) runProgram(program string, args ...string) (string, error) {
	command := exec.CommandContext(s.Context(), program, args...)
	command.Dir = root
	home := filepath.Dir(s.kubeconfig)
	command.Env = append(os.Environ(), "KUBECONFIG="+s.kubeconfig, "KUBERC=off", "KUBECACHEDIR="+filepath.Join(home, "kubectl-cache"),
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := command.CombinedOutput()
	return string(out), err
}

func (s *installFixture) kubectl(args ...string) string {
	s.Helper()
	out, err := s.runProgram(cluster.Kubectl, args...)
	require.NoError(s, err, "kubectl %s\n%s", strings.Join(args, " "), out)
	return out
}

func (s *installFixture) helm(args ...string) string {
	s.Helper()
	out, err := s.runProgram(cluster.Helm, append(args, "--namespace", system)...)
	require.NoError(s, err, "helm %s\n%s", strings.Join(args, " "), out)
	return out
}

// release is one that README installs.
type release struct{ name, chart, values string }

// releases are all, in README's order: what others need comes first.
func releases() []release {
	all := []release{
		{name: "flokoa-crds", chart: "flokoa-crds"},
		{name: "flokoa-policies", chart: "flokoa-policies"},
		{"flokoa-operator", "flokoa-operator", "values-production.yaml"},
	}
	for _, kind := range kinds {
		all = append(all, release{"flokoa-" + kind, "flokoa-environment", "values-" + kind + ".yaml"})
	}
	return all
}

func (r release) arguments() []string {
	chart := "charts/" + r.chart
	if r.values == "" {
		return []string{r.name, chart}
	}
	return []string{r.name, chart, "--values", chart + "/" + r.values}
}

func (s *installFixture) install(r release) {
	s.Helper()
	s.helm(append([]string{"upgrade", "--install", "--create-namespace"}, r.arguments()...)...)
}

// startOperator runs an operator with the permissions that were installed, for simulated nodes run no container.
func (s *installFixture) startOperator() *process {
	s.Helper()
	p, err := startOn(s.Context(), s.kubeconfig)
	require.NoError(s, err)
	return p
}

// deployAgent has an Agent run in an environment, beside a Secret that its team made.
func (s *installFixture) deployAgent(namespace string) {
	s.Helper()
	s.kubectl("create", "secret", "generic", "agent-secrets", "--from-literal=api-key=x", "--namespace", namespace)
	s.kubectl("apply", "-f", guideManifest, "--namespace", namespace)
	s.kubectl("wait", "--for=condition=Ready", "agent/"+guideAgent, "--timeout=90s", "--namespace", namespace)
}

// pods are those of the Agent, by name.
func (s *installFixture) pods(namespace string) []string {
	s.Helper()
	list := &corev1.PodList{}
	require.NoError(s, s.api.List(s.Context(), list, client.InNamespace(namespace)))
	var names []string
	for _, pod := range list.Items {
		names = append(names, pod.Name)
	}
	return names
}

// stableVersions are the resourceVersions of objects, by what they are, once they stand still: quotas are counted, policies checked.
func (s *installFixture) stableVersions(objects []unstructured.Unstructured) map[string]string {
	s.Helper()
	require.NotEmpty(s, objects)
	var last map[string]string
	still := 0
	err := wait.PollUntilContextTimeout(s.Context(), 500*time.Millisecond, 2*waitTimeout, true, func(ctx context.Context) (bool, error) {
		now := map[string]string{}
		for _, object := range objects {
			live := &unstructured.Unstructured{}
			live.SetGroupVersionKind(object.GroupVersionKind())
			if err := s.api.Get(ctx, client.ObjectKeyFromObject(&object), live); err != nil {
				return false, err
			}
			now[object.GetKind()+" "+object.GetNamespace()+"/"+object.GetName()] = live.GetResourceVersion()
		}
		still++
		if checkEqual("versions", last, now) != nil {
			last, still = now, 0
		}
		return still == 10, nil
	})
	require.NoError(s, err)
	return last
}

// manifest are the objects of a release.
func (s *installFixture) manifest(r release) []unstructured.Unstructured {
	s.Helper()
	return documents(s.T, s.helm("get", "manifest", r.name))
}

func documents(t *testing.T, text string) []unstructured.Unstructured {
	t.Helper()
	var objects []unstructured.Unstructured
	for _, document := range strings.Split(text, "\n---") {
		object := unstructured.Unstructured{}
		require.NoError(t, yaml.Unmarshal([]byte(document), &object.Object))
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
	return objects
}

// names are what is left of objects on the cluster, sorted.
func (s *installFixture) remaining(objects []unstructured.Unstructured) []string {
	s.Helper()
	var names []string
	for _, object := range objects {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(object.GroupVersionKind())
		err := s.api.Get(s.Context(), client.ObjectKeyFromObject(&object), live)
		require.NoError(s, client.IgnoreNotFound(err))
		if err == nil && live.GetDeletionTimestamp() == nil {
			names = append(names, object.GetKind()+" "+object.GetName())
		}
	}
	slices.Sort(names)
	return names
}

func TestHelmInstallsUpgradesAndReinstalls(t *testing.T) {
	t.Parallel()
	s, began := newInstallFixture(t, "flokoa-test-helm"), time.Now()
	var objects []unstructured.Unstructured
	for _, r := range releases() {
		if r.chart == "flokoa-environment" {
			awaitAgentsCounted(t, s.api, system)
		}
		s.install(r)
		objects = append(objects, s.manifest(r)...)
	}
	running := s.startOperator()
	const home = "flokoa-production"
	s.deployAgent(home)
	s.requireWritesInEnvironmentsOnly(running, home)

	before := s.stableVersions(objects)
	for _, r := range releases() {
		s.install(r)
	}
	require.Equal(t, before, s.stableVersions(objects), "an upgrade to the same changes nothing")

	// Uninstalled, an environment leaves its Namespace and all that its teams made.
	pods := s.pods(home)
	require.Len(t, pods, 3)
	production := releases()[5]
	guardrails := s.manifest(production)
	s.helm("uninstall", production.name)
	require.Equal(t, []string{"Namespace " + home}, s.remaining(guardrails))
	s.requireUndisturbed(home, pods)
	s.install(production)
	require.Len(t, s.remaining(guardrails), len(guardrails), "it is whole again")

	// Without an operator, Agents go on.
	require.NoError(t, running.Stop())
	s.helm("uninstall", "flokoa-operator")
	s.requireUndisturbed(home, pods)
	s.install(releases()[2])
	again := s.startOperator()
	s.kubectl("patch", "agent", guideAgent, "--namespace", home, "--type=merge", "-p", `{"spec":{"framework":"langgraph"}}`)
	s.kubectl("wait", "--for=jsonpath={.metadata.labels.flokoa\\.ai/framework}=langgraph", "deployment/"+guideAgent, "--namespace", home, "--timeout=60s")
	s.requireUndisturbed(home, pods)

	// The policies and the CRD stay until they are deleted by hand.
	for _, r := range releases()[:2] {
		kept := s.manifest(r)
		s.helm("uninstall", r.name)
		require.Len(t, s.remaining(kept), len(kept), "%s is kept", r.name)
		s.install(r)
	}
	s.requireUndisturbed(home, pods)
	require.NoError(t, again.Stop())
	logf("ok     %6.1fs  %s; %d objects of %d releases", time.Since(began).Seconds(), t.Name(), len(objects), len(releases()))
}

// requireUndisturbed is for an Agent to which nothing happened.
func (s *installFixture) requireUndisturbed(namespace string, pods []string) {
	s.Helper()
	require.Equal(s, pods, s.pods(namespace))
	key := client.ObjectKey{Namespace: namespace, Name: guideAgent}
	require.NoError(s, s.api.Get(s.Context(), key, &v1alpha1.Agent{}))
	require.NoError(s, s.api.Get(s.Context(), client.ObjectKey{Namespace: namespace, Name: "agent-secrets"}, &corev1.Secret{}))
	deployment := &appsv1.Deployment{}
	require.NoError(s, s.api.Get(s.Context(), key, deployment))
	require.EqualValues(s, 3, deployment.Status.AvailableReplicas)
}

func TestKustomizeInstallsAndHelmTakesOver(t *testing.T) {
	t.Parallel()
	s, began := newInstallFixture(t, "flokoa-test-kustomize"), time.Now()
	overlays := []string{"overlays/cluster"}
	for _, kind := range kinds {
		overlays = append(overlays, "overlays/"+kind)
	}
	var objects []unstructured.Unstructured
	for _, overlay := range overlays {
		if overlay != "overlays/cluster" {
			awaitAgentsCounted(t, s.api, system)
		}
		s.kubectl("apply", "--kustomize", overlay)
		objects = append(objects, documents(t, s.kubectl("kustomize", overlay))...)
	}
	running := s.startOperator()
	const home = "flokoa-staging"
	s.deployAgent(home)
	s.requireWritesInEnvironmentsOnly(running, home)
	before := s.stableVersions(objects)
	for _, overlay := range overlays {
		for line := range strings.Lines(s.kubectl("apply", "--kustomize", overlay)) {
			// Of a budget kubectl always sends the selector anew; the API server finds nothing to change, as versions show.
			if !strings.HasPrefix(line, "poddisruptionbudget.policy/") {
				require.Contains(t, line, " unchanged", "kubectl apply --kustomize %s, again", overlay)
			}
		}
	}
	require.Equal(t, before, s.stableVersions(objects), "applied again, nothing changes")

	pods := s.pods(home)
	for _, r := range releases() {
		s.helm(append([]string{"upgrade", "--install", "--take-ownership"}, r.arguments()...)...)
		require.Len(t, s.remaining(s.manifest(r)), len(s.manifest(r)))
	}
	s.requireUndisturbed(home, pods)
	// The platform's own namespace is no part of a release.
	require.Equal(t, []string{"Namespace " + system + " <nil>"}, missing(objects, s), "Helm has taken everything else")
	require.NoError(t, running.Stop())
	logf("ok     %6.1fs  %s; %d objects of %d overlays", time.Since(began).Seconds(), t.Name(), len(objects), len(overlays))
}

// missing are objects that a cluster does not have, or that no release of Helm has taken.
func missing(objects []unstructured.Unstructured, s *installFixture) []string {
	var names []string
	for _, object := range objects {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(object.GroupVersionKind())
		err := s.api.Get(s.Context(), client.ObjectKeyFromObject(&object), live)
		if err != nil || live.GetAnnotations()["meta.helm.sh/release-name"] == "" {
			names = append(names, fmt.Sprintf("%s %s %v", object.GetKind(), object.GetName(), err))
		}
	}
	return names
}
