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
	dir := filepath.Join(root, "charts", chart)
	values := common.Values{}
	if file := filepath.Join(dir, "values-"+environment+".yaml"); exists(file) {
		read, err := common.ReadValuesFile(file)
		require.NoError(t, err)
		values = read
	}
	return render(t, name, dir, values)
}

// render returns the manifest of a chart, as `helm template` prints it.
func render(t *testing.T, name, dir string, values common.Values) string {
	t.Helper()
	loaded, err := loader.Load(dir)
	require.NoError(t, err)
	version, err := common.ParseKubeVersion("v1.37.2")
	require.NoError(t, err)
	template := action.NewInstall(action.NewConfiguration())
	template.ReleaseName, template.Namespace, template.KubeVersion = name, "flokoa-system", version
	template.DryRunStrategy, template.Replace = action.DryRunClient, true
	rendered, err := template.Run(loaded, values)
	require.NoError(t, err)
	accessor, err := release.NewAccessor(rendered)
	require.NoError(t, err)
	return accessor.Manifest()
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

// The schema is checked by Helm 4 too.
func TestHelm4RefusesWhatTheSchemaRefuses(t *testing.T) {
	loaded, err := loader.Load(filepath.Join(root, "charts/flokoa-environment"))
	require.NoError(t, err)
	template := action.NewInstall(action.NewConfiguration())
	template.ReleaseName, template.Namespace, template.DryRunStrategy, template.Replace = "x", "flokoa-system", action.DryRunClient, true
	version, err := common.ParseKubeVersion("v1.37.2")
	require.NoError(t, err)
	template.KubeVersion = version
	_, err = template.Run(loaded, map[string]any{"environment": "prod"})
	require.ErrorContains(t, err, "environment")
}
