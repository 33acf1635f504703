package cluster_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// The longest time without a leader: after a graceful stop, which releases the lease, and after SIGKILL, which leaves a lease that
// must expire.
const (
	afterStop = 3 * time.Second
	afterKill = 17 * time.Second
	// workers is how many Agents an operator works on at a time, the default of --concurrency.
	workers = 8
	// takeoverSlack is how much longer a test waits, to measure a late takeover.
	takeoverSlack = 15 * time.Second
)

func TestAStandbyWritesNothingAndFinishesTheLeadersRollout(t *testing.T) {
	s := newFixture(t)
	s.create("a", replicas(4), simulate("ready-after", "1s"))
	s.waitReady("a")
	leader := operator
	standby, err := startStandby(t.Context())
	require.NoError(t, err)
	require.False(t, standby.IsLeader(t.Context()))
	s.consistently("the standby writes nothing, not even the lease", func() error { return checkNoWrites(s, standby) })

	holders := followLease(s)
	s.setImage("a", "registry.example/agent:v2")
	s.waitForAgent("a", "the rollout is under way", waitTimeout, func(a *v1alpha1.Agent) bool { return a.Status.UpdatedReplicas >= 1 })
	requireTakeover(s, standby, "SIGTERM", leader.Stop, afterStop)
	require.Contains(t, holders(), "", "the lease was released")

	require.Equal(t, "registry.example/agent:v2", s.waitReady("a").Status.Image)
	require.Error(t, checkNoWrites(s, standby), "the new leader writes the final status")
	s.create("b")
	s.waitReady("b")
}

// requireTakeover ends the operator, in its way, and waits until the standby leads in its stead.
func requireTakeover(s *fixture, standby *process, way string, end func() error, limit time.Duration) {
	s.Helper()
	slowest := measureRequests(s)
	began := time.Now()
	require.NoError(s, end())
	ended := time.Since(began)
	operator = standby
	require.NoError(s, standby.WaitFor(s.Context(), "it leads", limit+takeoverSlack, standby.IsLeader))
	took := time.Since(began)
	slow := slowest()
	s.note("%s: ended after %.1fs, taken over after %.1fs (slowest request %.2fs)", way, ended.Seconds(), took.Seconds(), slow.Seconds())
	// What a busy machine's API server takes for the requests that follow one another is not the operator's: a write under way, its
	// status, giving up the lease and taking it, two requests each.
	require.LessOrEqual(s, took, limit+6*slow, "from %s until the standby leads", way)
}

// measureRequests reads the lease again and again until the returned function is called, which returns the duration of the slowest read:
// milliseconds on a machine that has nothing else to do.
func measureRequests(s *fixture) (slowest func() time.Duration) {
	ctx, cancel := context.WithCancel(s.Context())
	result := make(chan time.Duration)
	go func() {
		most := time.Duration(0)
		for ctx.Err() == nil {
			began := time.Now()
			_, _ = leaseHolder(ctx)
			most = max(most, time.Since(began))
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
		result <- most
	}()
	return func() time.Duration {
		cancel()
		return <-result
	}
}

func TestAHundredRolloutsFinishAfterALeaderChange(t *testing.T) {
	const agents = 100
	s := newFixture(t)
	createMany(s, agents)
	s.eventually("all Agents are ready", waitTimeout, func() error { return checkReady(s, agents) })
	for _, row := range []struct {
		way, image  string
		end         func(*process) error
		limit       time.Duration
		interrupted int // requests: SIGTERM finishes them, SIGKILL interrupts one per worker
	}{
		{"SIGTERM", "registry.example/agent:v2", (*process).Stop, afterStop, 0},
		{"SIGKILL", "registry.example/agent:v3", (*process).Kill, afterKill, workers},
	} {
		leader := operator
		standby, err := startStandby(t.Context())
		require.NoError(t, err)
		before := generations(s)
		mark, err := auditLogEnd()
		require.NoError(t, err)
		s.since = mark

		finish := setAllImages(s, agents, row.image)
		requireTakeover(s, standby, row.way, func() error { return row.end(leader) }, row.limit)
		require.NoError(t, finish())
		s.eventually("all Agents are ready with the new image", waitTimeout, func() error { return checkRolledOut(s, agents, row.image) })
		requireOneWriteEach(s, agents, row.interrupted, leader, standby)
		after := generations(s)
		require.Len(t, after, agents)
		for name, generation := range after {
			require.Equal(t, before[name]+1, generation, "Deployment %s was changed once", name)
		}
	}
}

// setAllImages gives all Agents another image, one after the other, and returns when a part of their Deployments has it, to do
// what it likes to the operator; finish waits until the last Agent has been given it.
func setAllImages(s *fixture, agents int, image string) (finish func() error) {
	s.Helper()
	done, part := make(chan error, 1), make(chan struct{})
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	seen := map[string]bool{}
	s.watchObjects(ctx, &appsv1.DeploymentList{}, func(_ watch.EventType, object client.Object) {
		deployment := object.(*appsv1.Deployment)
		if deployment.Spec.Template.Spec.Containers[0].Image != image || seen[deployment.Name] {
			return
		}
		seen[deployment.Name] = true
		if len(seen) == agents*3/10 {
			close(part)
		}
	})
	go func() {
		done <- forEach(agentNames(agents), 1, func(name string) error { return setImageRetrying(s.Context(), s.namespace, name, image) })
	}()
	select {
	case <-part:
	case <-time.After(waitTimeout):
		require.Fail(s, "no part of the Deployments was rolled")
	}
	return func() error { return <-done }
}

// setImageRetrying sets an Agent's image and retries until the API server answers.
func setImageRetrying(ctx context.Context, namespace, name, image string) error {
	patch := client.RawPatch(types.JSONPatchType, []byte(`[{"op":"replace","path":"/spec/runtime/spec/container/image","value":"`+image+`"}]`))
	var last error
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, waitTimeout, true, func(ctx context.Context) (bool, error) {
		agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		last = api.Patch(ctx, agent, patch)
		return last == nil, nil
	})
	if err != nil {
		return last
	}
	return nil
}

// checkRolledOut reports how many Agents of the namespace are not ready with an image.
func checkRolledOut(s *fixture, agents int, image string) error {
	ready := 0
	for _, object := range s.list(&v1alpha1.AgentList{}) {
		if agent := object.(*v1alpha1.Agent); isReady(agent) && agent.Status.Image == image {
			ready++
		}
	}
	if ready != agents {
		return fmt.Errorf("%d of %d are", ready, agents)
	}
	return nil
}

// requireOneWriteEach checks what two operators wrote between them. Each Deployment is written once, by one of them; only a
// write that was interrupted when the leader was killed may be repeated. The two never write at the same time.
func requireOneWriteEach(s *fixture, agents, maxInterrupted int, leader, standby *process) {
	s.Helper()
	writes, interrupted := map[string]int{}, map[string]int{}
	byLeader, byStandby, statuses := 0, 0, 0
	var last, first time.Time // the last write of the leader, the first of the standby
	for _, r := range s.requests() {
		if !r.IsWrite() {
			continue
		}
		late := r.SentBy(standby.Credential)
		switch at := r.RequestReceivedTimestamp; {
		case !late && at.After(last):
			last = at
		case late && (first.IsZero() || at.Before(first)):
			first = at
		}
		switch {
		case r.Resource() == "agents/status" && r.ResponseStatus.Code < 400:
			statuses++
		case r.Resource() == "deployments" && r.Verb == "patch" && r.ResponseStatus.Code < 400:
			writes[r.ObjectRef.Name]++
			if late {
				byStandby++
			} else {
				byLeader++
			}
		default:
			require.True(s, r.SentBy(leader.Credential) && r.ResponseStatus.Code >= 400, "needless: %s", r)
			interrupted[r.ObjectRef.Name]++
		}
	}
	require.LessOrEqual(s, len(interrupted), maxInterrupted, "requests interrupted by the end of the leader: %v", interrupted)
	for _, name := range agentNames(agents) {
		if interrupted[name] == 0 { // an interrupted write may have succeeded, or the standby repeats it
			require.Equal(s, 1, writes[name], "writes of Deployment %s", name)
		}
		require.LessOrEqual(s, writes[name], 1, "writes of Deployment %s", name)
	}
	require.NotZero(s, byLeader, "the leader ended before its first write")
	require.NotZero(s, byStandby, "the leader ended after the last write")
	require.True(s, last.Before(first), "the leader wrote at %s, the standby at %s", last, first)
	s.note("Deployments written %d + %d, %d requests broken off, %.1f status writes per Agent, first write of the standby %.1fs after the leader's last",
		byLeader, byStandby, len(interrupted), float64(statuses)/float64(agents), first.Sub(last).Seconds())
}

// generations are those of the Deployments of the namespace: each change of what is wanted counts one.
func generations(s *fixture) map[string]int64 {
	s.Helper()
	all := map[string]int64{}
	for _, object := range s.list(&appsv1.DeploymentList{}) {
		all[object.GetName()] = object.GetGeneration()
	}
	return all
}

// checkNoWrites names a request by which an operator wrote anything, nil when there is none.
func checkNoWrites(s *fixture, p *process) error {
	requests, err := requestsSince(s.since)
	require.NoError(s, err)
	for _, r := range requests {
		if r.SentBy(p.Credential) && !r.IsDryRun() && r.Verb != "get" && r.Verb != "list" && r.Verb != "watch" {
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
func followLease(s *fixture) func() []string {
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
