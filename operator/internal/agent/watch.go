package agent

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
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
		gauges, err := collect(ctx, manager.GetCache(), &agents.states, settings.Precedence)
		if err != nil {
			return err
		}
		if err := metrics.Registry.Register(gauges); err != nil {
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
		Watches(&appsv1.Deployment{}, withHighPriority(childHandler(deploymentIsUrgent))).
		Watches(&corev1.Service{}, childHandler(alwaysUrgent)).
		Watches(&corev1.ConfigMap{}, childHandler(alwaysUrgent)).
		Watches(&policyv1.PodDisruptionBudget{}, childHandler(alwaysUrgent), builder.WithPredicates(specChanged)).
		Watches(&policyv1.PodDisruptionBudget{}, handler.EnqueueRequestsFromMapFunc(agentsSelectedBy(manager.GetClient())), builder.WithPredicates(foreignBudgetChanged)).
		Watches(&autoscalingv2.HorizontalPodAutoscaler{}, childHandler(alwaysUrgent), builder.WithPredicates(specChanged)).
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
