package floor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// Bare is the client that the floor is made of. It has as many workers as the operator, and the caller reports changes of
// Deployments.
type Bare struct {
	// API is as the operator's own client, but for a cache, which it does not need.
	API client.Client
	// Samples are what the operator makes of an Agent, by the Agent's image.
	Samples map[string]*Sample
	// Sent is called before a status is written.
	Sent func(agent client.ObjectKey, at time.Time)

	// statuses are written before children, as the operator does: Agents that run go before those that wait.
	statuses, children chan func(context.Context) error
	mutex              sync.Mutex
	waiting            map[client.ObjectKey]*v1alpha1.Agent // until their Deployment is rolled out
	failed             error
	undone             atomic.Int64
}

// Start works until the context ends or something goes wrong, which Broken then returns. No more than room jobs of a kind may wait at a time.
func (b *Bare) Start(ctx context.Context, workers, room int) {
	b.statuses, b.children = make(chan func(context.Context) error, room), make(chan func(context.Context) error, room)
	b.waiting = map[client.ObjectKey]*v1alpha1.Agent{}
	for range workers {
		go func() {
			if err := b.work(ctx); err != nil {
				b.mutex.Lock()
				defer b.mutex.Unlock()
				b.failed = errors.Join(b.failed, fmt.Errorf("floor: %w", err))
			}
		}()
	}
}

// Broken reports what went wrong.
func (b *Bare) Broken() error {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.failed
}

func (b *Bare) work(ctx context.Context) error {
	for {
		job := b.next(ctx)
		if job == nil {
			return nil
		}
		err := job(ctx)
		b.undone.Add(-1)
		if err != nil {
			return err
		}
	}
}

// next waits for the next job; nil means that the context has ended.
func (b *Bare) next(ctx context.Context) func(context.Context) error {
	select {
	case job := <-b.statuses:
		return job
	default:
	}
	select {
	case <-ctx.Done():
		return nil
	case job := <-b.statuses:
		return job
	case job := <-b.children:
		return job
	}
}

func (b *Bare) add(to chan<- func(context.Context) error, job func(context.Context) error) {
	b.undone.Add(1)
	to <- job
}

// Idle reports whether everything that it was given to do is done.
func (b *Bare) Idle() bool { return b.undone.Load() == 0 }

// Create brings up an Agent that was just created.
func (b *Bare) Create(agent *v1alpha1.Agent) { b.enqueue(agent, true) }

// Roll rolls an Agent that was just given another image.
func (b *Bare) Roll(agent *v1alpha1.Agent) { b.enqueue(agent, false) }

func (b *Bare) enqueue(agent *v1alpha1.Agent, all bool) {
	b.mutex.Lock()
	b.waiting[client.ObjectKeyFromObject(agent)] = agent
	b.mutex.Unlock()
	b.add(b.children, func(ctx context.Context) error { return b.apply(ctx, agent, all) })
}

func (b *Bare) apply(ctx context.Context, agent *v1alpha1.Agent, all bool) error {
	children, err := b.Samples[image(agent)].Children(agent)
	if err != nil {
		return err
	}
	if !all {
		children = children[:1] // the Deployment is all that an image changes
	}
	for _, child := range children {
		if err := b.API.Apply(ctx, child, client.FieldOwner(owner), client.ForceOwnership); err != nil {
			return err
		}
	}
	return nil
}

// See takes notice of a Deployment, and has a status written when it is rolled out.
func (b *Bare) See(d *appsv1.Deployment) {
	key := client.ObjectKeyFromObject(d)
	b.mutex.Lock()
	agent := b.waiting[key]
	rolledOut := agent != nil && RolledOut(d, image(agent))
	if rolledOut {
		delete(b.waiting, key)
	}
	b.mutex.Unlock()
	if rolledOut {
		b.add(b.statuses, func(ctx context.Context) error { return b.writeStatus(ctx, agent) })
	}
}

// writeStatus writes an Agent's status as the operator would have it in the end.
func (b *Bare) writeStatus(ctx context.Context, agent *v1alpha1.Agent) error {
	update, err := b.Samples[image(agent)].Status(agent)
	if err != nil {
		return err
	}
	b.Sent(client.ObjectKeyFromObject(agent), time.Now())
	return b.API.Status().Update(ctx, update, client.FieldOwner(owner))
}

// RolledOut reports whether all pods that a Deployment wants are available and have an image, and no other pods are left.
func RolledOut(d *appsv1.Deployment, image string) bool {
	wanted, is := ptr.Deref(d.Spec.Replicas, 1), d.Status
	return d.Spec.Template.Spec.Containers[0].Image == image && is.ObservedGeneration == d.Generation &&
		is.UpdatedReplicas == wanted && is.AvailableReplicas == wanted && is.Replicas == wanted
}
