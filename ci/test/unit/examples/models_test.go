package examples_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

const (
	models   = examples + "/models"
	overlays = "../../../../overlays"
)

// modelByHelm is the Model that the README's Helm command makes in an environment.
func modelByHelm(t *testing.T, environment string) map[string]any {
	t.Helper()
	values := merged(t, chart+"/values-"+environment+".yaml", models+"/"+environment+".yaml")
	objects, err := manifests.Chart(chart, values, "flokoa-"+environment, manifests.Platform)
	require.NoError(t, err)
	return one(t, objects, "Model")
}

// modelByKustomize is the Model that the overlay makes in an environment.
func modelByKustomize(t *testing.T, environment string) map[string]any {
	t.Helper()
	objects, err := manifests.Overlay(filepath.Join(overlays, environment, "models"))
	require.NoError(t, err)
	require.Len(t, objects, 1)
	return one(t, objects, "Model")
}

// identity is what a Model is, without the labels and annotations of the chart.
func identity(model map[string]any) map[string]any {
	metadata := model["metadata"].(map[string]any)
	return map[string]any{"apiVersion": model["apiVersion"], "namespace": metadata["namespace"], "name": metadata["name"], "spec": model["spec"]}
}

func TestHelmAndKustomizeMakeTheSameModels(t *testing.T) {
	for _, environment := range manifests.Environments {
		require.Equal(t, identity(modelByHelm(t, environment)), identity(modelByKustomize(t, environment)))
	}
}

// The name is the same, and what would let one environment reach another's provider is not.
func TestEachEnvironmentHasItsOwnURLAndSecret(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(models, "README.md"))
	require.NoError(t, err)
	urls, secrets := map[string]bool{}, map[string]bool{}
	for _, environment := range manifests.Environments {
		model := modelByKustomize(t, environment)
		require.Equal(t, "gpt-4o-model", model["metadata"].(map[string]any)["name"])
		spec := model["spec"].(map[string]any)
		url, secret := spec["baseURL"].(string), spec["apiKey"].(map[string]any)["name"].(string)
		urls[url], secrets[secret] = true, true
		require.Contains(t, string(readme), fmt.Sprintf("| %s | %s | `%s` | `%s` |", environment, spec["model"], url, secret))
	}
	require.Len(t, urls, len(manifests.Environments))
	require.Len(t, secrets, len(manifests.Environments))
}

// The same file of an Agent gets other variables in each environment, and check shows them without a cluster.
func TestTheNamespaceDecidesWhatTheAgentGets(t *testing.T) {
	for _, environment := range manifests.Environments {
		model, err := yaml.Marshal(modelByKustomize(t, environment))
		require.NoError(t, err)
		agent, err := os.ReadFile(filepath.Join(models, "agent.yaml"))
		require.NoError(t, err)
		got := check(t, string(model)+"---\n"+string(agent), "-f", "-", "--render", "--namespace", "flokoa-"+environment)
		require.Equal(t, highlyAvailable, got.code, got.stderr)
		require.Contains(t, got.stdout, "value: https://llm-"+environment+".example.com/v1\n")
		require.Contains(t, got.stdout, "name: openai-"+environment+"\n")
		require.Contains(t, got.stdout, "value: $(FLOKOA_MODEL)\n")
		require.NotContains(t, got.stderr, "warning")
	}
}

func TestTheReadmeOfTheModelsNamesFilesThatExist(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(models, "README.md"))
	require.NoError(t, err)
	paths := regexp.MustCompile(`(?:examples|charts|overlays)/[-a-z/.]+[a-z]`).FindAllString(string(readme), -1)
	require.Greater(t, len(paths), 5)
	for _, path := range paths {
		_, err := os.Stat(filepath.Join("../../../..", path))
		require.NoError(t, err)
	}
	for _, variable := range []string{"OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "FLOKOA_MODEL", "FLOKOA_MODEL_PROVIDER"} {
		require.Contains(t, string(readme), "`"+variable+"`")
	}
}

// The component puts another namespace or a generated Secret into every reference, also of the Models of the overlays.
func TestTheOverlaysOfModelsRenameTheirSecret(t *testing.T) {
	top := t.TempDir()
	require.NoError(t, os.CopyFS(top, os.DirFS(overlays)))
	mine := filepath.Join(top, "mine")
	require.NoError(t, os.MkdirAll(mine, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(mine, "kustomization.yaml"), []byte(strings.Join([]string{
		"apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization", "namespace: flokoa-dev", "resources: [../dev/models]",
		"components: [../components/agent-kustomize]", "secretGenerator: [{name: openai-dev, literals: [api-key=k]}]", ""}, "\n")), 0o600))
	objects, err := manifests.Overlay(mine)
	require.NoError(t, err)
	secret, _, err := unstructured.NestedString(one(t, objects, "Model"), "spec", "apiKey", "name")
	require.NoError(t, err)
	require.Regexp(t, "^openai-dev-[a-z0-9]{10}$", secret)
}
