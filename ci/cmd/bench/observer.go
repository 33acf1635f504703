package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/cmd/bench/floor"
	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// observer watches Deployments and Agents, the same on both sides, and knows when each came to be as it should.
type observer struct {
	mutex sync.Mutex
	now   *phase
}

// phase is a period in which Agents become ready with an image.
type phase struct {
	*observer
	image  string
	agents int
	// available is when an Agent's Deployment was seen rolled out, sent when its status was about to be written (floor only),
	// ready when its status was seen ready.
	available, sent, ready map[client.ObjectKey]time.Time
	last                   time.Time // when the last one was seen ready
	done                   chan struct{}
}

// observe watches, and returns when what is there has been seen.
func observe(ctx context.Context, config *rest.Config) (*observer, error) {
	o := &observer{}
	return o, watch(ctx, config, map[client.Object]func(any){
		&v1alpha1.Agent{}:    func(object any) { o.seeAgent(object.(*v1alpha1.Agent)) },
		&appsv1.Deployment{}: func(object any) { o.seeDeployment(object.(*appsv1.Deployment)) },
	})
}

// watch hands every object of some kinds, as it is and at every change, to a function, until the context ends. It returns when
// the present objects have been handed over.
func watch(ctx context.Context, config *rest.Config, kinds map[client.Object]func(any)) error {
	scheme, err := harness.NewScheme()
	if err != nil {
		return err
	}
	objects, err := cache.New(config, cache.Options{Scheme: scheme, DefaultTransform: cache.TransformStripManagedFields()})
	if err != nil {
		return err
	}
	go func() { _ = objects.Start(ctx) }()
	for kind, see := range kinds {
		informer, err := objects.GetInformer(ctx, kind)
		if err != nil {
			return err
		}
		registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc: see, UpdateFunc: func(_, now any) { see(now) },
		})
		if err != nil {
			return err
		}
		if !toolscache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
			return context.Cause(ctx)
		}
	}
	return nil
}

// startPhase starts a phase in which this many Agents become ready with an image.
func (o *observer) startPhase(image string, agents int) *phase {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.now = &phase{
		observer: o, image: image, agents: agents, done: make(chan struct{}),
		available: map[client.ObjectKey]time.Time{}, sent: map[client.ObjectKey]time.Time{}, ready: map[client.ObjectKey]time.Time{},
	}
	return o.now
}

func (o *observer) seeDeployment(d *appsv1.Deployment) {
	at := time.Now()
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if p := o.now; p != nil && floor.RolledOut(d, p.image) {
		first(p.available, client.ObjectKeyFromObject(d), at)
	}
}

func (o *observer) seeAgent(agent *v1alpha1.Agent) {
	at := time.Now()
	o.mutex.Lock()
	defer o.mutex.Unlock()
	p := o.now
	if p == nil || !isReady(agent, p.image) || !first(p.ready, client.ObjectKeyFromObject(agent), at) {
		return
	}
	p.last = at
	if len(p.ready) == p.agents {
		close(p.done)
	}
}

// send remembers when a status was about to be written.
func (o *observer) send(key client.ObjectKey, at time.Time) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if o.now != nil {
		first(o.now.sent, key, at)
	}
}

// first remembers the first time of a key, and reports whether it was the first.
func first(times map[client.ObjectKey]time.Time, key client.ObjectKey, at time.Time) bool {
	if _, known := times[key]; known {
		return false
	}
	times[key] = at
	return true
}

// isReady reports whether an Agent is ready at its generation, with an image.
func isReady(agent *v1alpha1.Agent, image string) bool {
	ready := meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == agent.Generation &&
		agent.Status.ObservedGeneration == agent.Generation && agent.Status.Image == image
}

const (
	// stalled is how long no Agent may get ready before it is given up.
	stalled = 3 * time.Minute
	// logInterval is the interval between progress lines.
	logInterval = 30 * time.Second
)

// await waits until all Agents are ready, as long as they go on getting ready and nothing is broken.
func (p *phase) await(ctx context.Context, broken func() error, logf func(string, ...any)) error {
	ready, since, logged := 0, time.Now(), time.Now()
	for every := time.Tick(time.Second); ; {
		select {
		case <-p.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-every:
		}
		if err := broken(); err != nil {
			return err
		}
		if now := p.count(); now != ready {
			ready, since = now, time.Now()
		}
		if time.Since(logged) > logInterval {
			logf("%d of %d Agents are ready", ready, p.agents)
			logged = time.Now()
		}
		if time.Since(since) > stalled {
			return fmt.Errorf("%d of %d Agents are ready with image %s, and no other for %s", ready, p.agents, p.image, stalled)
		}
	}
}

func (p *phase) count() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return len(p.ready)
}

// latencies are the milliseconds from one time to another of every Agent that has both. Events of two kinds come by two ways: the
// later may be seen first.
func (p *phase) latencies(from, to map[client.ObjectKey]time.Time) []float64 {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	all := make([]float64, 0, len(to))
	for key, end := range to {
		if began, known := from[key]; known {
			all = append(all, max(0, float64(end.Sub(began).Microseconds())/1000))
		}
	}
	return all
}
