package check_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/operator/internal/check"
)

// forgery tries to add a line, a workflow command, and terminal sequences, and to reverse text.
const forgery = "x\r\n::error::forged\nall (fine): highly available\x1b[2K\u0085\u009b1m\u2028\u202eeurt\u2066\u200b\x7f"

func TestManifestsCannotForgeLinesOfTheReport(t *testing.T) {
	quoted, err := json.Marshal(forgery)
	require.NoError(t, err)
	agent := func(metadata, more, image string) string {
		return fmt.Sprintf(`{"apiVersion": "agent.flokoa.ai/v1alpha1", "kind": "Agent", "metadata": %s, "spec": {"runtime": {"spec": {%s"container": {"image": %s}}}}}`, metadata, more, image)
	}
	sidecar := fmt.Sprintf(`"sidecars": [{"name": %s, "image": "r.example/a"}], `, quoted)
	for name, manifest := range map[string]string{
		"a name":             agent(fmt.Sprintf(`{"name": %s}`, quoted), "", `"a"`),
		"a namespace":        agent(fmt.Sprintf(`{"name": "a", "namespace": %s}`, quoted), "", `"a"`),
		"an image":           agent(`{"name": "a"}`, "", string(quoted)),
		"a container's name": agent(`{"name": "a"}`, sidecar, `"a"`),
		"a field":            agent(`{"name": "a"}`, string(quoted)+`: 1, `, `"a"`),
		"an apiVersion":      fmt.Sprintf(`{"apiVersion": "agent.flokoa.ai/%s, "kind": "Agent"}`, quoted[1:]),
		"a kind":             fmt.Sprintf(`{"apiVersion": "agent.flokoa.ai/v1", "kind": %s}`, quoted),
	} {
		t.Run(name, func(t *testing.T) {
			for _, args := range [][]string{{"-"}, {"--render", "-"}} {
				requireNoForgery(t, run(t, manifest, args...))
			}
			inJSON := run(t, manifest, "-o", "json", "-")
			require.NotContains(t, inJSON.stdout, "\n::error")
			require.NotContains(t, inJSON.stdout, "\x1b")
			require.True(t, json.Valid([]byte(inJSON.stdout)))
		})
	}
}

func TestNamesOfFilesCannotForgeLinesOfTheReport(t *testing.T) {
	const invalid = "\x9b2K.yaml"
	files(t, map[string]string{forgery + ".yaml": good("a"), "::error::b.yaml": "a: [", invalid: good("c")})
	got := run(t, "", ".", "absent"+forgery, "-")
	requireNoForgery(t, got)
	require.Contains(t, got.stdout, `a ("x\r\n::error::forged\nall (fine): highly available\x1b[2K\u0085\u009b1m\u2028\u202eeurt\u2066\u200b\x7f.yaml":1, document 1): highly available`)
	require.Contains(t, got.stdout, `c ("\x9b2K.yaml":1, document 1)`)
	requireNoForgery(t, run(t, "", "--"+forgery))
}

// A line of the report may start with a name, and a CI system executes lines that start with a command.
func TestNamesThatLookLikeWorkflowCommandsAreQuoted(t *testing.T) {
	manifest := `{"apiVersion": "agent.flokoa.ai/v1alpha1", "kind": "Agent", "metadata": {"name": "a", "namespace": "::stop-commands::x"}, "spec": {"runtime": {"spec": {"container": {"image": "a"}}}}}`
	require.Regexp(t, `^"::stop-commands::x/a" \(standard input`, run(t, manifest, "-").stdout)
}

func requireNoForgery(t *testing.T, got outcome) {
	t.Helper()
	require.NotEqual(t, check.ExitHighlyAvailable, got.code)
	for _, r := range got.stdout + got.stderr {
		require.True(t, r == '\n' || unicode.IsPrint(r), "%q in %s", r, got.stdout)
	}
	require.NotRegexp(t, `(?m)^(::|all )`, got.stdout+got.stderr)
}
