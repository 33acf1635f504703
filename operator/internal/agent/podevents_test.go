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

var begin = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// answers is an API server that says one thing, and counts how often it was asked.
type answers struct {
	client.Reader
	asked      int
	options    client.ListOptions
	events     []corev1.Event
	deployment *appsv1.Deployment
	err        error
}

func (a *answers) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	a.asked++
	a.options = client.ListOptions{}
	a.options.ApplyOptions(options)
	into.(*corev1.EventList).Items = a.events
	return a.err
}

func (a *answers) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	a.asked++
	if a.deployment != nil {
		a.deployment.DeepCopyInto(into.(*appsv1.Deployment))
	}
	return a.err
}

// unready is an Agent that turned unready at the beginning, with one pod that does not say why.
func unready() (*v1alpha1.Agent, status.Observed) {
	agent := agenttest.New("a", agenttest.In("team"), agenttest.Replicas(1))
	agent.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, LastTransitionTime: metav1.NewTime(begin)}}
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "a-1-x", UID: "u"}, Spec: corev1.PodSpec{NodeName: "n"}}
	return agent, status.Observed{Deployment: &appsv1.Deployment{Status: appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1}}, Pods: []corev1.Pod{pod}}
}

func TestEventsAreAskedForAfterAWhileAndOnceAMinuteAtMost(t *testing.T) {
	server := &answers{events: []corev1.Event{
		{Reason: "Unhealthy", Message: "no", LastTimestamp: metav1.NewTime(begin), InvolvedObject: corev1.ObjectReference{FieldPath: "spec.containers{agent}"}},
		{Reason: "Pulled", Message: "not to the point"},
	}}
	c, state := New(nil, server, nil, false), &state{}
	agent, observed := unready()
	for _, step := range []struct {
		name  string
		after time.Duration
		asked int
		again time.Duration
	}{
		{"at first", 0, 0, 15 * time.Second},
		{"a little later", 14 * time.Second, 0, time.Second},
		{"it is asked", 15 * time.Second, 1, time.Minute},
		{"the answer is good for a minute", 74 * time.Second, 1, time.Second},
		{"then it is asked again", 75 * time.Second, 2, time.Minute},
	} {
		now := observed
		now.Now = begin.Add(step.after)
		require.Equal(t, step.again, c.podEvents(t.Context(), agent, &now, state), step.name)
		require.Equal(t, step.asked, server.asked, step.name)
		if step.asked > 0 {
			require.Equal(t, "a-1-x", now.QueriedPod, step.name)
			require.Equal(t, []status.PodEvent{{Pod: "a-1-x", Container: "agent", Reason: "Unhealthy", Message: "no", Last: begin}}, now.PodEvents)
		} else {
			require.Empty(t, now.QueriedPod, step.name)
		}
	}
	require.Equal(t, "involvedObject.uid=u", server.options.FieldSelector.String())
	require.Equal(t, "team", server.options.Namespace)
	require.NotZero(t, server.options.Limit)

}

// pods are some of an Agent's, none of them ready, and each either quiet about why or not; a quiet one's uid is its name.
func pods(quiet []string, crashing ...string) []corev1.Pod {
	var all []corev1.Pod
	for _, name := range append(quiet, crashing...) {
		pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID(name)}, Spec: corev1.PodSpec{NodeName: "n"}}
		if slices.Contains(crashing, name) {
			waiting := &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "agent", State: corev1.ContainerState{Waiting: waiting}}}
		}
		all = append(all, pod)
	}
	return all
}

// hears has the controller listen some time after the beginning, and returns what it then knows.
func hears(t *testing.T, c *Controller, after time.Duration, pods []corev1.Pod) (status.Observed, time.Duration) {
	t.Helper()
	agent, observed := unready()
	observed.Now, observed.Pods = begin.Add(after), pods
	again := c.podEvents(t.Context(), agent, &observed, c.states.For(agent))
	return observed, again
}

func TestEventsAreNotAskedForSoonerWhenAnotherPodComesIntoView(t *testing.T) {
	server := &answers{}
	c := New(nil, server, nil, false)
	one, both := pods([]string{"x"}), pods([]string{"x", "w"})
	hears(t, c, 0, one)
	observed, _ := hears(t, c, 15*time.Second, one)
	require.Equal(t, "x", observed.QueriedPod)
	observed, again := hears(t, c, 30*time.Second, both)
	require.Empty(t, observed.QueriedPod, "nobody asked about this pod")
	require.Equal(t, 15*time.Second, again, "it gets its time")
	_, again = hears(t, c, 45*time.Second, both)
	require.Equal(t, 30*time.Second, again)
	require.Equal(t, 1, server.asked)
	observed, _ = hears(t, c, 75*time.Second, both)
	require.Equal(t, "w", observed.QueriedPod)
	require.Equal(t, 2, server.asked)
}

func TestEventsAreNotAskedForSoonerWhenAnotherCauseComesAndGoes(t *testing.T) {
	server := &answers{events: []corev1.Event{{Reason: "Unhealthy", Message: "no"}}}
	c := New(nil, server, nil, false)
	hears(t, c, 0, pods([]string{"x"}))
	for after := 15 * time.Second; after < 75*time.Second; after += 10 * time.Second {
		observed, _ := hears(t, c, after, pods([]string{"x"}))
		require.Equal(t, "x", observed.QueriedPod, "what was heard is still good")
		require.Len(t, observed.PodEvents, 1)
		observed, again := hears(t, c, after+5*time.Second, pods([]string{"x"}, "y"))
		require.Empty(t, observed.QueriedPod)
		require.Zero(t, again, "the pod that crashes says enough")
	}
	require.Equal(t, 1, server.asked)
	hears(t, c, 75*time.Second, pods(nil, "y"))
	agent, _ := unready()
	require.Zero(t, c.states.For(agent).query, "an answer that is out of date is dropped")
}

// Every pod of a rollout is unready for a while and says nothing. That is no reason to ask.
func TestEventsAreNotAskedForWhileEveryPodGetsReadyInTime(t *testing.T) {
	server := &answers{}
	c := New(nil, server, nil, false)
	for i := range 10 {
		began := time.Duration(i) * 14 * time.Second
		_, again := hears(t, c, began, pods([]string{fmt.Sprint("pod", i)}))
		require.Equal(t, eventDelay, again)
		hears(t, c, began+13*time.Second, pods([]string{fmt.Sprint("pod", i)}))
	}
	require.Zero(t, server.asked)
}

func TestWithoutAnAnswerWhatWasHeardStandsAndEventsAreAskedForAgainInAMinute(t *testing.T) {
	server := &answers{events: []corev1.Event{{Reason: "Unhealthy", Message: "no"}}, err: errors.New("busy")}
	c := New(nil, server, nil, false)
	hears(t, c, 0, pods([]string{"x"}))
	for range 2 {
		observed, again := hears(t, c, 15*time.Second, pods([]string{"x"}))
		require.Empty(t, observed.QueriedPod, "no answer is not the answer that there is nothing")
		require.Equal(t, time.Minute, again)
		require.Equal(t, 1, server.asked)
	}
	server.err = nil
	hears(t, c, 75*time.Second, pods([]string{"x"}))
	server.err = errors.New("busy")
	observed, _ := hears(t, c, 135*time.Second, pods([]string{"x"}))
	require.Equal(t, "x", observed.QueriedPod)
	require.Len(t, observed.PodEvents, 1)
	require.Equal(t, 3, server.asked)
	hears(t, c, 180*time.Second, pods([]string{"w"}))
	observed, _ = hears(t, c, 195*time.Second, pods([]string{"w"}))
	require.Empty(t, observed.QueriedPod)
	require.Empty(t, observed.PodEvents, "it was about another pod")
}

func TestTheLatestTimeOfAnEventCounts(t *testing.T) {
	early, late := metav1.NewTime(begin), metav1.NewTime(begin.Add(time.Hour))
	for _, event := range []corev1.Event{
		{LastTimestamp: late, EventTime: metav1.NewMicroTime(begin)},
		{LastTimestamp: early, EventTime: metav1.NewMicroTime(late.Time)},
		{EventTime: metav1.NewMicroTime(begin), Series: &corev1.EventSeries{LastObservedTime: metav1.NewMicroTime(late.Time)}},
	} {
		require.Equal(t, late.Time, lastObserved(event))
	}
}

// scaledByOthers is a Deployment that somebody scaled to 5, and that was last applied as the Agent wants it, at 3.
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

func TestWhoScalesTheDeploymentIsToldOnceAnHour(t *testing.T) {
	agent := agenttest.New("a", agenttest.Replicas(3))
	live, children := scaledByOthers(t, agent)
	recorder := events.NewFakeRecorder(8)
	c := New(nil, &answers{deployment: live}, recorder, false)
	require.Equal(t, 1, warnedAfter(t, c, recorder, agent, live, children, 0))
	require.Zero(t, warnedAfter(t, c, recorder, agent, live, children, 59*time.Minute))
	require.Equal(t, 1, warnedAfter(t, c, recorder, agent, live, children, 60*time.Minute))
	c.states.Delete(client.ObjectKeyFromObject(agent))
	require.Equal(t, 1, warnedAfter(t, c, recorder, agent, live, children, 61*time.Minute), "another Agent of that name")
}

// warnedAfter counts the events that are sent.
func warnedAfter(t *testing.T, c *Controller, recorder *events.FakeRecorder, agent *v1alpha1.Agent, live *appsv1.Deployment, children render.Children, after time.Duration) int {
	t.Helper()
	c.now = func() time.Time { return begin.Add(after) }
	state := c.states.For(agent)
	c.warnScaleConflict(agent, c.findScaleConflict(t.Context(), live, children.Deployment, state), state)
	sent := len(recorder.Events)
	for range sent {
		require.Contains(t, <-recorder.Events, `Warning DeploymentScaled keda scales Deployment "a" to 5, but the Agent asks for 3 and scales it back`)
	}
	return sent
}

func TestAnotherCountIsNobodysFaultUnlessItWasScaled(t *testing.T) {
	agent := agenttest.New("a", agenttest.Replicas(3))
	for name, change := range map[string]func(*appsv1.Deployment){
		"the Agent wants something new":  func(d *appsv1.Deployment) { d.Annotations = nil },
		"the count is right":             func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](3) },
		"it was edited, not scaled":      func(d *appsv1.Deployment) { d.ManagedFields[1].Subresource = "" },
		"its scale says nothing of that": func(d *appsv1.Deployment) { d.ManagedFields[1].FieldsV1 = metav1.NewFieldsV1(`{}`) },
	} {
		live, children := scaledByOthers(t, agent)
		change(live)
		recorder := events.NewFakeRecorder(8)
		c := New(nil, &answers{deployment: live}, recorder, false)
		require.Zero(t, warnedAfter(t, c, recorder, agent, live, children, 0), name)
	}
	live, children := scaledByOthers(t, agent)
	recorder := events.NewFakeRecorder(8)
	require.Zero(t, warnedAfter(t, New(nil, &answers{err: errors.New("gone")}, recorder, false), recorder, agent, live, children, 0))
	require.Zero(t, warnedAfter(t, New(nil, nil, recorder, false), recorder, agent, nil, children, 0), "no Deployment yet")
}
