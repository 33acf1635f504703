package charts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// renderAgent renders the chart flokoa-agent, which is one object here.
func renderAgent(t *testing.T, values map[string]any) unstructured.Unstructured {
	t.Helper()
	objects := render(t, agentChart, values)
	require.Len(t, objects, 1)
	return objects[0]
}

// What a team applies with kubectl, it can install with Helm: the spec of a manifest, as values, renders the same spec.
func TestAgentChartRendersTheSpecOfAManifest(t *testing.T) {
	for _, file := range []string{
		"../../../../examples/agents/production-agent.yaml", // the guide's
		"../../../../operator/internal/render/testdata/full/agent.yaml",
	} {
		manifest := map[string]any{}
		readYAML(t, file, &manifest)
		for _, environment := range manifests.Environments {
			t.Run(filepath.Base(file)+" in "+environment, func(t *testing.T) {
				agent := renderAgent(t, map[string]any{"environment": environment, "spec": manifest["spec"]})
				want, got := asYAML(t, []unstructured.Unstructured{{Object: manifest["spec"].(map[string]any)}}),
					asYAML(t, []unstructured.Unstructured{{Object: agent.Object["spec"].(map[string]any)}})
				require.Equal(t, want, got)
			})
		}
	}
}

func TestPromotionOfAnAgentChangesOneValue(t *testing.T) {
	changed := func(from, to string) []string {
		var lines []string
		before, after := renderAgent(t, map[string]any{"environment": from}), renderAgent(t, map[string]any{"environment": to})
		for _, difference := range manifests.Compare([]unstructured.Unstructured{before}, []unstructured.Unstructured{after}) {
			lines = append(lines, difference.Field+": "+difference.From+" -> "+difference.To)
		}
		return lines
	}
	const resources = "spec.runtime.spec.container.resources."
	require.Equal(t, []string{
		resources + "limits.cpu: 500m -> \"1\"", resources + "limits.memory: 512Mi -> 1Gi",
		resources + "requests.cpu: 50m -> 100m", resources + "requests.memory: 128Mi -> 256Mi",
		"spec.runtime.spec.replicas: 1 -> 2",
	}, changed("dev", "staging"))
	require.Equal(t, []string{
		resources + "requests.cpu: 100m -> 250m", resources + "requests.memory: 256Mi -> 512Mi",
		"spec.runtime.spec.replicas: 2 -> 3",
	}, changed("staging", "production"))
}

// The presets are what the environment would set on the pods, and what its policies want to see in the Agent.
func TestAgentChartPresetsAreThoseOfTheEnvironment(t *testing.T) {
	minimums := minimumReplicas(t)
	for _, environment := range manifests.Environments {
		t.Run(environment, func(t *testing.T) {
			agent := as[v1alpha1.Agent](t, renderAgent(t, map[string]any{"environment": environment})).Spec.Runtime.Spec
			require.Contains(t, minimums, fmt.Sprintf("'%s': %d", environment, *agent.Replicas))
			defaults := environmentObject[corev1.LimitRange](t, environment, "LimitRange", "flokoa").Spec.Limits[0]
			for name := range agent.Container.Resources.Limits {
				require.Equal(t, defaults.Default[name], agent.Container.Resources.Limits[name], "limits.%s", name)
				require.Equal(t, defaults.DefaultRequest[name], agent.Container.Resources.Requests[name], "requests.%s", name)
			}
			require.Len(t, agent.Container.Resources.Limits, 2)
		})
	}
}

// minimumReplicas is the expression of the policy flokoa-replicas that has them.
func minimumReplicas(t *testing.T) string {
	t.Helper()
	for _, object := range render(t, policiesChart, nil) {
		if object.GetKind() == "ValidatingAdmissionPolicy" && object.GetName() == "flokoa-replicas" {
			for _, variable := range as[admissionregistrationv1.ValidatingAdmissionPolicy](t, object).Spec.Variables {
				if strings.Contains(variable.Expression, "'production':") {
					return variable.Expression
				}
			}
		}
	}
	require.Fail(t, "flokoa-replicas has no minimum")
	return ""
}

// Helm stores each revision in a ConfigMap, and so does the operator each card. Even if every Agent that the quota allows is a release,
// the history that the README recommends fits, beside the root certificates that Kubernetes adds.
func TestReleaseHistoryFitsIntoTheQuota(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(agentChart, "README.md"))
	require.NoError(t, err)
	found := regexp.MustCompile(`HELM_DRIVER=configmap HELM_MAX_HISTORY=(\d+) helm upgrade`).FindSubmatch(readme)
	require.NotNil(t, found)
	revisions, err := strconv.ParseInt(string(found[1]), 10, 64)
	require.NoError(t, err)
	for _, environment := range manifests.Environments {
		hard := environmentObject[corev1.ResourceQuota](t, environment, "ResourceQuota", "flokoa").Spec.Hard
		agents, configMaps := hard["count/agents.agent.flokoa.ai"], hard["count/configmaps"]
		if configMaps.IsZero() {
			configMaps = hard[corev1.ResourceConfigMaps]
		}
		require.Positive(t, agents.Value())
		require.LessOrEqual(t, agents.Value()*(revisions+1)+1, configMaps.Value(), environment)
	}
}

// environmentObject is one of the objects that the chart flokoa-environment renders for an environment.
func environmentObject[T any](t *testing.T, environment, kind, name string) T {
	t.Helper()
	values, err := manifests.Values(filepath.Join(environmentChart, "values-"+environment+".yaml"))
	require.NoError(t, err)
	for _, object := range render(t, environmentChart, values) {
		if object.GetKind() == kind && object.GetName() == name {
			return as[T](t, object)
		}
	}
	require.Fail(t, "the environment has no "+kind+" "+name)
	return *new(T)
}

// Two Agents of one umbrella chart need two names, which the aliases give.
func TestAliasesOfAnUmbrellaChartNameItsAgents(t *testing.T) {
	parent := &chart.Chart{Metadata: &chart.Metadata{APIVersion: chart.APIVersionV2, Name: "umbrella", Version: "0.1.0"}}
	child := load(t, agentChart)
	for _, alias := range []string{"researcher", "writer"} {
		parent.Metadata.Dependencies = append(parent.Metadata.Dependencies, &chart.Dependency{Name: child.Name(), Version: child.Metadata.Version, Alias: alias})
	}
	parent.SetDependencies(child)
	umbrella := t.TempDir()
	require.NoError(t, chartutil.SaveDir(parent, umbrella))
	values := map[string]any{"researcher": complete(t, agentChart, nil), "writer": complete(t, agentChart, nil)}
	var names []string
	for _, object := range render(t, filepath.Join(umbrella, "umbrella"), values) {
		names = append(names, object.GetName())
	}
	require.ElementsMatch(t, []string{release + "-researcher", release + "-writer"}, names)
}
