package gitops_test

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/ci/testkit/upstream"
)

// helmController is of the same release of Flux as kustomize-controller 1.9.6. Its module of types is published without the
// CustomResourceDefinition that is made of them.
var helmController = upstream.Module{Path: "github.com/fluxcd/helm-controller/api", Version: "v1.6.5", Sum: "h1:ElqM5KIpdUwVK1VSi1fXcMwOlf0LghuqwM2SwqaTyNs="}

// helmReleaseCRD generates the CustomResourceDefinition as its project does, in less than a second, and returns its file.
func helmReleaseCRD(t *testing.T) string {
	t.Helper()
	tool := exec.CommandContext(t.Context(), filepath.Join(root, "ci/tools/build.sh"), "controller-gen")
	tool.Stderr = os.Stderr
	folder, err := tool.Output()
	require.NoError(t, err)
	made := t.TempDir()
	generate := exec.CommandContext(t.Context(), filepath.Join(strings.TrimSpace(string(folder)), "controller-gen"), "crd", "paths=./v2", "output:crd:dir="+made)
	generate.Dir = download(t, helmController)
	generate.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	out, err := generate.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return filepath.Join(made, "helm.toolkit.fluxcd.io_helmreleases.yaml")
}

// helmReleases are the HelmReleases of the layout, by name.
func helmReleases(t *testing.T) map[string]unstructured.Unstructured {
	t.Helper()
	releases := map[string]unstructured.Unstructured{}
	for _, object := range fluxLayout(t, "helm") {
		if object.GetKind() == "HelmRelease" {
			releases[object.GetName()] = object
		}
	}
	require.Len(t, releases, 6)
	return releases
}

// chartOf is the folder of the chart that a HelmRelease names by its OCIRepository. The artifact has the tag of the chart's version.
func chartOf(t *testing.T, release unstructured.Unstructured) string {
	t.Helper()
	require.Equal(t, "OCIRepository", text(release.Object, "spec", "chartRef", "kind"))
	repository := fluxLayout(t, "helm")["OCIRepository "+text(release.Object, "spec", "chartRef", "name")].Object
	registry, name := path.Split(text(repository, "spec", "url"))
	require.Equal(t, "oci://ghcr.io/flokoa/charts/", registry)
	folder := filepath.Join(root, "charts", name)
	content, err := os.ReadFile(filepath.Join(folder, "Chart.yaml"))
	require.NoError(t, err)
	chart := struct{ Version string }{}
	require.NoError(t, yaml.Unmarshal(content, &chart))
	require.Equal(t, chart.Version, text(repository, "spec", "ref", "tag"))
	require.Equal(t, map[string]any{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "operation": "copy"},
		repository["spec"].(map[string]any)["layerSelector"], "helm-controller reads the archive")
	return folder
}

// releaseObjects are what Flux installs for a HelmRelease.
func releaseObjects(t *testing.T, release unstructured.Unstructured) []unstructured.Unstructured {
	t.Helper()
	values, _, err := unstructured.NestedMap(release.Object, "spec", "values")
	require.NoError(t, err)
	name := text(release.Object, "spec", "releaseName")
	require.Equal(t, release.GetName(), name, "without a name, Flux puts the target namespace before it")
	return charted(t, chartOf(t, release), values, name, text(release.Object, "spec", "targetNamespace"))
}

// The same releases as those of the README's Helm commands, so that Flux can take over a cluster, and the same objects as the overlays.
func TestFluxInstallsFromChartsWhatHelmAndKustomizeInstall(t *testing.T) {
	releases := helmReleases(t)
	platform := append(releaseObjects(t, releases["flokoa-crds"]), releaseObjects(t, releases["flokoa-policies"])...)
	platform = append(platform, releaseObjects(t, releases["flokoa-operator"])...)
	for _, environment := range manifests.Environments {
		t.Run(environment, func(t *testing.T) {
			requireInstalls(t, environment, "namespace", releaseObjects(t, releases["flokoa-"+environment]))
		})
	}
	t.Run("platform", func(t *testing.T) { requireInstalls(t, "production", "cluster", platform) })
}

// requireInstalls compares objects with a half of an environment as Helm renders it, and as kustomize builds it.
func requireInstalls(t *testing.T, environment, half string, objects []unstructured.Unstructured) {
	t.Helper()
	for _, with := range []string{"helm", "kustomize"} {
		halves, err := manifests.Environment(root, environment, with)
		require.NoError(t, err)
		for _, want := range halves {
			if want.Name != half {
				continue
			}
			if with == "kustomize" {
				objects = unmanaged(objects)
				want.Objects = withoutPlatformNamespace(want.Objects)
			}
			requireSame(t, want.Objects, objects)
		}
	}
}

// withoutPlatformNamespace leaves out the namespace of the releases, which is not part of a release.
func withoutPlatformNamespace(objects []unstructured.Unstructured) []unstructured.Unstructured {
	var kept []unstructured.Unstructured
	for _, object := range objects {
		if object.GetKind() != "Namespace" || object.GetName() != manifests.Platform {
			kept = append(kept, object)
		}
	}
	return kept
}

func TestTheHelmLayoutCreatesThePlatformsNamespace(t *testing.T) {
	overlay, err := manifests.Overlay(root + "/overlays/cluster")
	require.NoError(t, err)
	for _, object := range overlay {
		if object.GetKind() == "Namespace" {
			require.Equal(t, object, fluxLayout(t, "helm")["Namespace "+object.GetName()])
		}
	}
}

// CRDs, policies, operator, environments. The account of the environments is the one that the other layouts have.
func TestEachHelmReleaseHasItsOrderAndItsAccount(t *testing.T) {
	type place struct{ after, account, storage string }
	got := map[string]place{}
	for name, release := range helmReleases(t) {
		spec := release.Object["spec"].(map[string]any)
		after := ""
		if dependencies, _ := spec["dependsOn"].([]any); len(dependencies) == 1 {
			after = text(dependencies[0].(map[string]any), "name")
		}
		got[name] = place{after, text(release.Object, "spec", "serviceAccountName"), text(release.Object, "spec", "storageNamespace")}
		require.Equal(t, "enabled", text(release.Object, "spec", "driftDetection", "mode"), "a hand edit stays")
		require.Equal(t, "RetryOnFailure", text(release.Object, "spec", "install", "strategy", "name"), "a release that fails once is failed until it changes")
	}
	require.Equal(t, map[string]place{
		"flokoa-crds":       {"", "flokoa-platform", "flokoa-system"},
		"flokoa-policies":   {"flokoa-crds", "flokoa-platform", "flokoa-system"},
		"flokoa-operator":   {"flokoa-policies", "flokoa-platform", "flokoa-system"},
		"flokoa-dev":        {"flokoa-operator", "flokoa-environments", "flokoa-releases"},
		"flokoa-staging":    {"flokoa-operator", "flokoa-environments", "flokoa-releases"},
		"flokoa-production": {"flokoa-operator", "flokoa-environments", "flokoa-releases"},
	}, got)
	require.Equal(t, fluxLayout(t, "cluster")["ClusterRole flokoa-environments"], fluxLayout(t, "helm")["ClusterRole flokoa-environments"])
}

// Both ways wait until the API server has observed each policy.
func TestTheReleaseOfThePoliciesWaitsAsTheStageDoes(t *testing.T) {
	stage := fluxLayout(t, "cluster")["Kustomization flokoa-platform"].Object["spec"].(map[string]any)
	release := helmReleases(t)["flokoa-policies"].Object["spec"].(map[string]any)
	require.NotEmpty(t, stage["healthCheckExprs"])
	require.Equal(t, stage["healthCheckExprs"], release["healthCheckExprs"])
}

func TestTheHelmLayoutPinsEveryChartInOneLine(t *testing.T) {
	examples := t.TempDir()
	require.NoError(t, os.CopyFS(examples, os.DirFS(fluxExamples)))
	folder := filepath.Join(examples, "helm")
	before, err := manifests.Overlay(folder)
	require.NoError(t, err)
	file := filepath.Join(folder, "kustomization.yaml")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(content), "tag: 0.1.0"))
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(content), "0.1.0", "0.2.0", 1)), 0o600))
	after, err := manifests.Overlay(folder)
	require.NoError(t, err)
	differences := manifests.Compare(before, after)
	require.Len(t, differences, 4)
	for _, difference := range differences {
		require.Equal(t, "spec.ref.tag", difference.Field, difference.Object)
	}
}
