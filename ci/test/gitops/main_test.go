// Package gitops_test runs Flokoa under the controllers of Flux and of Argo CD, built from their own code, on local control planes with
// simulated nodes and with Git servers on loopback. It installs examples/gitops and examples/teams as they are, except for the addresses
// of the repositories. README.md lists what it proves, and it prints that table.
package gitops_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flokoa/flokoa/ci/testkit/harness"
)

const (
	root = "../../.." // the folder of the repository
	// setupTimeout bounds everything before the first test: on a new machine, the programs are built.
	setupTimeout = 45 * time.Minute
	// waitTimeout bounds each wait. Argo CD retries a failed sync after up to three minutes.
	waitTimeout = 6 * time.Minute
	// parallelTests is how many tests run at a time: each environment of a control plane is one.
	parallelTests = "12"
)

var (
	// programs are the paths of what the tests start, by name.
	programs = map[string]string{}
	// workDir has the operator, and the files of each test.
	workDir string
)

// builtTools are the folders of ci/tools that the tests need, with the programs in each.
var builtTools = map[string][]string{
	"source-controller":    {"source-controller"},
	"kustomize-controller": {"kustomize-controller"},
	"argocd":               {"argocd"},
	"kustomize":            {"kustomize"},
	"helm":                 {"helm"},
}

func TestMain(m *testing.M) {
	flag.Parse()
	klog.SetLogger(logr.Discard()) // libraries must not write between the lines of the tests
	crlog.SetLogger(logr.Discard())
	limitParallelTests()
	code := 1
	if err := setUp(); err != nil {
		logf("FAILED to set up: %v", err)
	} else {
		code = m.Run()
		_, _ = io.WriteString(os.Stdout, table.String())
	}
	_ = os.RemoveAll(workDir)
	os.Exit(code)
}

func limitParallelTests() {
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		_ = flag.Set("test.parallel", parallelTests)
	}
}

// setUp builds what is missing.
func setUp() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	if workDir, err = os.MkdirTemp("", "flokoa-gitops-"); err != nil {
		return err
	}
	if programs["redis-server"], err = exec.LookPath("redis-server"); err != nil {
		return fmt.Errorf("redis-server, which Argo CD needs: %w: install it, for example with apt-get install redis-server", err)
	}
	for tool, names := range builtTools {
		folder, err := build(ctx, tool)
		if err != nil {
			return err
		}
		for _, name := range names {
			programs[name] = filepath.Join(folder, name)
		}
	}
	programs["operator"], err = harness.Build(ctx, root, workDir, "gitops")
	return err
}

func build(ctx context.Context, tool string) (string, error) {
	command := exec.CommandContext(ctx, "ci/tools/build.sh", tool)
	command.Dir, command.Stderr = root, os.Stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("building %s: %w", tool, err)
	}
	return strings.TrimSpace(string(out)), nil
}

func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "gitops: "+format+"\n", args...)
}
