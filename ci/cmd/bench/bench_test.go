package main

import (
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/cmd/bench/report"
	"github.com/flokoa/flokoa/ci/testkit/harness"
)

func request(verb, resource, subresource string, code int) harness.Request {
	r := harness.Request{Stage: "ResponseComplete", Verb: verb}
	r.ObjectRef.Resource, r.ObjectRef.Subresource, r.ResponseStatus.Code = resource, subresource, code
	return r
}

func TestRequestsAreCountedByWhatTheyAre(t *testing.T) {
	c := tally([]harness.Request{
		request("get", "deployments", "", 404),
		request("patch", "deployments", "", 201),
		request("patch", "deployments", "", 409),
		request("patch", "agents", "status", 200),
		request("patch", "agents", "status", 500),
		request("create", "events", "", 201),
		request("list", "pods", "", 200),
		request("list", "events", "", 200),
		request("get", "", "", 200),
		request("watch", "pods", "", 200),
		request("update", "leases", "", 200),
	})
	require.Equal(t, count{
		children: 2, statuses: 2, events: 1, conflicts: 1, failures: 1, all: 9,
		requests: map[string]int{
			"404 get deployments": 1, "patch deployments": 1, "409 patch deployments": 1, "patch agents/status": 1,
			"500 patch agents/status": 1, "create events": 1, "list pods": 1, "list events": 1, "discovery": 1,
		},
	}, c, "a name found free is no failure, and only a new Event is an Event; leases and watches are left out")
}

func TestTheBusiestSecondMayStartAtAnyTime(t *testing.T) {
	began := time.Now()
	var calls []harness.Call
	for _, at := range []int{0, 900, 1000, 1100, 1899, 1900, 5000} { // milliseconds
		calls = append(calls, harness.Call{Verb: "get", Resource: "pods", At: began.Add(time.Duration(at) * time.Millisecond)})
	}
	calls[6].FaultName = harness.TooMany.Name
	calls = append(calls, harness.Call{Verb: "watch", Resource: "pods", At: began.Add(time.Hour)}, harness.Call{Verb: "get", Resource: "leases", At: began.Add(time.Hour)})
	require.Equal(t, load{calls: 7, refused: 1, busiest: 4, span: 5 * time.Second}, loadOf(calls))
	require.Equal(t, load{}, loadOf(nil))
}

func TestNodesTakeAllPodsOfARoll(t *testing.T) {
	for _, w := range []workload{{agents: 1, replicas: 1}, {agents: 1000, replicas: 1}, {agents: 10000, replicas: 3}} {
		require.Greater(t, nodesFor(w)*podsPerNode, w.agents*(w.replicas+1), "%+v", w)
	}
	require.NotEqual(t, node(299).Spec.PodCIDR, node(43).Spec.PodCIDR)
	require.NotEqual(t, node(299).Status.Addresses, node(49).Status.Addresses)
}

func TestSidesAlternateAndSoDoesTheFirst(t *testing.T) {
	b := bench{options: options{sizes: []int{3, 5}, rounds: 2, replicas: 1, scenarios: []string{report.Scale, report.Slow}}}
	var plan []string
	for _, one := range b.plan() {
		plan = append(plan, one.String())
	}
	require.Equal(t, []string{
		"scale, 3 Agents x 1, floor, round 1 of 2", "scale, 3 Agents x 1, operator, round 1 of 2",
		"scale, 5 Agents x 1, operator, round 1 of 2", "scale, 5 Agents x 1, floor, round 1 of 2",
		"scale, 3 Agents x 1, operator, round 2 of 2", "scale, 3 Agents x 1, floor, round 2 of 2",
		"scale, 5 Agents x 1, floor, round 2 of 2", "scale, 5 Agents x 1, operator, round 2 of 2",
		"slow, 100 Agents x 1, operator, round 1 of 1",
	}, plan)
}

func TestLargeSizesHaveFewerRounds(t *testing.T) {
	for _, r := range []struct{ rounds, size, want int }{
		{0, 300, 3}, {0, 999, 3}, {0, 1000, 1}, {0, 5000, 1}, {2, 300, 2}, {2, 1000, 2}, {2, 5000, 1},
	} {
		require.Equal(t, r.want, options{rounds: r.rounds}.roundsAt(r.size), "%+v", r)
	}
	require.Equal(t, 1, options{full: true}.roundsAt(300))
	require.Equal(t, 2, options{full: true, rounds: 2}.roundsAt(300))
	b := bench{options: options{sizes: []int{3, 5000}, rounds: 2, replicas: 1, scenarios: []string{report.Scale}}}
	var last []string
	for _, one := range b.plan()[2:] {
		last = append(last, one.String())
	}
	require.Equal(t, []string{
		"scale, 5000 Agents x 1, operator, round 1 of 1", "scale, 5000 Agents x 1, floor, round 1 of 1",
		"scale, 3 Agents x 1, operator, round 2 of 2", "scale, 3 Agents x 1, floor, round 2 of 2",
	}, last)
}

func TestEveryScenarioIsPlanned(t *testing.T) {
	b := bench{options: options{sizes: []int{1}, rounds: 1, replicas: 1, scenarios: scenarios}}
	var planned []string
	for _, one := range b.plan() {
		planned = append(planned, one.scenario)
	}
	require.Equal(t, scenarios, slices.Compact(planned))
}

func TestCommandLineErrorsNameTheFix(t *testing.T) {
	t.Chdir("../../..")
	for text, args := range map[string][]string{
		`"many" is no number of Agents: write numbers`: {"-sizes", "300,many"},
		`"0" is no number of Agents`:                   {"-sizes", "0"},
		`-rounds (ROUNDS): -1 is too few: 1 or more`:   {"-rounds", "-1"},
		`-replicas (REPLICAS): -1 is too few`:          {"-replicas", "-1"},
		`there is no "swarm": choose from scale, `:     {"-scenarios", "scale,swarm"},
		`see -help`:                 {"-size", "1"},
		`unexpected argument "300"`: {"300"},
	} {
		_, err := parse(args, io.Discard)
		require.ErrorContains(t, err, text)
	}
	o, err := parse([]string{"-full"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []int{300, 1000, 5000}, o.sizes)
	require.Contains(t, o.scenarios, report.Size)
	t.Chdir(t.TempDir())
	_, err = parse(nil, io.Discard)
	require.ErrorContains(t, err, "make bench")
}

func TestAProcessIsAtRestSinceItStoppedUsingCPU(t *testing.T) {
	began, uses := time.Now(), 300*time.Millisecond
	since, err := awaitRest(t.Context(), func() (time.Duration, error) { return min(time.Since(began), uses), nil })
	require.NoError(t, err)
	require.InDelta(t, uses.Seconds(), since.Sub(began).Seconds(), 0.25)
	_, err = awaitRest(t.Context(), func() (time.Duration, error) { return 0, harness.ErrNoProc })
	require.ErrorIs(t, err, harness.ErrNoProc)
}

func TestTheLeaseNamesTheLeader(t *testing.T) {
	lease := func(verb, namespace string, code int) harness.Request {
		r := request(verb, "leases", "", code)
		r.ObjectRef.Namespace, r.ObjectRef.Name, r.RequestReceivedTimestamp = namespace, "flokoa-operator", time.Unix(int64(code), 0)
		return r
	}
	_, leads := leadsAt([]harness.Request{lease("get", harness.System, 200), lease("update", harness.System, 409), lease("update", "elsewhere", 200), request("patch", "deployments", "", 200)})
	require.False(t, leads)
	at, leads := leadsAt([]harness.Request{lease("get", harness.System, 200), lease("create", harness.System, 201), lease("update", harness.System, 200)})
	require.True(t, leads)
	require.Equal(t, time.Unix(201, 0), at)
}
