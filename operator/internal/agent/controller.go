// Package agent reconciles Agents. It is the only package that talks to the API server about them; render and status compute what
// it applies and reports.
package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// FieldOwner is the field manager of everything that the operator applies.
const FieldOwner = client.FieldOwner("flokoa-operator")

// recheckTerminating is when an Agent that waits for an object to be deleted is reconciled again. The deletion itself triggers that
// at once, unless the object has lost the label by which the cache selects it.
const recheckTerminating = 10 * time.Second

// Controller reconciles one Agent at a time.
type Controller struct {
	// client reads from caches that have seen its own writes. They hold the operator's own children and, of other objects, only a part of
	// each PodDisruptionBudget.
	client client.Client
	// live reads from the API server what the caches do not hold: objects that are not the operator's.
	live   client.Reader
	events events.EventRecorder
	// readsNodes is true if the caches hold nodes, which requires permission to read them.
	readsNodes bool
	now        func() time.Time
	states     states
	configs    configs
	eventLists eventLists
}

// New returns a controller that reads through a cached client and, for what its caches do not hold, a live reader. readsNodes is
// true if the cached client holds nodes. A changed configuration rolls no pods before RollConfigs.
func New(cached client.Client, live client.Reader, recorder events.EventRecorder, readsNodes bool) *Controller {
	c := &Controller{client: cached, live: live, events: recorder, readsNodes: readsNodes, now: time.Now, eventLists: eventLists{reader: live}}
	c.RollConfigs(ConfigRollouts{}, func() []types.NamespacedName { return nil }, func([]types.NamespacedName, time.Duration) {})
	return c
}

// Reconcile brings an Agent's children and status up to date. A pass that finds nothing to change sends no write. While a finalizer
// holds a deleted Agent, only the status is kept up to date.
func (c *Controller) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	ctx, cancel := withGracePeriod(ctx, shutdownGrace)
	defer cancel()
	agent := &v1alpha1.Agent{}
	if err := c.client.Get(ctx, request.NamespacedName, agent); err != nil {
		c.forget(request.NamespacedName)
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	state := c.states.For(agent)
	children, err := c.readChildren(ctx, agent)
	if err != nil {
		return reconcile.Result{}, err
	}
	state.config.excuseAnnotated(children.deployment)
	applied := c.applyChildren(ctx, agent, children, state)
	if err := c.readWritten(ctx, agent, children, state); err != nil {
		return reconcile.Result{}, err
	}
	observed, recheck, err := c.observe(ctx, agent, children, state)
	if err != nil {
		return reconcile.Result{}, err
	}
	observed.Missing, observed.Rewritten, observed.TemplateDue = applied.missing, applied.rewritten, applied.templateDue
	observed.Config = applied.config.report(applied.taken)
	observed.Config.Model.Awaited = applied.awaitsModel
	updated, missing := status.Of(agent, observed, applied.err)
	delay, err := c.updateStatus(ctx, agent, written{&updated, missing}, observed, state)
	if err != nil {
		return reconcile.Result{}, err
	}
	c.warnScaleConflict(agent, applied.conflict, state)
	c.warnTemplateChange(agent, children.deployment.changedBy, state)
	c.recordConfigRollout(agent, applied.config, &state.config)
	return result(applied.err, soonest(recheck, delay, observed.TemplateDelay(), applied.config.recheck))
}

// result decides what follows a pass. A spec that cannot be rendered waits for another spec, a deletion under way is awaited, and
// any other error is retried with backoff.
func result(err error, recheck time.Duration) (reconcile.Result, error) {
	switch {
	case errors.Is(err, status.ErrInvalidSpec):
		return reconcile.Result{}, reconcile.TerminalError(err)
	case err == nil:
		return requeueAfter(recheck), nil
	case onlyTerminating(err):
		return requeueAfter(soonest(recheck, recheckTerminating)), nil
	default:
		return reconcile.Result{}, err
	}
}

// onlyTerminating reports whether every failure inside an error is an object that is being deleted.
func onlyTerminating(err error) bool {
	return !slices.ContainsFunc(status.Failures(err), func(failure *status.Failure) bool { return !errors.Is(failure, errTerminating) })
}

// soonest returns the shortest delay. A delay of 0 does not count; the result is 0 if there is no other.
func soonest(delays ...time.Duration) time.Duration {
	delays = slices.DeleteFunc(delays, func(delay time.Duration) bool { return delay == 0 })
	if len(delays) == 0 {
		return 0
	}
	return slices.Min(delays)
}
