// Package ecosystem_test checks the examples for other projects against what the operator and the charts make, without a cluster and
// without those projects. ci/test/ecosystem runs them together.
package ecosystem_test

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const root = "../../../../"

// load reads an object of an example strictly.
func load[T any](t *testing.T, path string) *T {
	t.Helper()
	text, err := os.ReadFile(root + "examples/" + path)
	require.NoError(t, err)
	object := new(T)
	require.NoError(t, yaml.UnmarshalStrict(text, object), path)
	return object
}

// find is the only object of a kind and name.
func find[T any](t *testing.T, objects []unstructured.Unstructured, kind, name string) *T {
	t.Helper()
	for _, object := range objects {
		if object.GetKind() == kind && object.GetName() == name {
			found := new(T)
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, found))
			return found
		}
	}
	t.Fatalf("no %s %s", kind, name)
	return nil
}

func TestAutoscalersTargetTheAgentBesideThem(t *testing.T) {
	for path, field := range map[string][]string{
		"keda/scaledobject.yaml":         {"spec", "scaleTargetRef"},
		"vpa/verticalpodautoscaler.yaml": {"spec", "targetRef"},
	} {
		agent := load[v1alpha1.Agent](t, filepath.Dir(path)+"/agent.yaml")
		autoscaler := load[map[string]any](t, path)
		target, found, err := unstructured.NestedStringMap(*autoscaler, field...)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, map[string]string{"apiVersion": "agent.flokoa.ai/v1alpha1", "kind": "Agent", "name": agent.Name}, target, path)
	}
}

func TestTheRouteNamesAPortOfTheAgent(t *testing.T) {
	agent := load[v1alpha1.Agent](t, "keda/agent.yaml")
	rules, _, err := unstructured.NestedSlice(*load[map[string]any](t, "gateway-api/httproute.yaml"), "spec", "rules")
	require.NoError(t, err)
	backend := rules[0].(map[string]any)["backendRefs"].([]any)[0].(map[string]any)
	require.Equal(t, agent.Name, backend["name"])
	require.EqualValues(t, agent.Spec.Runtime.Spec.Container.Ports[0].ContainerPort, backend["port"])
}

func TestReloaderIsToldOfTheConfigMapOfTheAgent(t *testing.T) {
	agent, config := load[v1alpha1.Agent](t, "reloader/agent.yaml"), load[corev1.ConfigMap](t, "reloader/configmap.yaml")
	require.Equal(t, config.Name, agent.Spec.Runtime.Spec.PodMetadata.Annotations["configmap.reloader.stakater.com/reload"])
	require.Equal(t, config.Name, agent.Spec.Runtime.Spec.Container.EnvFrom[0].ConfigMapRef.Name)
}

// The proxy, what lets Agents out to it, and the address that an Agent uses must agree.
func TestAgentsReachTheEgressProxy(t *testing.T) {
	objects, err := manifests.Overlay(root + "examples/egress-proxy")
	require.NoError(t, err)
	deployment := find[appsv1.Deployment](t, objects, "Deployment", "egress-proxy")
	service := find[corev1.Service](t, objects, "Service", "egress-proxy")
	pod := deployment.Spec.Template
	require.True(t, labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)))
	require.Equal(t, service.Spec.Ports[0].TargetPort.StrVal, pod.Spec.Containers[0].Ports[0].Name)
	port := pod.Spec.Containers[0].Ports[0].ContainerPort
	require.Equal(t, port, service.Spec.Ports[0].Port)

	values, err := manifests.Values(root + "charts/flokoa-environment/values-production.yaml")
	require.NoError(t, err)
	ours, err := manifests.Values(root + "examples/egress-proxy/values.yaml")
	require.NoError(t, err)
	values["network"] = ours["network"]
	environment, err := manifests.Chart(root+"charts/flokoa-environment", values, "flokoa-production", manifests.Platform)
	require.NoError(t, err)
	require.True(t, egressTo(t, environment, deployment.Namespace, pod.Labels, port), "the environment lets Agents out to the proxy")

	for _, variable := range load[v1alpha1.Agent](t, "egress-proxy/agent.yaml").Spec.Runtime.Spec.Container.Env {
		if variable.Name == "HTTPS_PROXY" {
			address, err := url.Parse(variable.Value)
			require.NoError(t, err)
			require.Equal(t, service.Name+"."+service.Namespace+".svc.cluster.local", address.Hostname())
			return
		}
	}
	t.Fatal("the Agent has no HTTPS_PROXY")
}

// egressTo reports whether a policy of an environment allows egress to a pod by its namespace, labels, and port.
func egressTo(t *testing.T, environment []unstructured.Unstructured, namespace string, podLabels map[string]string, port int32) bool {
	t.Helper()
	matches := func(selector *metav1.LabelSelector, set map[string]string) bool {
		matcher, err := metav1.LabelSelectorAsSelector(selector)
		require.NoError(t, err)
		return selector != nil && matcher.Matches(labels.Set(set))
	}
	for _, object := range environment {
		if object.GetKind() != "NetworkPolicy" {
			continue
		}
		for _, rule := range find[networkingv1.NetworkPolicy](t, environment, "NetworkPolicy", object.GetName()).Spec.Egress {
			for _, peer := range rule.To {
				if matches(peer.NamespaceSelector, map[string]string{corev1.LabelMetadataName: namespace}) && matches(peer.PodSelector, podLabels) &&
					slices.ContainsFunc(rule.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port.IntVal == port }) {
					return true
				}
			}
		}
	}
	return false
}

func TestTheEgressProxyPassesPodSecurityRestricted(t *testing.T) {
	objects, err := manifests.Overlay(root + "examples/egress-proxy")
	require.NoError(t, err)
	pod := find[appsv1.Deployment](t, objects, "Deployment", "egress-proxy").Spec.Template
	level := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	require.NoError(t, err)
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec))
	require.True(t, result.Allowed, result.ForbiddenDetail())
	require.Equal(t, "restricted", find[corev1.Namespace](t, objects, "Namespace", "egress").Labels["pod-security.kubernetes.io/enforce"])
}

func TestTheComponentForCiliumBuildsWithThePatchOfItsReadme(t *testing.T) {
	folder := root + "ci/test/ecosystem/testdata/cilium-fqdn"
	objects, err := manifests.Overlay(folder)
	require.NoError(t, err)
	require.Len(t, objects, 1)
	require.Equal(t, "CiliumNetworkPolicy", objects[0].GetKind())
	egress, _, err := unstructured.NestedSlice(objects[0].Object, "spec", "egress")
	require.NoError(t, err)
	require.Equal(t, []any{map[string]any{"matchName": "api.openai.com"}, map[string]any{"matchName": "api.anthropic.com"}}, egress[0].(map[string]any)["toFQDNs"])

	readme, err := os.ReadFile(root + "overlays/components/cilium-fqdn/README.md")
	require.NoError(t, err)
	kustomization, err := os.ReadFile(folder + "/kustomization.yaml")
	require.NoError(t, err)
	_, patches, _ := strings.Cut(string(kustomization), "patches:\n")
	require.Contains(t, string(readme), "patches:\n"+patches)
}

// The README of each example has the commands of its quick start, and says what was run.
func TestEveryExampleOfAnotherProjectSaysWhatWasRun(t *testing.T) {
	for _, folder := range []string{"examples/keda", "examples/vpa", "examples/gateway-api", "examples/reloader", "examples/egress-proxy", "overlays/components/cilium-fqdn"} {
		readme, err := os.ReadFile(root + folder + "/README.md")
		require.NoError(t, err)
		require.Contains(t, string(readme), "\n```", folder)
		require.Contains(t, string(readme), "**What was run:** ", folder)
		require.Contains(t, string(readme), "make test-", folder)
		for _, word := range strings.Fields(string(readme)) {
			if strings.HasPrefix(word, "examples/") || strings.HasPrefix(word, "charts/") {
				_, err := os.Stat(root + strings.Trim(word, "`.,)"))
				require.NoError(t, err, "%s names %s", folder, word)
			}
		}
	}
}

// The Agents of these examples are valid, and the operator says what each lacks for high availability, and warns of nothing.
func TestTheAgentsOfTheExamplesAreValid(t *testing.T) {
	files, err := filepath.Glob(root + "examples/*/agent.yaml")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 5)
	arguments := []string{"run", root + "operator/cmd/flokoa-operator", "check", "-f", root + "overlays/base/models/gpt-4o-model.yaml"}
	for _, file := range files {
		arguments = append(arguments, "-f", file)
	}
	out, _ := exec.CommandContext(t.Context(), "go", arguments...).Output()
	require.Contains(t, string(out), " Agents checked: ")
	require.NotContains(t, string(out), "error: ")
	require.NotContains(t, string(out), "warning")
}
