package examples_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// helmTemplate is what the pinned Helm prints for the chart under testdata. `make test-unit` builds Helm beforehand, so that
// the minutes this takes on a new machine are not silent ones here.
func helmTemplate(t *testing.T, args ...string) string {
	t.Helper()
	folder, err := exec.CommandContext(t.Context(), "../../../tools/build.sh", "helm").Output()
	require.NoError(t, err)
	helm := exec.CommandContext(t.Context(), filepath.Join(strings.TrimSpace(string(folder)), "helm"), append([]string{"template", "team", "testdata/chart"}, args...)...)
	helm.Env = []string{"HOME=" + t.TempDir()}
	out, err := helm.Output()
	require.NoError(t, err)
	return string(out)
}

// kustomizeBuild is what kustomize prints for a folder, by the library that is kustomize, and kubectl kustomize.
func kustomizeBuild(t *testing.T, folder string) string {
	t.Helper()
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	require.NoError(t, err)
	out, err := objects.AsYaml()
	require.NoError(t, err)
	return string(out)
}

// summary is the part of a report in JSON that counts.
func summary(t *testing.T, o outcome) map[string]int {
	t.Helper()
	var report struct{ Summary map[string]int }
	require.NoError(t, json.Unmarshal([]byte(o.stdout), &report), o.stdout+o.stderr)
	return report.Summary
}

func TestHelmOutputCanBePipedIn(t *testing.T) {
	rendered := helmTemplate(t, "--namespace", "team-a")
	got := check(t, rendered, "-f", "-", "-o", "json")
	require.Equal(t, highlyAvailable, got.code, got.stdout)
	require.Equal(t, map[string]int{"agents": 2, "highlyAvailable": 2, "models": 0, "errors": 0, "skipped": 2}, summary(t, got))

	got = check(t, rendered, "-f", "-")
	require.Contains(t, got.stdout, "team-a/front (standard input:")
	require.Contains(t, got.stdout, "; 2 other objects skipped\n")

	got = check(t, helmTemplate(t, "--set", "replicas=2"), "-f", "-")
	require.Equal(t, missing, got.code)
	require.Equal(t, 2, strings.Count(got.stdout, "\n  replicas: 2, high availability needs three or more\n"), got.stdout)

	got = check(t, helmTemplate(t, "--set", "replicas=many"), "-f", "-")
	require.Equal(t, invalid, got.code)
	require.Equal(t, 2, strings.Count(got.stdout, "spec.runtime.spec.replicas takes a whole number, not a string\n"), got.stdout)
}

func TestAnUnrenderedChartIsReportedAsSuch(t *testing.T) {
	got := check(t, "", "testdata/chart")
	require.Equal(t, invalid, got.code)
	require.Contains(t, got.stdout, "error: testdata/chart/templates/agents.yaml:")
	require.Contains(t, got.stdout, "this looks like a Helm template that was not rendered: pipe in the output of helm template with -f -\n")
}

func TestKustomizeOutputCanBePipedIn(t *testing.T) {
	got := check(t, kustomizeBuild(t, "testdata/overlays/production"), "-f", "-", "-o", "json")
	require.Equal(t, highlyAvailable, got.code, got.stdout)
	require.Equal(t, map[string]int{"agents": 1, "highlyAvailable": 1, "models": 0, "errors": 0, "skipped": 1}, summary(t, got))

	got = check(t, kustomizeBuild(t, "testdata/overlays/base"), "-f", "-")
	require.Equal(t, missing, got.code)
	for _, id := range []string{"replicas", "image", "resources"} {
		require.Contains(t, got.stdout, "\n  "+id+": ")
	}
}

func TestRenderedObjectsCanBeCheckedThroughAPipe(t *testing.T) {
	got := check(t, kustomizeBuild(t, "testdata/overlays/production"), "-f", "-", "--render")
	require.Equal(t, highlyAvailable, got.code)
	require.Contains(t, got.stderr, "production/planner (standard input:")

	again := check(t, got.stdout, "-f", "-")
	require.Equal(t, invalid, again.code, "what the operator makes is no Agent")
	require.Contains(t, again.stdout, "3 other objects skipped\n", "but every document can be read: Deployment, Service, PodDisruptionBudget")
}

func TestProcessSubstitutionIsAccepted(t *testing.T) {
	script := `"$1" check -f <(cat "$2") -f <(cat "$3")`
	out, err := exec.CommandContext(t.Context(), "bash", "-c", script, "bash", binary, agents+"/autoscaled.yaml", agents+"/"+guideAgent).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "\n2 Agents checked: 2 highly available, 0 not\n")
}

func TestOperatorHelpPointsToCheckHelp(t *testing.T) {
	require.Contains(t, run(t, "", "--help").stdout, "flokoa-operator check --help\n")
	got := check(t, "", "--help")
	require.Equal(t, highlyAvailable, got.code)
	require.Contains(t, got.stdout, "helm template my-release my-chart | flokoa-operator check -f -\n")
	require.Empty(t, got.stderr)
}

func TestAnInvalidCommandLineExitsWithAUsageError(t *testing.T) {
	got := check(t, "", "--rendr")
	require.Equal(t, outcome{invalid, "", "flokoa-operator check: unknown flag --rendr: see check --help\n"}, got)

	unreadable := filepath.Join(t.TempDir(), "absent.yaml")
	_, err := os.Stat(unreadable)
	require.ErrorIs(t, err, os.ErrNotExist)
	got = check(t, "", unreadable)
	require.Equal(t, outcome{invalid, "error: " + unreadable + ": no such file or directory\n\nno Agent checked; 1 error\n", ""}, got)
}
