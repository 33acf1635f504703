package agent

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// Retries back off from the first to the second of these: a freed name, a raised quota or a repaired permission heals
// within a minute, and a fault that stays costs about one try a minute.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 50 * time.Second
	// passTimeout bounds one pass, which waits for the caches to see its own writes.
	passTimeout = time.Minute
)

// Register adds the controller of Agents to a manager, with this many workers.
func Register(ctx context.Context, manager ctrl.Manager, workers int) error {
	if err := IndexPods(ctx, manager.GetFieldIndexer()); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(manager).
		Named("agent").
		For(&v1alpha1.Agent{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&appsv1.Deployment{}).
		Owns(&corev1.Service{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(agentOf), builder.WithPredicates(placementChanged)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			ReconciliationTimeout:   passTimeout,
			EnableWarmup:            ptr.To(true), // a standby has its queue filled when it takes over
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		}).
		Complete(New(manager.GetClient(), manager.GetAPIReader(), manager.GetEventRecorder("flokoa-operator")))
}

// IndexPods makes a cache find the pods of an Agent without going through all pods of its namespace.
func IndexPods(ctx context.Context, indexer client.FieldIndexer) error {
	return indexer.IndexField(ctx, &corev1.Pod{}, podsByAgent, func(pod client.Object) []string {
		return []string{pod.GetLabels()[v1alpha1.LabelAgent]}
	})
}

// agentOf is the Agent a pod says it belongs to. A pod is controlled by a ReplicaSet, so its owner does not tell.
func agentOf(_ context.Context, pod client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{
		Namespace: pod.GetNamespace(), Name: pod.GetLabels()[v1alpha1.LabelAgent],
	}}}
}

// placementChanged lets a pod's event through when it changes where the Agent runs.
var placementChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*corev1.Pod), e.ObjectNew.(*corev1.Pod)
		return before.Spec.NodeName != after.Spec.NodeName ||
			before.Status.Phase != after.Status.Phase ||
			before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
			before.Labels[corev1.LabelTopologyZone] != after.Labels[corev1.LabelTopologyZone]
	},
}
