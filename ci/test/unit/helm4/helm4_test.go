// Package helm4_test renders the charts by Helm 4 and holds them against what Helm 3 renders: for each environment the same objects.
// It is a module of its own, because one module holds one set of versions, and Helm 3's tests must not move with Helm 4.
package helm4_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/loader"
	"helm.sh/helm/v4/pkg/release"
	"sigs.k8s.io/yaml"
)

const root = "../../../.."

// releases are those of an environment, in the order in which they are installed.
func releases(environment string) [][2]string {
	return [][2]string{
		{"flokoa-crds", "flokoa-crds"}, {"flokoa-policies", "flokoa-policies"}, {"flokoa-operator", "flokoa-operator"},
		{"flokoa-" + environment, "flokoa-environment"},
	}
}

// byHelm4 renders a chart with its values file for the environment, if it has one.
func byHelm4(t *testing.T, name, chart, environment string) string {
	t.Helper()
	values := common.Values{}
	if file := filepath.Join(root, "charts", chart, "values-"+environment+".yaml"); exists(file) {
		var err error
		values, err = common.ReadValuesFile(file)
		require.NoError(t, err)
	}
	text, err := template(t, name, chart, values)
	require.NoError(t, err)
	return text
}

// template is what `helm template` of Helm 4 prints.
func template(t *testing.T, name, chart string, values map[string]any) (string, error) {
	t.Helper()
	loaded, err := loader.Load(filepath.Join(root, "charts", chart))
	require.NoError(t, err)
	version, err := common.ParseKubeVersion("v1.37.2")
	require.NoError(t, err)
	install := action.NewInstall(action.NewConfiguration())
	install.ReleaseName, install.Namespace, install.KubeVersion = name, "flokoa-system", version
	install.DryRunStrategy, install.Replace = action.DryRunClient, true
	rendered, err := install.Run(loaded, values)
	if err != nil {
		return "", err
	}
	accessor, err := release.NewAccessor(rendered)
	require.NoError(t, err)
	return accessor.Manifest(), nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// byHelm3 is what the main module's command prints, with the SDK of Helm 3.
func byHelm3(t *testing.T, environment string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "run", "./ci/cmd/render", "render", environment, "helm")
	command.Dir, command.Stderr = root, os.Stderr
	out, err := command.Output()
	require.NoError(t, err)
	return string(out)
}

// objects are the documents of a stream, by kind, namespace and name.
func objects(t *testing.T, text string) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for _, document := range strings.Split("\n"+text, "\n---\n") {
		object := struct {
			Kind     string
			Metadata struct{ Namespace, Name string }
		}{}
		content := map[string]any{}
		require.NoError(t, yaml.Unmarshal([]byte(document), &content))
		require.NoError(t, yaml.Unmarshal([]byte(document), &object))
		if object.Kind != "" {
			all[object.Kind+" "+object.Metadata.Namespace+"/"+object.Metadata.Name] = content
		}
	}
	return all
}

func TestHelm4RendersWhatHelm3Renders(t *testing.T) {
	for _, environment := range []string{"dev", "staging", "production"} {
		t.Run(environment, func(t *testing.T) {
			var rendered strings.Builder
			for _, each := range releases(environment) {
				rendered.WriteString(byHelm4(t, each[0], each[1], environment) + "\n")
			}
			three, four := objects(t, byHelm3(t, environment)), objects(t, rendered.String())
			require.NotEmpty(t, three)
			require.Len(t, four, len(three))
			for name, want := range three {
				require.Equal(t, want, four[name], name)
			}
		})
	}
}

// A team's chart, by the command of Helm 3 and by Helm 4.
func TestHelm4RendersTheAgentThatHelm3Renders(t *testing.T) {
	tool := exec.CommandContext(t.Context(), "ci/tools/build.sh", "helm")
	tool.Dir, tool.Stderr = root, os.Stderr
	folder, err := tool.Output()
	require.NoError(t, err)
	minimal := filepath.Join(root, "charts/flokoa-agent/ci/minimal-values.yaml")
	for _, environment := range []string{"dev", "staging", "production"} {
		t.Run(environment, func(t *testing.T) {
			three := exec.CommandContext(t.Context(), filepath.Join(strings.TrimSpace(string(folder)), "helm"), "template", "my-agent",
				filepath.Join(root, "charts/flokoa-agent"), "--namespace", "flokoa-system", "--values", minimal, "--set", "environment="+environment)
			want, err := three.Output()
			require.NoError(t, err)
			values, err := common.ReadValuesFile(minimal)
			require.NoError(t, err)
			values["environment"] = environment
			got, err := template(t, "my-agent", "flokoa-agent", values)
			require.NoError(t, err)
			require.Len(t, objects(t, got), 1)
			require.Equal(t, objects(t, string(want)), objects(t, got))
		})
	}
}

// The schema is checked by Helm 4 too, and a null that removes a default is found.
func TestHelm4RefusesWhatTheSchemaRefuses(t *testing.T) {
	container := func(key string, value any) map[string]any {
		return map[string]any{"spec": map[string]any{"runtime": map[string]any{"spec": map[string]any{"container": map[string]any{key: value}}}}}
	}
	for name, row := range map[string]struct {
		chart  string
		values map[string]any
		want   string
	}{
		"another environment": {"flokoa-environment", map[string]any{"environment": "prod"}, "environment"},
		"a misspelled field":  {"flokoa-agent", container("imgae", "a:v1"), "additional properties 'imgae' not allowed"},
		"a null":              {"flokoa-agent", container("ports", nil), "missing property 'ports'"},
		"a null for a preset": {"flokoa-agent", container("resources", nil), "got null, want object"},
		"no image":            {"flokoa-agent", nil, "spec.runtime.spec.container.image is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := template(t, "x", row.chart, row.values)
			require.ErrorContains(t, err, row.want)
		})
	}
}
