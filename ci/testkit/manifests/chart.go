// Package manifests turns what Flokoa ships into objects that a test can compare, and into releases on a cluster that it can
// try. It uses the Helm SDK, so that no helm binary is needed; it never reads the user's Helm or kubectl configuration.
package manifests

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// KubeVersion is the Kubernetes version that charts are rendered for without a cluster: the one the tests run on.
const KubeVersion = "v1.37.2"

// Chart renders the chart in dir, which may be a package as well, as `helm template` would and returns its objects in the order in which
// Helm installs them. Values are laid over the chart's own and checked against its schema. Hooks (the pods of `helm test`) are left out: they are
// not part of what is installed. It needs no cluster.
func Chart(dir string, values map[string]any, release, namespace string) ([]unstructured.Unstructured, error) {
	rendered, err := render(dir, values, release, namespace)
	if err != nil {
		return nil, err
	}
	objects, err := Decode(rendered.Manifest)
	if err != nil {
		return nil, fmt.Errorf("read what chart %s renders: %w", dir, err)
	}
	return objects, nil
}

// Hooks renders a chart as Chart does, and returns the hooks alone.
func Hooks(dir string, values map[string]any, release, namespace string) ([]unstructured.Unstructured, error) {
	rendered, err := render(dir, values, release, namespace)
	if err != nil {
		return nil, err
	}
	var hooks []unstructured.Unstructured
	for _, hook := range rendered.Hooks {
		objects, err := Decode(hook.Manifest)
		if err != nil {
			return nil, fmt.Errorf("read hook %s of chart %s: %w", hook.Path, dir, err)
		}
		hooks = append(hooks, objects...)
	}
	return hooks, nil
}

func render(dir string, values map[string]any, releaseName, namespace string) (*release.Release, error) {
	loaded, err := load(dir)
	if err != nil {
		return nil, err
	}
	values, err = asFromFile(values)
	if err != nil {
		return nil, err
	}
	kubeVersion, err := chartutil.ParseKubeVersion(KubeVersion)
	if err != nil {
		return nil, fmt.Errorf("parse Kubernetes version: %w", err)
	}

	template := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	template.ReleaseName = releaseName
	template.Namespace = namespace
	template.DryRun = true
	template.ClientOnly = true
	template.Replace = true // do not look for a release of that name
	template.KubeVersion = kubeVersion

	rendered, err := template.Run(loaded, values)
	if err != nil {
		return nil, fmt.Errorf("render chart %s: %w", dir, err)
	}
	return rendered, nil
}

func load(dir string) (*chart.Chart, error) {
	loaded, err := loader.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("load chart %s: %w", dir, err)
	}
	return loaded, nil
}

// asFromFile returns a copy of values with the types they would have, had Helm read them from a values file: a test must not
// pass because Go gave an int where a user's YAML gives a float. The copy also keeps Helm from writing into the caller's map.
func asFromFile(values map[string]any) (map[string]any, error) {
	text, err := sigsyaml.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("write values as YAML: %w", err)
	}
	read, err := chartutil.ReadValues(text)
	if err != nil {
		return nil, fmt.Errorf("read values back from YAML: %w", err)
	}
	return read, nil
}

// Decode reads the objects of a stream of YAML documents. Documents that hold nothing but comments are left out.
func Decode(manifest string) ([]unstructured.Unstructured, error) {
	var objects []unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	for {
		var object unstructured.Unstructured
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("decode document %d: %w", len(objects)+1, err)
		}
		if len(object.Object) > 0 { // a template may render nothing but comments
			objects = append(objects, object)
		}
	}
}
