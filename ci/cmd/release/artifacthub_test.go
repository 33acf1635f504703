package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chartutil"
	"sigs.k8s.io/yaml"
)

const rawFiles = "https://raw.githubusercontent.com/flokoa/flokoa/main/"

func TestArtifactHubFindsWhatItShows(t *testing.T) {
	charts, err := current(root)
	require.NoError(t, err)
	for _, now := range charts {
		about := now.Metadata
		require.NotEmpty(t, about.Maintainers, now.Name())
		icon, ours := strings.CutPrefix(about.Icon, rawFiles)
		require.True(t, ours, "%s: icon is %q", now.Name(), about.Icon)
		text, err := os.ReadFile(filepath.Join(root, icon))
		require.NoError(t, err)
		require.NoError(t, xml.Unmarshal(text, new(struct {
			XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
		})))

		require.Equal(t, "Apache-2.0", about.Annotations["artifacthub.io/license"], now.Name())
		prerelease := strconv.FormatBool(strings.Contains(about.Version, "-"))
		require.Equal(t, prerelease, about.Annotations["artifacthub.io/prerelease"], now.Name())
		requireEntries(t, about.Annotations["artifacthub.io/changes"], "kind", "description")
		requireEntries(t, about.Annotations["artifacthub.io/links"], "name", "url")
	}
}

func requireEntries(t *testing.T, text string, keys ...string) {
	t.Helper()
	var entries []map[string]string
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), &entries))
	require.NotEmpty(t, entries)
	for _, entry := range entries {
		for _, key := range keys {
			require.NotEmpty(t, entry[key], "%s of %v", key, entry)
		}
		if kind, ok := entry["kind"]; ok {
			require.Contains(t, []string{"added", "changed", "deprecated", "removed", "fixed", "security"}, kind)
		}
		file, ours := strings.CutPrefix(entry["url"], repository+"/blob/main/")
		if ours {
			require.FileExists(t, filepath.Join(root, file))
		}
	}
}

func TestArtifactHubShowsTheCRDsThatTheChartInstalls(t *testing.T) {
	metadata, err := chartutil.LoadChartfile(filepath.Join(root, "charts/flokoa-crds/Chart.yaml"))
	require.NoError(t, err)
	var shown []map[string]string
	require.NoError(t, yaml.UnmarshalStrict([]byte(metadata.Annotations["artifacthub.io/crds"]), &shown))
	objects := render(t, "flokoa-crds")
	require.Len(t, shown, len(objects))
	for i, object := range objects {
		typed := crd(t, object)
		require.Equal(t, []string{typed.Spec.Names.Kind, typed.Spec.Versions[0].Name, typed.Name}, []string{shown[i]["kind"], shown[i]["version"], shown[i]["name"]})
	}

	var examples []map[string]any
	require.NoError(t, yaml.UnmarshalStrict([]byte(metadata.Annotations["artifacthub.io/crdsExamples"]), &examples))
	text, err := os.ReadFile(filepath.Join(root, "examples/agents/first-agent.yaml"))
	require.NoError(t, err)
	var first map[string]any
	require.NoError(t, yaml.Unmarshal(text, &first))
	require.Equal(t, []map[string]any{first}, examples)
}
