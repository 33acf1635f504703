package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart/loader"
)

const root = "../../.."

// packages are the files of everything that was ever frozen.
func packages(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(archive(root), "v*", "*.tgz"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

func TestReleasedChartsAreImmutable(t *testing.T) {
	done, err := released(root)
	require.NoError(t, err)
	charts, err := current(root)
	require.NoError(t, err)
	require.Len(t, charts, 5)
	for _, version := range done {
		require.DirExists(t, filepath.Join(archive(root), "v"+version), "run make freeze before a release")
	}
	for _, now := range charts {
		if slices.Contains(done, now.Metadata.Version) {
			frozen, err := loader.LoadFile(packageOf(filepath.Join(archive(root), "v"+now.Metadata.Version), now))
			require.NoError(t, err)
			require.Empty(t, changes(frozen, now), "%s %s is released: raise the version in its Chart.yaml", now.Name(), now.Metadata.Version)
		}
	}
}

func TestPackagesAreSmallAndComplete(t *testing.T) {
	folders := map[string]int{}
	for _, file := range packages(t) {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Less(t, info.Size(), int64(400<<10), file)
		frozen, err := loader.LoadFile(file)
		require.NoError(t, err)
		require.Equal(t, file, packageOf(filepath.Join(archive(root), "v"+frozen.Metadata.Version), frozen))
		folders[filepath.Dir(file)]++
	}
	for folder, count := range folders {
		require.GreaterOrEqual(t, count, 4, folder)
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o750))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
}

func TestAVersionIsFrozenUntilItIsReleasedAndThenNeverAgain(t *testing.T) {
	dir := t.TempDir()
	frozen := func() string {
		t.Helper()
		var out bytes.Buffer
		require.NoError(t, freeze(dir, &out))
		return out.String()
	}
	first := filepath.Join(archive(dir), "v0.1.0", "try-0.1.0.tgz")
	write(t, dir, map[string]string{
		"CHANGELOG.md":               "# Changelog\n\n## 0.1.0 (unreleased)\n",
		"charts/try/Chart.yaml":      "{apiVersion: v2, name: try, version: 0.1.0}",
		"charts/try/values.yaml":     "count: 1",
		"charts/try/templates/a":     "one",
		"charts/try/README.md":       "words",
		"charts/try/values-dev.yaml": "count: 0",
	})
	require.Equal(t, "frozen: "+first+"\n", frozen())
	require.Empty(t, frozen(), "nothing changed")

	write(t, dir, map[string]string{"charts/try/README.md": "better words"})
	require.Empty(t, frozen(), "words are not installed")

	write(t, dir, map[string]string{"charts/try/templates/b": "two"})
	require.Equal(t, "frozen: "+first+"\n", frozen(), "it is not released")

	write(t, dir, map[string]string{"CHANGELOG.md": "# Changelog\n\n## 0.1.0 (2026-12-01)\n"})
	require.Empty(t, frozen(), "nothing changed since")

	for name, change := range map[string]map[string]string{
		"a template":    {"charts/try/templates/a": "other"},
		"what it is":    {"charts/try/Chart.yaml": "{apiVersion: v2, name: try, version: 0.1.0, kubeVersion: '>=1.36.0-0'}"},
		"a values file": {"charts/try/values-dev.yaml": "count: 2"},
		"a new file":    {"charts/try/templates/c": "three"},
	} {
		t.Run(name, func(t *testing.T) {
			undo := map[string]string{
				"charts/try/Chart.yaml":  "{apiVersion: v2, name: try, version: 0.1.0}",
				"charts/try/templates/a": "one", "charts/try/values-dev.yaml": "count: 0",
			}
			write(t, dir, change)
			require.EqualError(t, freeze(dir, &bytes.Buffer{}), "try 0.1.0 is released and does not change any more: raise the version in its Chart.yaml")
			write(t, dir, undo)
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "charts/try/templates/c")))
		})
	}

	write(t, dir, map[string]string{
		"charts/try/Chart.yaml": "{apiVersion: v2, name: try, version: 0.2.0}", "charts/try/templates/a": "other",
		"CHANGELOG.md": "# Changelog\n\n## 0.2.0 (unreleased)\n\n## 0.1.0 (2026-12-01)\n",
	})
	require.Equal(t, "frozen: "+filepath.Join(archive(dir), "v0.2.0", "try-0.2.0.tgz")+"\n", frozen())
}

func TestATagReleasesChartsOfItsVersionThatTheChangelogNames(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"CHANGELOG.md": "## 0.1.0 (2026-12-01)\n", "charts/try/Chart.yaml": "{apiVersion: v2, name: try, version: 0.1.0, appVersion: 0.1.0}",
	})
	require.NoError(t, ready(dir, "v0.1.0"))
	require.EqualError(t, ready(dir, "0.1.0"), `TAG is "0.1.0", but must be v and a version: set it, for example TAG=v0.1.0`)
	require.EqualError(t, ready(dir, "v0.2.0"), "the tag is v0.2.0, but charts/try/Chart.yaml has version 0.1.0 and appVersion 0.1.0")
	write(t, dir, map[string]string{"CHANGELOG.md": "## 0.1.0 (unreleased)\n"})
	require.EqualError(t, ready(dir, "v0.1.0"), "CHANGELOG.md has no released version 0.1.0: replace (unreleased) with the release date")
}

// All of a release has one version: whoever reads "0.1.0" anywhere means the same.
func TestChartsHaveOneVersion(t *testing.T) {
	charts, err := current(root)
	require.NoError(t, err)
	require.Len(t, charts, 5)
	for _, now := range charts {
		require.Equal(t, charts[0].Metadata.Version, now.Metadata.Version, now.Name())
		require.Equal(t, charts[0].Metadata.Version, now.Metadata.AppVersion, now.Name())
	}
}

// Whoever installs the chart of a release by its defaults gets the image that this release has pushed.
func TestAReleasePushesTheImageThatItsChartRuns(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, ".github/workflows/release.yaml"))
	require.NoError(t, err)
	image := regexp.MustCompile(`make push .*IMAGE="(\S+)"`).FindStringSubmatch(string(text))
	require.Len(t, image, 2)
	registry := regexp.MustCompile(`(?m)^ +REGISTRY: (.+)$`).FindStringSubmatch(string(text))
	require.Len(t, registry, 2)
	require.Contains(t, string(text), "version=${GITHUB_REF_NAME#v}")
	charts, err := current(root)
	require.NoError(t, err)
	pushed := strings.NewReplacer("$REGISTRY", registry[1], "$version", charts[0].Metadata.Version).Replace(image[1])
	require.Equal(t, pushed, deploymentImage(t, render(t, "flokoa-operator")))
}

func TestTheChangelogSaysWhatIsReleased(t *testing.T) {
	require.Empty(t, releasedIn("# Changelog\n\n## 0.1.0 (unreleased)\n### Added\n"))
	require.Equal(t, []string{"0.2.0-rc.1", "0.1.0"}, releasedIn("## 0.2.0 (unreleased)\n## 0.2.0-rc.1 (2026-12-24)\n### Added\n## 0.1.0 (2026-12-01)\n"))
}
