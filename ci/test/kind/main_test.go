// Package kind_test uses Flokoa on real nodes, with real containers and real traffic: what the high availability guide promises,
// as numbers. A load generator in a pod calls Agents through their Services at a constant rate while something is done to
// them, to their nodes or to the control plane, and every answer counts.
//
// It works on any cluster that KUBECONFIG names, as long as nobody else's Flokoa is there; what needs more than that is
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
	// sideBySide is how many Agents are disturbed at a time. Each has its callers, and on a machine of two cores more of them would
	// measure the machine.
	sideBySide = "2"
	// settingUp and tearingDown bound what happens before the first test and after the last one.
	settingUp   = 6 * time.Minute
	tearingDown = 4 * time.Minute
)

// results is what the disturbances came to; printed at the end.
var results table

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", sideBySide)
	klog.SetLogger(logr.Discard())
	crlog.SetLogger(logr.Discard())
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if err := withTimeout(settingUp, setUp); err != nil {
		say("FAILED to set up: %v", err)
		return 1
	}
	code := m.Run()
	if os.Getenv("FLOKOA_KEEP") != "" {
		say("FLOKOA_KEEP is set: what was installed stays; the next run removes it")
	} else if err := withTimeout(tearingDown, tearDown); err != nil {
		say("FAILED to clean up: %v", err)
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

// setUp brings onto the cluster what all tests use, and says how long each step took.
func setUp(ctx context.Context) error {
	return inSteps(ctx, []step{
		{"cluster reached", connect},
		{"nothing of others in the way", refuseOthers},
		{"left by an earlier run", tearDown},
		{"CPU metrics", measureCPU},
		{"charts installed", install},
		{"callers and provider", placeTraffic},
		{"environments", installEnvironments},
		{"operator ready", operatorReady},
	})
}

type step struct {
	what string
	do   func(context.Context) error
}

func inSteps(ctx context.Context, steps []step) error {
	for _, s := range steps {
		began := time.Now()
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
		say("%-28s %5.1f s", s.what, time.Since(began).Seconds())
	}
	return nil
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "live: "+format+"\n", args...)
}

// fromRoot is the path of a file of the repository.
func fromRoot(path ...string) string {
	return filepath.Join(append([]string{root}, path...)...)
}
