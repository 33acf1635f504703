package examples_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	examples = "../../../../examples"
	// agents are the examples of one Agent each, that stand alone.
	agents = examples + "/agents"
	// guideAgent is the guide's own manifest, byte for byte: it has no comments.
	guideAgent = "production-agent.yaml"
	// admission starts the first comment of an example that is not highly available; the reason follows.
	admission = "# Not highly available: "
)

func TestEveryExampleIsHighlyAvailableOrSaysWhyNot(t *testing.T) {
	found := 0
	err := filepath.WalkDir(agents, func(path string, entry fs.DirEntry, err error) error {
		require.NoError(t, err)
		if entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return nil
		}
		found++
		name, err := filepath.Rel(agents, path)
		require.NoError(t, err)
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			if name != guideAgent {
				require.Regexp(t, `^# [A-Z].{20}`, string(text), "the first line explains why the example exists")
			}
			got := check(t, "", "-f", path)
			if strings.HasPrefix(string(text), admission) {
				require.Equal(t, missing, got.code, "it declares that it is not highly available:\n%s", got.stdout)
			} else {
				require.Equal(t, highlyAvailable, got.code, "start it with %q and the reason, or fix it:\n%s", admission, got.stdout)
			}
			// The environment has the Model that an example names.
			require.NotContains(t, strings.ReplaceAll(got.stdout, "warning: spec.model: Model", ""), "warning")
		})
		return nil
	})
	require.NoError(t, err)
	require.GreaterOrEqual(t, found, 4)
}

func TestTheGuidesAgentIsHighlyAvailable(t *testing.T) {
	got := check(t, "", filepath.Join(agents, guideAgent))
	require.Equal(t, highlyAvailable, got.code)
	require.Equal(t, "production-agent ("+filepath.Join(agents, guideAgent)+":1, document 1): highly available\n"+
		`  warning: spec.model: Model "gpt-4o-model" is not among these manifests for namespace "default": unless it exists there, the agent runs without its environment`+
		"\n\n1 Agent checked: 1 highly available, 0 not\n", got.stdout)
	require.Empty(t, got.stderr)
}

// The agent that can be built from this repository has its manifest beside its code.
func TestTheAgentWithItsOwnCodeIsHighlyAvailable(t *testing.T) {
	got := check(t, "", filepath.Join(examples, "agent", "agent.yaml"))
	require.Equal(t, highlyAvailable, got.code, got.stdout)
	require.NotContains(t, got.stdout, "warning")
}
