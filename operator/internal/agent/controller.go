// Package agent reconciles Agents: it is the only package that talks to the API server about them. Rendering and judging
// are done by the pure packages render and status.
package agent

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// FieldOwner is the field manager of everything the operator applies.
const FieldOwner = client.FieldOwner("flokoa-operator")

// recheckWaiting is how soon an Agent that waits for something to be removed is looked at again. The removal itself
// wakes it at once; this is for an object that has lost the label by which its removal would be seen.
const recheckWaiting = 10 * time.Second

// Controller brings one Agent at a time to what its spec says.
type Controller struct {
	// client reads from caches that hold the operator's own children only, and waits until they have seen its own writes.
	client client.Client
	// live reads from the API server, for what the caches cannot hold: objects that are not the operator's.
	live   client.Reader
	events events.EventRecorder
	// readsNodes tells whether the caches hold nodes, which takes a permission.
	readsNodes bool
	now        func() time.Time

	looks    memory[look]
	refusals memory[refusal]
	contest  memory[time.Time]
	withheld memory[time.Time] // since when a status differs from the one that is written
	verified memory[verified]
}

// New makes a controller that reads through a cached client and, for what its caches do not hold, a live reader. readsNodes
// tells whether the cached client has nodes.
func New(cached client.Client, live client.Reader, recorder events.EventRecorder, readsNodes bool) *Controller {
	return &Controller{client: cached, live: live, events: recorder, readsNodes: readsNodes, now: time.Now}
}

// Reconcile brings an Agent's children and status up to date. It sends no request that writes when nothing has to change.
func (c *Controller) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	ctx, end := outlast(ctx, finishing)
	defer end()
	agent := &v1alpha1.Agent{}
	err := c.client.Get(ctx, request.NamespacedName, agent)
	if err != nil || !agent.DeletionTimestamp.IsZero() {
		c.forget(request.NamespacedName)
		return reconcile.Result{}, client.IgnoreNotFound(err) // the garbage collector removes the children
	}
	missing, placed := c.place(ctx, agent)
	seen, err := c.observe(ctx, agent)
	if err != nil {
		return reconcile.Result{}, err
	}
	seen.Missing = missing
	was := agent.DeepCopy()
	lingers := c.linger(agent, &seen)
	agent.Status = status.Of(was, seen, placed)
	listens := c.listen(ctx, agent, &seen)
	if seen.Asked != "" {
		agent.Status = status.Of(was, seen, placed)
	}
	held, err := c.report(ctx, was, agent, seen)
	if err != nil {
		return reconcile.Result{}, err
	}
	result, err := classify(placed)
	if err == nil {
		result = later(soonest(result.RequeueAfter, lingers, listens, held))
	}
	return result, err
}

// soonest is the shortest of some waits, of which 0 is none.
func soonest(waits ...time.Duration) time.Duration {
	waits = slices.DeleteFunc(waits, func(wait time.Duration) bool { return wait == 0 })
	if len(waits) == 0 {
		return 0
	}
	return slices.Min(waits)
}

// place renders the children and puts them in place, where they and the Agent are not as they were when that was last found to be
// done. It returns what the spec lacks for high availability.
func (c *Controller) place(ctx context.Context, agent *v1alpha1.Agent) ([]status.Requirement, error) {
	key := client.ObjectKeyFromObject(agent)
	fingerprint, err := c.fingerprint(ctx, agent)
	if err != nil {
		return nil, err
	}
	if last, ok := c.verified.recall(key); ok && last.fingerprint == fingerprint {
		return last.missing, nil
	}
	before, err := c.observeChildren(ctx, agent)
	if err != nil {
		return nil, err
	}
	children, err := render.Agent(agent, before.Live())
	if err != nil {
		return nil, &status.Failure{Reason: v1alpha1.ReasonInvalidSpec, Message: err.Error(), Cause: err}
	}
	missing := status.Requirements(agent, children)
	c.tellContest(ctx, agent, before.Deployment, children.Deployment)
	c.verified.keep(key, verified{fingerprint, missing}) // until a write, or an error
	if err := c.apply(ctx, agent, children); err != nil {
		c.verified.forget(key)
		return missing, err
	}
	return missing, nil
}

// forget drops what is remembered of an Agent that is gone.
func (c *Controller) forget(agent types.NamespacedName) {
	c.looks.forget(agent)
	c.refusals.forget(agent)
	c.contest.forget(agent)
	c.withheld.forget(agent)
	c.verified.forget(agent)
}

// classify decides what happens after a pass: a spec that cannot be rendered waits for another spec, a removal that is
// under way is waited for, and everything else is tried again with backoff.
func classify(err error) (reconcile.Result, error) {
	waiting := true
	for _, failure := range status.Failures(err) {
		switch failure.Reason {
		case v1alpha1.ReasonInvalidSpec:
			return reconcile.Result{}, reconcile.TerminalError(err)
		case v1alpha1.ReasonRolloutInProgress:
		default:
			waiting = false
		}
	}
	switch {
	case err == nil:
		return reconcile.Result{}, nil
	case waiting:
		return reconcile.Result{RequeueAfter: recheckWaiting}, nil
	default:
		return reconcile.Result{}, err
	}
}
