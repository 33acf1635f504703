package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// fakeReader is an API server that answers every read alike, and counts the reads.
type fakeReader struct {
	client.Reader
	reads      int
	options    client.ListOptions
	events     []corev1.Event
	deployment *appsv1.Deployment
	err        error
}

func (f *fakeReader) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	f.reads++
	f.options = client.ListOptions{}
	f.options.ApplyOptions(options)
	into.(*corev1.EventList).Items = f.events
	return f.err
}

func (f *fakeReader) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	f.reads++
	if f.deployment != nil {
		f.deployment.DeepCopyInto(into.(*appsv1.Deployment))
	}
	return f.err
}

// unready returns an Agent that became unready at start, with one pod that is unexplained.
func unready() (*v1alpha1.Agent, status.Observed) {
	agent := agenttest.New("a", agenttest.In("team"), agenttest.Replicas(1))
	agent.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, LastTransitionTime: metav1.NewTime(start)}}
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "a-1-x", UID: "u"}, Spec: corev1.PodSpec{NodeName: "n"}}
	return agent, status.Observed{Deployment: &appsv1.Deployment{Status: appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1}}, Pods: []corev1.Pod{pod}}
}

func TestEventsAreListedAfterADelayAndOncePerMinute(t *testing.T) {
	server := &fakeReader{events: []corev1.Event{
		{Reason: "Unhealthy", Message: "no", LastTimestamp: metav1.NewTime(start), InvolvedObject: corev1.ObjectReference{UID: "u", Name: "a-1-x", FieldPath: "spec.containers{agent}"}},
		{Reason: "Pulled", Message: "irrelevant"},
	}}
	c, state := New(nil, server, nil, false), &state{}
	agent, observed := unready()
	for _, step := range []struct {
		name  string
		after time.Duration
		reads int
		next  time.Duration
	}{
		{"at first", 0, 0, 15 * time.Second},
		{"a little later", 14 * time.Second, 0, time.Second},
		{"the delay is over", 15 * time.Second, 1, time.Minute},
		{"the answer is still fresh", 74 * time.Second, 1, time.Second},
		{"the answer has expired", 75 * time.Second, 2, time.Minute},
	} {
		now := observed
		now.Now = start.Add(step.after)
		require.Equal(t, step.next, c.podEvents(t.Context(), agent, &now, state), step.name)
		require.Equal(t, step.reads, server.reads, step.name)
		if step.reads > 0 {
			require.Equal(t, "a-1-x", now.QueriedPod, step.name)
			require.Equal(t, []status.PodEvent{{Pod: "a-1-x", Container: "agent", Reason: "Unhealthy", Message: "no", Last: start}}, now.PodEvents)
		} else {
			require.Empty(t, now.QueriedPod, step.name)
		}
	}
	require.Equal(t, "involvedObject.kind=Pod,type=Warning", server.options.FieldSelector.String())
	require.Equal(t, "team", server.options.Namespace)
	require.NotZero(t, server.options.Limit)
}

// pods returns unready pods: some are unexplained, the others crash loop. The uid of a pod is its name.
func pods(unexplained []string, crashing ...string) []corev1.Pod {
	var all []corev1.Pod
	for _, name := range append(unexplained, crashing...) {
		pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID(name)}, Spec: corev1.PodSpec{NodeName: "n"}}
		if slices.Contains(crashing, name) {
			waiting := &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "agent", State: corev1.ContainerState{Waiting: waiting}}}
		}
		all = append(all, pod)
	}
	return all
}

// unhealthy is an Event about a pod, whose UID is its name.
func unhealthy(pod string) corev1.Event {
	return corev1.Event{Reason: "Unhealthy", Message: "no", InvolvedObject: corev1.ObjectReference{UID: types.UID(pod), Name: pod}}
}

// podEventsAt runs podEvents some time after start, and returns the observation and when to reconcile again.
func podEventsAt(t *testing.T, c *Controller, after time.Duration, pods []corev1.Pod) (status.Observed, time.Duration) {
	t.Helper()
	agent, observed := unready()
	observed.Now, observed.Pods = start.Add(after), pods
	again := c.podEvents(t.Context(), agent, &observed, c.states.For(agent))
	return observed, again
}

func TestAnotherUnexplainedPodDoesNotSpeedUpQueries(t *testing.T) {
	server := &fakeReader{}
	c := New(nil, server, nil, false)
	one, both := pods([]string{"x"}), pods([]string{"x", "w"})
	podEventsAt(t, c, 0, one)
	observed, _ := podEventsAt(t, c, 15*time.Second, one)
	require.Equal(t, "x", observed.QueriedPod)
	observed, again := podEventsAt(t, c, 30*time.Second, both)
	require.Empty(t, observed.QueriedPod, "there was no query for this pod")
	require.Equal(t, 45*time.Second, again, "the next query is due when both the delay and the minute are over")
	_, again = podEventsAt(t, c, 45*time.Second, both)
	require.Equal(t, 30*time.Second, again)
	require.Equal(t, 1, server.reads)
	observed, _ = podEventsAt(t, c, 75*time.Second, both)
	require.Equal(t, "w", observed.QueriedPod)
	require.Equal(t, 2, server.reads)
}

func TestATransientCauseDoesNotSpeedUpQueries(t *testing.T) {
	server := &fakeReader{events: []corev1.Event{unhealthy("x")}}
	c := New(nil, server, nil, false)
	podEventsAt(t, c, 0, pods([]string{"x"}))
	for after := 15 * time.Second; after < 75*time.Second; after += 10 * time.Second {
		observed, _ := podEventsAt(t, c, after, pods([]string{"x"}))
		require.Equal(t, "x", observed.QueriedPod, "the answer is still fresh")
		require.Len(t, observed.PodEvents, 1)
		observed, again := podEventsAt(t, c, after+5*time.Second, pods([]string{"x"}, "y"))
		require.Empty(t, observed.QueriedPod)
		require.Zero(t, again, "the crashing pod explains it")
	}
	require.Equal(t, 1, server.reads)
	podEventsAt(t, c, 75*time.Second, pods(nil, "y"))
	agent, _ := unready()
	require.Zero(t, c.states.For(agent).query, "an expired answer is dropped")
}

// A list answers for every Agent whose pod had been unexplained for long enough, and for a minute.
func TestAgentsOfANamespaceShareAList(t *testing.T) {
	server := &fakeReader{events: []corev1.Event{unhealthy("x"), unhealthy("y"), unhealthy("z")}}
	c, states := New(nil, server, nil, false), map[string]*state{"x": {}, "y": {}, "z": {}}
	found := func(pod string, after time.Duration) []status.PodEvent {
		agent, observed := unready()
		observed.Now, observed.Pods = start.Add(after), pods([]string{pod})
		c.podEvents(t.Context(), agent, &observed, states[pod])
		return observed.PodEvents
	}
	require.Empty(t, found("x", 0))
	require.Empty(t, found("y", time.Second))
	require.Empty(t, found("z", 2*time.Second))
	is := func(pod, message string) []status.PodEvent {
		return []status.PodEvent{{Pod: pod, Reason: "Unhealthy", Message: message}}
	}
	require.Equal(t, is("x", "no"), found("x", 16500*time.Millisecond))
	require.Equal(t, is("y", "no"), found("y", 17*time.Second))
	require.Equal(t, 1, server.reads, "the same list")
	for i := range server.events {
		server.events[i].Message = "later"
	}
	require.Equal(t, is("z", "later"), found("z", 17500*time.Millisecond))
	require.Equal(t, 2, server.reads, "that list was too early")
	require.Equal(t, is("y", "later"), found("y", 76500*time.Millisecond), "a minute after the list, not after the query")
	require.Equal(t, 2, server.reads, "the list for the other")
	require.Equal(t, is("x", "later"), found("x", 77500*time.Millisecond))
	require.Equal(t, 3, server.reads, "that list is a minute old")
}

// Every pod of a rollout is unready and unexplained for a while, which must not cost a query.
func TestEventsAreNotListedForPodsThatBecomeReadyInTime(t *testing.T) {
	server := &fakeReader{}
	c := New(nil, server, nil, false)
	for i := range 10 {
		created := time.Duration(i) * 14 * time.Second
		_, again := podEventsAt(t, c, created, pods([]string{fmt.Sprint("pod", i)}))
		require.Equal(t, eventDelay, again)
		podEventsAt(t, c, created+13*time.Second, pods([]string{fmt.Sprint("pod", i)}))
	}
	require.Zero(t, server.reads)
}

func TestFailedQueryKeepsTheLastAnswerAndIsRetried(t *testing.T) {
	server := &fakeReader{events: []corev1.Event{unhealthy("x")}, err: errors.New("busy")}
	c := New(nil, server, nil, false)
	podEventsAt(t, c, 0, pods([]string{"x"}))
	for range 2 {
		observed, again := podEventsAt(t, c, 15*time.Second, pods([]string{"x"}))
		require.Empty(t, observed.QueriedPod, "a failed query is not an empty answer")
		require.Equal(t, time.Minute, again)
		require.Equal(t, 1, server.reads)
	}
	server.err = nil
	podEventsAt(t, c, 75*time.Second, pods([]string{"x"}))
	server.err = errors.New("busy")
	observed, _ := podEventsAt(t, c, 135*time.Second, pods([]string{"x"}))
	require.Equal(t, "x", observed.QueriedPod)
	require.Len(t, observed.PodEvents, 1)
	require.Equal(t, 3, server.reads)
	podEventsAt(t, c, 180*time.Second, pods([]string{"w"}))
	observed, _ = podEventsAt(t, c, 195*time.Second, pods([]string{"w"}))
	require.Empty(t, observed.QueriedPod)
	require.Empty(t, observed.PodEvents, "the last answer is about another pod")
}

func TestLastObservedIsTheLatestTimeOfAnEvent(t *testing.T) {
	early, late := metav1.NewTime(start), metav1.NewTime(start.Add(time.Hour))
	for _, event := range []corev1.Event{
		{LastTimestamp: late, EventTime: metav1.NewMicroTime(start)},
		{LastTimestamp: early, EventTime: metav1.NewMicroTime(late.Time)},
		{EventTime: metav1.NewMicroTime(start), Series: &corev1.EventSeries{LastObservedTime: metav1.NewMicroTime(late.Time)}},
	} {
		require.Equal(t, late.Time, lastObserved(event))
	}
}

// scaledByOthers returns a Deployment that KEDA scaled to 5, and the Agent's children with 3 replicas.
func scaledByOthers(t *testing.T, agent *v1alpha1.Agent) (*appsv1.Deployment, render.Children) {
	t.Helper()
	children, err := render.Agent(agent, render.Live{})
	require.NoError(t, err)
	live := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: children.Deployment.Annotations}}
	live.Spec.Replicas = ptr.To[int32](5)
	live.ManagedFields = []metav1.ManagedFieldsEntry{
		{Manager: "flokoa-operator", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:template":{}}}`)},
		{Manager: "keda", Subresource: "scale", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:replicas":{}}}`)},
	}
	return live, children
}

func TestScaleConflictIsReportedOncePerHour(t *testing.T) {
	agent := agenttest.New("a", agenttest.Replicas(3))
	live, children := scaledByOthers(t, agent)
	recorder := events.NewFakeRecorder(8)
	c := New(nil, &fakeReader{deployment: live}, recorder, false)
	require.Equal(t, 1, warnedAfter(t, c, recorder, agent, live, children, 0))
	require.Zero(t, warnedAfter(t, c, recorder, agent, live, children, 59*time.Minute))
	require.Equal(t, 1, warnedAfter(t, c, recorder, agent, live, children, 60*time.Minute))
	c.states.Delete(client.ObjectKeyFromObject(agent))
	require.Equal(t, 1, warnedAfter(t, c, recorder, agent, live, children, 61*time.Minute), "a new Agent of the same name")
}

// warnedAfter returns how many Events are recorded some time after start.
func warnedAfter(t *testing.T, c *Controller, recorder *events.FakeRecorder, agent *v1alpha1.Agent, live *appsv1.Deployment, children render.Children, after time.Duration) int {
	t.Helper()
	c.now = func() time.Time { return start.Add(after) }
	state := c.states.For(agent)
	c.warnScaleConflict(agent, c.findScaleConflict(t.Context(), live, children.Deployment, state), state)
	sent := len(recorder.Events)
	for range sent {
		require.Contains(t, <-recorder.Events, `Warning DeploymentScaled keda scales Deployment "a" to 5, but the Agent asks for 3 and scales it back`)
	}
	return sent
}

func TestReplicaDriftWithoutScalingIsNoScaleConflict(t *testing.T) {
	agent := agenttest.New("a", agenttest.Replicas(3))
	for name, change := range map[string]func(*appsv1.Deployment){
		"the Agent has a new spec":               func(d *appsv1.Deployment) { d.Annotations = nil },
		"the count is correct":                   func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](3) },
		"the Deployment was edited, not scaled":  func(d *appsv1.Deployment) { d.ManagedFields[1].Subresource = "" },
		"the scale subresource owns no replicas": func(d *appsv1.Deployment) { d.ManagedFields[1].FieldsV1 = metav1.NewFieldsV1(`{}`) },
	} {
		live, children := scaledByOthers(t, agent)
		change(live)
		recorder := events.NewFakeRecorder(8)
		c := New(nil, &fakeReader{deployment: live}, recorder, false)
		require.Zero(t, warnedAfter(t, c, recorder, agent, live, children, 0), name)
	}
	live, children := scaledByOthers(t, agent)
	recorder := events.NewFakeRecorder(8)
	require.Zero(t, warnedAfter(t, New(nil, &fakeReader{err: errors.New("gone")}, recorder, false), recorder, agent, live, children, 0))
	require.Zero(t, warnedAfter(t, New(nil, nil, recorder, false), recorder, agent, nil, children, 0), "no Deployment yet")
}
