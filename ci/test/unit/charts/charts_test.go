// Package charts_test checks every chart under charts/. A new chart is checked without a change here.
package charts_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// Every chart is rendered as this release, unlike the chart's name and Helm's defaults, so that neither can hide in a template.
const (
	release   = "a-release"
	namespace = "a-namespace"
)

// charts are the folders of all charts.
func charts(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../../../charts/*/Chart.yaml")
	require.NoError(t, err)
	var dirs []string
	for _, file := range files {
		dirs = append(dirs, filepath.Dir(file))
	}
	require.Subset(t, dirs, []string{crdsChart, operatorChart})
	return dirs
}

// renderings are what the charts render, with their defaults, with each values file that they bring and with each of their
// samples, by chart and file or sample.
func renderings(t *testing.T) map[string][]unstructured.Unstructured {
	t.Helper()
	all := map[string][]unstructured.Unstructured{}
	for _, dir := range charts(t) {
		for name, values := range installable(t, dir) {
			all[name] = render(t, dir, values)
		}
		for _, sample := range samples(t, dir) {
			all[filepath.Base(dir)+"/"+sample.Path] = render(t, dir, sample.values())
		}
	}
	return all
}

// installable are the values that a chart is meant to be installed with, by chart and file: its defaults, and those of each
// values-*.yaml beside them.
func installable(t *testing.T, dir string) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{filepath.Base(dir): complete(t, dir, nil)}
	files, err := filepath.Glob(filepath.Join(dir, "values-*.yaml"))
	require.NoError(t, err)
	for _, file := range files {
		values := map[string]any{}
		readYAML(t, file, &values)
		require.NotEmpty(t, values, file)
		all[filepath.Base(dir)+"/"+filepath.Base(file)] = complete(t, dir, values)
	}
	return all
}

// complete adds to values those that a chart does not render without.
func complete(t *testing.T, dir string, values map[string]any) map[string]any {
	t.Helper()
	minimal, err := manifests.Minimal(dir)
	require.NoError(t, err)
	return chartutil.MergeTables(clone(values), minimal)
}

var rendered = manifests.Cache{}

func render(t *testing.T, dir string, values map[string]any) []unstructured.Unstructured {
	t.Helper()
	values = complete(t, dir, values)
	objects, err := rendered.Get([]any{dir, values}, func() ([]unstructured.Unstructured, error) {
		return manifests.Chart(dir, values, release, namespace)
	})
	require.NoError(t, err)
	require.NotEmpty(t, objects)
	return objects
}

func load(t *testing.T, dir string) *chart.Chart {
	t.Helper()
	loaded, err := loader.LoadDir(dir)
	require.NoError(t, err)
	return loaded
}

// asYAML writes objects as text, for a difference that can be read.
func asYAML(t *testing.T, objects []unstructured.Unstructured) string {
	t.Helper()
	var text []byte
	for _, object := range objects {
		document, err := yaml.Marshal(object.Object)
		require.NoError(t, err)
		text = append(append(text, "---\n"...), document...)
	}
	return string(text)
}

func TestEveryChartPassesStrictLintWithEachOfItsValuesFiles(t *testing.T) {
	kubeVersion, err := chartutil.ParseKubeVersion(manifests.KubeVersion)
	require.NoError(t, err)
	for _, dir := range charts(t) {
		for name, values := range installable(t, dir) {
			t.Run(name, func(t *testing.T) {
				lint := action.NewLint()
				lint.Strict = true
				lint.Namespace = namespace
				lint.KubeVersion = kubeVersion
				result := lint.Run([]string{dir}, values)
				require.Equal(t, 1, result.TotalChartsLinted)
				require.Empty(t, result.Errors, "%v", result.Messages)
			})
		}
	}
}

// Only the policies need a version: CEL lists of 1.35. A range that another chart has must not lock out what is supported.
func TestEveryChartAcceptsSupportedKubernetes(t *testing.T) {
	for _, dir := range charts(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			want := load(t, dir).Metadata.KubeVersion
			if dir == policiesChart {
				require.False(t, chartutil.IsCompatibleRange(want, "v1.34.9"), want)
			}
			for _, version := range []string{
				"v1.35.0",
				"v1.35.2-gke.1000", // a vendor's suffix is a pre-release to semver; without -0 in the range it is refused
				"v1.37.2",
			} {
				require.True(t, want == "" || chartutil.IsCompatibleRange(want, version), "%s and %s", want, version)
			}
		})
	}
}

func TestEveryChartCanBeADependency(t *testing.T) {
	for _, dir := range charts(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			child := load(t, dir)
			parent := &chart.Chart{Metadata: &chart.Metadata{
				APIVersion: chart.APIVersionV2, Name: "umbrella", Version: "0.1.0",
				Dependencies: []*chart.Dependency{
					{Name: child.Name(), Version: child.Metadata.Version, Condition: child.Name() + ".enabled"},
				},
			}}
			parent.SetDependencies(child)
			umbrella := t.TempDir()
			require.NoError(t, chartutil.SaveDir(parent, umbrella))

			values := complete(t, dir, map[string]any{"enabled": true})
			on := map[string]any{"global": map[string]any{"anything": "goes"}, child.Name(): values}
			objects := render(t, filepath.Join(umbrella, "umbrella"), on)
			require.Equal(t, asYAML(t, render(t, dir, nil)), asYAML(t, objects))

			off := map[string]any{child.Name(): map[string]any{"enabled": false}}
			objects, err := manifests.Chart(filepath.Join(umbrella, "umbrella"), off, release, namespace)
			require.NoError(t, err)
			require.Empty(t, objects)
		})
	}
}

// helm unittest writes a snapshot that is missing and passes, so an uncommitted snapshot would compare nothing.
func TestEveryChartHasItsSnapshotCommitted(t *testing.T) {
	for _, dir := range charts(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			snapshots, err := filepath.Glob(filepath.Join(dir, "tests", "__snapshot__", "*.snap"))
			require.NoError(t, err)
			require.NotEmpty(t, snapshots)
		})
	}
}
