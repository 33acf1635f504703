// Package examples_test uses `flokoa-operator check` as its users do, as a binary: over the examples, in a pipe behind Helm
// and behind kustomize.
package examples_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the exit codes of check mean; they are part of its contract, so they are not taken from its code.
const (
	highlyAvailable = 0
	missing         = 1
	invalid         = 2
)

// binary is the operator, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	code, err := testAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func testAll(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "flokoa-examples-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "flokoa-operator")
	if out, err := exec.Command("go", "build", "-ldflags", "-s -w", "-o", binary, "../../../../operator/cmd/flokoa-operator").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building the operator: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// outcome is what a run of the operator leaves behind.
type outcome struct {
	code           int
	stdout, stderr string
}

// run runs the operator with nothing of this machine in its environment: no home, no kubeconfig, no cluster.
func run(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(t.Context(), binary, args...)
	command.Stdin, command.Stdout, command.Stderr, command.Env = strings.NewReader(stdin), &stdout, &stderr, []string{}
	err := command.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return outcome{command.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func check(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	return run(t, stdin, append([]string{"check"}, args...)...)
}
