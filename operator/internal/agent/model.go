package agent

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/configrollout"
	"github.com/flokoa/flokoa/operator/internal/configwatch"
	"github.com/flokoa/flokoa/operator/internal/model"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// modelWait is how long a new Agent waits for its Model: tools apply both together, in any order.
const modelWait = 10 * time.Second

// ModelEvents passes what an informer of Models reports to a store.
func ModelEvents(store *configwatch.Store) toolscache.ResourceEventHandler {
	observe := func(object any, deleted bool) {
		if last, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
			object = last.Obj
		}
		if of, ok := object.(*v1alpha1.Model); ok {
			key := configwatch.Key{Namespace: of.Namespace, Object: configrollout.Object{Kind: configrollout.Model, Name: of.Name}}
			if deleted {
				store.Observe(key, "")
			} else {
				store.Observe(key, modelVersion(of))
			}
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { observe(object, false) },
		UpdateFunc: func(_, object any) { observe(object, false) },
		DeleteFunc: func(object any) { observe(object, true) },
	}
}

// modelVersion changes with the spec of a Model, and not with its labels and annotations.
func modelVersion(of *v1alpha1.Model) string {
	return fmt.Sprintf("%s/%d", of.UID, of.Generation)
}

// readModel reads a Model from the cache.
func (c *Controller) readModel(ctx context.Context, name types.NamespacedName) (configrollout.Content, error) {
	of := &v1alpha1.Model{}
	if err := c.client.Get(ctx, name, of); err != nil {
		return configrollout.Content{}, client.IgnoreNotFound(err)
	}
	return configrollout.ModelContent(modelVersion(of), model.Fields(&of.Spec), model.Environment(&of.Spec)), nil
}

// modelOf returns the Model that an Agent names, empty if none.
func modelOf(agent *v1alpha1.Agent) configrollout.Object {
	if agent.Spec.Model == nil {
		return configrollout.Object{}
	}
	return configrollout.Object{Kind: configrollout.Model, Name: agent.Spec.Model.Name}
}

// addModel adds the Model and the Secret of its key to the references. Config rollouts that are off observe no Secret.
func (of *config) addModel(agent *v1alpha1.Agent) {
	var variables []corev1.EnvVar
	if !of.off {
		variables = render.ModelEnv(agent, of.modelEnvironment())
	}
	of.references.AddModel(of.model.Name, variables)
}

// modelEnvironment returns the variables of the Model or, while it does not exist or has not settled, those that the pods took.
func (of *config) modelEnvironment() []corev1.EnvVar {
	if content := of.contents[of.model]; content.Exists {
		return content.Environment
	}
	return of.baseline.EnvironmentOf(of.model)
}

// namesOtherModel reports whether the Agent names another Model than the pods took.
func (of *config) namesOtherModel() bool {
	if of.model.Name == "" {
		return len(of.baseline.Environment) > 0
	}
	return !of.recorded || !of.baseline.Has(of.model)
}

// awaitModel returns how long an Agent that is new, or names another Model than its pods took, still waits for that Model, 0 if it does not. A
// new Agent that is older than that at its first pass does not wait: nobody has just applied it.
func (of *config) awaitModel(agent *v1alpha1.Agent, live *children, state *configState, now time.Time) time.Duration {
	if of.model.Name == "" || of.contents[of.model].Exists || live.deployment.exists && !of.namesOtherModel() {
		state.modelMissing = time.Time{}
		return 0
	}
	if state.modelMissing.IsZero() {
		state.modelMissing = now
	}
	began := agent.CreationTimestamp.Time
	if live.deployment.exists || state.modelMissing.Before(began) {
		began = state.modelMissing
	}
	return max(began.Add(modelWait).Sub(now), 0)
}

// modelReport returns what the status says about the Model. Pods that took it before it settled have what is there.
func (of *config) modelReport() status.Model {
	content, known := of.contents[of.model]
	kept := len(of.baseline.EnvironmentOf(of.model)) > 0
	return status.Model{Exists: content.Exists || !known && kept, Environment: of.modelEnvironment(), Kept: kept}
}
