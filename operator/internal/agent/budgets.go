package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// foreignBudgets is the name of the cache index that Index adds: the PodDisruptionBudgets that are no Agent's child have the value
// isForeign. A namespace has few of them, and may have a thousand children.
const (
	foreignBudgets = "foreign"
	isForeign      = "true"
)

// isForeignBudget reports whether a PodDisruptionBudget is no Agent's child.
func isForeignBudget(budget client.Object) bool { return controllingAgent(budget) != budget.GetName() }

func indexForeignBudget(budget client.Object) []string {
	if isForeignBudget(budget) {
		return []string{isForeign}
	}
	return nil
}

// observeBudgets lists the PodDisruptionBudgets of others that select the Agent's pods, or may select them, in the order of their names.
func (c *Controller) observeBudgets(ctx context.Context, agent *v1alpha1.Agent, live *children, observed *status.Observed) error {
	budgets := &policyv1.PodDisruptionBudgetList{}
	err := c.client.List(ctx, budgets, client.InNamespace(agent.Namespace), client.MatchingFields{foreignBudgets: isForeign})
	if err != nil {
		return fmt.Errorf("listing PodDisruptionBudgets: %w", err)
	}
	if len(budgets.Items) == 0 {
		return nil
	}
	pod := render.LivePodLabels(agent)
	observed.ForeignBudgets = slices.DeleteFunc(budgets.Items, func(budget policyv1.PodDisruptionBudget) bool {
		adopted := live.budget.ownedBy(agent) && live.budget.object.GetUID() == budget.UID
		if !adopted && isPartial(&budget) {
			observed.UnreadBudgets = append(observed.UnreadBudgets, budget.Name)
		}
		return adopted || !render.Selects(budget.Spec.Selector, pod)
	})
	slices.Sort(observed.UnreadBudgets)
	slices.SortFunc(observed.ForeignBudgets, func(a, b policyv1.PodDisruptionBudget) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// agentsSelectedBy returns a function that returns the Agents whose pods a PodDisruptionBudget selects, or may select.
func agentsSelectedBy(cached client.Reader) handler.MapFunc {
	return func(ctx context.Context, budget client.Object) []reconcile.Request {
		agents, budget := &v1alpha1.AgentList{}, unpack(budget)
		if err := cached.List(ctx, agents, client.InNamespace(budget.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
			log.FromContext(ctx).Error(err, "listing Agents after a PodDisruptionBudget changed")
			return nil
		}
		var selected []reconcile.Request
		for i := range agents.Items {
			if isPartial(budget) || render.Selects(budget.(*policyv1.PodDisruptionBudget).Spec.Selector, render.LivePodLabels(&agents.Items[i])) {
				selected = append(selected, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&agents.Items[i])})
			}
		}
		return selected
	}
}

// foreignBudgetChanged passes events about PodDisruptionBudgets that are no Agent's child, except those of the first list: every Agent
// is enqueued then. The disruption controller writes the status of each budget often, and that passes nothing.
var foreignBudgetChanged = predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList && isForeignBudget(e.Object) },
	UpdateFunc: func(e event.UpdateEvent) bool {
		return specChanged.Update(e) && (isForeignBudget(e.ObjectOld) || isForeignBudget(e.ObjectNew))
	},
	DeleteFunc: func(e event.DeleteEvent) bool { return isForeignBudget(e.Object) },
}
