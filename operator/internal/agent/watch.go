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
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// Retries back off exponentially from firstRetry to lastRetry: a freed name, a raised quota, or a repaired permission takes effect
// within a minute, and a persistent failure costs about one try a minute.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 50 * time.Second
	// passTimeout bounds one pass, which waits until the caches have its own writes.
	passTimeout = time.Minute
)

// Settings configure the controller of Agents.
type Settings struct {
	// Workers is the number of Agents that are reconciled at a time.
	Workers int
	// ReadsNodes is true if the operator may read nodes.
	ReadsNodes bool
	// ReadsNamespaces is true if the operator may read Namespaces, and exports their environments.
	ReadsNamespaces bool
	// Metrics exports the gauges of every Agent.
	Metrics bool
	// Namespaces are those whose Agents are reconciled; none means all.
	Namespaces []string
	// ConfigRollouts are the rollouts that a changed ConfigMap, Secret, or Model causes.
	ConfigRollouts ConfigRollouts
	// Precedence decides which namespaces belong to another operator; nil if none does.
	Precedence Precedence
}

// Register adds the controller of Agents to a manager. Its cache must hold pods as CompressPod, Deployments as KeepDeployment,
// PodDisruptionBudgets as KeepBudget, and other children as KeepChild return them.
func Register(ctx context.Context, manager ctrl.Manager, settings Settings) error {
	if err := Index(ctx, manager.GetFieldIndexer()); err != nil {
		return err
	}
	agents := New(manager.GetClient(), manager.GetAPIReader(), manager.GetEventRecorder("flokoa-operator"), settings.ReadsNodes)
	if settings.Metrics {
		if err := metrics.Registry.Register(collector{manager.GetCache(), &agents.states, settings.Precedence}); err != nil {
			return err
		}
	}
	if settings.ReadsNamespaces {
		if err := metrics.Registry.Register(environments{manager.GetCache()}); err != nil {
			return err
		}
	}
	watching := ctrl.NewControllerManagedBy(manager).
		Named("agent").
		For(&v1alpha1.Agent{}, builder.WithPredicates(agents.agentChanged())).
		Watches(&appsv1.Deployment{}, withHighPriority(handler.EnqueueRequestForOwner(manager.GetScheme(), manager.GetRESTMapper(), &v1alpha1.Agent{}, handler.OnlyControllerOwner()))).
		Owns(&corev1.Service{}).
		Owns(&corev1.ConfigMap{}).
		Owns(&policyv1.PodDisruptionBudget{}, builder.WithPredicates(specChanged)).
		Watches(&policyv1.PodDisruptionBudget{}, handler.EnqueueRequestsFromMapFunc(agentsSelectedBy(manager.GetClient())), builder.WithPredicates(foreignBudgetChanged)).
		Owns(&autoscalingv2.HorizontalPodAutoscaler{}, builder.WithPredicates(specChanged)).
		Watches(&corev1.Pod{}, withHighPriority(podHandler()), builder.WithPredicates(podChanged))
	if settings.ReadsNodes {
		watching.Watches(&corev1.Node{}, nodeHandler(manager.GetClient()), builder.WithPredicates(nodeChanged))
	}
	if settings.Precedence != nil {
		for _, wake := range settings.Precedence.Sources(manager) {
			watching.WatchesRawSource(wake)
		}
	}
	if err := registerConfigRollouts(ctx, manager, watching, agents, settings); err != nil {
		return err
	}
	return watching.
		WithOptions(controller.Options{
			MaxConcurrentReconciles: settings.Workers,
			ReconciliationTimeout:   passTimeout,
			EnableWarmup:            ptr.To(true), // a standby has its queue filled when it takes over
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		}).
		Complete(gate(settings.Precedence, manager, agents))
}

// Index adds the indexes to a cache that find the pods of an Agent, and the PodDisruptionBudgets that are no Agent's child, without a
// scan of the namespace.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &policyv1.PodDisruptionBudget{}, foreignBudgets, indexForeignBudget); err != nil {
		return err
	}
	return indexer.IndexField(ctx, &corev1.Pod{}, podsByAgent, func(pod client.Object) []string {
		return []string{pod.GetLabels()[v1alpha1.LabelAgent]}
	})
}

// agentOf returns the Agent that a pod's label names. Its controller is a ReplicaSet, which does not name the Agent.
func agentOf(pod client.Object) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{
		Namespace: pod.GetNamespace(), Name: pod.GetLabels()[v1alpha1.LabelAgent],
	}}
}

// followUp is how long the event of a pod without a failure waits for that of its Deployment: the Deployment controller counts the pod,
// and one pass then handles both. A pass about the pod alone would find little that is new, and there are four such events per pod.
const followUp = time.Second

// podHandler enqueues the Agent of a pod: at once if the pod has a failure or is in the initial list, and else after followUp.
func podHandler() handler.EventHandler {
	enqueue := func(pod client.Object, q queue, atOnce bool) {
		if compressed, ok := pod.(*compressedPod); atOnce || !ok || compressed.fails() {
			q.Add(agentOf(pod))
			return
		}
		q.AddAfter(agentOf(pod), followUp)
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { enqueue(e.Object, q, e.IsInInitialList) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { enqueue(e.ObjectNew, q, false) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { enqueue(e.Object, q, false) },
	}
}

// agentChanged passes events about another spec, and about a status that somebody else wrote, such as a restore from a backup. This
// process's own status writes need no pass.
func (c *Controller) agentChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*v1alpha1.Agent), e.ObjectNew.(*v1alpha1.Agent)
		return before.Generation != after.Generation ||
			!equality.Semantic.DeepEqual(before.Status, after.Status) && !c.states.wroteStatus(after)
	}}
}

// podChanged passes events that change where the Agent runs or why it does not. The cache keeps nothing else of a pod's status.
var podChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*compressedPod), e.ObjectNew.(*compressedPod)
		return before.node != after.node || before.zone != after.zone ||
			before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
			!equality.Semantic.DeepEqual(before.status, after.status)
	},
}

// specChanged drops events about a child's status, which other controllers write at every step of a pod or every 15 seconds. A
// HorizontalPodAutoscaler has no generation, so its spec is compared. A cached part of a child does not tell what changed.
var specChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := unpack(e.ObjectOld), unpack(e.ObjectNew)
		return before.GetGeneration() != after.GetGeneration() ||
			isPartial(after) && before.GetResourceVersion() != after.GetResourceVersion() ||
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
