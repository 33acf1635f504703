package main

import (
	"context"
	"syscall"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/cmd/bench/floor"
	"github.com/flokoa/flokoa/ci/testkit/harness"
)

// bare is the side of the floor.
type bare struct{ *floor.Bare }

// startFloor starts the bare client, which is the operator to the API server: it has its account.
func (m *measuring) startFloor(ctx context.Context) (*bare, error) {
	config, err := m.asOperator(ctx)
	if err != nil {
		return nil, err
	}
	api, err := harness.NewClient(config)
	if err != nil {
		return nil, err
	}
	b := &bare{&floor.Bare{API: api, Samples: m.samples, Sent: m.observer.send}}
	b.Start(ctx, workers, 4*m.workload.agents+100)
	return b, watch(ctx, config, map[client.Object]func(any){
		&appsv1.Deployment{}: func(object any) { b.See(object.(*appsv1.Deployment)) },
	})
}

func (b *bare) created(agent *agent) { b.Create(agent) }
func (b *bare) rolled(agent *agent)  { b.Roll(agent) }
func (b *bare) broken() error        { return b.Broken() }

// settle waits until its last request has been answered, and so is in the audit log.
func (b *bare) settle(ctx context.Context) error {
	return await(ctx, time.Minute, "the bare client has nothing more to do", func(context.Context) (bool, error) { return b.Idle(), b.Broken() })
}

// cpu is that of the whole benchmark, of which the bare client is a part.
func (b *bare) cpu() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
