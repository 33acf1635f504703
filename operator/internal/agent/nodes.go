package agent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// nodeSettleDelay batches changes of nodes, which come and go in groups.
const nodeSettleDelay = 2 * time.Second

// nodeChanged passes events that change which pods a node can take. The cache keeps nothing else of a node, so a heartbeat changes
// only its resourceVersion.
var nodeChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*corev1.Node), e.ObjectNew.(*corev1.Node)
		return !equality.Semantic.DeepEqual(before.Spec, after.Spec) ||
			!equality.Semantic.DeepEqual(before.Status, after.Status) ||
			!equality.Semantic.DeepEqual(before.Labels, after.Labels)
	},
}

// nodeHandler enqueues the Agents whose status depends on the nodes: few in a healthy cluster of any size.
func nodeHandler(cached client.Reader) handler.EventHandler {
	enqueue := func(ctx context.Context, q queue) {
		agents := &v1alpha1.AgentList{}
		if err := cached.List(ctx, agents, client.UnsafeDisableDeepCopy); err != nil {
			log.FromContext(ctx).Error(err, "listing Agents after a node changed")
			return
		}
		for i := range agents.Items {
			if status.DependsOnNodes(&agents.Items[i]) {
				q.AddAfter(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&agents.Items[i])}, nodeSettleDelay)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList { // every Agent is enqueued then
				enqueue(ctx, q)
			}
		},
		UpdateFunc: func(ctx context.Context, _ event.UpdateEvent, q queue) { enqueue(ctx, q) },
		DeleteFunc: func(ctx context.Context, _ event.DeleteEvent, q queue) { enqueue(ctx, q) },
	}
}
