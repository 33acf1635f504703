package architecture

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// workflow is the part of a GitHub Actions workflow that is checked by its type; flaws searches the rest by key.
type workflow struct {
	On          yaml.Node      `yaml:"on"`
	Permissions any            `yaml:"permissions"`
	Concurrency any            `yaml:"concurrency"`
	Jobs        map[string]job `yaml:"jobs"`
}

type job struct {
	Uses        string `yaml:"uses"` // of a reusable workflow, which has its own timeouts
	Permissions any    `yaml:"permissions"`
	Environment string `yaml:"environment"`
	Timeout     int    `yaml:"timeout-minutes"`
	Steps       []step `yaml:"steps"`
}

type step struct {
	Uses string         `yaml:"uses"`
	Run  string         `yaml:"run"`
	With map[string]any `yaml:"with"`
}

// actionFiles returns the path and the text of every workflow and composite action.
func actionFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, file := range repositoryFiles(t, `^\.github/workflows/.*\.ya?ml$|(^|/)action\.ya?ml$`) {
		files[file] = []byte(readFile(t, file))
	}
	return files
}

func TestCIRunsTheDocumentedCommands(t *testing.T) {
	w := workflow{}
	require.NoError(t, yaml.Unmarshal([]byte(readFile(t, ".github/workflows/ci.yaml")), &w))
	require.NotEmpty(t, w.Jobs)
	documented := readFile(t, "ci/README.md")
	for name, job := range w.Jobs {
		runs := 0
		for _, step := range job.Steps {
			if program, install := strings.CutPrefix(step.Run, "sudo apt-get install --yes "); install {
				require.Contains(t, documented, "apt-get install "+program, "job %s", name)
			} else if step.Run != "" {
				require.True(t, strings.HasPrefix(step.Run, "make "), "job %s runs %q", name, step.Run)
				runs++
			}
		}
		require.Positive(t, runs, name)
	}
}

func TestWorkflowsArePinnedAndUnprivileged(t *testing.T) {
	files := actionFiles(t)
	require.Contains(t, files, ".github/workflows/ci.yaml")
	require.Contains(t, files, ".github/workflows/release.yaml")
	for name, text := range files {
		found, err := flaws(text)
		require.NoError(t, err, name)
		require.Empty(t, found, name)
	}
}

// flaws returns what lets other people's code or text run with the permissions of a workflow or composite action.
func flaws(text []byte) ([]string, error) {
	document, w := yaml.Node{}, workflow{}
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	if err := document.Decode(&w); err != nil {
		return nil, err
	}
	found := keyFlaws("", &document)
	if w.Jobs == nil { // a composite action runs with the permissions of its caller
		return found, nil
	}
	return append(found, workflowFlaws(w)...), nil
}

var (
	// A tag of an action can be moved. The comment is what Renovate reads, and what a reader compares.
	pinnedAction = regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	pinnedImage  = regexp.MustCompile(`^[\w.:/-]+@sha256:[0-9a-f]{64}$`)
	version      = regexp.MustCompile(`^# v\d+\.\d+\.\d+$`)
)

// keyFlaws checks the values of keys that name code, at any depth: later versions of the syntax nest them elsewhere.
func keyFlaws(parent string, node *yaml.Node) []string {
	var found []string
	if node.Kind != yaml.MappingNode {
		for _, child := range node.Content {
			found = append(found, keyFlaws(parent, child)...)
		}
		return found
	}
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, node.Content[i+1]
		if value.Kind == yaml.ScalarNode {
			if flaw := scalarFlaw(parent, key, value); flaw != "" {
				found = append(found, fmt.Sprintf("line %d: %s", value.Line, flaw))
			}
		}
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		found = append(found, keyFlaws(key, value)...)
	}
	return found
}

func scalarFlaw(parent, key string, value *yaml.Node) string {
	image, isImage := strings.CutPrefix(value.Value, "docker://")
	if key == "run" || key == "script" { // actions/github-script runs its input "script"
		if strings.Contains(value.Value, "${{") {
			return "a script contains an expression: the runner pastes its value into the script; pass it as an environment variable"
		}
		return ""
	}
	switch {
	case slices.Contains([]string{"with", "env", "outputs"}, parent): // names that the author chose
	case key == "uses" && isImage, key == "image", key == "container":
		local := parent == "runs" && !isImage // a Dockerfile beside the action, which TestBaseImagesArePinned checks
		if !local && !pinnedImage.MatchString(image) {
			return fmt.Sprintf("image %s has no digest", value.Value)
		}
	case key == "uses" && strings.HasPrefix(value.Value, "./"): // of this commit
	case key == "uses" && !pinnedAction.MatchString(value.Value):
		return fmt.Sprintf("action %s is not pinned by a full commit SHA", value.Value)
	case key == "uses" && !version.MatchString(value.LineComment):
		return fmt.Sprintf("action %s has no comment with its version, for example # v1.2.3", value.Value)
	}
	return ""
}

// workflowFlaws checks what only a whole workflow has.
func workflowFlaws(w workflow) []string {
	var found []string
	flaw := func(bad bool, format string, args ...any) {
		if bad {
			found = append(found, fmt.Sprintf(format, args...))
		}
	}
	for _, trigger := range []string{"pull_request_target", "workflow_run"} {
		flaw(hasTrigger(w.On, trigger), "trigger %s runs with secrets after a stranger's change", trigger)
	}
	top, isMap := w.Permissions.(map[string]any)
	flaw(!isMap || len(top) > 0, "permissions of the workflow are not {}: each job names its own")
	flaw(w.Concurrency == nil, "no concurrency")
	for name, job := range w.Jobs {
		permissions, isMap := job.Permissions.(map[string]any)
		flaw(!isMap, "job %s does not list its permissions", name)
		flaw(job.Timeout == 0 && job.Uses == "", "job %s has no timeout-minutes", name)
		writes := false
		for _, access := range permissions {
			writes = writes || access == "write"
		}
		flaw(writes && job.Environment != "release", "job %s writes outside the environment release", name)
		for _, step := range job.Steps {
			action, _, _ := strings.Cut(step.Uses, "@")
			flaw(action == "actions/checkout" && step.With["persist-credentials"] != false, "job %s leaves the token in .git/config", name)
			flaw(writes && restoresCache(action, step.With), "job %s writes and restores a cache, which any job of the branch can fill", name)
		}
	}
	return found
}

func hasTrigger(on yaml.Node, trigger string) bool {
	isTrigger := func(node *yaml.Node) bool { return node.Value == trigger }
	return isTrigger(&on) || slices.ContainsFunc(on.Content, isTrigger)
}

func restoresCache(action string, with map[string]any) bool {
	return strings.HasPrefix(action, "actions/cache") || action == "actions/setup-go" && with["cache"] != false
}

// goodWorkflow has no flaw. Each row of the test below replaces a part of it.
const goodWorkflow = `on:
  pull_request:
permissions: {}
concurrency: one
jobs:
  publish:
    environment: release
    timeout-minutes: 5
    permissions:
      packages: write
    container:
      image: ghcr.io/a/b:1@sha256:0123456789012345678901234567890123456789012345678901234567890123
    steps:
      - uses: actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0
        with:
          persist-credentials: false
      - uses: ./.github/actions/one
      - run: make push
`

func TestFlawsOfAWorkflowAreFound(t *testing.T) {
	found, err := flaws([]byte(goodWorkflow))
	require.NoError(t, err)
	require.Empty(t, found)

	const checkout, digest = "actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0", "0123456789012345678901234567890123456789012345678901234567890123"
	const local, run = "uses: ./.github/actions/one", "run: make push"
	for _, row := range []struct{ old, replacement, flaw string }{
		{checkout, "actions/checkout@v5", "action actions/checkout@v5 is not pinned by a full commit SHA"},
		{checkout, "actions/checkout@08c6903 # v5.0.0", "is not pinned by a full commit SHA"},
		{checkout, "actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8", "has no comment with its version"},
		{checkout, "actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5", "has no comment with its version"},
		{"persist-credentials: false", "fetch-depth: 0", "job publish leaves the token in .git/config"},
		{"persist-credentials: false", `persist-credentials: "false "`, "job publish leaves the token in .git/config"},
		{local, "uses: docker://alpine:3", "image docker://alpine:3 has no digest"},
		{local, "uses: a/b/.github/workflows/c.yaml@main", "is not pinned by a full commit SHA"},
		{local, "uses: actions/setup-go@4a3601121dd01d1626a1e23e37211e3254c1c06c # v6.4.0", "job publish writes and restores a cache"},
		{local, "uses: actions/cache/restore@0057852bfaa89a56745cba8c7296529d2fc39830 # v4.3.0", "job publish writes and restores a cache"},
		{"@sha256:" + digest, "", "image ghcr.io/a/b:1 has no digest"},
		{"container:\n      image: ghcr.io/a/b:1@sha256:" + digest, "container: alpine:3", "image alpine:3 has no digest"},
		{"container:\n      image: ghcr.io/a/b:1@sha256:" + digest, "services: {db: {image: 'postgres:18'}}", "image postgres:18 has no digest"},
		{run, "run: echo ${{ github.event.pull_request.title }}", "a script contains an expression"},
		{run, "run: |\n          make\n          echo ${{ github.head_ref }}", "a script contains an expression"},
		{run, "with: {script: 'log(\"${{ github.actor }}\")'}", "a script contains an expression"},
		{"  pull_request:", "  pull_request_target:", "trigger pull_request_target"},
		{"on:\n  pull_request:", "on: pull_request_target", "trigger pull_request_target"},
		{"on:\n  pull_request:", "on: [push, workflow_run]", "trigger workflow_run"},
		{"permissions: {}", "permissions: write-all", "permissions of the workflow are not {}"},
		{"permissions: {}\n", "", "permissions of the workflow are not {}"},
		{"    permissions:\n      packages: write\n", "", "job publish does not list its permissions"},
		{"    permissions:\n      packages: write\n", "    permissions: write-all\n", "job publish does not list its permissions"},
		{"    environment: release\n", "", "job publish writes outside the environment release"},
		{"    timeout-minutes: 5\n", "", "job publish has no timeout-minutes"},
		{"concurrency: one\n", "", "no concurrency"},
	} {
		require.Contains(t, goodWorkflow, row.old)
		found, err := flaws([]byte(strings.Replace(goodWorkflow, row.old, row.replacement, 1)))
		require.NoError(t, err, row.replacement)
		require.Len(t, found, 1, "%q in place of %q", row.replacement, row.old)
		require.Contains(t, found[0], row.flaw)
	}
}

func TestFlawsOfACompositeActionAreFound(t *testing.T) {
	found, err := flaws([]byte("runs:\n  using: composite\n  steps:\n    - uses: a/b@main\n    - run: echo ${{ inputs.name }}\n"))
	require.NoError(t, err)
	require.Len(t, found, 2)
	found, err = flaws([]byte("runs:\n  using: docker\n  image: docker://alpine:3\n"))
	require.NoError(t, err)
	require.Len(t, found, 1)
}
