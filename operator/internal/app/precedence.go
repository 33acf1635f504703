package app

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agent"
)

const (
	// leaseTerm is how long the Lease of a namespace is valid after its last observed change, at most. A Lease that nobody renews
	// expires, whatever its duration and its writer's clock.
	leaseTerm = 60 * time.Second
	// leaseRenewal is how often the holder renews it, one write. A holder that cannot for leaseDeadline stops, before leaseTerm.
	leaseRenewal  = 20 * time.Second
	leaseDeadline = 30 * time.Second
	// leaseHandover is how long a released Lease stays valid, so that a standby of the same installation can take it over.
	leaseHandover = 5 * time.Second
)

// Precedence divides namespaces among operators. An operator for named namespaces holds the Lease of each and reconciles it. An
// operator for all namespaces reconciles those that have no Lease holder. operator/decisions/0005 lists what it does not guarantee.
type Precedence struct {
	holder     string
	namespaces []string
	client     coordinationv1client.LeasesGetter
	logger     logr.Logger
	acquired   chan event.TypedGenericEvent[string] // namespaces that this operator starts to reconcile

	mutex  sync.Mutex
	others map[string]string        // the other operator by the namespace that it reconciles, empty if unknown
	leases map[string]observedLease // by namespace; only an operator for all namespaces has any
}

// NewPrecedence returns the precedence of an installation in some namespaces. Its replicas share its Leases. No namespaces means
// all: the operator then writes no Lease, and client is not used.
func NewPrecedence(holder string, namespaces []string, client coordinationv1client.LeasesGetter, logger logr.Logger) *Precedence {
	p := &Precedence{
		holder: holder, namespaces: namespaces, client: client, logger: logger, acquired: make(chan event.TypedGenericEvent[string]),
		others: map[string]string{}, leases: map[string]observedLease{},
	}
	for _, namespace := range namespaces {
		p.others[namespace] = "" // until this operator holds the Lease
	}
	return p
}

// YieldsTo reports whether another operator reconciles a namespace, and which one, empty if unknown.
func (p *Precedence) YieldsTo(namespace string) (operator string, yields bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	operator, yields = p.others[namespace]
	return operator, yields
}

// update records which other operator reconciles a namespace, empty if unknown, or that this one does.
func (p *Precedence) update(namespace string, decide func() (operator string, yields bool)) {
	p.mutex.Lock()
	before, yielded := p.others[namespace]
	operator, yields := decide()
	if p.others[namespace] = operator; !yields {
		delete(p.others, namespace)
	}
	p.mutex.Unlock()
	logger := p.logger.WithValues("namespace", namespace, "lease", agent.NamespaceLease)
	switch {
	case yields && operator != "" && operator != before:
		logger.Info("another operator reconciles the namespace", "operator", operator)
	case !yields && yielded:
		logger.Info("this operator reconciles the namespace")
		p.acquired <- event.TypedGenericEvent[string]{Object: namespace}
	}
}

// Sources enqueue the Agents of a namespace that this operator starts to reconcile. An operator for all namespaces reads every
// Lease before its first Agent.
func (p *Precedence) Sources(manager ctrl.Manager) []source.Source {
	sources := []source.Source{source.TypedChannel(p.acquired, handler.TypedEnqueueRequestsFromMapFunc(agentsIn(manager.GetClient())))}
	if len(p.namespaces) > 0 {
		return sources
	}
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	type lease = *coordinationv1.Lease
	return append(sources, source.Kind(manager.GetCache(), &coordinationv1.Lease{}, handler.TypedFuncs[lease, reconcile.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[lease], _ queue) {
			p.observe(e.Object.Namespace, &e.Object.Spec)
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[lease], _ queue) {
			p.observe(e.ObjectNew.Namespace, &e.ObjectNew.Spec)
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[lease], _ queue) { p.observe(e.Object.Namespace, nil) },
	}))
}

// agentsIn maps a namespace to its Agents.
func agentsIn(cached client.Reader) handler.TypedMapFunc[string, reconcile.Request] {
	return func(ctx context.Context, namespace string) []reconcile.Request {
		agents := &v1alpha1.AgentList{}
		if err := cached.List(ctx, agents, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			log.FromContext(ctx).Error(err, "cannot list the Agents of a namespace", "namespace", namespace)
		}
		requests := make([]reconcile.Request, len(agents.Items))
		for i := range agents.Items {
			requests[i].NamespacedName = client.ObjectKeyFromObject(&agents.Items[i])
		}
		return requests
	}
}

// observedLease is the Lease of a namespace as this process has seen it change.
type observedLease struct {
	spec    coordinationv1.LeaseSpec
	holder  string
	expires time.Time
}

// next returns the Lease after its spec was read at a time. Only a change of the spec extends it.
func (l observedLease) next(spec *coordinationv1.LeaseSpec, now time.Time) observedLease {
	if equality.Semantic.DeepEqual(l.spec, *spec) {
		return l
	}
	holder, term := ptr.Deref(spec.HolderIdentity, ""), time.Duration(ptr.Deref(spec.LeaseDurationSeconds, 0))*time.Second
	if holder == "" {
		holder, term = l.holderAt(now), leaseHandover
	}
	return observedLease{*spec, holder, now.Add(min(term, leaseTerm))}
}

// holderAt returns the operator that holds a Lease at a time, empty if none does.
func (l observedLease) holderAt(now time.Time) string {
	if now.Before(l.expires) {
		return l.holder
	}
	return ""
}

// observe records the current Lease of a namespace, nil if it was deleted, and evaluates it again when it expires.
func (p *Precedence) observe(namespace string, spec *coordinationv1.LeaseSpec) {
	p.mutex.Lock()
	before := p.leases[namespace]
	if spec == nil {
		delete(p.leases, namespace)
	} else {
		p.leases[namespace] = before.next(spec, time.Now())
	}
	expires := p.leases[namespace].expires
	p.mutex.Unlock()
	p.evaluate(namespace)
	if !expires.Equal(before.expires) {
		time.AfterFunc(time.Until(expires), func() { p.evaluate(namespace) })
	}
}

// evaluate yields a namespace to the current holder of its Lease, or reconciles it if there is none.
func (p *Precedence) evaluate(namespace string) {
	p.update(namespace, func() (operator string, yields bool) {
		operator = p.leases[namespace].holderAt(time.Now())
		return operator, operator != "" && operator != p.holder // its own remains from when it named this namespace
	})
}

// NeedLeaderElection is true: a standby holds no Lease.
func (p *Precedence) NeedLeaderElection() bool { return true }

// Start acquires and renews the Lease of each namespace until the context ends, and then releases them.
func (p *Precedence) Start(ctx context.Context) error {
	var electors sync.WaitGroup
	for _, namespace := range p.namespaces {
		elector, err := p.elector(namespace)
		if err != nil {
			return err
		}
		electors.Go(func() {
			for ctx.Err() == nil {
				elector.Run(ctx)
			}
		})
	}
	electors.Wait()
	return nil
}

// elector returns the leader election for the Lease of a namespace.
func (p *Precedence) elector(namespace string) (elector *leaderelection.LeaderElector, err error) {
	yieldTo := func(operator string) {
		if operator == p.holder {
			operator = "" // it could not renew the Lease, and nobody else holds it yet
		}
		p.update(namespace, func() (string, bool) { return operator, true })
	}
	elector, err = leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: namespace + "/" + agent.NamespaceLease, // each namespace is a series of leader_election_master_status
		Lock: boundedLock{&resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: namespace, Name: agent.NamespaceLease},
			Client:    p.client, LockConfig: resourcelock.ResourceLockConfig{Identity: p.holder},
		}},
		LeaseDuration: leaseTerm, RenewDeadline: leaseDeadline, RetryPeriod: leaseRenewal, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { p.update(namespace, func() (string, bool) { return "", false }) },
			OnStoppedLeading: func() { yieldTo(elector.GetLeader()) },
			OnNewLeader: func(operator string) {
				if operator != p.holder {
					yieldTo(operator)
				}
			},
		},
	})
	return elector, err
}

// boundedLock is the Lease of a namespace. One write cannot hold it for longer than leaseTerm.
type boundedLock struct{ *resourcelock.LeaseLock }

// Get reads the Lease and bounds its duration and its transitions. The operator that takes it over writes one transition more; with
// the largest number in the Lease, the API server would reject every takeover. A change of any other field still counts as a renewal.
func (l boundedLock) Get(ctx context.Context) (record *resourcelock.LeaderElectionRecord, raw []byte, err error) {
	if record, raw, err = l.LeaseLock.Get(ctx); err == nil {
		record.LeaseDurationSeconds = min(record.LeaseDurationSeconds, int(leaseTerm/time.Second))
		record.LeaderTransitions = min(record.LeaderTransitions, math.MaxInt32-1)
	}
	return record, raw, err
}
