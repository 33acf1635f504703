package gitops_test

import (
	"bytes"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/strvals"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// The folders of examples that Argo CD applies, each a kustomization.
const (
	oneCluster    = "gitops/argocd"
	fromCharts    = "gitops/argocd/helm"
	threeClusters = "gitops/argocd/clusters"
	twoTeams      = "teams/argocd"
)

const (
	inCluster        = "https://kubernetes.default.svc"
	platformRepo     = "https://git.example.com/platform/flokoa"
	chartRegistry    = "ghcr.io/flokoa/charts"
	environmentLabel = "flokoa.ai/environment"
)

// built has what the repository renders. What is rendered from copies that tests change is not in it.
var built = manifests.Cache{}

// kustomized are the objects that a folder of the repository builds.
func kustomized(t *testing.T, folder string) []unstructured.Unstructured {
	t.Helper()
	objects, err := built.Get(folder, func() ([]unstructured.Unstructured, error) { return manifests.Overlay(folder) })
	require.NoError(t, err)
	return objects
}

// charted are the objects that a chart of the repository renders.
func charted(t *testing.T, chart string, values map[string]any, release, namespace string) []unstructured.Unstructured {
	t.Helper()
	objects, err := built.Get([]any{chart, values, release, namespace}, func() ([]unstructured.Unstructured, error) {
		return manifests.Chart(chart, values, release, namespace)
	})
	require.NoError(t, err, release)
	return objects
}

// argoCD returns the objects of a kind in a folder, by name.
func argoCD(t *testing.T, folder, kind string) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for _, object := range kustomized(t, filepath.Join(root, "examples", folder)) {
		if object.GetKind() == kind {
			require.NotContains(t, all, object.GetName())
			all[object.GetName()] = object.Object
		}
	}
	return all
}

// argoCDSettings returns argocd-cm.yaml, which is a patch and no part of a kustomization.
func argoCDSettings(t *testing.T) unstructured.Unstructured {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "examples", oneCluster, "argocd-cm.yaml"))
	require.NoError(t, err)
	return documents(t, string(content))[0]
}

// --- generators ---------------------------------------------------------------------------------------------------------

// clusters are the Secrets of three clusters, as the cluster generator passes them on.
var clusters = []map[string]any{
	clusterNamed("EU_dev", "dev"), clusterNamed("eu-staging", "staging"), clusterNamed("eu-production", "production"),
	clusterNamed("other", ""),
}

func clusterNamed(name, environment string) map[string]any {
	labels := map[string]any{"argocd.argoproj.io/secret-type": "cluster"}
	if environment != "" {
		labels[environmentLabel] = environment
	}
	normalized := strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return map[string]any{
		"name": name, "nameNormalized": normalized, "server": "https://" + normalized + ".example.com", "metadata": map[string]any{"labels": labels},
	}
}

// generated returns the parameters that a generator makes for the templates of an ApplicationSet.
func generated(t *testing.T, generator map[string]any) []map[string]any {
	t.Helper()
	require.Len(t, generator, 1)
	for kind, settings := range generator {
		settings := settings.(map[string]any)
		switch kind {
		case "list":
			return asMaps(settings["elements"].([]any))
		case "git":
			return fileParameters(t, settings)
		case "clusters":
			return clusterParameters(settings["selector"].(map[string]any)["matchLabels"].(map[string]any))
		case "matrix":
			return matrixParameters(t, settings["generators"].([]any))
		default:
			require.Fail(t, "unknown generator", kind)
		}
	}
	return nil
}

func asMaps(list []any) []map[string]any {
	var all []map[string]any
	for _, each := range list {
		all = append(all, each.(map[string]any))
	}
	return all
}

// fileParameters are the content of each file in the repository of the platform, which is this one.
func fileParameters(t *testing.T, settings map[string]any) []map[string]any {
	t.Helper()
	require.Equal(t, platformRepo, settings["repoURL"])
	var all []map[string]any
	for _, pattern := range asMaps(settings["files"].([]any)) {
		files, err := filepath.Glob(filepath.Join(root, pattern["path"].(string)))
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, file := range files {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			values := map[string]any{}
			require.NoError(t, yaml.UnmarshalStrict(content, &values))
			all = append(all, values)
		}
	}
	return all
}

func clusterParameters(matchLabels map[string]any) []map[string]any {
	var all []map[string]any
	for _, cluster := range clusters {
		labels := cluster["metadata"].(map[string]any)["labels"].(map[string]any)
		matches := true
		for key, value := range matchLabels {
			matches = matches && labels[key] == value
		}
		if matches {
			all = append(all, cluster)
		}
	}
	return all
}

// matrixParameters combines the parameters of two generators. The second may use those of the first, which take precedence.
func matrixParameters(t *testing.T, generators []any) []map[string]any {
	t.Helper()
	require.Len(t, generators, 2)
	var all []map[string]any
	for _, first := range generated(t, generators[0].(map[string]any)) {
		for _, second := range generated(t, fill(t, generators[1], first).(map[string]any)) {
			both := maps.Clone(second)
			maps.Copy(both, first)
			all = append(all, both)
		}
	}
	return all
}

// fill executes each string as a Go template, as an ApplicationSet with goTemplate and missingkey=error does.
func fill(t *testing.T, value any, values map[string]any) any {
	t.Helper()
	switch value := value.(type) {
	case map[string]any:
		filled := map[string]any{}
		for key, each := range value {
			filled[key] = fill(t, each, values)
		}
		return filled
	case []any:
		filled := make([]any, len(value))
		for i, each := range value {
			filled[i] = fill(t, each, values)
		}
		return filled
	case string:
		functions := template.FuncMap{"toYaml": func(v any) (string, error) { text, err := yaml.Marshal(v); return string(text), err }}
		parsed, err := template.New("").Option("missingkey=error").Funcs(functions).Parse(value)
		require.NoError(t, err)
		filled := &bytes.Buffer{}
		require.NoError(t, parsed.Execute(filled, values))
		return filled.String()
	default:
		return value
	}
}

// --- Applications -------------------------------------------------------------------------------------------------------

// applications are those of an ApplicationSet, by name.
func applications(t *testing.T, folder, set string) map[string]unstructured.Unstructured {
	t.Helper()
	object := argoCD(t, folder, "ApplicationSet")[set]
	require.NotNil(t, object, set)
	spec := object["spec"].(map[string]any)
	require.Equal(t, true, spec["goTemplate"])
	require.Equal(t, []any{"missingkey=error"}, spec["goTemplateOptions"], "a misspelled parameter would be empty")
	made := map[string]unstructured.Unstructured{}
	for _, generator := range asMaps(spec["generators"].([]any)) {
		for _, values := range generated(t, generator) {
			application := unstructured.Unstructured{Object: fill(t, spec["template"], values).(map[string]any)}
			if patch, patched := spec["templatePatch"].(string); patched {
				merge(application.Object, patchOf(t, patch, values))
			}
			application.SetAPIVersion("argoproj.io/v1alpha1")
			application.SetKind("Application")
			application.SetNamespace("argocd")
			require.NotContains(t, made, application.GetName(), "two Applications have one name")
			require.Empty(t, validation.IsDNS1123Subdomain(application.GetName()), application.GetName())
			made[application.GetName()] = application
		}
	}
	require.NotEmpty(t, made)
	return made
}

func patchOf(t *testing.T, text string, values map[string]any) map[string]any {
	t.Helper()
	patch := map[string]any{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(fill(t, text, values).(string)), &patch))
	return patch
}

// merge writes a patch into an object. Lists are replaced.
func merge(object, patch map[string]any) {
	for key, value := range patch {
		into, isMap := object[key].(map[string]any)
		from, fromMap := value.(map[string]any)
		if isMap && fromMap {
			merge(into, from)
			continue
		}
		object[key] = value
	}
}

// allApplications are the Applications of a folder and of its ApplicationSets, by name.
func allApplications(t *testing.T, folder string) map[string]unstructured.Unstructured {
	t.Helper()
	all := map[string]unstructured.Unstructured{}
	for name, object := range argoCD(t, folder, "Application") {
		all[name] = unstructured.Unstructured{Object: object}
	}
	for set := range argoCD(t, folder, "ApplicationSet") {
		for name, application := range applications(t, folder, set) {
			require.NotContains(t, all, name, "two Applications have one name")
			all[name] = application
		}
	}
	require.NotEmpty(t, all)
	return all
}

// rendered are the objects of an Application of the platform: an overlay of this repository, or a chart.
func rendered(t *testing.T, application unstructured.Unstructured) []unstructured.Unstructured {
	t.Helper()
	source := application.Object["spec"].(map[string]any)["source"].(map[string]any)
	if source["chart"] != nil {
		return renderedChart(t, application, source)
	}
	require.Equal(t, platformRepo, source["repoURL"])
	return kustomized(t, filepath.Join(root, source["path"].(string)))
}

// renderedChart renders as Argo CD does: the release has the name of the Application and the namespace of its destination, and its
// values take precedence over its value files, and its parameters over both.
func renderedChart(t *testing.T, application unstructured.Unstructured, source map[string]any) []unstructured.Unstructured {
	t.Helper()
	require.Equal(t, chartRegistry, source["repoURL"])
	dir := filepath.Join(root, "charts", source["chart"].(string))
	require.Equal(t, chartVersion(t, dir), source["targetRevision"])
	helm, _ := source["helm"].(map[string]any)
	require.NotContains(t, helm, "releaseName")
	values := map[string]any{}
	files, _, err := unstructured.NestedStringSlice(helm, "valueFiles")
	require.NoError(t, err)
	for _, file := range files {
		content, err := manifests.Values(filepath.Join(dir, file))
		require.NoError(t, err, "the chart has no such file")
		merge(values, content)
	}
	given := map[string]any{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(text(helm, "values")), &given))
	merge(values, given)
	parameters, _ := helm["parameters"].([]any)
	for _, parameter := range asMaps(parameters) {
		require.NoError(t, strvals.ParseInto(text(parameter, "name")+"="+text(parameter, "value"), values))
	}
	return charted(t, dir, values, application.GetName(), destination(application))
}

func chartVersion(t *testing.T, dir string) string {
	t.Helper()
	chart := struct{ Version string }{}
	content, err := os.ReadFile(filepath.Join(dir, "Chart.yaml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, &chart))
	return chart.Version
}

func destination(application unstructured.Unstructured) string {
	return text(application.Object, "spec", "destination", "namespace")
}

// --- projects -----------------------------------------------------------------------------------------------------------

// matching are the destinations that match a cluster and a namespace.
func matching(t *testing.T, destinations any, server, namespace string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for _, destination := range asMaps(destinations.([]any)) {
		matched, err := path.Match(text(destination, "namespace"), namespace)
		require.NoError(t, err)
		if matched && slices.Contains([]string{"*", server}, text(destination, "server")) {
			found = append(found, destination)
		}
	}
	return found
}

// accountOf is the account that applies an Application: that of the first entry of its project that matches its destination.
func accountOf(t *testing.T, project map[string]any, application unstructured.Unstructured) string {
	t.Helper()
	spec := project["spec"].(map[string]any)
	found := matching(t, spec["destinationServiceAccounts"], text(application.Object, "spec", "destination", "server"), destination(application))
	require.NotEmpty(t, found, "no account applies %s", application.GetName())
	account := text(found[0], "defaultServiceAccount")
	if !strings.Contains(account, ":") {
		account = destination(application) + ":" + account
	}
	return account
}

// denials are what a project does not allow of an Application and its objects.
func denials(t *testing.T, project map[string]any, application unstructured.Unstructured, objects []unstructured.Unstructured) []string {
	t.Helper()
	spec := project["spec"].(map[string]any)
	var found []string
	source := text(application.Object, "spec", "source", "repoURL")
	repositories, _, err := unstructured.NestedStringSlice(spec, "sourceRepos")
	require.NoError(t, err)
	if !slices.ContainsFunc(repositories, func(pattern string) bool { matched, _ := path.Match(pattern, source); return matched }) {
		found = append(found, "source "+source)
	}
	server := text(application.Object, "spec", "destination", "server")
	for _, object := range append(objects, unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"namespace": destination(application)}}}) {
		if object.GetNamespace() != "" && len(matching(t, spec["destinations"], server, object.GetNamespace())) == 0 {
			found = append(found, "namespace "+object.GetNamespace())
		}
		if object.GetKind() != "" && !kindAllowed(spec, object) {
			found = append(found, "kind "+manifests.Identity(object))
		}
	}
	return found
}

// kindAllowed reports whether a project allows the kind of an object. Without a list, it allows every kind that has a namespace, and no
// other.
func kindAllowed(project map[string]any, object unstructured.Unstructured) bool {
	list := project["clusterResourceWhitelist"]
	if object.GetNamespace() != "" {
		list = project["namespaceResourceWhitelist"]
		if list == nil {
			return true
		}
	}
	kinds, _ := list.([]any)
	return slices.ContainsFunc(asMaps(kinds), func(kind map[string]any) bool {
		return kind["group"] == object.GroupVersionKind().Group && kind["kind"] == object.GetKind()
	})
}
