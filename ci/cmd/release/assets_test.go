package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// installYAML writes install.yaml, and returns its objects in the order of the file.
func installYAML(t *testing.T, args ...string) []unstructured.Unstructured {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, run(root, append([]string{"install-yaml", dir}, args...), &bytes.Buffer{}))
	text, err := os.ReadFile(filepath.Join(dir, "install.yaml"))
	require.NoError(t, err)
	var objects []unstructured.Unstructured
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		object := unstructured.Unstructured{}
		require.NoError(t, yaml.Unmarshal([]byte(document), &object.Object))
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
	return objects
}

// A kustomization and the charts, by their defaults, install the same; only what names the manager differs.
func TestInstallYAMLInstallsWhatTheChartsInstall(t *testing.T) {
	want := map[string]any{}
	for _, chart := range []string{"flokoa-crds", "flokoa-policies", "flokoa-operator"} {
		for _, object := range render(t, chart) {
			want[manifests.Identity(object)] = object.Object["kind"]
		}
	}
	got := map[string]any{}
	for _, object := range installYAML(t) {
		require.NotContains(t, got, manifests.Identity(object), "applied twice")
		got[manifests.Identity(object)] = object.Object["kind"]
	}
	namespace := "Namespace flokoa-system"
	require.Contains(t, got, namespace)
	delete(got, namespace)
	require.Equal(t, want, got)
}

// kubectl applies a file in its order, and stops at nothing: what needs a Namespace comes after it.
func TestInstallYAMLStartsWithTheNamespace(t *testing.T) {
	objects := installYAML(t, digest)
	require.Equal(t, "Namespace", objects[0].GetKind())
	require.Equal(t, "CustomResourceDefinition", objects[1].GetKind())
	require.Equal(t, runImage+"@"+digest, deploymentImage(t, objects))
	require.ErrorContains(t, run(root, []string{"install-yaml", t.TempDir(), ""}, &bytes.Buffer{}), "is not a digest")
}

// The URL is the one under which the release workflow uploads the schema.
func TestExamplesNameTheirSchemaForEditors(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, run(root, []string{"schemas", dir}, &bytes.Buffer{}))
	schema, err := os.ReadFile(filepath.Join(dir, "schemas/agent.flokoa.ai/agent_v1alpha1.json"))
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(root, "examples/agents/*.yaml"))
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		values, err := chartutil.ReadValues(text)
		require.NoError(t, err)
		require.NoError(t, chartutil.ValidateAgainstSingleSchema(values, schema), file)
		if filepath.Base(file) == "production-agent.yaml" { // byte for byte the one that a guide shows
			continue
		}
		line := "# yaml-language-server: $schema=" + repository + "/releases/latest/download/agent_v1alpha1.json\napiVersion:"
		require.Contains(t, string(text), line, file)
	}
}

func TestNotesAreThoseOfOneVersion(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"CHANGELOG.md": "# Changelog\n\n## 0.2.0 (2026-12-24)\n\n### Added\n- New, see [the page](docs/a.md#b) and [k8s](https://kubernetes.io).\n\n" +
		"## 0.2.0-rc.1 (2026-12-20)\n- A candidate.\n\n## 0.1.0 (2026-12-01)\n"})
	cut := func(tag string) (string, error) {
		var out bytes.Buffer
		err := run(dir, []string{"notes", tag}, &out)
		return out.String(), err
	}
	got, err := cut("v0.2.0")
	require.NoError(t, err)
	require.Equal(t, "### Added\n- New, see [the page](https://github.com/flokoa/flokoa/blob/v0.2.0/docs/a.md#b) and [k8s](https://kubernetes.io).\n", got)
	got, err = cut("v0.2.0-rc.1")
	require.NoError(t, err)
	require.Equal(t, "- A candidate.\n", got)
	_, err = cut("v0.1.0")
	require.EqualError(t, err, "CHANGELOG.md says nothing of 0.1.0: describe what users notice")
	_, err = cut("v0.3.0")
	require.EqualError(t, err, "CHANGELOG.md has no version 0.3.0: add a heading `## 0.3.0 (date)`")
}

func TestProvenanceNamesWorkflowAndCommit(t *testing.T) {
	variables := map[string]string{
		"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "flokoa/flokoa", "GITHUB_REF": "refs/tags/v0.1.0",
		"GITHUB_WORKFLOW_REF": "flokoa/flokoa/.github/workflows/release.yaml@refs/tags/v0.1.0", "GITHUB_SHA": "0123", "GITHUB_RUN_ID": "7",
		"GITHUB_RUN_ATTEMPT": "2",
	}
	get := func(name string) string { return variables[name] }
	var out bytes.Buffer
	require.NoError(t, provenance(get, &out))
	var predicate map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &predicate))
	require.Equal(t, map[string]any{
		"buildDefinition": map[string]any{
			"buildType": "https://actions.github.io/buildtypes/workflow/v1",
			"externalParameters": map[string]any{"workflow": map[string]any{
				"ref": "refs/tags/v0.1.0", "repository": "https://github.com/flokoa/flokoa", "path": ".github/workflows/release.yaml",
			}},
			"resolvedDependencies": []any{map[string]any{
				"uri": "git+https://github.com/flokoa/flokoa@refs/tags/v0.1.0", "digest": map[string]any{"gitCommit": "0123"},
			}},
		},
		"runDetails": map[string]any{
			"builder":  map[string]any{"id": "https://github.com/flokoa/flokoa/.github/workflows/release.yaml@refs/tags/v0.1.0"},
			"metadata": map[string]any{"invocationId": "https://github.com/flokoa/flokoa/actions/runs/7/attempts/2"},
		},
	}, predicate)

	delete(variables, "GITHUB_SHA")
	require.ErrorContains(t, provenance(get, &out), "not set: GITHUB_SHA")
}
