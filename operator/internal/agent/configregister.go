package agent

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/configwatch"
)

// wakeUp is a request to enqueue Agents after a delay.
type wakeUp struct {
	agents []types.NamespacedName
	after  time.Duration
}

// registerConfigRollouts adds what enqueues Agents whose configuration changed, or whose turn it is.
func registerConfigRollouts(ctx context.Context, manager ctrl.Manager, watching *builder.Builder, agents *Controller, settings Settings) error {
	metadataClient, err := metadata.NewForConfigAndClient(manager.GetConfig(), manager.GetHTTPClient())
	if err != nil {
		return err
	}
	wakeUps := make(chan event.TypedGenericEvent[wakeUp])
	wake := func(agents []types.NamespacedName, after time.Duration) {
		select {
		case wakeUps <- event.TypedGenericEvent[wakeUp]{Object: wakeUp{agents, after}}:
		case <-ctx.Done(): // nobody receives any more
		}
	}
	store := agents.RollConfigs(settings.ConfigRollouts, reconciledAgents(ctx, manager.GetClient(), settings.Precedence), wake)
	watching.WatchesRawSource(source.TypedChannel(wakeUps, handler.TypedFuncs[wakeUp, reconcile.Request]{
		GenericFunc: func(_ context.Context, e event.TypedGenericEvent[wakeUp], q queue) {
			for _, agent := range e.Object.agents {
				q.AddAfter(reconcile.Request{NamespacedName: agent}, e.Object.after)
			}
		},
	}))
	models, err := manager.GetCache().GetInformer(ctx, &v1alpha1.Model{}, ctrlcache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	if _, err := models.AddEventHandler(ModelEvents(store)); err != nil {
		return err
	}
	if settings.ConfigRollouts.Limits.Total == 0 {
		return nil
	}
	return manager.Add(configWatch{store, metadataClient, settings.Namespaces})
}

// reconciledAgents lists the Agents that this operator reconciles.
func reconciledAgents(ctx context.Context, cached client.Reader, precedence Precedence) func() []types.NamespacedName {
	return func() []types.NamespacedName {
		agents := &v1alpha1.AgentList{}
		if err := cached.List(ctx, agents, client.UnsafeDisableDeepCopy); err != nil {
			log.FromContext(ctx).Error(err, "listing Agents before the first config rollout")
			return []types.NamespacedName{{}} // not all are known
		}
		var names []types.NamespacedName
		for i := range agents.Items {
			name := client.ObjectKeyFromObject(&agents.Items[i])
			if precedence != nil {
				if _, yields := precedence.YieldsTo(name.Namespace); yields {
					continue
				}
			}
			names = append(names, name)
		}
		return names
	}
}

// configWatch watches the ConfigMaps and Secrets that Agents reference, while this operator is the leader.
type configWatch struct {
	store      *configwatch.Store
	client     metadata.Interface
	namespaces []string
}

// NeedLeaderElection is true: a standby follows no object.
func (configWatch) NeedLeaderElection() bool { return true }

// Start watches until the context ends.
func (w configWatch) Start(ctx context.Context) error {
	w.store.Watch(ctx, w.client, w.namespaces)
	return nil
}
