package check_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/operator/internal/check"
)

func TestFlagsAndFilesMayBeMixed(t *testing.T) {
	files(t, map[string]string{"a.yaml": good("a"), "b.yaml": good("b"), "-c.yaml": good("c"), "-d.yaml": good("d")})
	for _, r := range []struct {
		args string
		want []string
	}{
		{"-f a.yaml", []string{"a"}},
		{"--filename a.yaml", []string{"a"}},
		{"--filename=a.yaml -f b.yaml", []string{"a", "b"}},
		{"b.yaml a.yaml", []string{"b", "a"}},
		{"a.yaml -n ns -f b.yaml", []string{"a", "b"}},
		{"a.yaml -- -c.yaml", []string{"a", "c"}},
		{"-- -c.yaml -d.yaml", []string{"c", "d"}},
		{"-f -c.yaml", []string{"c"}},
		{"a.yaml --render=false -", []string{"a", "stdin"}},
	} {
		t.Run(r.args, func(t *testing.T) {
			got := run(t, good("stdin"), append([]string{"--output", "json"}, strings.Fields(r.args)...)...)
			require.Equal(t, check.ExitHighlyAvailable, got.code, got.stderr)
			require.Equal(t, r.want, names(t, got), "in the given order")
		})
	}
}

func TestInvalidFlagsPrintOneLineAndReadNothing(t *testing.T) {
	files(t, map[string]string{"a.yaml": good("a")})
	for _, r := range []struct{ args, want string }{
		{"", "nothing to check: name files with -f, or - for standard input"},
		{"-o json", "nothing to check"},
		{"-f", "-f needs a value: see check --help"},
		{"-f a.yaml --rendr", "unknown flag --rendr: see check --help"},
		{"a.yaml --rendr", "unknown flag --rendr"},
		{"-f a.yaml -o yaml", `--output "yaml": use text or json`},
		{"-f a.yaml -o=", `--output "": use text or json`},
		{"-f a.yaml -n Team_A", `--namespace "Team_A": a lowercase RFC 1123 label must consist of`},
		{"-f a.yaml --render=maybe", `--render: "maybe" is not true or false: see check --help`},
	} {
		t.Run(r.args, func(t *testing.T) {
			got := run(t, "", strings.Fields(r.args)...)
			require.Equal(t, check.ExitError, got.code)
			require.Empty(t, got.stdout)
			require.True(t, strings.HasPrefix(got.stderr, "flokoa-operator check: "), got.stderr)
			require.Contains(t, got.stderr, r.want)
			require.Equal(t, 1, strings.Count(got.stderr, "\n"), got.stderr)
		})
	}
}

func TestHelpGoesToStandardOutput(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"-help"}, {"a.yaml", "--help"}} {
		got := run(t, "", args...)
		require.Equal(t, check.ExitHighlyAvailable, got.code)
		require.Empty(t, got.stderr)
		require.Contains(t, got.stdout, "flokoa-operator check validates the manifests of Agents and Models")
	}
}

func TestHelpDocumentsEveryFlagExitCodeAndLimit(t *testing.T) {
	help := run(t, "", "--help").stdout
	var described []string
	for _, match := range regexp.MustCompile(`(?m)^  (?:-([a-z]), |    )--([a-z]+) `).FindAllStringSubmatch(help, -1) {
		described = append(described, match[1], match[2])
	}
	require.ElementsMatch(t, append(check.FlagNames(), "h", "help", ""), described)
	require.Regexp(t, `(?m)^  0  every Agent is highly available$`, help)
	require.Regexp(t, `(?m)^  1  an Agent lacks`, help)
	require.Regexp(t, `(?m)^  2  an error: `, help)
	require.Contains(t, help, "Checks that need a cluster are skipped: where the pods would run")
	require.Contains(t, help, "kubectl apply --dry-run=server")
	for line := range strings.Lines(help) {
		require.LessOrEqual(t, len(line), 126, line)
	}
}

func TestNamespaceFlagAppliesToAgentsWithoutOne(t *testing.T) {
	both := strings.ReplaceAll(good("named"), "{name: named}", "{name: named, namespace: own}") + "---\n" + good("free")

	got := run(t, both, "-")
	require.Contains(t, got.stdout, "own/named (standard input:1, document 1): ")
	require.Contains(t, got.stdout, "\nfree (standard input:3, document 2): ", "as in the manifest, without a namespace")

	for _, flag := range []string{"-n", "--namespace"} {
		got = run(t, both, "-", flag, "given")
		require.Contains(t, got.stdout, "own/named (standard input:1, document 1): ")
		require.Contains(t, got.stdout, "\ngiven/free (standard input:3, document 2): ")
	}
}
