package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/client-go/rest"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

type agent = v1alpha1.Agent

// calm is how long an operator must send no requests to count as idle. For a ready Agent, it delays no write for longer than a second.
const calm = 3 * time.Second

// filling bounds the time in which an operator fills its caches.
const filling = 3 * time.Minute

// operating is the side of the operator: a process with the permissions of the chart's ServiceAccount.
type operating struct {
	*harness.Operator
	m *measuring
}

// operate starts an operator, and waits until it leads.
func (m *measuring) operate(ctx context.Context) (*operating, error) {
	return m.operateThrough(ctx, m.Config)
}

// operated makes a measurement with an operator that leads, and ends it afterwards.
func operated(do func(context.Context, *measuring, *operating) error) func(context.Context, *measuring) error {
	return func(ctx context.Context, m *measuring) error {
		o, err := m.operate(ctx)
		if err != nil {
			return err
		}
		defer o.end()
		return do(ctx, m, o)
	}
}

// operateThrough is for an operator that has its own way to the API server.
func (m *measuring) operateThrough(ctx context.Context, way *rest.Config) (*operating, error) {
	o, err := m.standby(ctx, way)
	if err != nil {
		return nil, err
	}
	if err := o.WaitFor(ctx, "it leads", harness.StartTimeout, o.IsLeader); err != nil {
		o.end()
		return nil, err
	}
	return o, nil
}

// standby starts an operator, and waits until it is ready.
func (m *measuring) standby(ctx context.Context, way *rest.Config) (*operating, error) {
	token, err := harness.Token(ctx, m.api, "flokoa-operator")
	if err != nil {
		return nil, err
	}
	profiled, err := m.profiler.operator()
	if err != nil {
		return nil, err
	}
	o, err := harness.New(m.program, token, way, slices.Concat(m.flags, profiled)...)
	if err != nil {
		return nil, err
	}
	if err := o.Start(); err != nil {
		return nil, err
	}
	started := &operating{o, m}
	if err := o.WaitFor(ctx, "it is ready", filling, o.Ready); err != nil {
		started.end()
		return nil, err
	}
	return started, nil
}

func (o *operating) created(*agent) {}
func (o *operating) rolled(*agent)  {}

func (o *operating) broken() error {
	if o.Ended() {
		return fmt.Errorf("the operator ended with %s; the end of its log:\n%s", o.State(), o.Tail(""))
	}
	return nil
}

func (o *operating) cpu() (time.Duration, error) { return harness.CPUOf(o.PID()) }

// settle waits until it is idle. It does not scrape metrics: those of thousands of Agents cost CPU and memory, which would count as the
// cost of the Agents.
func (o *operating) settle(ctx context.Context) error { return o.m.silence(ctx, calm) }

// end ends it for good, whatever state it is in.
func (o *operating) end() {
	if !o.Ended() {
		_ = o.Kill()
	}
}
