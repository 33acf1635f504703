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
	leaseDuration = 13 * time.Second
	lookAtLease   = 600 * time.Millisecond
)

// tries is how often something is tried within a time that fails every time: at once, and after pauses that double.
func tries(within, first, last time.Duration) int {
	count := 0
	for at, pause := time.Duration(0), first; at <= within; pause = min(2*pause, last) {
		count++
		at += pause
	}
	return count
}

func TestAnOperatorOutlivesWhateverTheAPIServerAnswers(t *testing.T) {
	s := newScene(t)
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
	operator, err = startThrough(t.Context(), p.Way())
	require.NoError(t, err)
	require.NoError(t, operator.Await(t.Context(), "it leads", harness.Starting, operator.Leads))

	held, statusWorks := oneIsHeldAndNoStatusIsWritten(s, p)
	t.Run("every request fails", func(t *testing.T) { everyRequestFails(newScene(t), p) })
	t.Run("every child is refused once", func(t *testing.T) { everyChildIsRefusedOnce(newScene(t), p) })
	t.Run("a third of all requests fails", func(t *testing.T) { aThirdOfAllRequestsFails(newScene(t), p) })
	theRestIsDone(s, held, statusWorks)
	t.Run("the lease cannot be renewed", func(t *testing.T) { theLeaseCannotBeRenewed(newScene(t), p) })
}

// Of the namespace whose statuses cannot be written for a while.
const (
	unheardOf  = 10 // Agents
	afterwards = "registry.example/agent:v2"
)

// oneIsHeldAndNoStatusIsWritten has the first write of one Agent's Deployment go without an answer for as long as the operator
// waits for it, and refuses all statuses while other Agents are made and rolled. How it ends takes a minute, in which other
// things are done to the operator: theRestIsDone judges it. It returns how long the one write was waited for, and when statuses
// could be written again.
func oneIsHeldAndNoStatusIsWritten(s *scene, p *harness.Proxy) (held <-chan time.Duration, statusWorks time.Time) {
	s.Helper()
	gaveUp, met, next := make(chan time.Duration, 1), false, 0
	var refused atomic.Bool
	refused.Store(true)
	hold, faults := harness.Unanswered(gaveUp), []harness.Fault{harness.InternalError, harness.Conflict, harness.Dropped}
	p.SetAside(s.namespace, func(c harness.Call) *harness.Fault {
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
	p.Follow(nil)
	began := time.Now()
	s.create("held")
	createMany(s, unheardOf, replicas(3))
	image := "registry.example/agent:v1"
	available := func() error { return availableWith(s, unheardOf, 3, image) }
	s.eventually("all Deployments are available", patience, available)
	image = afterwards
	require.NoError(s, forEach(many(unheardOf), 8, func(name string) error { return reimage(s.Context(), s.namespace, name, image) }))
	s.eventually("all Deployments are available again", patience, available)
	for _, object := range s.list(&v1alpha1.AgentList{}) {
		require.Empty(s, object.(*v1alpha1.Agent).Status.Image, "no status was written")
	}
	// What happens to the pods and to the Deployment wakes the Agent, whether or not its status can be written: five times for
	// each of three pods, from made to ready and to gone, and as often for the Deployment that counts them; of two generations.
	wakes := 2 * 2 * 3 * 5
	require.NoError(s, hotLoop(s, p.Record(), wakes+tries(time.Since(began), firstRetry, lastRetry)))
	s.note("no status could be written: tried at most %d times in %.0fs", most(writesPer(s, p.Record())), time.Since(began).Seconds())
	refused.Store(false)
	return gaveUp, time.Now()
}

// theRestIsDone judges how it ended.
func theRestIsDone(s *scene, held <-chan time.Duration, statusWorks time.Time) {
	s.Helper()
	select {
	case gaveUp := <-held:
		s.note("a request without an answer was given up after %.0fs, while others were served", gaveUp.Seconds())
		require.InDelta(s, passTimeout.Seconds(), gaveUp.Seconds(), 5)
	case <-time.After(patience):
		require.Fail(s, "a request that is never answered has no end")
	}
	s.settled("held")
	s.heals("all Agents are ready with the new image", func() error { return rolled(s, unheardOf, afterwards) })
	last := time.Time{}
	for _, name := range many(unheardOf) {
		if at := condition(read(s, name, &v1alpha1.Agent{}), v1alpha1.ConditionReady).LastTransitionTime.Time; at.After(last) {
			last = at
		}
	}
	s.note("all statuses written %.0fs after they could be", last.Sub(statusWorks).Seconds())
	require.LessOrEqual(s, last.Sub(statusWorks), lastRetry+10*time.Second, "the longest pause, and what a busy machine adds")
	made := harness.Counts(s.requests())
	delete(made, "patch agents/status")
	require.Equal(s, map[string]int{"patch deployments": 2*unheardOf + 1, "patch services": unheardOf + 1, "patch poddisruptionbudgets": unheardOf},
		made, "a child is not written again because the status was not")
}

// heals waits until something holds once nothing is in its way any more; not longer than the longest pause between two tries,
// or a pass that waits for an answer, and what comes after.
func (s *scene) heals(what string, missing func() error) {
	s.Helper()
	s.eventually(what, passTimeout+patience, func() error { return errors.Join(keepAlive(s), missing()) })
}

func everyRequestFails(s *scene, p *harness.Proxy) {
	s.Helper()
	const (
		agents  = 30
		image   = "registry.example/agent:v2"
		failing = 20 * time.Second
		kinds   = 9 // that are watched, the claims of other operators among them
	)
	createMany(s, agents)
	s.heals("all Agents are ready", func() error { return unready(s, agents) })
	mark, err := audited()
	require.NoError(s, err)
	s.since = mark
	before := len(operator.Lines(""))

	p.Follow(func(c harness.Call) *harness.Fault {
		if c.Resource == "leases" {
			return nil
		}
		return &harness.InternalError
	})
	began, watches := time.Now(), 0
	require.NoError(s, forEach(many(agents), 8, func(name string) error { return reimage(s.Context(), s.namespace, name, image) }))
	s.throughout(failing, "no hot loop", func() error {
		if watches == 0 && time.Since(began) > failing/2 {
			watches = p.Cut()
		}
		return hotLoop(s, p.Record(), tries(time.Since(began), firstRetry, lastRetry)+1)
	})
	limit := tries(time.Since(began), firstRetry, lastRetry) + 1 // one more, for what was under way when it began
	record := writesPer(s, p.Record())
	for _, name := range many(agents) {
		require.GreaterOrEqual(s, record["patch deployments "+name], limit/2, "tries of Deployment %s", name)
	}
	require.Equal(s, kinds, watches)
	lines := operator.Lines("")[before:]
	p.Calm()
	calm := time.Now()
	wellFormed(s, lines)
	// A line for every pass that failed, and two for every time that a kind could not be watched again.
	require.LessOrEqual(s, len(lines), agents*limit+2*kinds*tries(failing/2, 800*time.Millisecond, 30*time.Second))
	s.heals("all Agents are ready with the new image", func() error { return rolled(s, agents, image) })
	healed := time.Since(calm)
	require.Equal(s, agents, harness.Counts(s.requests())["patch deployments"], "once nothing failed any more, each was written once")
	s.note("%d writes in %.0fs, at most %d of each (limit %d), %d lines of log; all ready %.1fs after the end",
		total(record), failing.Seconds(), most(record), limit, len(lines), healed.Seconds())
}

// writesPer counts what was asked to be written in a namespace, by verb, resource and name.
func writesPer(s *scene, calls []harness.Call) map[string]int {
	all := map[string]int{}
	for _, c := range calls {
		if c.Writes() && c.Namespace == s.namespace {
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

// hotLoop names what was asked to be written more often than a limit.
func hotLoop(s *scene, calls []harness.Call, limit int) error {
	for what, count := range writesPer(s, calls) {
		if count > limit {
			return fmt.Errorf("%s: %d times, not %d", what, count, limit)
		}
	}
	return nil
}

// wellFormed judges lines of a log: each is a record of its own that says what went wrong, not which objects there are.
func wellFormed(s *scene, lines []string) {
	s.Helper()
	for _, line := range lines {
		require.True(s, json.Valid([]byte(line)), line)
		require.LessOrEqual(s, len(line), 1000, line)
		require.NotContains(s, line, "managedFields")
	}
}

// availableWith says how many Deployments of the namespace do not have all replicas available with an image.
func availableWith(s *scene, agents, replicas int, image string) error {
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

func everyChildIsRefusedOnce(s *scene, p *harness.Proxy) {
	s.Helper()
	const agents = 10
	before := len(operator.Lines(""))
	refused := map[string]bool{}
	p.Follow(func(c harness.Call) *harness.Fault {
		what := c.Resource + " " + c.Name
		if c.Verb != "patch" || c.Namespace != s.namespace || c.Resource == "agents/status" || refused[what] {
			return nil
		}
		refused[what] = true
		return &harness.Conflict
	})
	createMany(s, agents, replicas(3))
	s.heals("all Agents are ready", func() error { return unready(s, agents) })
	asked := writesPer(s, p.Record())
	p.Calm()
	for _, name := range many(agents) {
		for _, resource := range []string{"deployments", "services", "poddisruptionbudgets"} {
			require.Equal(s, 2, asked["patch "+resource+" "+name], "%s %s: refused, and made", resource, name)
		}
	}
	wellFormed(s, operator.Lines("")[before:])
	lines := operator.Lines(s.namespace)
	require.LessOrEqual(s, len(lines), agents, "one line for a pass, however many children it could not place")
	s.note("%d children refused, each asked for twice; %d lines of log", len(refused), len(lines))
}

func aThirdOfAllRequestsFails(s *scene, p *harness.Proxy) {
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
	p.Follow(harness.Storm(2026, share))
	began := time.Now()
	cuts := cutting(s, p)
	createMany(s, agents)
	s.eventually("half of the Deployments are there", patience, func() error { return halfOf(s, agents, 1, "registry.example/agent:v1") })
	require.NoError(s, forEach(many(agents), 8, func(name string) error { return reimage(s.Context(), s.namespace, name, image) }))
	s.eventually("half of the Deployments are rolled", patience, func() error { return halfOf(s, agents, 1, image) })
	gone, anew, all := many(5), many(10)[5:], many(agents)
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
	s.eventually("half of the Deployments are scaled", patience, func() error { return halfOf(s, agents, 2, image) })
	elapsed, record, cut := time.Since(began), p.Record(), cuts()
	p.Calm()
	calm := time.Now()
	s.heals("all Agents are ready as they were last asked to be", func() error { return asAsked(s, all[len(gone):], 2, image) })
	healed := time.Since(calm)
	s.heals("nothing is left of the Agents that were deleted", func() error { return childrenOf(s, all[len(gone):]) })

	met, writes := map[string]int{}, 0
	for _, c := range record {
		met[c.Met]++
		if c.Writes() && c.Namespace == s.namespace {
			writes++
		}
	}
	for _, f := range []harness.Fault{harness.InternalError, harness.Conflict, harness.TooMany, harness.Timeout, harness.Dropped, harness.Unheard} {
		require.NotZero(s, met[f.Name], "without it, this proves nothing about %s", f.Name)
	}
	require.NotZero(s, cut)
	require.LessOrEqual(s, float64(writes), agents*quiet/(1-share), "writes, each tried until it got through")
	wellFormed(s, operator.Lines("")[before:])
	s.note("%d calls in %.0fs (%.0f/s), of them %d writes; faults %v, %d watches cut; all as asked %.1fs after the end; %d lines of log",
		len(record), elapsed.Seconds(), float64(len(record))/elapsed.Seconds(), writes, met, cut, healed.Seconds(), len(operator.Lines(""))-before)
}

// cutting cuts all watches every few seconds, until the returned function is called, which says how many it cut.
func cutting(s *scene, p *harness.Proxy) (stop func() int) {
	ctx, cancel := context.WithCancel(s.Context())
	var cut atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for every := time.Tick(3 * time.Second); ; {
			cut.Add(int64(p.Cut()))
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

// halfOf says how many Deployments of the namespace want this many replicas of an image, if it is not yet half of them.
func halfOf(s *scene, agents int, replicas int32, image string) error {
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

// asAsked names an Agent that is not ready with this many replicas of an image, or whose Deployment is not.
func asAsked(s *scene, names []string, replicas int, image string) error {
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
	return availableWith(s, len(names), replicas, image)
}

// childrenOf says which objects of the namespace are not those of these Agents, which have two replicas, or are missing.
func childrenOf(s *scene, names []string) error {
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

func theLeaseCannotBeRenewed(s *scene, p *harness.Proxy) {
	s.Helper()
	const agents, image = 10, "registry.example/agent:v2"
	createMany(s, agents)
	s.heals("all Agents are ready", func() error { return unready(s, agents) })
	p.Follow(func(c harness.Call) *harness.Fault {
		if c.Resource == "leases" && c.Verb != "get" {
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
	lines := operator.Lines("")
	require.Equal(s, "flokoa-operator: leader election lost", lines[len(lines)-1])

	// As the kubelet would. What is changed meanwhile waits.
	var err error
	operator, err = operator.Again()
	require.NoError(s, err)
	restarted := time.Now()
	require.NoError(s, operator.Await(s.Context(), "it is ready", harness.Starting, operator.Ready))
	require.NoError(s, forEach(many(agents), 8, func(name string) error { return reimage(s.Context(), s.namespace, name, image) }))
	s.stays("without the lease it waits", func() error {
		switch {
		case operator.Ended():
			return fmt.Errorf("it ended with %s", operator.State())
		case operator.Leads(s.Context()):
			return fmt.Errorf("it says that it leads")
		default:
			return rolled(s, 0, image)
		}
	})
	p.Calm()
	require.NoError(s, operator.Await(s.Context(), "it leads", leaseDuration+harness.Starting, operator.Leads))
	led := time.Since(restarted)
	s.heals("all Agents are ready with the new image", func() error { return rolled(s, agents, image) })
	about := 0
	for _, line := range operator.Lines("lease") {
		if strings.Contains(line, `"level":"ERROR"`) {
			about++
		}
	}
	require.LessOrEqual(s, about, int(led/lookAtLease)+1, "one line each time it could not get the lease")
	s.note("ended after %.1fs: %s; leads %.1fs after its restart", ended.Seconds(), lines[len(lines)-1], led.Seconds())
}
