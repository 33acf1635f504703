// Package kind_test uses Flokoa on real nodes, with real containers and real traffic: what the high availability guide promises,
// as numbers. A load generator in a pod calls Agents through their Services at a constant rate while something is done to
// them, to their nodes or to the control plane, and every answer counts.
//
// It works on any cluster that KUBECONFIG names, if it does not use Flokoa otherwise; what needs more than that is
// skipped, with the reason. ci/test/kind/run.sh brings up kind and starts it.
package kind_test

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
	crlog "sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	root = "../../.." // the folder of the repository
	// system is where the charts are installed.
	system = "flokoa-system"
	// parallelTests is how many Agents are disturbed at a time. Each has its callers, and on a machine of two cores more of them would
	// measure the machine.
	parallelTests = "2"
	// setupTimeout and teardownTimeout bound what happens before the first test and after the last one.
	setupTimeout    = 6 * time.Minute
	teardownTimeout = 4 * time.Minute
)

// results is what the disturbances came to; printed at the end.
var results table

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", parallelTests)
	klog.SetLogger(logr.Discard())
	crlog.SetLogger(logr.Discard())
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if err := withTimeout(setupTimeout, setUp); err != nil {
		logf("FAILED to set up: %v", err)
		return 1
	}
	code := m.Run()
	if os.Getenv("FLOKOA_KEEP") != "" {
		logf("FLOKOA_KEEP is set: what was installed stays; the next run removes it")
	} else if err := withTimeout(teardownTimeout, tearDown); err != nil {
		logf("FAILED to clean up: %v", err)
		code = 1
	}
	results.print(os.Stdout)
	return code
}

func withTimeout(limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return do(ctx)
}

// setUp brings onto the cluster what all tests use, and reports how long each step took.
func setUp(ctx context.Context) error {
	return runSteps(ctx, []step{
		{"cluster reached", loadCluster},
		{"nothing of others in the way", requireUnusedCluster},
		{"left by an earlier run", tearDown},
		{"CPU metrics", installCPUMetrics},
		{"CRDs and policies", installDefinitions},
		{"callers and provider", startCallers},
		{"environments", installEnvironments},
		{"operator", installOperator},
		{"operator ready", waitOperatorReady},
	})
}

type step struct {
	what string
	do   func(context.Context) error
}

func runSteps(ctx context.Context, steps []step) error {
	for _, s := range steps {
		began := time.Now()
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
		logf("%-28s %5.1f s", s.what, time.Since(began).Seconds())
	}
	return nil
}

func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "live: "+format+"\n", args...)
}

// fromRoot is the path of a file of the repository.
func fromRoot(path ...string) string {
	return filepath.Join(append([]string{root}, path...)...)
}
