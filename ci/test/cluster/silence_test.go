package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const (
	// idleLimitKiB is what an operator may hold that has nothing to do.
	idleLimitKiB = 40 * 1024
	// quietPeriod is how long nothing must happen for a test to believe that nothing will. Of an Agent that is ready, nothing is kept back.
	quietPeriod = 6 * time.Second
)

// replaceOperator stops the operator and starts another in its place, also when the first did not stop well: other tests
// need one.
func replaceOperator(t *testing.T, flags ...string) {
	t.Helper()
	require.NoError(t, swapOperator(t.Context(), flags...))
}

func swapOperator(ctx context.Context, flags ...string) error {
	stopped := stopGracefully(ctx, operator)
	next, err := startOperator(ctx, flags...)
	if err == nil {
		operator = next
	}
	return errors.Join(stopped, err)
}

// useFlags replaces the operator by one with more flags than every other test's. If the test does not replace it again, its end does.
func useFlags(t *testing.T, flags ...string) {
	t.Helper()
	replaceOperator(t, flags...)
	t.Cleanup(func() {
		if len(operator.Flags) > 0 {
			require.NoError(t, swapOperator(context.WithoutCancel(t.Context())))
		}
	})
}

// consistently polls for a while whether something holds all the time.
func (s *fixture) consistently(what string, broken func() error) {
	s.Helper()
	s.consistentlyFor(quietPeriod, what, broken)
}

// consistentlyFor polls for a given time whether something holds all the time.
func (s *fixture) consistentlyFor(limit time.Duration, what string, broken func() error) {
	s.Helper()
	err := wait.PollUntilContextTimeout(s.Context(), 100*time.Millisecond, limit, true, func(context.Context) (bool, error) {
		return false, broken()
	})
	require.True(s, wait.Interrupted(err), "%s: %v", what, err)
}

func TestAnIdleOperatorIsSmall(t *testing.T) {
	s := newFixture(t)
	agents := &v1alpha1.AgentList{}
	require.NoError(t, api.List(t.Context(), agents))
	require.Empty(t, agents.Items, "this test needs a cluster without Agents")
	replaceOperator(t)
	require.InDelta(t, 1, operator.Metric(t.Context(), "go_sched_gomaxprocs_threads"), 0, "threads that run Go code")
	if operator.RSSKiB() == 0 {
		t.Skip("no /proc on this machine: the memory of a process is unknown")
	}
	most := 0
	s.consistently("VmRSS", func() error {
		most = max(most, operator.RSSKiB())
		return nil
	})
	s.note("RSS %.1f MiB", float64(most)/1024)
	require.LessOrEqual(t, most, idleLimitKiB, "KiB")
}

// The bars of the bench, which prints what a thousand Agents cost; how many status writes there are depends on how the steps of
// pods fall together, so those are bounds.
func TestChildrenAreWrittenOnceOnCreateAndOnceOnARoll(t *testing.T) {
	for _, r := range []struct {
		name             string
		spec             change
		children         map[string]int
		statuses, rolled int
		// reads is how often a ConfigMap is read: once for what an Agent references, never where it references none.
		reads int
	}{
		// The beginning and the end; of a roll that takes longer than half a minute, how far it has come.
		{"one replica", replicas(1), map[string]int{"patch deployments": 1, "patch services": 1}, 2, 3, 0},
		// The beginning, and each of the three that comes to answer; a roll of three goes on for longer.
		{"three replicas", replicas(3), map[string]int{"patch deployments": 1, "patch services": 1, "patch poddisruptionbudgets": 1}, 4, 5, 0},
		{"configuration", readsConfig, map[string]int{"patch deployments": 1, "patch services": 1}, 2, 3, 1},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			s := newFixture(t)
			s.setConfig("info")
			s.create("a", r.spec)
			s.waitReady("a")
			s.requireWrites("create", r.children, r.statuses, 1)
			s.requireConfigReads("create", r.reads)

			mark, err := auditLogEnd()
			require.NoError(t, err)
			s.since = mark
			s.setImage("a", "registry.example/agent:v2")
			s.waitReady("a")
			s.requireWrites("roll", map[string]int{"patch deployments": 1}, r.rolled, 2)
			s.requireConfigReads("roll", 0)
		})
	}
}

func TestAConfigRolloutWritesNoMoreThanAnyOtherRollout(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.setConfig("info")
	s.create("a", readsConfig)
	s.waitReady("a")
	s.requireWrites("create", map[string]int{"patch deployments": 1, "patch services": 1}, 2, 1)

	mark, err := auditLogEnd()
	require.NoError(t, err)
	s.since = mark
	s.setConfig("debug")
	s.eventually("the Agent rolls", waitTimeout, func() error {
		if read(s, "a", &appsv1.Deployment{}).Spec.Template.Annotations[v1alpha1.AnnotationConfigRevision] == "" {
			return errors.New("it has no revision")
		}
		return nil
	})
	s.requireWrites("config roll", map[string]int{"patch deployments": 1}, 3, 2)
	s.waitReady("a")
	reads := 0
	for _, r := range s.requests() {
		if r.Verb == "get" && r.ObjectRef.Resource == "configmaps" {
			reads++
		}
	}
	require.Equal(t, 1, reads, "reads of the ConfigMap")
}

// requireWrites is met when the operator wrote exactly these children, a status no more often than this, and so many Events.
func (s *fixture) requireWrites(what string, children map[string]int, statuses, events int) {
	s.Helper()
	wrote := s.settledCounts()
	s.note("%s: %v", what, wrote)
	require.LessOrEqual(s, wrote["update agents/status"], statuses, what)
	delete(wrote, "update agents/status")
	require.Equal(s, children, wrote, what)
	sent := 0
	for _, r := range s.requests() {
		if r.ObjectRef.Resource == "events" {
			sent++
		}
	}
	require.Equal(s, events, sent, "%s: Events", what)
}

// requireConfigReads is met when the operator read ConfigMaps so often, and no Secret.
func (s *fixture) requireConfigReads(what string, configMaps int) {
	s.Helper()
	read := map[string]int{}
	for _, r := range s.requests() {
		if !r.IsWrite() {
			read[r.ObjectRef.Resource]++
		}
	}
	require.Equal(s, configMaps, read["configmaps"], "%s: ConfigMaps read", what)
	require.Zero(s, read["secrets"], "%s: Secrets read", what)
}

// settledCounts waits until the operator has nothing more to write in this namespace, and counts what it wrote. None of it was
// refused: all that may fail is the read that finds a name to be free.
func (s *fixture) settledCounts() map[string]int {
	s.Helper()
	last := -1
	s.eventually("the operator is done", waitTimeout, func() error {
		now := len(s.requests())
		if now == last {
			return nil
		}
		last = now
		s.consistently("a moment", func() error { return nil })
		return fmt.Errorf("%d requests", now)
	})
	requests := s.requests()
	for _, r := range requests {
		free := r.Verb == "get" && r.ResponseStatus.Code == 404
		require.True(s, r.ResponseStatus.Code < 400 || free, "%s", r)
	}
	return harness.Counts(requests)
}

func TestARestartWithTwoHundredSettledAgentsWritesNothing(t *testing.T) {
	const agents = 200
	s := newFixture(t)
	began := time.Now()
	createMany(s, agents, allChildren)
	s.eventually("all Agents are ready", 4*waitTimeout, func() error { return checkReady(s, agents) })
	s.note("%d Agents ready after %.1fs, RSS %.1f MiB", agents, time.Since(began).Seconds(), float64(operator.RSSKiB())/1024)
	made := s.settledCounts()
	s.note("status writes per Agent %.1f", float64(made["update agents/status"])/agents)
	delete(made, "update agents/status")
	require.Equal(t, map[string]int{
		"patch deployments": agents, "patch services": agents, "patch configmaps": agents,
		"patch poddisruptionbudgets": agents, "patch horizontalpodautoscalers": agents,
	}, made)
	before := versions(s)
	require.Len(t, before, 4*agents)

	s.requireSilentRestart(agents)
	require.Equal(t, before, versions(s), "resourceVersions")
	s.note("after the restart: %.0f passes, no write, RSS %.1f MiB",
		operator.Metric(t.Context(), "controller_runtime_reconcile_total", `controller="agent"`), float64(operator.RSSKiB())/1024)
}

// requireSilentRestart replaces the operator. It is met when the new one has had a pass of each Agent without a write, and then sends no
// request.
func (s *fixture) requireSilentRestart(agents float64, flags ...string) {
	s.Helper()
	began, err := auditLogEnd()
	require.NoError(s, err)
	replaceOperator(s.T, flags...)
	require.NoError(s, operator.WaitFor(s.Context(), "its queue is drained", waitTimeout, func(ctx context.Context) bool {
		return operator.Metric(ctx, "controller_runtime_reconcile_total", `controller="agent"`) >= agents &&
			operator.Metric(ctx, "workqueue_depth", `name="agent"`) == 0 &&
			operator.Metric(ctx, "controller_runtime_active_workers", `controller="agent"`) == 0
	}))
	s.consistently("the operator writes nothing", func() error {
		requests, err := requestsSince(began)
		require.NoError(s, err)
		for _, r := range requests {
			event := r.ObjectRef.Resource == "events" && r.ObjectRef.Namespace == s.namespace
			if r.SentBy(operator.Credential) && (r.IsWrite() || event) {
				return fmt.Errorf("%s", r)
			}
		}
		return nil
	})
	mark, err := auditLogEnd()
	require.NoError(s, err)
	watched := time.Now()
	s.consistentlyFor(10*time.Second, "the operator sends no request, except a renewal of its Lease each 2 s", func() error {
		requests, err := requestsSince(mark)
		require.NoError(s, err)
		renewals := 0
		for _, r := range requests {
			if r.ObjectRef.Resource == "leases" {
				renewals++
			} else if r.Verb != "watch" {
				return fmt.Errorf("%s", r)
			}
		}
		if renewals > 1+int(time.Since(watched)/(2*time.Second)) {
			return fmt.Errorf("%d requests for its Lease in %s", renewals, time.Since(watched))
		}
		return nil
	})
}

// allChildren gives an Agent every child there is.
func allChildren(a *v1alpha1.Agent) {
	highlyAvailable(a)
	a.Spec.Runtime.Spec.Replicas = ptr.To[int32](2)
	a.Spec.Card = &v1alpha1.Card{Description: "Answers.", Version: "1"}
	a.Spec.Autoscaling = &v1alpha1.Autoscaling{MinReplicas: ptr.To[int32](2), MaxReplicas: 4}
}

// createMany makes Agents, a few at a time.
func createMany(s *fixture, count int, changes ...change) {
	s.Helper()
	require.NoError(s, forEach(agentNames(count), 8, func(name string) error { return api.Create(s.Context(), s.newAgent(name, changes...)) }))
}

// agentNames are the names of the Agents that createMany makes.
func agentNames(count int) []string {
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("a-%d", i)
	}
	return names
}

// forEach does something for every name, a few at a time, and returns what went wrong.
func forEach(names []string, atATime int, do func(name string) error) error {
	queue := make(chan string)
	var workers sync.WaitGroup
	var mutex sync.Mutex
	var failures []error
	for range atATime {
		workers.Go(func() {
			for name := range queue {
				if err := do(name); err != nil {
					mutex.Lock()
					failures = append(failures, fmt.Errorf("%s: %w", name, err))
					mutex.Unlock()
				}
			}
		})
	}
	for _, name := range names {
		queue <- name
	}
	close(queue)
	workers.Wait()
	return errors.Join(failures...)
}

// checkReady reports how many Agents of the namespace are not ready.
func checkReady(s *fixture, count int) error {
	ready := 0
	for _, agent := range s.list(&v1alpha1.AgentList{}) {
		if isReady(agent.(*v1alpha1.Agent)) {
			ready++
		}
	}
	if ready != count {
		return fmt.Errorf("%d of %d are", ready, count)
	}
	return nil
}

// versions are the resourceVersions of what is in the namespace and that only an operator could have written; budgets and
// autoscalers have their status written by others.
func versions(s *fixture) map[string]string {
	s.Helper()
	all := map[string]string{}
	for _, kind := range []client.ObjectList{&v1alpha1.AgentList{}, &appsv1.DeploymentList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{}} {
		for _, object := range s.list(kind) {
			if object.GetName() != "kube-root-ca.crt" { // every namespace has this ConfigMap
				all[fmt.Sprintf("%T %s", object, object.GetName())] = object.GetResourceVersion()
			}
		}
	}
	return all
}
