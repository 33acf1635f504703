package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// An installation is a chart with the values that it is installed with.
type installation struct {
	chart string
	// values is a file of the chart, or empty for its defaults.
	values string
}

func (i installation) read(root string) (map[string]any, error) {
	if i.values == "" {
		return nil, nil
	}
	return manifests.Values(filepath.Join(root, "charts", i.chart, i.values))
}

func (i installation) String() string { return strings.TrimSpace("charts/" + i.chart + " " + i.values) }

// installationsOf lists each chart with each values file. As for chart-testing, ci/*-values.yaml stand in for the defaults of a chart
// that has no usable ones.
func installationsOf(root string) ([]installation, error) {
	charts, err := filepath.Glob(filepath.Join(root, "charts/*/Chart.yaml"))
	if err != nil {
		return nil, err
	}
	var all []installation
	for _, file := range charts {
		dir := filepath.Dir(file)
		values := []string{""}
		if found := glob(dir, "ci/*-values.yaml"); len(found) > 0 {
			values = found
		}
		for _, file := range append(values, glob(dir, "values-*.yaml")...) {
			all = append(all, installation{filepath.Base(dir), file})
		}
	}
	return all, nil
}

// glob returns paths relative to dir.
func glob(dir, pattern string) []string {
	found, _ := filepath.Glob(filepath.Join(dir, pattern)) // only a pattern can be wrong
	for i, file := range found {
		found[i] = strings.TrimPrefix(file, dir+string(filepath.Separator))
	}
	return found
}

// goldens has what the operator creates for Agents. Whether that is good practice is up to the author of an Agent, so it is not scored.
const goldens = "operator/internal/render/testdata"

// A rendering is what one command of a user applies, or what the operator creates for one Agent.
type rendering struct {
	source  string
	objects []unstructured.Unstructured
}

// file is the rendering's file in the folder that the tools read.
func (r rendering) file() string {
	return strings.NewReplacer("/", "-", " ", "-").Replace(strings.TrimSuffix(r.source, ".yaml")) + ".yaml"
}

func render(root string, installations []installation) ([]rendering, error) {
	var all []rendering
	for _, i := range installations {
		values, err := i.read(root)
		if err != nil {
			return nil, err
		}
		dir := filepath.Join(root, "charts", i.chart)
		objects, err := manifests.Chart(dir, values, i.chart, manifests.Platform)
		if err != nil {
			return nil, err
		}
		hooks, err := manifests.Hooks(dir, values, i.chart, manifests.Platform)
		if err != nil {
			return nil, err
		}
		all = append(all, rendering{i.String(), append(objects, hooks...)})
	}
	for _, folder := range []string{"overlays", "examples"} {
		found, err := renderFolder(root, folder)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	for _, file := range glob(root, goldens+"/*/want.yaml") {
		found, err := readManifests(root, filepath.Dir(file))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// renderFolder renders each kustomization, and reads each manifest that is no part of one.
func renderFolder(root, folder string) ([]rendering, error) {
	var all []rendering
	err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		source, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		kustomization, err := os.ReadFile(filepath.Join(path, "kustomization.yaml"))
		switch {
		case os.IsNotExist(err):
			found, err := readManifests(root, source)
			all = append(all, found...)
			return err
		case err != nil:
			return err
		case strings.Contains(string(kustomization), "kind: Component"):
			return nil // it is rendered with what includes it
		}
		objects, err := manifests.Overlay(path)
		all = append(all, rendering{source, objects})
		return err
	})
	return all, err
}

// readManifests reads the manifests in a folder. A file of values, or another without a kind, is none.
func readManifests(root, folder string) ([]rendering, error) {
	var all []rendering
	for _, name := range glob(filepath.Join(root, folder), "*.yaml") {
		text, err := os.ReadFile(filepath.Join(root, folder, name))
		if err != nil {
			return nil, err
		}
		source := filepath.Join(folder, name)
		objects, err := manifests.Decode(string(text))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", source, err)
		}
		if len(objects) > 0 && objects[0].GetKind() != "" && objects[0].GetAPIVersion() != "" {
			all = append(all, rendering{source, objects})
		}
	}
	return all, nil
}

func write(folder string, renderings []rendering) error {
	for _, r := range renderings {
		var text strings.Builder
		for _, object := range r.objects {
			document, err := yaml.Marshal(object.Object)
			if err != nil {
				return fmt.Errorf("write %s: %w", r.source, err)
			}
			text.WriteString("---\n" + string(document))
		}
		if err := os.WriteFile(filepath.Join(folder, r.file()), []byte(text.String()), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// lint runs what `helm lint --strict` runs.
func lint(root string, installations []installation) error {
	version, err := chartutil.ParseKubeVersion(manifests.KubeVersion)
	if err != nil {
		return err
	}
	linter := action.NewLint()
	linter.Strict, linter.KubeVersion, linter.Namespace = true, version, manifests.Platform
	var found []string
	for _, i := range installations {
		values, err := i.read(root)
		if err != nil {
			return err
		}
		for _, problem := range linter.Run([]string{filepath.Join(root, "charts", i.chart)}, values).Errors {
			found = append(found, fmt.Sprintf("%s: %v", i, problem))
		}
	}
	return problems("helm lint --strict", found)
}

// problems is nil without any.
func problems(tool string, found []string) error {
	if len(found) == 0 {
		return nil
	}
	return fmt.Errorf("%s:\n  %s", tool, strings.Join(found, "\n  "))
}
