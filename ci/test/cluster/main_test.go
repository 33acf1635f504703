// Package cluster_test uses Flokoa the way its users do, on a real control plane with simulated nodes: charts installed by Helm, the
// operator as a process with the permissions of the chart's ServiceAccount and no others, Agents made and changed with
// kubectl. It sees what a user sees, and what the API server's audit log has on the operator.
//
// Tests that stop the operator, or need it to have nothing else to do, run first and one by one; all others run side by side.
package cluster_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flokoa/flokoa/ci/testkit/harness"
)

const (
	root = "../../.." // the folder of the repository
	// system is where the charts are installed.
	system = harness.System
	// parallelTests is how many tests run at a time: they wait much more than they work.
	parallelTests = "10"
	// setupTimeout bounds everything that happens before the first test, building a control plane's programs included.
	setupTimeout = 25 * time.Minute
)

// What all tests share; set before the first one runs.
var (
	cluster harness.Cluster
	// api is a client of the cluster's administrator, without a cache.
	api client.WithWatch
	// operator is the one that works while tests run side by side. Tests that run alone may replace it.
	operator *process
	// startMark is the position in the audit log where this run starts.
	startMark harness.Mark
)

func TestMain(m *testing.M) {
	flag.Parse()
	silenceLibraries()
	code := 1
	if err := setUp(); err != nil {
		logf("FAILED to set up: %v", err)
	} else {
		code = m.Run()
	}
	if err := tearDown(); err != nil {
		logf("FAILED: %v", err)
		code = 1
	}
	os.Exit(code)
}

// silenceLibraries keeps libraries from writing between the lines of the tests, and makes more tests run at a time than there are CPUs.
func silenceLibraries() {
	klog.SetLogger(logr.Discard())
	crlog.SetLogger(logr.Discard())
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		_ = flag.Set("test.parallel", parallelTests)
	}
}

// setUp brings up everything that tests use, and reports how long each step took.
func setUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"control plane up", func(ctx context.Context) (err error) { cluster, err = connect(ctx); return err }},
		{"operator built", buildOperator},
		{"charts installed", install},
		{"operator leads", func(ctx context.Context) (err error) {
			if startMark, err = auditLogEnd(); err == nil {
				operator, err = startOperator(ctx)
			}
			return err
		}},
	} {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		logf("%-24s %6.1fs", step.what, time.Since(began).Seconds())
	}
	return nil
}

// tearDown ends what setUp began, but for the control plane, which the next run finds warm. After a whole run it checks what
// only a whole run shows.
func tearDown() error {
	defer func() { _ = os.RemoveAll(workDir) }()
	if operator == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := stopGracefully(ctx, operator); err != nil {
		return fmt.Errorf("stopping the operator: %w", err)
	}
	logf("%-24s exit code 0, lease released", "operator stopped")
	if flag.Lookup("test.run").Value.String() != "" {
		return nil
	}
	notNeeded, err := leastPrivilege()
	if err != nil {
		return fmt.Errorf("least privilege:\n  %w", err)
	}
	logf("%-24s every granted permission was used, and no other was requested, except for %s", "least privilege", notNeeded)
	return nil
}

func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "e2e: "+format+"\n", args...)
}

// fromRoot is the path of a file of the repository.
func fromRoot(path ...string) string {
	return filepath.Join(append([]string{root}, path...)...)
}
