package kind_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/cmd/traffic/report"
)

const (
	// rate is how many requests a second each Agent gets.
	rate = 50
	// calm is how long requests are measured before and after a disturbance.
	calm = 3 * time.Second
)

// servicePort is the port of the Agents' Services, unless a test says otherwise.
const servicePort = 8080

// load is a generator of requests, in a pod of the gateway, that calls one Agent through its Service.
type load struct {
	*fixture
	agent, pod string
}

// startLoad starts requests to an Agent, which never stop while the test runs; it returns when they are answered well.
func (s *fixture) startLoad(agent string, more ...string) *load {
	s.Helper()
	return s.startLoadOn(agent, servicePort, more...)
}

// startLoadOn calls another port of the Service.
func (s *fixture) startLoadOn(agent string, port int, more ...string) *load {
	s.Helper()
	l := &load{fixture: s, agent: agent, pod: fmt.Sprintf("load-%s-%s-%d", strings.TrimPrefix(s.namespace, "flokoa-"), agent, port)}
	command := append([]string{"load", "--target", serviceURL(agent, s.namespace, port), "--rate", strconv.Itoa(rate), "--connections", "8", "--new-connections", "0.2"}, more...)
	pod := trafficPod("live-gateway", l.pod, "gateway", command, onCallerNode)
	require.NoError(s, startPods(s.Context(), pod))
	s.Cleanup(func() { _ = api.Delete(context.Background(), pod) })
	s.eventually(agent+" is called and answers", waitTimeout, func() error {
		l.wait(time.Second)
		now := l.clock()
		if sum := l.summary(now-1000, now); sum.Requests < rate/2 || sum.Failures > 0 {
			return fmt.Errorf("%s", sum)
		}
		return nil
	})
	return l
}

// serviceURL is where an Agent is called: its Service by its whole name, which DNS answers in one step instead of four.
func serviceURL(agent, namespace string, port int) string {
	return fmt.Sprintf("http://%s.%s.svc.cluster.local.:%d", agent, namespace, port)
}

// kubectlAs is the same generator for a subtest.
func (l *load) forSubtest(t *testing.T) *load {
	t.Helper()
	return &load{fixture: &fixture{T: t, namespace: l.namespace}, agent: l.agent, pod: l.pod}
}

// clock is the generator's clock.
func (l *load) clock() int64 {
	l.Helper()
	out, err := traffic(l.Context(), "live-gateway", l.pod, "", "mark")
	require.NoError(l, err)
	at, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	require.NoError(l, err)
	return at
}

func (l *load) summary(from, to int64) report.Summary {
	l.Helper()
	out, err := traffic(l.Context(), "live-gateway", l.pod, "", "summary", "--from", strconv.FormatInt(from, 10), "--to", strconv.FormatInt(to, 10))
	require.NoError(l, err)
	summary, err := report.DecodeSummary(strings.NewReader(out))
	require.NoError(l, err)
	return summary
}

// failedRequests are the records of the requests that failed since a time.
func (l *load) failedRequests(from int64) []report.Record {
	l.Helper()
	out, err := traffic(l.Context(), "live-gateway", l.pod, "", "results", "--from", strconv.FormatInt(from, 10))
	require.NoError(l, err)
	records, err := report.Decode(strings.NewReader(out))
	require.NoError(l, err)
	return slices.DeleteFunc(records, func(r report.Record) bool { return r.Outcome == report.OK })
}

// timeline counts failures by the second and the cause, from when the disturbance began.
func (o outcome) timeline() string {
	counts, order := map[string]int{}, []string{}
	for _, r := range o.failedRequests {
		key := fmt.Sprintf("%d s %s", (r.Start-o.began)/1000, r.Outcome)
		if counts[key]++; counts[key] == 1 {
			order = append(order, key)
		}
	}
	for i, key := range order {
		order[i] = fmt.Sprintf("%s %d", key, counts[key])
	}
	return strings.Join(order, ", ")
}

// wait waits until the generator has gone on for a while: with traffic, for it is what makes the time worth something.
func (l *load) wait(span time.Duration) {
	l.Helper()
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.Context().Done():
	}
}

// outcome is what a disturbance did to those who called meanwhile.
type outcome struct {
	report.Summary
	// minAvailable is the smallest number of available replicas that was seen.
	minAvailable int32
	// began is when the disturbance did, by the generator's clock.
	began int64
	took  time.Duration
	// failedRequests are the requests that did, when any did.
	failedRequests []report.Record
}

// criterion is what must hold; it returns more that was measured, and an error when it was missed.
type criterion struct {
	text  string
	holds func(outcome) (measured string, err error)
}

// noFailures: not one failed request.
var noFailures = criterion{"0 failed", func(o outcome) (string, error) {
	if o.Failures > 0 {
		return "", fmt.Errorf("%s", o.Summary)
	}
	return "", nil
}}

// neverBelow: not one failed request, and never fewer replicas available than wanted.
func neverBelow(wanted int32) criterion {
	return criterion{"0 failed, never fewer available than wanted", func(o outcome) (string, error) {
		if o.minAvailable < wanted {
			return "", fmt.Errorf("%d of %d available", o.minAvailable, wanted)
		}
		return noFailures.holds(o)
	}}
}

// measure does something while the Agent is called, checks what became of the calls, and adds the row to the table.
func (l *load) measure(what string, wanted int32, criterion criterion, do func()) outcome {
	l.Helper()
	minAvailable := l.watchAvailable(wanted)
	from := l.clock()
	l.wait(calm)
	o := outcome{began: l.clock()}
	began := time.Now()
	done := false
	defer func() {
		if !done { // the disturbance itself failed, and the table has a row for it
			results.add(row{disturbance: what, wanted: wanted, minAvailable: minAvailable(), criterion: criterion.text, verdict: "not done to the end"})
		}
	}()
	do()
	done = true
	o.took = time.Since(began)
	l.wait(calm)
	o.Summary, o.minAvailable = l.summary(from, l.clock()-1), minAvailable()
	if o.Failures > 0 {
		o.failedRequests = l.failedRequests(from)
		logf("       failed, by the second: %s", o.timeline())
	}
	measured, err := criterion.holds(o)
	if err == nil && o.Requests < rate*int(calm.Seconds()) {
		err = fmt.Errorf("only %d requests were made", o.Requests)
	}
	result := row{disturbance: what, requests: o.Requests, failures: o.Failures, slowest: o.Slowest, minAvailable: o.minAvailable, wanted: wanted, criterion: criterion.text, verdict: measured, met: err == nil}
	if err != nil {
		result.verdict = err.Error()
	}
	results.add(result)
	logf("       %s: %s; least available %d of %d; %.0f s; callers late by %.0f ms at most", what, o.Summary, o.minAvailable, wanted, o.took.Seconds(), o.LatestStart)
	require.NoError(l, err, what)
	return o
}

// watchAvailable watches the Agent's Deployment until the returned function is called, which returns the smallest number of available
// replicas.
func (l *load) watchAvailable(wanted int32) (minAvailable func() int32) {
	l.Helper()
	ctx, cancel := context.WithCancel(l.Context())
	var mutex sync.Mutex
	smallest := wanted
	see := func(available int32) {
		mutex.Lock()
		defer mutex.Unlock()
		smallest = min(smallest, available)
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil {
			_ = watchDeployment(ctx, l.namespace, l.agent, see)
			// Only while the API server is away; nothing changes there meanwhile.
			_ = waitFor(ctx, "the API server answers", waitTimeout, func(ctx context.Context) error {
				return api.Get(ctx, client.ObjectKey{Namespace: l.namespace, Name: l.agent}, &appsv1.Deployment{})
			})
		}
	})
	return func() int32 {
		cancel()
		watching.Wait()
		return smallest
	}
}

// watchDeployment reports the available replicas of a Deployment now and at every change, until the watch or the context ends.
func watchDeployment(ctx context.Context, namespace, name string, see func(int32)) error {
	list := &appsv1.DeploymentList{}
	only := []client.ListOption{client.InNamespace(namespace), client.MatchingFields{"metadata.name": name}}
	if err := api.List(ctx, list, only...); err != nil {
		return err
	}
	for _, deployment := range list.Items {
		see(deployment.Status.AvailableReplicas)
	}
	watcher, err := api.Watch(ctx, &appsv1.DeploymentList{}, append(only, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})...)
	if err != nil {
		return err
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		if deployment, ok := event.Object.(*appsv1.Deployment); ok && event.Type != watch.Deleted {
			see(deployment.Status.AvailableReplicas)
		}
	}
	return nil
}
