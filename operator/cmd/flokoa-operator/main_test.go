package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// execute runs the command line outside a pod and without a kubeconfig.
func execute(t *testing.T, arguments string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv("KUBECONFIG", "")
	var out, errs bytes.Buffer
	code = run(t.Context(), strings.Fields(arguments), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestHelpAndVersionGoToStandardOutput(t *testing.T) {
	for _, arguments := range []string{"--help", "-h", "check --help", "health --help", "--version"} {
		code, stdout, stderr := execute(t, arguments)
		require.Zero(t, code, arguments)
		require.NotEmpty(t, stdout, arguments)
		require.Empty(t, stderr, arguments)
	}
}

func TestUsageErrorsExitWithTwo(t *testing.T) {
	for arguments, want := range map[string]string{
		"--nonsense":                "flokoa-operator: unknown flag --nonsense: see --help",
		"--concurrency=abc":         `flokoa-operator: --concurrency: "abc" is not a whole number: see --help`,
		"--concurrency=0":           "flokoa-operator: --concurrency must be 1 or more",
		"chek":                      `flokoa-operator: unknown subcommand "chek": the subcommands are check and health: see --help`,
		"--kubeconfig=/nonexistent": "flokoa-operator: --kubeconfig: /nonexistent: no such file or directory",
		"check --nonsense":          "flokoa-operator check: unknown flag --nonsense: see check --help",
		"check --output":            "flokoa-operator check: --output needs a value: see check --help",
		"health --timeout=abc":      `flokoa-operator health: --timeout: "abc" is not a duration such as 30s: see health --help`,
		"health":                    "flokoa-operator health: expected one URL, got 0: see health --help",
	} {
		code, stdout, stderr := execute(t, arguments)
		require.Equal(t, 2, code, arguments)
		require.Empty(t, stdout, arguments)
		require.Equal(t, want+"\n", stderr)
	}
}

func TestOperatorWithoutAnAPIServerExitsWithOne(t *testing.T) {
	code, stdout, stderr := execute(t, "")
	require.Equal(t, 1, code)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "flokoa-operator: cannot reach the API server")
}
