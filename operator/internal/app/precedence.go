package app

import (
	"context"
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
	// leaseTerm is how long the Lease of a namespace counts after its last observed change, at most: whatever it says itself and
	// whatever its writer's clock shows, a Lease that nobody renews ends.
	leaseTerm = 60 * time.Second
	// leaseRenewal is how often it is renewed, one write. Without success for leaseDeadline, its holder stops: before leaseTerm.
	leaseRenewal  = 20 * time.Second
	leaseDeadline = 30 * time.Second
	// leaseHandover is how long a released Lease still counts, for a standby of the same installation to continue.
	leaseHandover = 5 * time.Second
)

// Precedence shares namespaces with other operators: one that works in a namespace by name holds its Lease and reconciles it,
// one that works in all namespaces reconciles those whose Lease nobody holds. operator/decisions/0005 says what it does not promise.
type Precedence struct {
	holder     string
	namespaces []string
	client     coordinationv1client.LeasesGetter
	logger     logr.Logger
	freed      chan event.TypedGenericEvent[string] // namespaces that this operator begins to reconcile

	mutex  sync.Mutex
	others map[string]string        // by namespace that another operator reconciles: which one, empty when it is not known
	leases map[string]observedLease // by namespace, of an operator for all namespaces
}

// NewPrecedence is the precedence of an installation, whose replicas continue each other's Leases, in some namespaces. No
// namespaces means all: then nothing is written, and client is not used.
func NewPrecedence(holder string, namespaces []string, client coordinationv1client.LeasesGetter, logger logr.Logger) *Precedence {
	p := &Precedence{
		holder: holder, namespaces: namespaces, client: client, logger: logger, freed: make(chan event.TypedGenericEvent[string]),
		others: map[string]string{}, leases: map[string]observedLease{},
	}
	for _, namespace := range namespaces {
		p.others[namespace] = "" // until it holds the Lease
	}
	return p
}

// YieldsTo tells whether another operator reconciles a namespace, and which one, empty when that is not known.
func (p *Precedence) YieldsTo(namespace string) (operator string, yields bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	operator, yields = p.others[namespace]
	return operator, yields
}

// decide takes in which other operator reconciles a namespace, empty when it is not known which, or that this one does.
func (p *Precedence) decide(namespace string, decision func() (operator string, yields bool)) {
	p.mutex.Lock()
	before, yielded := p.others[namespace]
	operator, yields := decision()
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
		p.freed <- event.TypedGenericEvent[string]{Object: namespace}
	}
}

// Sources enqueue the Agents of a namespace that this operator begins to reconcile. An operator for all namespaces sees every
// Lease before its first Agent.
func (p *Precedence) Sources(manager ctrl.Manager) []source.Source {
	sources := []source.Source{source.TypedChannel(p.freed, handler.TypedEnqueueRequestsFromMapFunc(agentsIn(manager.GetClient())))}
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

// agentsIn lists the Agents of a namespace.
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

// next is what is known of a Lease once its spec is read at some time. Only a change prolongs it.
func (l observedLease) next(spec *coordinationv1.LeaseSpec, now time.Time) observedLease {
	if equality.Semantic.DeepEqual(l.spec, *spec) {
		return l
	}
	holder, term := ptr.Deref(spec.HolderIdentity, ""), time.Duration(ptr.Deref(spec.LeaseDurationSeconds, 0))*time.Second
	if holder == "" {
		holder, term = l.heldBy(now), leaseHandover
	}
	return observedLease{*spec, holder, now.Add(min(term, leaseTerm))}
}

// heldBy names the operator that holds a Lease at some time, empty when none does.
func (l observedLease) heldBy(now time.Time) string {
	if now.Before(l.expires) {
		return l.holder
	}
	return ""
}

// observe takes in the Lease of a namespace as it is now, nil when it was deleted, and judges it again when it expires.
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
	p.judge(namespace)
	if !expires.Equal(before.expires) {
		time.AfterFunc(time.Until(expires), func() { p.judge(namespace) })
	}
}

// judge decides by who holds the Lease of a namespace now.
func (p *Precedence) judge(namespace string) {
	p.decide(namespace, func() (operator string, yields bool) {
		operator = p.leases[namespace].heldBy(time.Now())
		return operator, operator != "" && operator != p.holder // its own is left from when it worked in some namespaces
	})
}

// NeedLeaderElection tells that a standby holds no Lease.
func (p *Precedence) NeedLeaderElection() bool { return true }

// Start takes and renews the Lease of each namespace until the context ends, and releases them then.
func (p *Precedence) Start(ctx context.Context) error {
	var holding sync.WaitGroup
	for _, namespace := range p.namespaces {
		elector, err := p.elector(namespace)
		if err != nil {
			return err
		}
		holding.Go(func() {
			for ctx.Err() == nil {
				elector.Run(ctx)
			}
		})
	}
	holding.Wait()
	return nil
}

// elector competes for the Lease of a namespace.
func (p *Precedence) elector(namespace string) (elector *leaderelection.LeaderElector, err error) {
	leaveTo := func(operator string) {
		if operator == p.holder {
			operator = "" // it could not renew the Lease, and nobody else has taken it yet
		}
		p.decide(namespace, func() (string, bool) { return operator, true })
	}
	elector, err = leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: namespace + "/" + agent.NamespaceLease, // in the metric leader_election_master_status, a series for each namespace
		Lock: boundedLock{&resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: namespace, Name: agent.NamespaceLease},
			Client:    p.client, LockConfig: resourcelock.ResourceLockConfig{Identity: p.holder},
		}},
		LeaseDuration: leaseTerm, RenewDeadline: leaseDeadline, RetryPeriod: leaseRenewal, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { p.decide(namespace, func() (string, bool) { return "", false }) },
			OnStoppedLeading: func() { leaveTo(elector.GetLeader()) },
			OnNewLeader: func(operator string) {
				if operator != p.holder {
					leaveTo(operator)
				}
			},
		},
	})
	return elector, err
}

// boundedLock is the Lease of a namespace, which nobody can hold for longer than leaseTerm by one write.
type boundedLock struct{ *resourcelock.LeaseLock }

// Get reads the Lease. Only its duration is bounded: a change of anything still counts as a renewal.
func (l boundedLock) Get(ctx context.Context) (record *resourcelock.LeaderElectionRecord, raw []byte, err error) {
	if record, raw, err = l.LeaseLock.Get(ctx); err == nil {
		record.LeaseDurationSeconds = min(record.LeaseDurationSeconds, int(leaseTerm/time.Second))
	}
	return record, raw, err
}
