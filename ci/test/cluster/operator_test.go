package cluster_test

import (
	"context"
	"fmt"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/flokoa/flokoa/ci/testkit/harness"
)

var (
	// workDir is the folder of the operator's binary, kubeconfigs and logs.
	workDir string
	// binary is the operator's.
	binary string
)

// buildOperator builds it as `make build` does.
func buildOperator(ctx context.Context) (err error) {
	if workDir, err = os.MkdirTemp("", "flokoa-e2e-"); err != nil {
		return err
	}
	binary, err = harness.Build(ctx, root, workDir, "e2e")
	return err
}

// process is an operator that runs.
type process = harness.Operator

// startOperator starts one and waits until it leads.
func startOperator(ctx context.Context, flags ...string) (*process, error) {
	p, err := startStandby(ctx, flags...)
	if err != nil {
		return nil, err
	}
	return p, p.WaitFor(ctx, "it leads", harness.StartTimeout, p.IsLeader)
}

// startStandby starts an operator, with more flags than every one of these tests gives, and waits until it is ready, whether or
// not it leads.
func startStandby(ctx context.Context, flags ...string) (*process, error) {
	return startOperatorVia(ctx, cluster.Config, flags...)
}

// startOperatorVia starts an operator with the given client configuration, and waits until it is ready.
func startOperatorVia(ctx context.Context, config *rest.Config, flags ...string) (*process, error) {
	p, err := newProcess(ctx, config, "flokoa-operator", flags...)
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	return p, p.WaitFor(ctx, "it is ready", harness.StartTimeout, p.Ready)
}

// newProcess is an operator that is not started yet, with a token of a ServiceAccount.
func newProcess(ctx context.Context, config *rest.Config, name string, flags ...string) (*process, error) {
	token, err := harness.Token(ctx, api, name)
	if err != nil {
		return nil, err
	}
	return harness.New(binary, token, config, flags...)
}

// startOn starts an operator on another cluster than the one that the tests share, and waits until it leads there.
func startOn(ctx context.Context, kubeconfig string) (*process, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	theirs, err := harness.NewClient(config)
	if err != nil {
		return nil, err
	}
	token, err := harness.Token(ctx, theirs, "flokoa-operator")
	if err != nil {
		return nil, err
	}
	p, err := harness.New(binary, token, config)
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	return p, p.WaitFor(ctx, "it leads", harness.StartTimeout, p.IsLeader)
}

// newToken requests a token of the chart's ServiceAccount.
func newToken(ctx context.Context) (string, error) { return harness.Token(ctx, api, "flokoa-operator") }

// stopGracefully stops the only operator, which must release its lease.
func stopGracefully(ctx context.Context, p *process) error {
	if err := p.Stop(); err != nil {
		return err
	}
	holder, err := leaseHolder(ctx)
	if err == nil && holder != "" {
		err = fmt.Errorf("the lease is still held by %q", holder)
	}
	return err
}

func leaseHolder(ctx context.Context) (string, error) { return harness.LeaseHolder(ctx, api) }
