package examples_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const tools = examples + "/tools"

// sharedPolicies are the network policies of the namespace of shared tools, by name.
func sharedPolicies(t *testing.T) map[string]networkingv1.NetworkPolicy {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tools, "shared.yaml"))
	require.NoError(t, err)
	policies := map[string]networkingv1.NetworkPolicy{}
	for _, document := range bytes.Split(text, []byte("\n---\n"))[1:] {
		policy := networkingv1.NetworkPolicy{}
		require.NoError(t, yaml.UnmarshalStrict(document, &policy))
		require.Equal(t, "tools-production", policy.Namespace)
		policies[policy.Name] = policy
	}
	return policies
}

// A connection needs both halves: the egress of the environment, and the ingress of the tools.
func TestASharedToolIsReachedByAgentsOfProductionAlone(t *testing.T) {
	policies := sharedPolicies(t)
	require.Len(t, policies, 3)
	require.Equal(t, networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"}}, policies["default-deny"].Spec)
	ingress := policies["allow-agents-of-production"].Spec
	require.Len(t, ingress.Ingress, 1)
	require.Len(t, ingress.Ingress[0].From, 1)
	require.Equal(t, map[string]string{v1alpha1.ReservedPrefix + "environment": "production"}, ingress.Ingress[0].From[0].NamespaceSelector.MatchLabels)
	require.Equal(t, []metav1.LabelSelectorRequirement{{Key: v1alpha1.LabelAgent, Operator: metav1.LabelSelectorOpExists}}, ingress.Ingress[0].From[0].PodSelector.MatchExpressions)

	objects, err := manifests.Chart(chart, merged(t, chart+"/values-production.yaml", tools+"/production.yaml"), "flokoa-production", manifests.Platform)
	require.NoError(t, err)
	egress := networkingv1.NetworkPolicy{}
	for _, object := range objects {
		if object.GetName() == "allow-egress" {
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &egress))
		}
	}
	require.Len(t, egress.Spec.Egress, 1)
	require.Equal(t, ingress.PodSelector.MatchLabels, egress.Spec.Egress[0].To[0].PodSelector.MatchLabels)
	require.Equal(t, "tools-production", egress.Spec.Egress[0].To[0].NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"])
	require.Equal(t, ingress.Ingress[0].Ports, egress.Spec.Egress[0].Ports)
}

func TestAnotherEnvironmentMayNotCallTheToolsOfProduction(t *testing.T) {
	for _, environment := range []string{"dev", "staging"} {
		_, err := manifests.Chart(chart, merged(t, chart+"/values-"+environment+".yaml", tools+"/production.yaml"), "flokoa-"+environment, manifests.Platform)
		require.ErrorContains(t, err, "network.egress.pods[0].namespace must not be tools-production, whose name says that it belongs to production, because this environment is "+environment)
	}
}

// The caller names the tool server of its own namespace, whatever that is.
func TestTheCallerOfAToolNamesNoNamespace(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(tools, "agent.yaml"))
	require.NoError(t, err)
	var pair []v1alpha1.Agent
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		agent := v1alpha1.Agent{}
		require.NoError(t, yaml.UnmarshalStrict(document, &agent))
		require.Empty(t, agent.Namespace)
		pair = append(pair, agent)
	}
	require.Len(t, pair, 2)
	require.Equal(t, "http://"+pair[0].Name+":8080/mcp", pair[1].Spec.Runtime.Spec.Container.Env[0].Value)

	readme, err := os.ReadFile(filepath.Join(tools, "README.md"))
	require.NoError(t, err)
	for _, path := range regexp.MustCompile(`(?:examples|charts)/[-a-z/.]+[a-z]`).FindAllString(string(readme), -1) {
		_, err := os.Stat(filepath.Join("../../../..", path))
		require.NoError(t, err)
	}
}
