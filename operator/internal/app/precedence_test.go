package app

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/internal/agent"
)

// held returns the spec of a Lease that its holder renewed at a time of its own clock. An empty holder has released it.
func held(holder string, seconds int32, renewed time.Time) *coordinationv1.LeaseSpec {
	return &coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: ptr.To(metav1.NewMicroTime(renewed))}
}

func TestLeaseExpiresWithinOneTermOfItsLastChange(t *testing.T) {
	start := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	past, future := start.AddDate(-10, 0, 0), start.AddDate(1000, 0, 0)
	type read struct {
		after time.Duration
		spec  *coordinationv1.LeaseSpec
	}
	for name, r := range map[string]struct {
		reads   []read
		expires time.Duration // since the start
	}{
		"renewed by the same clock":              {[]read{{0, held("o", 60, start)}}, 60 * time.Second},
		"renewed by a clock in the past":         {[]read{{0, held("o", 60, past)}}, 60 * time.Second},
		"renewed by a clock in the future":       {[]read{{0, held("o", 60, future)}}, 60 * time.Second},
		"shorter than the bound":                 {[]read{{0, held("o", 15, start)}}, 15 * time.Second},
		"for 68 years":                           {[]read{{0, held("o", 2147483647, future)}}, 60 * time.Second},
		"without a duration":                     {[]read{{0, &coordinationv1.LeaseSpec{HolderIdentity: ptr.To("o")}}}, 0},
		"with a negative duration":               {[]read{{0, held("o", -1, start)}}, 0},
		"read again and unchanged":               {[]read{{0, held("o", 60, start)}, {50 * time.Second, held("o", 60, start)}}, 60 * time.Second},
		"read again after its expiry, unchanged": {[]read{{0, held("o", 60, start)}, {90 * time.Second, held("o", 60, start)}}, 60 * time.Second},
		"renewed":                                {[]read{{0, held("o", 60, start)}, {20 * time.Second, held("o", 60, start.Add(1))}}, 80 * time.Second},
		"renewed by a clock that goes back":      {[]read{{0, held("o", 60, start)}, {20 * time.Second, held("o", 60, past)}}, 80 * time.Second},
		"renewed after its expiry":               {[]read{{0, held("o", 60, start)}, {90 * time.Second, held("o", 60, start.Add(1))}}, 150 * time.Second},
		"released":                               {[]read{{0, held("o", 60, start)}, {20 * time.Second, held("", 1, start.Add(1))}}, 25 * time.Second},
		"released after its expiry":              {[]read{{0, held("o", 60, start)}, {90 * time.Second, held("", 1, start.Add(1))}}, 60 * time.Second},
		"released before it was first read":      {[]read{{0, held("", 1, start)}}, 0},
		"never held":                             {[]read{{0, &coordinationv1.LeaseSpec{}}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			lease := observedLease{}
			for _, read := range r.reads {
				lease = lease.next(read.spec, start.Add(read.after))
			}
			last := start.Add(r.reads[len(r.reads)-1].after)
			require.Equal(t, r.expires > last.Sub(start), lease.holderAt(last) == "o", "when last read")
			if end := start.Add(r.expires); end.After(last) {
				require.Equal(t, "o", lease.holderAt(end.Add(-1)))
				require.Empty(t, lease.holderAt(end))
			}
		})
	}
}

// newPrecedenceFor returns a Precedence, its log, and the namespaces that it has acquired so far.
func newPrecedenceFor(t *testing.T, client coordinationv1client.LeasesGetter, namespaces ...string) (p *Precedence, log *bytes.Buffer, acquired *[]string) {
	t.Helper()
	log, acquired = &bytes.Buffer{}, &[]string{}
	p = NewPrecedence("home/me", namespaces, client, logr.FromSlogHandler(logHandler(Options{LogFormat: "text"}, log)))
	go func() {
		for {
			select {
			case <-t.Context().Done():
				return
			case event := <-p.acquired:
				*acquired = append(*acquired, event.Object)
			}
		}
	}()
	return p, log, acquired
}

// advance advances the fake clock of a synctest bubble.
func advance(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // there is no condition to await: nothing may happen in that time

func TestOperatorForAllNamespacesYieldsToLeaseHolders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, log, acquired := newPrecedenceFor(t, nil)
		yields := func(want string) {
			t.Helper()
			synctest.Wait()
			operator, ok := p.YieldsTo("team")
			require.Equal(t, want, operator)
			require.Equal(t, want != "", ok)
			_, ok = p.YieldsTo("elsewhere")
			require.False(t, ok, "a Lease affects its own namespace only")
		}
		future := time.Now().AddDate(1000, 0, 0)
		yields("")
		p.observe("team", held("other/one", 2147483647, future))
		yields("other/one")
		advance(20 * time.Second)
		p.observe("team", held("other/one", 2147483647, future.Add(1)))
		advance(leaseTerm - 1)
		p.observe("team", held("other/one", 2147483647, future.Add(1))) // the informer relists
		yields("other/one")
		require.Empty(t, *acquired)
		advance(1)
		yields("")
		require.Equal(t, []string{"team"}, *acquired)

		p.observe("team", held("other/one", 60, future.Add(2)))
		yields("other/one")
		p.observe("team", held("other/two", 60, future.Add(3)))
		yields("other/two")
		p.observe("team", held("", 1, future.Add(4)))
		advance(leaseHandover - 1)
		yields("other/two")
		advance(1)
		yields("")
		p.observe("team", held("other/one", 60, future.Add(5)))
		yields("other/one")
		p.observe("team", nil)
		yields("")
		p.observe("team", held("home/me", 60, future.Add(6)))
		yields("")
		require.Equal(t, []string{"team", "team", "team"}, *acquired)
		require.Equal(t, 4, strings.Count(log.String(), "another operator reconciles the namespace"), log)
		require.Equal(t, 3, strings.Count(log.String(), "this operator reconciles the namespace"), log)
		require.Equal(t, 7, strings.Count(log.String(), "namespace=team"), log)
		require.Equal(t, 3, strings.Count(log.String(), "operator=other/one"), log)
	})
}

// oneLease stores one Lease the way the API server does, and counts the writes.
type oneLease struct {
	coordinationv1client.LeaseInterface
	stored *coordinationv1.Lease
	writes int
	err    error
}

func (o *oneLease) Leases(string) coordinationv1client.LeaseInterface { return o }

func (o *oneLease) Get(context.Context, string, metav1.GetOptions) (*coordinationv1.Lease, error) {
	switch {
	case o.err != nil:
		return nil, o.err
	case o.stored == nil:
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, agent.NamespaceLease)
	}
	return o.stored.DeepCopy(), nil
}

func (o *oneLease) Create(_ context.Context, lease *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	return o.store(lease)
}

func (o *oneLease) Update(_ context.Context, lease *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	if o.stored == nil || lease.ResourceVersion != o.stored.ResourceVersion {
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, agent.NamespaceLease, nil)
	}
	return o.store(lease)
}

func (o *oneLease) store(lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	if o.err != nil {
		return nil, o.err
	}
	o.writes++
	o.stored = lease.DeepCopy()
	o.stored.ResourceVersion += "."
	return o.stored.DeepCopy(), nil
}

func TestOperatorReconcilesOnlyWhileItHoldsTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lease := &oneLease{}
		p, log, acquired := newPrecedenceFor(t, lease, "team")
		reconciles := func(want bool) {
			t.Helper()
			synctest.Wait()
			_, yields := p.YieldsTo("team")
			require.Equal(t, want, !yields)
		}
		reconciles(false)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Start(ctx) }()
		reconciles(true)
		require.Equal(t, []string{"team"}, *acquired)
		require.Equal(t, "home/me", *lease.stored.Spec.HolderIdentity)
		require.Equal(t, agent.NamespaceLease, lease.stored.Name)

		advance(time.Second)
		before := lease.writes
		advance(10 * time.Minute)
		require.Equal(t, 30, lease.writes-before, "one write every 20 s")

		lease.err = apierrors.NewServiceUnavailable("down")
		advance(leaseTerm - 1) // no other operator can acquire it before leaseTerm
		reconciles(false)
		lease.err = nil
		advance(leaseTerm)
		reconciles(true)
		require.Equal(t, []string{"team", "team"}, *acquired)

		lease.stored.Spec, lease.stored.ResourceVersion = *held("forged", 2147483647, time.Now().AddDate(1000, 0, 0)), "forged"
		advance(leaseRenewal + leaseDeadline + 1)
		reconciles(false)
		operator, _ := p.YieldsTo("team")
		require.Equal(t, "forged", operator)
		require.Contains(t, log.String(), "another operator reconciles the namespace")
		advance(2 * leaseTerm) // it expires because it is not renewed
		reconciles(true)

		stop()
		require.NoError(t, <-ended)
		reconciles(false)
		require.Empty(t, *lease.stored.Spec.HolderIdentity, "released")
	})
}

func TestOnlyTheSameInstallationTakesOverAHeldLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for holder, want := range map[string]bool{"home/me": true, "home/other": false} {
			lease := &oneLease{stored: &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: agent.NamespaceLease, ResourceVersion: "1"}, Spec: *held(holder, 60, time.Now())}}
			p, _, _ := newPrecedenceFor(t, lease, "team")
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- p.Start(ctx) }()
			synctest.Wait()
			_, yields := p.YieldsTo("team")
			require.Equal(t, want, !yields, holder)
			stop()
			require.NoError(t, <-ended)
		}
	})
}
