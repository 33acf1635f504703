// Package parity_test holds Helm and kustomize against each other: for each environment, the charts with their values files and
// the overlays are the same objects.
package parity_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

const root = "../../../.."

// halves are what is applied for an environment, without the labels of the tool that applied it.
func halves(t *testing.T, environment, with string) map[string][]unstructured.Unstructured {
	t.Helper()
	rendered, err := manifests.Environment(root, environment, with)
	require.NoError(t, err)
	all := map[string][]unstructured.Unstructured{}
	for _, half := range rendered {
		require.NotEmpty(t, half.Objects, "%s of %s by %s", half.Name, environment, with)
		all[half.Name] = neutral(half.Objects)
	}
	return all
}

func neutral(objects []unstructured.Unstructured) []unstructured.Unstructured {
	var kept []unstructured.Unstructured
	for _, object := range objects {
		// Helm makes the platform's namespace by --create-namespace, outside the release.
		if object.GetKind() == "Namespace" && object.GetName() == manifests.Platform {
			continue
		}
		object = *object.DeepCopy()
		labels := object.GetLabels()
		delete(labels, "helm.sh/chart")
		delete(labels, "app.kubernetes.io/managed-by")
		object.SetLabels(labels)
		kept = append(kept, object)
	}
	return kept
}

func lines(differences []manifests.Difference) string {
	var all strings.Builder
	for _, difference := range differences {
		all.WriteString(difference.String() + "\n")
	}
	return all.String()
}

func TestHelmAndKustomizeInstallTheSame(t *testing.T) {
	for _, environment := range manifests.Environments {
		helm, kustomize := halves(t, environment, "helm"), halves(t, environment, "kustomize")
		for _, half := range []string{"cluster", "namespace"} {
			t.Run(environment+" "+half, func(t *testing.T) {
				require.Empty(t, lines(manifests.Compare(helm[half], kustomize[half])), "from Helm to kustomize")
			})
		}
	}
}

// One number that is not the same on both sides is found, and named.
func TestADifferenceIsFoundAndNamed(t *testing.T) {
	helm, kustomize := halves(t, "staging", "helm")["namespace"], halves(t, "staging", "kustomize")["namespace"]
	for _, object := range kustomize {
		if object.GetKind() == "ResourceQuota" && object.GetName() == "flokoa" {
			require.NoError(t, unstructured.SetNestedField(object.Object, "71", "spec", "hard", "pods"))
		}
	}
	require.Equal(t, "~ ResourceQuota flokoa-staging/flokoa: spec.hard.pods: \"70\" -> \"71\"\n", lines(manifests.Compare(helm, kustomize)))
	require.Contains(t, lines(manifests.Compare(helm, kustomize[1:])), "- "+manifests.Identity(kustomize[0])+"\n")
	require.Contains(t, lines(manifests.Compare(helm[1:], kustomize)), "+ "+manifests.Identity(helm[0])+"\n")
}

func TestEnvironmentsDifferOnlyAsIntended(t *testing.T) {
	staging, production := halves(t, "staging", "helm"), halves(t, "production", "helm")
	require.NotEmpty(t, manifests.Compare(staging["namespace"], production["namespace"]))
}

// kustomizations are the folders of overlays that can be built.
func kustomizations(t *testing.T, kind string) []string {
	t.Helper()
	var folders []string
	require.NoError(t, filepath.WalkDir(filepath.Join(root, "overlays"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "kustomization.yaml" {
			if read(t, path)["kind"] == kind {
				folders = append(folders, filepath.Dir(path))
			}
		}
		return err
	}))
	require.NotEmpty(t, folders, kind)
	return folders
}

func read(t *testing.T, file string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	content := map[string]any{}
	require.NoError(t, yaml.UnmarshalStrict(text, &content))
	return content
}

func TestEveryOverlayBuildsAndSaysWhatItShould(t *testing.T) {
	for _, folder := range kustomizations(t, "Kustomization") {
		t.Run(strings.TrimPrefix(folder, root+"/"), func(t *testing.T) {
			objects, err := manifests.Overlay(folder)
			require.NoError(t, err)
			require.NotEmpty(t, objects)
			for _, object := range objects {
				require.NotEqual(t, "Secret", object.GetKind(), "a Secret has no place in an overlay")
				if clusterScoped(object.GetKind()) {
					require.Empty(t, object.GetNamespace(), manifests.Identity(object))
				}
				if object.GetKind() == "ResourceQuota" {
					hard, _, err := unstructured.NestedStringMap(object.Object, "spec", "hard")
					require.NoError(t, err)
					require.NotEmpty(t, hard, manifests.Identity(object))
					for what, most := range hard {
						quantity, err := resource.ParseQuantity(most)
						require.NoError(t, err)
						require.Equal(t, quantity.String(), most, "%s: %s is not canonical: every sync would see a difference", manifests.Identity(object), what)
					}
				}
			}
		})
	}
}

func clusterScoped(kind string) bool {
	return strings.HasPrefix(kind, "Cluster") || strings.HasPrefix(kind, "ValidatingAdmission") || kind == "Namespace" || kind == "CustomResourceDefinition"
}

// What Flux and Argo CD refuse by default, or do otherwise than kustomize: plugins, Helm, what is fetched from elsewhere.
func TestEveryKustomizationIsShortAndBuildsEverywhere(t *testing.T) {
	for _, kind := range []string{"Kustomization", "Component"} {
		for _, folder := range kustomizations(t, kind) {
			file := filepath.Join(folder, "kustomization.yaml")
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.LessOrEqual(t, strings.Count(string(text), "\n"), 25, file)
			content := read(t, file)
			for _, forbidden := range []string{"helmCharts", "helmChartInflationGenerator", "generators", "transformers", "validators", "commonLabels", "bases", "patchesStrategicMerge", "patchesJson6902", "vars"} {
				require.NotContains(t, content, forbidden, file)
			}
			for _, list := range []string{"resources", "components"} {
				entries, _ := content[list].([]any)
				for _, entry := range entries {
					require.NotContains(t, entry, "://", file)
					_, err := os.Stat(filepath.Join(folder, entry.(string)))
					require.NoError(t, err, "%s: only files of this repository", file)
				}
			}
		}
	}
}

// A patch names its one object. Kustomize accepts a patch that matches more objects, or none, without an error.
func TestEveryPatchNamesItsOneObject(t *testing.T) {
	names := 0
	for _, environment := range manifests.Environments {
		content := read(t, filepath.Join(root, "overlays", environment, "guardrails", "kustomization.yaml"))
		patches, _ := content["patches"].([]any)
		for _, patch := range patches {
			text, err := os.ReadFile(filepath.Join(root, "overlays", environment, "guardrails", patch.(map[string]any)["path"].(string)))
			require.NoError(t, err)
			for _, document := range strings.Split(string(text), "\n---\n") {
				object := unstructured.Unstructured{}
				require.NoError(t, yaml.UnmarshalStrict([]byte(document), &object.Object))
				require.NotEmpty(t, object.GetKind())
				require.NotEmpty(t, object.GetName())
				names++
			}
		}
	}
	require.Equal(t, 14, names)
}

// Each component is a value of the chart, and makes the same of it.
func TestComponentsMakeWhatTheChartMakes(t *testing.T) {
	pods := func(namespace, label, value string) []any {
		return []any{map[string]any{"namespace": namespace, "podLabels": map[string]any{label: value}}}
	}
	for component, network := range map[string]map[string]any{
		"gateway":      {"gateways": pods("gateway-system", "app", "gateway")},
		"monitoring":   {"monitoring": pods("monitoring", "app.kubernetes.io/name", "prometheus")},
		"egress":       {"egress": map[string]any{"cidrs": []any{"203.0.113.0/24"}}},
		"identity-eks": {"egress": map[string]any{"identity": "eks"}},
		"identity-gke": {"egress": map[string]any{"identity": "gke"}},
		"mesh-ambient": {
			"mesh": "ambient", "gateways": pods("gateway-system", "app", "gateway"),
			"monitoring": pods("monitoring", "app.kubernetes.io/name", "prometheus"),
		},
	} {
		t.Run(component, func(t *testing.T) {
			helm, err := manifests.Chart(filepath.Join(root, "charts/flokoa-environment"), map[string]any{"network": network}, "flokoa-production", manifests.Platform)
			require.NoError(t, err)
			kustomize, err := manifests.Overlay("testdata/" + component)
			require.NoError(t, err)
			var withoutNamespace []unstructured.Unstructured
			for _, object := range neutral(helm) {
				if object.GetKind() != "Namespace" {
					withoutNamespace = append(withoutNamespace, object)
				}
			}
			require.NotEmpty(t, withoutNamespace)
			require.Empty(t, lines(manifests.Compare(withoutNamespace, neutral(kustomize))))
		})
	}
}
