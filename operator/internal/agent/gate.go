package agent

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const (
	// NamespaceLease is the name of the Lease whose holder reconciles the Agents of its namespace, if it works in that
	// namespace by name. It has dots, which no Lease that operators elect a leader by has.
	NamespaceLease = "scope.flokoa.ai"
	// ReasonOtherOperator is the reason of the Event on an Agent that another operator should reconcile and has not yet.
	ReasonOtherOperator = "OtherOperator"
	// statusDue is how long the operator of a namespace may take to write the first status of a new Agent.
	statusDue = 10 * time.Second
)

// Precedence decides which of several operators reconciles a namespace (operator/decisions/0005).
type Precedence interface {
	// YieldsTo reports whether another operator reconciles a namespace, and which one, empty if unknown.
	YieldsTo(namespace string) (operator string, yields bool)
	// Sources enqueue the Agents of a namespace when this operator starts to reconcile it.
	Sources(manager ctrl.Manager) []source.Source
}

// gate keeps a reconciler out of the namespaces of other operators, where two would write the same status. Without a precedence, it
// returns the reconciler.
func gate(precedence Precedence, manager ctrl.Manager, reconciler reconcile.Reconciler) reconcile.Reconciler {
	if precedence == nil {
		return reconciler
	}
	return &gated{precedence: precedence, inner: reconciler, reader: manager.GetClient(), events: manager.GetEventRecorder("flokoa-operator")}
}

// gated is a reconciler behind a gate.
type gated struct {
	precedence Precedence
	inner      reconcile.Reconciler
	reader     client.Reader
	events     events.EventRecorder
	reported   sync.Map // the UID of each Agent that has its Event, by namespace and name
}

// Reconcile passes a request on if this operator reconciles its namespace. Otherwise it drops the request: a source enqueues the
// Agent again when that changes. It also passes on an Agent that is gone, which drops its state.
func (g *gated) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	agent := &v1alpha1.Agent{}
	operator, yields := g.precedence.YieldsTo(request.Namespace)
	if !yields || g.reader.Get(ctx, request.NamespacedName, agent) != nil {
		g.reported.Delete(request.NamespacedName)
		return g.inner.Reconcile(ctx, request)
	}
	if inner, ok := g.inner.(interface{ forget(types.NamespacedName) }); ok {
		inner.forget(request.NamespacedName) // it holds no slot of this operator, and delays no status of others
	}
	if agent.Status.ObservedGeneration > 0 || operator == "" || !agent.DeletionTimestamp.IsZero() { // the CRD's default is -1
		return reconcile.Result{}, nil
	}
	if age := time.Since(agent.CreationTimestamp.Time); age < statusDue {
		return requeueAfter(statusDue - age), nil
	}
	if before, _ := g.reported.Swap(request.NamespacedName, agent.UID); before != agent.UID {
		g.events.Eventf(agent, nil, corev1.EventTypeNormal, ReasonOtherOperator, "Reconcile",
			"namespace %s is reconciled by operator %s (Lease %s)", agent.Namespace, quote(operator), NamespaceLease)
	}
	return reconcile.Result{}, nil
}

// quote returns the name of an operator as one line of at most 256 bytes: whoever may write Leases chooses it, and an Event holds no
// more than 1,024.
func quote(operator string) string {
	const limit = 256
	quoted := strconv.Quote(operator)
	return strings.ToValidUTF8(quoted[:min(len(quoted), limit)], "")
}
