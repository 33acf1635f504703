package agent

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
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

// Settings are what the controller of Agents is told.
type Settings struct {
	// Workers is the number of Agents that are worked on at a time.
	Workers int
	// ReadsNodes tells whether nodes may be read.
	ReadsNodes bool
	// Open is closed when work may begin; nil when it may at once.
	Open <-chan struct{}
}

// Register adds the controller of Agents to a manager, whose cache holds pods as PackPod makes them and Deployments as Pack does.
func Register(ctx context.Context, manager ctrl.Manager, settings Settings) error {
	if err := IndexPods(ctx, manager.GetFieldIndexer()); err != nil {
		return err
	}
	building := ctrl.NewControllerManagedBy(manager).
		Named("agent").
		For(&v1alpha1.Agent{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&appsv1.Deployment{}, aheadOfNew(handler.EnqueueRequestForOwner(manager.GetScheme(), manager.GetRESTMapper(), &v1alpha1.Agent{}, handler.OnlyControllerOwner()))).
		Owns(&corev1.Service{}).
		Owns(&corev1.ConfigMap{}).
		Owns(&policyv1.PodDisruptionBudget{}, builder.WithPredicates(specChanged)).
		Owns(&autoscalingv2.HorizontalPodAutoscaler{}, builder.WithPredicates(specChanged)).
		Watches(&corev1.Pod{}, aheadOfNew(handler.EnqueueRequestsFromMapFunc(agentOf)), builder.WithPredicates(podChanged))
	if settings.ReadsNodes {
		building.Watches(&corev1.Node{}, nodeHandler(manager.GetClient()), builder.WithPredicates(nodeChanged))
	}
	return building.
		WithOptions(controller.Options{
			MaxConcurrentReconciles: settings.Workers,
			ReconciliationTimeout:   passTimeout,
			EnableWarmup:            ptr.To(true), // a standby has its queue filled when it takes over
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		}).
		Complete(behind(settings.Open, New(manager.GetClient(), manager.GetAPIReader(), manager.GetEventRecorder("flokoa-operator"), settings.ReadsNodes)))
}

// behind lets nothing through to a reconciler before a door is open. Workers wait at it: what is queued stays.
func behind(door <-chan struct{}, reconciler reconcile.Reconciler) reconcile.Reconciler {
	if door == nil {
		return reconciler
	}
	return reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		select {
		case <-door:
			return reconciler.Reconcile(ctx, request)
		case <-ctx.Done():
			return reconcile.Result{RequeueAfter: firstRetry}, nil
		}
	})
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

// podChanged lets a pod's event through when it changes where the Agent runs or why it does not. The cache keeps nothing else
// of a pod's status.
var podChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*packedPod), e.ObjectNew.(*packedPod)
		return before.node != after.node || before.zone != after.zone ||
			before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
			!equality.Semantic.DeepEqual(before.status, after.status)
	},
}

// specChanged keeps away what other controllers write into the status of a child, at every step of a pod or every 15 seconds.
// An autoscaler has no generation, so its spec is compared.
var specChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld, e.ObjectNew
		return before.GetGeneration() != after.GetGeneration() ||
			before.GetDeletionTimestamp().IsZero() != after.GetDeletionTimestamp().IsZero() ||
			!equality.Semantic.DeepEqual(before.GetLabels(), after.GetLabels()) ||
			!equality.Semantic.DeepEqual(before.GetAnnotations(), after.GetAnnotations()) ||
			!equality.Semantic.DeepEqual(before.GetOwnerReferences(), after.GetOwnerReferences()) ||
			!equality.Semantic.DeepEqual(autoscalerSpec(before), autoscalerSpec(after))
	},
}

func autoscalerSpec(object client.Object) autoscalingv2.HorizontalPodAutoscalerSpec {
	if autoscaler, ok := object.(*autoscalingv2.HorizontalPodAutoscaler); ok {
		return autoscaler.Spec
	}
	return autoscalingv2.HorizontalPodAutoscalerSpec{}
}
