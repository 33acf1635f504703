package architecture

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func releaseWorkflow(t *testing.T) map[string]any {
	t.Helper()
	return parsed(t, ".github/workflows/release.yaml")
}

func parsed(t *testing.T, file string) map[string]any {
	t.Helper()
	content := map[string]any{}
	require.NoError(t, yaml.Unmarshal([]byte(readFile(t, file)), &content))
	return content
}

func jobOf(t *testing.T, workflow map[string]any, name string) map[string]any {
	t.Helper()
	job, ok := workflow["jobs"].(map[string]any)[name].(map[string]any)
	require.True(t, ok, name)
	return job
}

func TestAReleaseRunsTheTestsOfCI(t *testing.T) {
	ci := jobOf(t, parsed(t, ".github/workflows/ci.yaml"), "make")
	test := jobOf(t, releaseWorkflow(t), "test")
	require.Equal(t, ci["strategy"], test["strategy"])
	require.Equal(t, ci["env"], test["env"])
	require.Contains(t, jobOf(t, releaseWorkflow(t), "publish")["needs"], "test")
	require.Contains(t, jobOf(t, releaseWorkflow(t), "publish")["needs"], "check")
}

// scriptOf is the script of the step whose name starts with these words.
func scriptOf(t *testing.T, job, name string) string {
	t.Helper()
	for _, step := range jobOf(t, releaseWorkflow(t), job)["steps"].([]any) {
		step := step.(map[string]any)
		if words, _ := step["name"].(string); strings.HasPrefix(words, name) {
			return step["run"].(string)
		}
	}
	require.Fail(t, "no such step", name)
	return ""
}

// runScript runs a script as the runner does, with programs that only note how they were called, and returns their calls in order.
func runScript(t *testing.T, script string, files map[string]string, environment ...string) []string {
	t.Helper()
	dir := t.TempDir()
	files["bin/note"] = "#!/bin/bash\nprintf '%s %s\\n' \"${0##*/}\" \"$*\" >>\"$CALLS\"\n"
	for name, text := range files {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o700))
	}
	for _, program := range []string{"make", "gh", "cosign", "go"} {
		require.NoError(t, os.Symlink("note", filepath.Join(dir, "bin", program)))
	}
	calls := filepath.Join(dir, "calls")
	command := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script)
	command.Dir = dir
	command.Env = append(os.Environ(), append(environment, "CALLS="+calls, "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))...)
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	text, err := os.ReadFile(calls)
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

func TestACandidateIsReleasedAsAPrerelease(t *testing.T) {
	script := scriptOf(t, "release", "create the release")
	for tag, flag := range map[string]string{"v0.1.0": "", "v0.1.0-rc.1": " --prerelease"} {
		files := map[string]string{"dist/install.yaml": "", "dist/schemas/agent.flokoa.ai/agent_v1alpha1.json": ""}
		require.Equal(t, []string{
			"make install-yaml DIGEST=sha256:1",
			"make schemas",
			"make --silent release-notes TAG=" + tag,
			"gh release create " + tag + " --verify-tag --notes-file dist/notes.md" + flag + " dist/install.yaml dist/schemas/agent.flokoa.ai/agent_v1alpha1.json",
		}, runScript(t, script, files, "GITHUB_REF_NAME="+tag, "DIGEST=sha256:1"))
	}
}

func TestEveryPushedArtifactIsSigned(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("the runner has jq, this machine does not")
	}
	calls := runScript(t, scriptOf(t, "publish", "sign"), map[string]string{
		"dist/charts.json":   `[{"reference": "ghcr.io/a/charts/b:1.0.0", "digest": "sha256:1", "file": "b-1.0.0.tgz", "sbom": "b-1.0.0.cdx.json"}]`,
		"dist/overlays.json": `[{"reference": "ghcr.io/a/overlays:1.0.0", "digest": "sha256:2", "file": "o.tar.gz"}]`,
	})
	require.Equal(t, []string{
		"go run ./ci/cmd/release provenance",
		"cosign sign --yes ghcr.io/a/charts/b@sha256:1",
		"cosign attest --yes --type slsaprovenance1 --predicate dist/provenance.json ghcr.io/a/charts/b@sha256:1",
		"cosign attest --yes --type cyclonedx --predicate dist/b-1.0.0.cdx.json ghcr.io/a/charts/b@sha256:1",
		"cosign sign --yes ghcr.io/a/overlays@sha256:2",
		"cosign attest --yes --type slsaprovenance1 --predicate dist/provenance.json ghcr.io/a/overlays@sha256:2",
	}, calls)
}
