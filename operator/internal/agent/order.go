package agent

import (
	"context"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// The priorities of Agents that wait for their turn: those whose pods have news, and the others. At a start, all have less.
const (
	ahead  = 1
	inLine = 0
)

type (
	queue    = workqueue.TypedRateLimitingInterface[reconcile.Request]
	priority = priorityqueue.PriorityQueue[reconcile.Request]
)

// aheadOfNew has a handler wake Agents ahead of those that others wake: how those fare that run is told at once, however many new
// ones wait to be made.
func aheadOfNew(inner handler.EventHandler) handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { inner.Create(ctx, e, inFront(q)) },
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[client.Object], q queue) {
			inner.Update(ctx, e, inFront(q))
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { inner.Delete(ctx, e, inFront(q)) },
	}
}

func inFront(q queue) queue {
	if ordered, ok := q.(priority); ok {
		return front{ordered}
	}
	return q
}

// front is a queue that takes what has no priority of its own ahead of the rest.
type front struct{ priority }

// Add adds an item at once.
func (f front) Add(item reconcile.Request) { f.AddWithOpts(priorityqueue.AddOpts{}, item) }

// AddAfter adds an item after a while.
func (f front) AddAfter(item reconcile.Request, after time.Duration) {
	f.AddWithOpts(priorityqueue.AddOpts{After: after}, item)
}

// AddRateLimited adds an item when it may be tried again.
func (f front) AddRateLimited(item reconcile.Request) {
	f.AddWithOpts(priorityqueue.AddOpts{RateLimited: true}, item)
}

// AddWithOpts adds items as the options say.
func (f front) AddWithOpts(options priorityqueue.AddOpts, items ...reconcile.Request) {
	if options.Priority == nil {
		options.Priority = ptr.To(ahead)
	}
	f.priority.AddWithOpts(options, items...)
}

// later has an Agent looked at again after a while, or not at all when that is 0, in line with those that have no news. Of a rollout
// of thousands, much comes due with time, and all at once: those with news would wait for it.
func later(after time.Duration) reconcile.Result {
	if after == 0 {
		return reconcile.Result{}
	}
	return reconcile.Result{RequeueAfter: after, Priority: ptr.To(inLine)}
}
