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

// The priorities of queued Agents: first those whose pods changed, then the others. Agents of the initial list have less than both.
const (
	highPriority   = 1
	normalPriority = 0
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// withHighPriority has a handler enqueue Agents before those that other handlers enqueue, so the status of running Agents stays
// current however many new ones wait to be created.
func withHighPriority(inner handler.EventHandler) handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { inner.Create(ctx, e, highPriorityQueue(q)) },
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[client.Object], q queue) {
			inner.Update(ctx, e, highPriorityQueue(q))
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { inner.Delete(ctx, e, highPriorityQueue(q)) },
	}
}

func highPriorityQueue(q queue) queue {
	if prioritized, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		return priorityQueue{prioritized}
	}
	return q
}

// priorityQueue adds items without a priority of their own with high priority.
type priorityQueue struct {
	priorityqueue.PriorityQueue[reconcile.Request]
}

// Add adds an item at once.
func (q priorityQueue) Add(item reconcile.Request) { q.AddWithOpts(priorityqueue.AddOpts{}, item) }

// AddAfter adds an item after a delay.
func (q priorityQueue) AddAfter(item reconcile.Request, delay time.Duration) {
	q.AddWithOpts(priorityqueue.AddOpts{After: delay}, item)
}

// AddRateLimited adds an item after its backoff.
func (q priorityQueue) AddRateLimited(item reconcile.Request) {
	q.AddWithOpts(priorityqueue.AddOpts{RateLimited: true}, item)
}

// AddWithOpts adds items as the options say.
func (q priorityQueue) AddWithOpts(options priorityqueue.AddOpts, items ...reconcile.Request) {
	if options.Priority == nil {
		options.Priority = ptr.To(highPriority)
	}
	q.PriorityQueue.AddWithOpts(options, items...)
}

// requeueAfter requeues an Agent after a delay, not at all if that is 0. It does so with normal priority: in a rollout of thousands,
// many delays end at once, and Agents whose pods changed would wait for all of them.
func requeueAfter(delay time.Duration) reconcile.Result {
	if delay == 0 {
		return reconcile.Result{}
	}
	return reconcile.Result{RequeueAfter: delay, Priority: ptr.To(normalPriority)}
}
