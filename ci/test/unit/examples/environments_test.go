package examples_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

const (
	promotion  = examples + "/environments"
	chart      = "../../../../charts/flokoa-environment"
	agentChart = "../../../../charts/flokoa-agent"
)

// byHelm is what the README's Helm command of the platform team renders for an environment.
func byHelm(t *testing.T, environment string) []unstructured.Unstructured {
	t.Helper()
	values := merged(t, chart+"/values-"+environment+".yaml", promotion+"/helm/agent.yaml", promotion+"/helm/"+environment+".yaml")
	objects, err := manifests.Chart(chart, values, "flokoa-"+environment, manifests.Platform)
	require.NoError(t, err)
	return objects
}

// byTeam is what the README's Helm command of the team renders for an environment.
func byTeam(t *testing.T, environment string) []unstructured.Unstructured {
	t.Helper()
	values := merged(t, promotion+"/team/agent.yaml", promotion+"/team/"+environment+".yaml")
	objects, err := manifests.Chart(agentChart, values, "order-agent", "flokoa-"+environment)
	require.NoError(t, err)
	return objects
}

// merged are the values of files, of which the last wins.
func merged(t *testing.T, files ...string) map[string]any {
	t.Helper()
	values := map[string]any{}
	for _, file := range files {
		more, err := manifests.Values(file)
		require.NoError(t, err)
		values = chartutil.MergeTables(more, values)
	}
	return values
}

// ways are the three ways of the README to deploy the Agent in an environment.
func ways(t *testing.T, environment string) map[string][]unstructured.Unstructured {
	t.Helper()
	return map[string][]unstructured.Unstructured{
		"kustomize": byKustomize(t, environment), "helm": byHelm(t, environment), "helm of the team": byTeam(t, environment),
	}
}

func byKustomize(t *testing.T, environment string) []unstructured.Unstructured {
	t.Helper()
	objects, err := manifests.Overlay(promotion + "/kustomize/" + environment)
	require.NoError(t, err)
	return objects
}

func one(t *testing.T, objects []unstructured.Unstructured, kind string) map[string]any {
	t.Helper()
	var found []map[string]any
	for _, object := range objects {
		if object.GetKind() == kind {
			found = append(found, object.Object)
		}
	}
	require.Len(t, found, 1, kind)
	return found[0]
}

// A deployment is what an environment makes of the Agent: what may differ, and the rest, which may not.
type deployment struct {
	Image    string
	Replicas float64 // as YAML has numbers
	Settings map[string]string
	Rest     map[string]any
}

// deployed takes an Agent apart. Its settings are its literal variables and those of the ConfigMap, if there is one.
func deployed(t *testing.T, objects []unstructured.Unstructured) deployment {
	t.Helper()
	agent := one(t, objects, "Agent")
	pods, _, err := unstructured.NestedMap(agent, "spec", "runtime", "spec")
	require.NoError(t, err)
	container := pods["container"].(map[string]any)
	made := deployment{Image: container["image"].(string), Replicas: pods["replicas"].(float64), Settings: map[string]string{}, Rest: pods}
	variables, _ := container["env"].([]any)
	for _, variable := range variables {
		made.Settings[variable.(map[string]any)["name"].(string)] = variable.(map[string]any)["value"].(string)
	}
	var from []any
	for _, source := range container["envFrom"].([]any) {
		reference, ok := source.(map[string]any)["configMapRef"].(map[string]any)
		if !ok {
			from = append(from, source)
			continue
		}
		settings := one(t, objects, "ConfigMap")
		require.Equal(t, settings["metadata"].(map[string]any)["name"], reference["name"], "the Agent names the ConfigMap that was generated")
		data, _, err := unstructured.NestedStringMap(settings, "data")
		require.NoError(t, err)
		maps.Copy(made.Settings, data)
	}
	container["envFrom"] = from
	delete(container, "image")
	delete(container, "env")
	delete(pods, "replicas")
	return made
}

func TestAnAgentIsPromotedByHelmAndByKustomizeAlike(t *testing.T) {
	everywhere := deployed(t, byKustomize(t, "production")).Rest
	for environment, want := range map[string]deployment{
		"dev":        {"ghcr.io/example/order-agent:v2.2.0", 1, map[string]string{"LOG_LEVEL": "debug", "MODEL_NAME": "gpt-4o-mini"}, everywhere},
		"staging":    {"ghcr.io/example/order-agent:v2.1.0", 2, map[string]string{"LOG_LEVEL": "info", "MODEL_NAME": "gpt-4o"}, everywhere},
		"production": {"ghcr.io/example/order-agent:v2.0.0", 3, map[string]string{"LOG_LEVEL": "info", "MODEL_NAME": "gpt-4o"}, everywhere},
	} {
		for way, objects := range ways(t, environment) {
			t.Run(environment+" by "+way, func(t *testing.T) {
				require.Equal(t, want, deployed(t, objects))
				require.Equal(t, "flokoa-"+environment, one(t, objects, "Agent")["metadata"].(map[string]any)["namespace"])
			})
		}
	}
}

// Of what check finds, only the count is missing outside production, as intended: dev requires one, staging two.
func TestAPromotedAgentLacksOnlyReplicas(t *testing.T) {
	for environment, want := range map[string]outcome{
		"dev":        {missing, "\n  replicas: 1, high availability needs three or more\n\n1 Agent checked: 0 highly available, 1 not", ""},
		"staging":    {missing, "\n  replicas: 2, high availability needs three or more\n\n1 Agent checked: 0 highly available, 1 not", ""},
		"production": {highlyAvailable, ": highly available\n\n1 Agent checked: 1 highly available, 0 not", ""},
	} {
		for way, objects := range ways(t, environment) {
			t.Run(environment+" by "+way, func(t *testing.T) {
				text, err := manifests.Text(objects)
				require.NoError(t, err)
				got := check(t, text, "-f", "-")
				require.Equal(t, want.code, got.code, got.stdout)
				require.Contains(t, got.stdout, want.stdout)
				require.NotContains(t, got.stdout, "error: ")
			})
		}
	}
}

// A promotion is one line that a reviewer sees: the tag. Each file holds all differences of an environment.
func TestEnvironmentDifferencesAreShort(t *testing.T) {
	for _, environment := range manifests.Environments {
		for _, file := range []string{"helm/" + environment + ".yaml", "team/" + environment + ".yaml", "kustomize/" + environment + "/kustomization.yaml"} {
			text, err := os.ReadFile(filepath.Join(promotion, file))
			require.NoError(t, err)
			require.LessOrEqual(t, strings.Count(string(text), "\n"), 14, file)
			require.Len(t, regexp.MustCompile(`v2\.\d\.0`).FindAllString(string(text), -1), 1, file)
		}
	}
	promoted := byHelm(t, "staging")
	container := one(t, promoted, "Agent")["spec"].(map[string]any)["runtime"].(map[string]any)["spec"].(map[string]any)["container"].(map[string]any)
	container["image"] = "ghcr.io/example/order-agent:v2.2.0"
	require.Equal(t, []manifests.Difference{{
		Object: "Agent flokoa-staging/order-agent", Field: "spec.runtime.spec.container.image",
		From: "ghcr.io/example/order-agent:v2.1.0", To: "ghcr.io/example/order-agent:v2.2.0",
	}}, manifests.Compare(byHelm(t, "staging"), promoted))
}

// The README's commands name files that exist, and its table what the environments have.
func TestTheReadmeOfThePromotionIsTrue(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(promotion, "README.md"))
	require.NoError(t, err)
	paths := regexp.MustCompile(`(?:examples|charts|overlays)/[-a-z/.]+[a-z]`).FindAllString(string(readme), -1)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		_, err := os.Stat(filepath.Join("../../../..", path))
		require.NoError(t, err)
	}
	for _, environment := range manifests.Environments {
		made := deployed(t, byKustomize(t, environment))
		_, tag, _ := strings.Cut(made.Image, ":")
		row := fmt.Sprintf("| %s | %s | %g | %s | %s |", environment, tag, made.Replicas, made.Settings["LOG_LEVEL"], made.Settings["MODEL_NAME"])
		require.Contains(t, string(readme), row)
	}
}
