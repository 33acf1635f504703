package architecture

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// workflow is the part of a GitHub Actions workflow that is checked.
type workflow struct {
	Permissions map[string]string `json:"permissions"`
	Jobs        map[string]struct {
		Permissions map[string]string `json:"permissions"`
		Timeout     int               `json:"timeout-minutes"`
		Steps       []struct {
			Uses string `json:"uses"`
			Run  string `json:"run"`
		} `json:"steps"`
	} `json:"jobs"`
}

func readWorkflow(t *testing.T, name string) workflow {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../../../.github/workflows", name))
	require.NoError(t, err)
	w := workflow{}
	require.NoError(t, yaml.Unmarshal(text, &w))
	require.NotEmpty(t, w.Jobs)
	return w
}

func TestCIRunsTheDocumentedCommands(t *testing.T) {
	for name, job := range readWorkflow(t, "ci.yaml").Jobs {
		runs := 0
		for _, step := range job.Steps {
			if step.Run != "" {
				require.True(t, strings.HasPrefix(step.Run, "make "), "job %s runs %q", name, step.Run)
				runs++
			}
		}
		require.Positive(t, runs, name)
		require.Positive(t, job.Timeout, name)
	}
}

func TestWorkflowsReadAndJobsDeclareTheirWritePermissions(t *testing.T) {
	for _, name := range []string{"ci.yaml", "release.yaml"} {
		w := readWorkflow(t, name)
		require.Equal(t, map[string]string{"contents": "read"}, w.Permissions, name)
		uses := 0
		for job, definition := range w.Jobs {
			for what := range definition.Permissions {
				require.Contains(t, []string{"contents", "packages", "id-token"}, what, "%s: job %s", name, job)
			}
			for _, step := range definition.Steps {
				if step.Uses != "" {
					uses++
					require.Contains(t, step.Uses, "@v", "%s: %s has no version", name, step.Uses)
				}
			}
		}
		require.Positive(t, uses, name)
	}
}
