package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

const root = "../../.."

func TestEveryChartIsRenderedWithEveryValuesFile(t *testing.T) {
	installations, err := installationsOf(root)
	require.NoError(t, err)
	var got []string
	for _, i := range installations {
		got = append(got, i.String())
	}
	for _, file := range append(glob(root, "charts/*/values-*.yaml"), glob(root, "charts/*/ci/*-values.yaml")...) {
		parts := strings.SplitN(file, "/", 3)
		require.Contains(t, got, "charts/"+parts[1]+" "+parts[2])
	}
	for _, chart := range []string{"flokoa-crds", "flokoa-policies", "flokoa-operator"} {
		require.Contains(t, got, "charts/"+chart, "the defaults")
	}
}

func TestKustomizationsAndManifestsAreRendered(t *testing.T) {
	dir := t.TempDir()
	for file, text := range map[string]string{
		"examples/plain/pod.yaml":               "apiVersion: v1\nkind: Pod\nmetadata: {name: plain}",
		"examples/helm/values.yaml":             "replicas: 3",
		"examples/kustomize/kustomization.yaml": "resources: [config.yaml]\nnamePrefix: built-",
		"examples/kustomize/config.yaml":        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config}",
		"examples/part/kustomization.yaml":      "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component",
		"examples/part/patch.yaml":              "apiVersion: v1\nkind: Pod\nmetadata: {name: patch}",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
	}
	renderings, err := renderFolder(dir, "examples")
	require.NoError(t, err)
	got := map[string]string{}
	for _, r := range renderings {
		require.Len(t, r.objects, 1)
		got[r.source] = r.objects[0].GetName()
	}
	require.Equal(t, map[string]string{"examples/plain/pod.yaml": "plain", "examples/kustomize": "built-config"}, got)
}

// api is a small OpenAPI document of the form that Kubernetes publishes.
const api = `{"definitions": {
  "v1.Pod": {"type": "object", "properties": {"spec": {"$ref": "#/definitions/v1.Spec"}, "kind": {"type": "string"}, "apiVersion": {}},
             "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Pod"}]},
  "v1.Spec": {"type": "object", "properties": {"type": {"type": "string"}, "labels": {"type": "object", "additionalProperties": {"type": "string"}},
              "child": {"$ref": "#/definitions/v1.Spec"}}},
  "v1.Other": {"type": "object", "properties": {"x": {"type": "string"}}}}}`

func TestASchemaIsClosedAndCompleteByItself(t *testing.T) {
	s, err := parseSwagger([]byte(api))
	require.NoError(t, err)
	got, err := json.Marshal(s.schemaOf(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}))
	require.NoError(t, err)
	require.JSONEq(t, `{"$ref": "#/definitions/v1.Pod", "definitions": {
	  "v1.Pod": {"type": "object", "properties": {"spec": {"$ref": "#/definitions/v1.Spec"}, "kind": {"type": "string"}, "apiVersion": {}}, "additionalProperties": false,
	             "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Pod"}]},
	  "v1.Spec": {"type": "object", "properties": {"type": {"type": "string"}, "labels": {"type": "object", "additionalProperties": {"type": "string"}},
	              "child": {"$ref": "#/definitions/v1.Spec"}}, "additionalProperties": false}}}`, string(got))
	require.Nil(t, s.schemaOf(schema.GroupVersionKind{Version: "v1", Kind: "Unknown"}))
}

const list = `
schemas:
  - {kinds: [example.com/v1/*], reason: they are tested elsewhere}
kubeScore:
  - {check: resources, message: no CPU limit, objects: [Deployment/operator], reason: throttling}
  - {check: policy, objects: [Pod/*], reason: made later}
`

func accepted(t *testing.T, text string) (*exceptions, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "exceptions.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return readExceptions(file)
}

func TestAnExceptionAcceptsWhatItNames(t *testing.T) {
	e, err := accepted(t, list)
	require.NoError(t, err)
	require.True(t, e.acceptKind("example.com/v1/Thing"))
	require.False(t, e.acceptKind("example.com/v2/Thing"))
	require.True(t, e.acceptCheck("resources", "no CPU limit", "Deployment/operator"))
	require.False(t, e.acceptCheck("resources", "no memory limit", "Deployment/operator"))
	require.False(t, e.acceptCheck("resources", "no CPU limit", "Deployment/other"))
	require.ErrorContains(t, e.unused(), "policy Pod/* is accepted, but nothing needs it")
	require.True(t, e.acceptCheck("policy", "none", "Pod/any"))
	require.NoError(t, e.unused())
}

func TestAnExceptionNeedsAReason(t *testing.T) {
	_, err := accepted(t, "kubeScore:\n  - {check: policy, objects: [Pod/*]}\n")
	require.ErrorContains(t, err, "an exception needs a reason: [policy]")
	_, err = accepted(t, "kubescore: []\nignored: []\n")
	require.Error(t, err, "a misspelled key")
}

func TestALintProblemNamesChartAndValues(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(dir, "charts/flokoa-crds"), os.DirFS(filepath.Join(root, "charts/flokoa-crds"))))
	all := []installation{{chart: "flokoa-crds"}}
	require.NoError(t, lint(dir, all))
	file := filepath.Join(dir, "charts/flokoa-crds/values-wrong.yaml")
	require.NoError(t, os.WriteFile(file, []byte("unknown: true\n"), 0o600))
	err := lint(dir, append(all, installation{"flokoa-crds", "values-wrong.yaml"}))
	require.ErrorContains(t, err, "charts/flokoa-crds values-wrong.yaml: ")
	require.ErrorContains(t, err, "unknown")
}

func TestFindingsAreReportedUnlessExcepted(t *testing.T) {
	e, err := accepted(t, list)
	require.NoError(t, err)
	var report []scored
	require.NoError(t, json.Unmarshal([]byte(`[{"type_meta": {"kind": "Deployment"}, "object_meta": {"name": "operator"}, "checks": [
	  {"check": {"id": "resources"}, "grade": 1, "comments": [{"path": "main", "summary": "no CPU limit"}, {"path": "main", "summary": "no memory limit"}]},
	  {"check": {"id": "probes"}, "grade": 5},
	  {"check": {"id": "good"}, "grade": 10, "comments": [{"summary": "fine"}]},
	  {"check": {"id": "skipped"}, "grade": 1, "skipped": true, "comments": [{"summary": "skipped"}]}]}]`), &report))
	require.Equal(t, []string{"charts/x: Deployment/operator: resources: main no memory limit", "charts/x: Deployment/operator: probes: "}, report[0].findings("charts/x", e))
}

// tool is a pinned tool. `make test-unit` builds both beforehand, so that the minutes this takes on a new machine are not silent here.
func tool(t *testing.T, name string) string {
	t.Helper()
	folder, err := exec.CommandContext(t.Context(), root+"/ci/tools/build.sh", name).Output()
	require.NoError(t, err)
	return filepath.Join(strings.TrimSpace(string(folder)), name)
}

// rendered writes one rendering, as verify does.
func rendered(t *testing.T, text string) (folder string, renderings []rendering) {
	t.Helper()
	objects, err := manifests.Decode(text)
	require.NoError(t, err)
	folder, renderings = t.TempDir(), []rendering{{"examples/it.yaml", objects}}
	require.NoError(t, write(folder, renderings))
	return folder, renderings
}

func TestUnknownFieldsAndKindsDoNotConform(t *testing.T) {
	s, err := parseSwagger([]byte(api))
	require.NoError(t, err)
	e, err := accepted(t, list)
	require.NoError(t, err)
	crd := `
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  group: agents.example.com
  names: {kind: Agent}
  versions: [{name: v1, schema: {openAPIV3Schema: {type: object, properties: {apiVersion: {}, kind: {}, metadata: {type: object}, spec: {type: object, properties: {replicas: {type: integer}}}}}}}]
---
apiVersion: agents.example.com/v1
kind: Agent
metadata: {name: mine, labels: {a: b}}
`
	for text, want := range map[string]string{
		"apiVersion: v1\nkind: Pod\nspec: {type: a}":                "",
		"apiVersion: v1\nkind: Pod\nspec: {typ: a}":                 "examples/it.yaml: Pod/: ",
		"apiVersion: v1\nkind: Pod\nspec: {type: 1}":                "got number, want string",
		"apiVersion: v1\nkind: Gadget":                              "examples/it.yaml: there is no schema for v1/Gadget",
		"apiVersion: example.com/v1\nkind: Thing":                   "",
		"apiVersion: v1\nkind: Pod" + crd + "spec: {replicas: 3}":   "there is no schema for apiextensions.k8s.io/v1/CustomResourceDefinition",
		"apiVersion: v1\nkind: Pod" + crd + "spec: {replica: 3}":    "Agent/mine: ",
		"apiVersion: v1\nkind: Pod" + crd + "spec: {replicas: '3'}": "got string, want integer",
	} {
		folder, renderings := rendered(t, text)
		err := conform(tool(t, "kubeconform"), folder, renderings, s, e)
		if want == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorContains(t, err, want, text)
	}
}

func TestBadPracticeIsScored(t *testing.T) {
	e, err := accepted(t, list)
	require.NoError(t, err)
	folder, renderings := rendered(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {containers: [{name: main, image: a}]}")
	err = score(tool(t, "kube-score"), folder, renderings, e)
	require.ErrorContains(t, err, "examples/it.yaml: Pod/bad: container-image-tag: main Image with latest tag")
	require.ErrorContains(t, err, "Memory limit is not set")
}
