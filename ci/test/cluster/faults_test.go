package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// What the operator promises about trying again, and about its lease.
const (
	firstRetry    = 200 * time.Millisecond
	lastRetry     = 50 * time.Second
	passTimeout   = time.Minute
	leaseDuration = 12 * time.Second
	lookAtLease   = 1100 * time.Millisecond
)

// maxAttempts is how often something is tried within a time that fails every time: at once, and after pauses that double.
func maxAttempts(within, first, last time.Duration) int {
	count := 0
	for at, pause := time.Duration(0), first; at <= within; pause = min(2*pause, last) {
		count++
		at += pause
	}
	return count
}

func TestAnOperatorSurvivesAPIServerErrors(t *testing.T) {
	s := newFixture(t)
	p, err := harness.NewProxy(cluster.Config)
	require.NoError(t, err)
	t.Cleanup(p.End)
	t.Cleanup(func() { // not replaceOperator: what happened to the operator is what the test is about
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if !operator.Ended() {
			require.NoError(t, operator.Stop())
		}
		var err error
		operator, err = startOperator(ctx)
		require.NoError(t, err)
	})
	require.NoError(t, stopGracefully(t.Context(), operator))
	operator, err = startOperatorVia(t.Context(), p.RESTConfig())
	require.NoError(t, err)
	require.NoError(t, operator.WaitFor(t.Context(), "it leads", harness.StartTimeout, operator.IsLeader))

	held, statusWorks := startStatusOutage(s, p)
	t.Run("every request fails", func(t *testing.T) { everyRequestFails(newFixture(t), p) })
	t.Run("every child is refused once", func(t *testing.T) { everyChildIsRefusedOnce(newFixture(t), p) })
	t.Run("a third of all requests fails", func(t *testing.T) { aThirdOfAllRequestsFails(newFixture(t), p) })
	requireStatusRecovery(s, held, statusWorks)
	t.Run("the lease cannot be renewed", func(t *testing.T) { theLeaseCannotBeRenewed(newFixture(t), p) })
}

// The namespace of the status outage.
const (
	statusTestAgents = 10 // Agents
	updatedImage     = "registry.example/agent:v2"
)

// startStatusOutage leaves the first write of one Agent's Deployment unanswered until the operator gives up, and rejects all status
// writes while other Agents are created and rolled. The recovery takes a minute, in which other faults are tested, so
// requireStatusRecovery checks it later. It returns how long the operator waited for the write, and when status writes succeed again.
func startStatusOutage(s *fixture, p *harness.Proxy) (held <-chan time.Duration, statusWorks time.Time) {
	s.Helper()
	gaveUp, met, next := make(chan time.Duration, 1), false, 0
	var refused atomic.Bool
	refused.Store(true)
	hold, faults := harness.Unanswered(gaveUp), []harness.Fault{harness.InternalError, harness.Conflict, harness.Dropped}
	p.SetNamespaceSchedule(s.namespace, func(c harness.Call) *harness.Fault {
		switch {
		case c.Name == "held" && c.Resource == "deployments" && c.Verb == "patch" && !met:
			met = true
			return &hold
		case c.Resource == "agents/status" && refused.Load():
			next++
			return &faults[next%len(faults)]
		default:
			return nil
		}
	})
	p.SetSchedule(nil)
	began := time.Now()
	s.create("held")
	createMany(s, statusTestAgents, replicas(3))
	image := "registry.example/agent:v1"
	available := func() error { return checkAvailable(s, statusTestAgents, 3, image) }
	s.eventually("all Deployments are available", waitTimeout, available)
	image = updatedImage
	require.NoError(s, forEach(agentNames(statusTestAgents), 8, func(name string) error { return setImageRetrying(s.Context(), s.namespace, name, image) }))
	s.eventually("all Deployments are available again", waitTimeout, available)
	for _, object := range s.list(&v1alpha1.AgentList{}) {
		require.Empty(s, object.(*v1alpha1.Agent).Status.Image, "no status was written")
	}
	// What happens to the pods and to the Deployment wakes the Agent, whether or not its status can be written: five times for
	// each of three pods, from made to ready and to gone, and as often for the Deployment that counts them; of two generations.
	wakes := 2 * 2 * 3 * 5
	require.NoError(s, checkWriteRate(s, p.Calls(), wakes+maxAttempts(time.Since(began), firstRetry, lastRetry)))
	s.note("no status could be written: tried at most %d times in %.0fs", most(countWrites(s, p.Calls())), time.Since(began).Seconds())
	refused.Store(false)
	return gaveUp, time.Now()
}

// requireStatusRecovery checks the recovery from startStatusOutage.
func requireStatusRecovery(s *fixture, held <-chan time.Duration, statusWorks time.Time) {
	s.Helper()
	select {
	case gaveUp := <-held:
		s.note("a request without an answer was given up after %.0fs, while others were served", gaveUp.Seconds())
		require.InDelta(s, passTimeout.Seconds(), gaveUp.Seconds(), 5)
	case <-time.After(waitTimeout):
		require.Fail(s, "a request that is never answered has no end")
	}
	s.waitReady("held")
	s.waitRecovered("all Agents are ready with the new image", func() error { return checkRolledOut(s, statusTestAgents, updatedImage) })
	last := time.Time{}
	for _, name := range agentNames(statusTestAgents) {
		if at := condition(read(s, name, &v1alpha1.Agent{}), v1alpha1.ConditionReady).LastTransitionTime.Time; at.After(last) {
			last = at
		}
	}
	s.note("all statuses written %.0fs after they could be", last.Sub(statusWorks).Seconds())
	require.LessOrEqual(s, last.Sub(statusWorks), lastRetry+10*time.Second, "the longest pause, and what a busy machine adds")
	made := harness.Counts(s.requests())
	delete(made, "update agents/status")
	require.Equal(s, map[string]int{"patch deployments": 2*statusTestAgents + 1, "patch services": statusTestAgents + 1, "patch poddisruptionbudgets": statusTestAgents},
		made, "a child is not written again because the status was not")
}

// waitRecovered waits until something holds once nothing is in its way any more; not longer than the longest pause between two tries,
// or a pass that waits for an answer, and what comes after.
func (s *fixture) waitRecovered(what string, missing func() error) {
	s.Helper()
	s.eventually(what, passTimeout+waitTimeout, func() error { return errors.Join(restartIfEnded(s), missing()) })
}

func everyRequestFails(s *fixture, p *harness.Proxy) {
	s.Helper()
	const (
		agents  = 30
		image   = "registry.example/agent:v2"
		failing = 20 * time.Second
		kinds   = 12 // that are watched, Models, the claims of other operators, the environments of namespaces, and the metadata of ConfigMaps among them
	)
	createMany(s, agents)
	s.waitRecovered("all Agents are ready", func() error { return checkReady(s, agents) })
	mark, err := auditLogEnd()
	require.NoError(s, err)
	s.since = mark
	before := len(operator.Lines(""))

	p.SetSchedule(func(c harness.Call) *harness.Fault {
		if c.Resource == "leases" {
			return nil
		}
		return &harness.InternalError
	})
	began, watches := time.Now(), 0
	require.NoError(s, forEach(agentNames(agents), 8, func(name string) error { return setImageRetrying(s.Context(), s.namespace, name, image) }))
	s.consistentlyFor(failing, "no hot loop", func() error {
		if watches == 0 && time.Since(began) > failing/2 {
			watches = p.CutWatches()
		}
		return checkWriteRate(s, p.Calls(), maxAttempts(time.Since(began), firstRetry, lastRetry)+1)
	})
	limit := maxAttempts(time.Since(began), firstRetry, lastRetry) + 1 // one more, for what was under way when it began
	record := countWrites(s, p.Calls())
	for _, name := range agentNames(agents) {
		require.GreaterOrEqual(s, record["patch deployments "+name], limit/2, "tries of Deployment %s", name)
	}
	require.Equal(s, kinds, watches)
	lines := operator.Lines("")[before:]
	p.ClearSchedule()
	calm := time.Now()
	requireLogLines(s, lines)
	// A line for every pass that failed, and two for every time that a kind could not be watched again.
	require.LessOrEqual(s, len(lines), agents*limit+2*kinds*maxAttempts(failing/2, 800*time.Millisecond, 30*time.Second))
	s.waitRecovered("all Agents are ready with the new image", func() error { return checkRolledOut(s, agents, image) })
	healed := time.Since(calm)
	require.Equal(s, agents, harness.Counts(s.requests())["patch deployments"], "once nothing failed any more, each was written once")
	s.note("%d writes in %.0fs, at most %d of each (limit %d), %d lines of log; all ready %.1fs after the end",
		total(record), failing.Seconds(), most(record), limit, len(lines), healed.Seconds())
}

// countWrites counts the write requests in a namespace, by verb, resource and name.
func countWrites(s *fixture, calls []harness.Call) map[string]int {
	all := map[string]int{}
	for _, c := range calls {
		if c.IsWrite() && c.Namespace == s.namespace {
			all[c.Verb+" "+c.Resource+" "+c.Name]++
		}
	}
	return all
}

func most(counts map[string]int) int {
	n := 0
	for _, count := range counts {
		n = max(n, count)
	}
	return n
}

func total(counts map[string]int) int {
	n := 0
	for _, count := range counts {
		n += count
	}
	return n
}

// checkWriteRate names objects with more write requests than a limit.
func checkWriteRate(s *fixture, calls []harness.Call, limit int) error {
	for what, count := range countWrites(s, calls) {
		if count > limit {
			return fmt.Errorf("%s: %d times, not %d", what, count, limit)
		}
	}
	return nil
}

// requireLogLines checks log lines: each is a record that names the error, and does not dump objects.
func requireLogLines(s *fixture, lines []string) {
	s.Helper()
	for _, line := range lines {
		require.True(s, json.Valid([]byte(line)), line)
		require.LessOrEqual(s, len(line), 1000, line)
		require.NotContains(s, line, "managedFields")
	}
}

// checkAvailable reports how many Deployments of the namespace do not have all replicas available with an image.
func checkAvailable(s *fixture, agents, replicas int, image string) error {
	available := 0
	for _, object := range s.list(&appsv1.DeploymentList{}) {
		d := object.(*appsv1.Deployment)
		if d.Spec.Template.Spec.Containers[0].Image == image && d.Status.ObservedGeneration == d.Generation &&
			int(d.Status.UpdatedReplicas) == replicas && int(d.Status.AvailableReplicas) == replicas && int(d.Status.Replicas) == replicas {
			available++
		}
	}
	if available != agents {
		return fmt.Errorf("%d of %d are", available, agents)
	}
	return nil
}

func everyChildIsRefusedOnce(s *fixture, p *harness.Proxy) {
	s.Helper()
	const agents = 10
	before := len(operator.Lines(""))
	refused := map[string]bool{}
	p.SetSchedule(func(c harness.Call) *harness.Fault {
		what := c.Resource + " " + c.Name
		if c.Verb != "patch" || c.Namespace != s.namespace || c.Resource == "agents/status" || refused[what] {
			return nil
		}
		refused[what] = true
		return &harness.Conflict
	})
	createMany(s, agents, replicas(3))
	s.waitRecovered("all Agents are ready", func() error { return checkReady(s, agents) })
	writes := countWrites(s, p.Calls())
	p.ClearSchedule()
	for _, name := range agentNames(agents) {
		for _, resource := range []string{"deployments", "services", "poddisruptionbudgets"} {
			require.Equal(s, 2, writes["patch "+resource+" "+name], "%s %s: refused, and made", resource, name)
		}
	}
	requireLogLines(s, operator.Lines("")[before:])
	lines := operator.Lines(s.namespace)
	require.LessOrEqual(s, len(lines), agents, "one line for a pass, however many children it could not place")
	s.note("%d children rejected, each requested twice; %d log lines", len(refused), len(lines))
}

func aThirdOfAllRequestsFails(s *fixture, p *harness.Proxy) {
	s.Helper()
	const (
		agents = 30
		share  = 0.3
		image  = "registry.example/agent:v2"
		// A quiet life takes a Deployment, a Service, a PodDisruptionBudget, a roll and a scaling of the Deployment, and at most
		// ten statuses for each of creating, rolling and scaling; some live twice.
		quiet = 5 + 3*10
	)
	before := len(operator.Lines(""))
	p.SetSchedule(harness.RandomFaults(2026, share))
	began := time.Now()
	cuts := cutWatchesRegularly(s, p)
	createMany(s, agents)
	s.eventually("half of the Deployments are there", waitTimeout, func() error { return checkHalf(s, agents, 1, "registry.example/agent:v1") })
	require.NoError(s, forEach(agentNames(agents), 8, func(name string) error { return setImageRetrying(s.Context(), s.namespace, name, image) }))
	s.eventually("half of the Deployments are rolled", waitTimeout, func() error { return checkHalf(s, agents, 1, image) })
	gone, anew, all := agentNames(5), agentNames(10)[5:], agentNames(agents)
	for _, name := range all {
		switch {
		case slices.Contains(gone, name):
			require.NoError(s, api.Delete(s.Context(), s.newAgent(name)))
		case slices.Contains(anew, name):
			require.NoError(s, api.Delete(s.Context(), s.newAgent(name)))
			s.create(name, replicas(2), func(a *v1alpha1.Agent) { a.Spec.Runtime.Spec.Container.Image = image })
		default:
			s.patch(name, `[{"op":"replace","path":"/spec/runtime/spec/replicas","value":2}]`)
		}
	}
	s.eventually("half of the Deployments are scaled", waitTimeout, func() error { return checkHalf(s, agents, 2, image) })
	elapsed, record, cut := time.Since(began), p.Calls(), cuts()
	p.ClearSchedule()
	calm := time.Now()
	s.waitRecovered("all Agents are ready at their last spec", func() error { return checkAgents(s, all[len(gone):], 2, image) })
	healed := time.Since(calm)
	s.waitRecovered("nothing is left of the Agents that were deleted", func() error { return checkChildren(s, all[len(gone):]) })

	met, writes := map[string]int{}, 0
	for _, c := range record {
		met[c.FaultName]++
		if c.IsWrite() && c.Namespace == s.namespace {
			writes++
		}
	}
	for _, f := range []harness.Fault{harness.InternalError, harness.Conflict, harness.TooMany, harness.Timeout, harness.Dropped, harness.ResponseLost} {
		require.NotZero(s, met[f.Name], "without it, this proves nothing about %s", f.Name)
	}
	require.NotZero(s, cut)
	require.LessOrEqual(s, float64(writes), agents*quiet/(1-share), "writes, each tried until it got through")
	requireLogLines(s, operator.Lines("")[before:])
	s.note("%d calls in %.0fs (%.0f/s), of them %d writes; faults %v, %d watches cut; all recovered %.1fs after the last fault; %d log lines",
		len(record), elapsed.Seconds(), float64(len(record))/elapsed.Seconds(), writes, met, cut, healed.Seconds(), len(operator.Lines(""))-before)
}

// cutWatchesRegularly cuts all watches every few seconds, until the returned function is called, which returns their number.
func cutWatchesRegularly(s *fixture, p *harness.Proxy) (stop func() int) {
	ctx, cancel := context.WithCancel(s.Context())
	var cut atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for every := time.Tick(3 * time.Second); ; {
			cut.Add(int64(p.CutWatches()))
			select {
			case <-ctx.Done():
				return
			case <-every:
			}
		}
	}()
	return func() int {
		cancel()
		<-ended
		return int(cut.Load())
	}
}

// checkHalf reports how many Deployments of the namespace want this many replicas of an image, if it is not yet half of them.
func checkHalf(s *fixture, agents int, replicas int32, image string) error {
	have := 0
	for _, object := range s.list(&appsv1.DeploymentList{}) {
		d := object.(*appsv1.Deployment)
		if d.Spec.Template.Spec.Containers[0].Image == image && ptr.Deref(d.Spec.Replicas, 1) == replicas {
			have++
		}
	}
	if have < agents/2 {
		return fmt.Errorf("%d of %d", have, agents)
	}
	return nil
}

// checkAgents names an Agent that is not ready with this many replicas of an image, or whose Deployment is not.
func checkAgents(s *fixture, names []string, replicas int, image string) error {
	agents := s.list(&v1alpha1.AgentList{})
	if len(agents) != len(names) {
		return fmt.Errorf("%d Agents, not %d", len(agents), len(names))
	}
	for _, object := range agents {
		agent := object.(*v1alpha1.Agent)
		if !isReady(agent) || agent.Status.Image != image || int(agent.Status.AvailableReplicas) != replicas || int(agent.Status.Replicas) != replicas {
			return fmt.Errorf("%s: %+v", agent.Name, agent.Status)
		}
	}
	return checkAvailable(s, len(names), replicas, image)
}

// checkChildren reports which objects of the namespace are not those of these Agents, which have two replicas, or are missing.
func checkChildren(s *fixture, names []string) error {
	for _, kind := range []client.ObjectList{&appsv1.DeploymentList{}, &corev1.ServiceList{}, &policyv1.PodDisruptionBudgetList{}} {
		var have []string
		for _, object := range s.list(kind) {
			have = append(have, object.GetName())
		}
		slices.Sort(have)
		if want := slices.Sorted(slices.Values(names)); !slices.Equal(want, have) {
			return fmt.Errorf("%T: %v, not %v", kind, have, want)
		}
	}
	if pods := len(s.list(&corev1.PodList{})); pods != 2*len(names) {
		return fmt.Errorf("%d pods", pods)
	}
	return nil
}

func theLeaseCannotBeRenewed(s *fixture, p *harness.Proxy) {
	s.Helper()
	const agents, image = 10, "registry.example/agent:v2"
	createMany(s, agents)
	s.waitRecovered("all Agents are ready", func() error { return checkReady(s, agents) })
	p.SetSchedule(func(c harness.Call) *harness.Fault {
		if c.Resource == "leases" && !slices.Contains([]string{"get", "list", "watch"}, c.Verb) {
			return &harness.InternalError
		}
		return nil
	})
	began := time.Now()
	select {
	case <-operator.Done():
	case <-time.After(leaseDuration): // when another may take over
		require.Fail(s, "it still works when its lease has run out")
	}
	ended := time.Since(began)
	require.Equal(s, 1, operator.State().ExitCode())
	// Parts of the manager that stop at the same time may log after this line.
	require.Equal(s, []string{"flokoa-operator: leader election lost"}, operator.Lines("leader election lost"))

	// As the kubelet would. What is changed meanwhile waits.
	var err error
	operator, err = operator.Restart()
	require.NoError(s, err)
	restarted := time.Now()
	require.NoError(s, operator.WaitFor(s.Context(), "it is ready", harness.StartTimeout, operator.Ready))
	require.NoError(s, forEach(agentNames(agents), 8, func(name string) error { return setImageRetrying(s.Context(), s.namespace, name, image) }))
	s.consistently("without the lease it waits", func() error {
		switch {
		case operator.Ended():
			return fmt.Errorf("it ended with %s", operator.State())
		case operator.IsLeader(s.Context()):
			return errors.New("it reports that it leads")
		default:
			return checkRolledOut(s, 0, image)
		}
	})
	p.ClearSchedule()
	require.NoError(s, operator.WaitFor(s.Context(), "it leads", leaseDuration+harness.StartTimeout, operator.IsLeader))
	led := time.Since(restarted)
	s.waitRecovered("all Agents are ready with the new image", func() error { return checkRolledOut(s, agents, image) })
	about := 0
	for _, line := range operator.Lines("lease") {
		if strings.Contains(line, `"level":"ERROR"`) {
			about++
		}
	}
	require.LessOrEqual(s, about, int(led/lookAtLease)+1, "one line each time it could not get the lease")
	s.note("ended after %.1fs; leads %.1fs after its restart", ended.Seconds(), led.Seconds())
}
