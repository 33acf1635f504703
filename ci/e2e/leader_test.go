package e2e

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// leaseDuration is how long a lease is good for that its holder no longer renews (controller-runtime's default). Who takes
// over sooner was handed the lease.
const leaseDuration = 15 * time.Second

func TestAStandbyIsReadyWritesNothingAndFinishesWhatTheLeaderBegan(t *testing.T) {
	s := newScene(t)
	s.create("a", replicas(4), simulated("ready-after", "1s"))
	s.settled("a")
	leader := operator
	standby, err := startStandby(t.Context())
	require.NoError(t, err)
	require.False(t, standby.leads(t.Context()))
	s.stays("the standby writes nothing, not even the lease", func() error { return standby.wrote(s) })

	holders := followLease(s)
	s.roll("a", "registry.example/agent:v2")
	s.awaitAgent("a", "the rollout is under way", patience, func(a *v1alpha1.Agent) bool { return a.Status.UpdatedReplicas >= 1 })
	began := time.Now()
	require.NoError(t, leader.stop())
	ended := time.Since(began)
	operator = standby
	require.NoError(t, standby.await(t.Context(), "it leads", starting, standby.leads))
	s.note("SIGTERM: ended after %.1fs, taken over after %.1fs", ended.Seconds(), time.Since(began).Seconds())
	require.Less(t, time.Since(began), leaseDuration, "the lease was handed over, not waited for")
	require.Contains(t, holders(), "", "the lease was released")

	require.Equal(t, "registry.example/agent:v2", s.settled("a").Status.Image)
	require.Error(t, standby.wrote(s), "the end of the rollout is told by who took over")
	s.create("b")
	s.settled("b")
}

func TestAStandbyTakesOverFromALeaderThatWasKilled(t *testing.T) {
	s := newScene(t)
	s.create("a")
	s.settled("a")
	standby, err := startStandby(t.Context())
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, operator.kill())
	operator = standby
	s.roll("a", "registry.example/agent:v2") // nobody is there to see it
	require.NoError(t, standby.await(t.Context(), "it leads", 2*leaseDuration, standby.leads))
	s.note("SIGKILL: taken over after %.1fs", time.Since(began).Seconds())
	require.Equal(t, "registry.example/agent:v2", s.settled("a").Status.Image)
	require.NotContains(t, s.quietCounts(), "delete services")
}

// wrote names a request by which an operator wrote anything, nil when there is none.
func (p *process) wrote(s *scene) error {
	requests, err := requestsSince(s.since)
	require.NoError(s, err)
	for _, r := range requests {
		if r.by(p.credential) && r.Verb != "get" && r.Verb != "list" && r.Verb != "watch" {
			return &unexpected{r}
		}
	}
	return nil
}

// unexpected is a request that should not have been sent.
type unexpected struct{ request }

// Error is the request.
func (u *unexpected) Error() string { return u.String() }

// followLease returns who held the lease from now on.
func followLease(s *scene) func() []string {
	s.Helper()
	var mutex sync.Mutex
	var holders []string
	watcher, err := api.Watch(s.Context(), &coordinationv1.LeaseList{}, client.InNamespace(system))
	require.NoError(s, err)
	go func() {
		defer watcher.Stop()
		for event := range watcher.ResultChan() {
			if lease, ok := event.Object.(*coordinationv1.Lease); ok {
				mutex.Lock()
				holders = append(holders, ptr.Deref(lease.Spec.HolderIdentity, ""))
				mutex.Unlock()
			}
		}
	}()
	return func() []string {
		mutex.Lock()
		defer mutex.Unlock()
		return append([]string{}, holders...)
	}
}
