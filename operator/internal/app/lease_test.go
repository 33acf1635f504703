package app

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// leaseServer is the Lease as the API server stores it.
type leaseServer struct {
	mutex  sync.Mutex
	record resourcelock.LeaderElectionRecord
}

// leaseClient is one replica's client of it. It counts the replica's requests, and when it last wrote.
type leaseClient struct {
	server      *leaseServer
	identity    string
	unreachable atomic.Bool
	requests    atomic.Int32
	written     atomic.Int64
}

func (c *leaseClient) request(do func()) error {
	c.requests.Add(1)
	if c.unreachable.Load() {
		return errors.New("no route to host")
	}
	c.server.mutex.Lock()
	defer c.server.mutex.Unlock()
	do()
	return nil
}

func (c *leaseClient) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record := &resourcelock.LeaderElectionRecord{}
	err := c.request(func() { *record = c.server.record })
	return record, []byte(record.HolderIdentity + record.RenewTime.String()), err
}

func (c *leaseClient) Update(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	return c.request(func() {
		c.server.record = record
		c.written.Store(time.Now().UnixNano())
	})
}

func (c *leaseClient) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return c.Update(ctx, record)
}

func (c *leaseClient) RecordEvent(string) {}
func (c *leaseClient) Identity() string   { return c.identity }
func (c *leaseClient) Describe() string   { return "flokoa-system/flokoa-operator" }

// replica is an election with the operator's times.
type replica struct {
	*leaderelection.LeaderElector
	client  *leaseClient
	stop    func()
	stopped *atomic.Bool // leading
}

func startReplica(t *testing.T, server *leaseServer, identity string) replica {
	t.Helper()
	lease := &leaseClient{server: server, identity: identity}
	stopped := &atomic.Bool{}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &sparingLease{Interface: lease}, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) {}, OnStoppedLeading: func() { stopped.Store(true) }},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	go elector.Run(ctx)
	return replica{elector, lease, cancel, stopped}
}

// until returns after how long something is true.
func until(holds func() bool) time.Duration {
	began := time.Now()
	for !holds() && time.Since(began) < time.Minute {
		advance(time.Millisecond)
	}
	return time.Since(began)
}

// newElection has a replica that leads, and one that stands by.
func newElection(t *testing.T) (leader, standby replica) {
	t.Helper()
	server := &leaseServer{}
	leader = startReplica(t, server, "leader")
	until(leader.IsLeader)
	return leader, startReplica(t, server, "standby")
}

func TestAnOperatorAtRestSparesTheAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, standby := newElection(t)
		const seconds = 10_000
		advance(seconds * time.Second)
		require.True(t, leader.IsLeader())
		require.InDelta(t, 0.45, float64(leader.client.requests.Load())/seconds, 0.01, "writes a second")
		require.InDelta(t, 0.57, float64(standby.client.requests.Load())/seconds, 0.02, "reads a second")
	})
}

// An operator ends at any moment between two requests, so the test tries many.
func TestAStandbyTakesOver(t *testing.T) {
	for offset := time.Duration(0); offset < 5*time.Second; offset += 97 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			leader, standby := newElection(t)
			advance(20*time.Second + offset)
			leader.stop()
			require.Less(t, until(standby.IsLeader), 3*time.Second, "after a release")
		})
		synctest.Test(t, func(t *testing.T) {
			leader, standby := newElection(t)
			advance(20*time.Second + offset)
			leader.client.unreachable.Store(true)
			require.Less(t, until(standby.IsLeader), 17*time.Second, "after a kill")
		})
	}
}

// A leader that does not reach the API server finishes its reconciles before another can lead.
func TestTwoReplicasNeverReconcileAtATime(t *testing.T) {
	const shutdownGrace = 3 * time.Second // of package agent
	for offset := time.Duration(0); offset < 5*time.Second; offset += 97 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			leader, _ := newElection(t)
			advance(20*time.Second + offset)
			leader.client.unreachable.Store(true)
			until(leader.stopped.Load)
			written := time.Unix(0, leader.client.written.Load())
			require.Less(t, time.Since(written)+shutdownGrace, leaseDuration)
		})
	}
}

// Two reads and the expiry between them are the longest takeover; the test above meets it seldom.
func TestTheLongestTakeoverIsWithinItsBar(t *testing.T) {
	const jitter = 2.2 // client-go adds up to 1.2 periods
	require.Less(t, 2*jitter*retryPeriod.Seconds()+leaseDuration.Seconds(), 17.0)
}

func TestALeaseIsWrittenWhenAnotherReplicaHeldIt(t *testing.T) {
	server := &leaseServer{}
	api := &leaseClient{server: server, identity: "a"}
	lease := &sparingLease{Interface: api}
	own := resourcelock.LeaderElectionRecord{HolderIdentity: "a"}
	require.NoError(t, lease.Update(t.Context(), own))
	server.record.HolderIdentity = "b"
	require.NoError(t, lease.Update(t.Context(), own))
	require.Equal(t, "b", server.record.HolderIdentity, "a renewal is skipped")
	_, _, err := lease.Get(t.Context())
	require.NoError(t, err)
	require.NoError(t, lease.Update(t.Context(), own))
	require.Equal(t, "a", server.record.HolderIdentity)
	require.NoError(t, lease.Update(t.Context(), resourcelock.LeaderElectionRecord{}))
	require.Empty(t, server.record.HolderIdentity, "a release is never skipped")
	require.NoError(t, lease.Update(t.Context(), own))
	require.Equal(t, "a", server.record.HolderIdentity, "nor is what follows it")
	api.unreachable.Store(true)
	_, _, err = lease.Get(t.Context())
	require.Error(t, err)
	require.Error(t, lease.Update(t.Context(), own))
	api.unreachable.Store(false)
	server.record.HolderIdentity = "b"
	require.NoError(t, lease.Update(t.Context(), own))
	require.Equal(t, "a", server.record.HolderIdentity, "nor is what follows a failure")
}

// A request of a reconcile has a minute, one for the Lease far less: the two share nothing but the API server.
func TestTheElectionLeavesTheOperatorsClientAlone(t *testing.T) {
	config := &rest.Config{Host: "https://api.example", UserAgent: "flokoa-operator/test"}
	_, err := newLease(t.Context(), Options{LeaderElectionNamespace: "flokoa-system", LeaseName: "flokoa-operator"}, config, runtime.NewScheme())
	require.NoError(t, err)
	require.Equal(t, &rest.Config{Host: "https://api.example", UserAgent: "flokoa-operator/test"}, config)
}
