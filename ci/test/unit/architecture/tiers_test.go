package architecture

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../../../.."

// The Makefile names the folders whose tests each tier runs. A package in a folder that no tier names would never be tested.
func TestEveryPackageWithTestsBelongsToOneTier(t *testing.T) {
	tiers := map[string][]string{
		"unit":    strings.Fields(makeVariable(t, "UNIT_TESTS")),
		"api":     strings.Fields(makeVariable(t, "API_TESTS")),
		"cluster": {"./ci/test/cluster/..."},
		"kind":    {"./ci/test/kind/..."},
		// No tier: its target builds the controllers of Flux and Argo CD.
		"gitops": {"./ci/test/gitops/..."},
		// No tier: its target builds what other projects consist of.
		"ecosystem": strings.Fields(makeVariable(t, "ECOSYSTEM_TESTS")),
	}
	packages := list(t, "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}", root+"/...")
	require.NotEmpty(t, packages)
	for _, pkg := range packages {
		var in []string
		for tier, patterns := range tiers {
			for _, pattern := range patterns {
				folder := module + strings.TrimSuffix(strings.TrimPrefix(pattern, "./"), "...")
				if strings.HasPrefix(pkg+"/", folder) {
					in = append(in, tier)
				}
			}
		}
		require.Len(t, in, 1, "%s belongs to the tiers %v: see the Makefile", pkg, in)
	}
}

func TestEveryModuleIsLintedAndItsTestsRun(t *testing.T) {
	linted, tested := makeVariable(t, "MODULES"), makeVariable(t, "UNIT_MODULES")
	out, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "*/go.mod").Output()
	require.NoError(t, err)
	files := strings.Fields(string(out))
	require.NotEmpty(t, files)
	for _, file := range files {
		folder := filepath.Dir(file) + "/"
		if strings.HasPrefix(folder, "ci/tools/") { // pins of other people's programs: no code of ours
			continue
		}
		require.Contains(t, strings.Fields(linted), folder)
		require.Contains(t, strings.Fields(tested), folder)
	}
}

// makeVariable is the value that make computes for a variable of the Makefile.
func makeVariable(t *testing.T, name string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "make", "--no-print-directory", "--file", "-", "print")
	command.Dir = root
	command.Stdin = strings.NewReader("include Makefile\nprint:\n\t@echo $(" + name + ")\n")
	command.Env = append(os.Environ(), "MAKEFLAGS=")
	out, err := command.Output()
	require.NoError(t, err)
	require.NotEmpty(t, strings.TrimSpace(string(out)), name)
	return string(out)
}
