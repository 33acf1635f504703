package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
func unready() (*v1alpha1.Agent, status.Seen) {
	agent := agenttest.New("a", agenttest.In("team"), agenttest.Replicas(1))
	agent.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, LastTransitionTime: metav1.NewTime(begin)}}
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "a-1-x", UID: "u"}, Spec: corev1.PodSpec{NodeName: "n"}}
	return agent, status.Seen{Deployment: &appsv1.Deployment{}, Pods: []corev1.Pod{pod}}
}

func TestEventsAreAskedForAfterAWhileAndOnceAMinuteAtMost(t *testing.T) {
	server := &answers{events: []corev1.Event{
		{Reason: "Unhealthy", Message: "no", LastTimestamp: metav1.NewTime(begin)},
		{Reason: "Pulled", Message: "not to the point"},
	}}
	c := New(nil, server, nil, false)
	agent, seen := unready()
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
		now := seen
		now.Now = begin.Add(step.after)
		require.Equal(t, step.again, c.listen(t.Context(), agent, &now), step.name)
		require.Equal(t, step.asked, server.asked, step.name)
		require.Equal(t, step.asked > 0, now.Asked, step.name)
		if step.asked > 0 {
			require.Equal(t, []status.Told{{Pod: "a-1-x", Reason: "Unhealthy", Message: "no", Last: begin}}, now.Told)
		}
	}
	require.Equal(t, "involvedObject.uid=u", server.options.FieldSelector.String())
	require.Equal(t, "team", server.options.Namespace)
	require.NotZero(t, server.options.Limit)

	settled := status.Seen{Now: begin.Add(80 * time.Second), Deployment: &appsv1.Deployment{}}
	require.Zero(t, c.listen(t.Context(), agent, &settled), "no pod is under suspicion any more")
	now := seen
	now.Now = begin.Add(81 * time.Second)
	c.listen(t.Context(), agent, &now)
	require.Equal(t, 3, server.asked, "what was heard before is forgotten")
}

func TestWhenEventsCannotBeReadTheyAreAskedForAgainInAMinute(t *testing.T) {
	server := &answers{err: errors.New("forbidden")}
	c := New(nil, server, nil, false)
	agent, seen := unready()
	seen.Now = begin.Add(time.Hour)
	require.Equal(t, time.Minute, c.listen(t.Context(), agent, &seen))
	require.Equal(t, time.Minute, c.listen(t.Context(), agent, &seen))
	require.Equal(t, 1, server.asked)
	require.Empty(t, seen.Told)
}

func TestTheLatestTimeOfAnEventCounts(t *testing.T) {
	early, late := metav1.NewTime(begin), metav1.NewTime(begin.Add(time.Hour))
	for _, event := range []corev1.Event{
		{LastTimestamp: late, EventTime: metav1.NewMicroTime(begin)},
		{LastTimestamp: early, EventTime: metav1.NewMicroTime(late.Time)},
		{EventTime: metav1.NewMicroTime(begin), Series: &corev1.EventSeries{LastObservedTime: metav1.NewMicroTime(late.Time)}},
	} {
		require.Equal(t, late.Time, lastSaid(event))
	}
}

// contested is a Deployment that somebody scaled to 5, and that was last applied as the Agent wants it, at 3.
func contested(t *testing.T, agent *v1alpha1.Agent) (*appsv1.Deployment, render.Children) {
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
	live, children := contested(t, agent)
	recorder := events.NewFakeRecorder(8)
	c := New(nil, &answers{deployment: live}, recorder, false)
	require.Equal(t, 1, tellAfter(t, c, recorder, agent, live, children, 0))
	require.Zero(t, tellAfter(t, c, recorder, agent, live, children, 59*time.Minute))
	require.Equal(t, 1, tellAfter(t, c, recorder, agent, live, children, 60*time.Minute))
	c.forget(client.ObjectKeyFromObject(agent))
	require.Equal(t, 1, tellAfter(t, c, recorder, agent, live, children, 61*time.Minute), "another Agent of that name")
}

// tellAfter counts the events that are sent.
func tellAfter(t *testing.T, c *Controller, recorder *events.FakeRecorder, agent *v1alpha1.Agent, live *appsv1.Deployment, children render.Children, after time.Duration) int {
	t.Helper()
	c.now = func() time.Time { return begin.Add(after) }
	c.tellContest(t.Context(), agent, live, children.Deployment)
	sent := len(recorder.Events)
	for range sent {
		require.Contains(t, <-recorder.Events, `Warning DeploymentScaled keda scales the Deployment "a" to 5, and the Agent, which wants 3, puts it back`)
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
		live, children := contested(t, agent)
		change(live)
		recorder := events.NewFakeRecorder(8)
		c := New(nil, &answers{deployment: live}, recorder, false)
		require.Zero(t, tellAfter(t, c, recorder, agent, live, children, 0), name)
	}
	live, children := contested(t, agent)
	recorder := events.NewFakeRecorder(8)
	require.Zero(t, tellAfter(t, New(nil, &answers{err: errors.New("gone")}, recorder, false), recorder, agent, live, children, 0))
	require.Zero(t, tellAfter(t, New(nil, nil, recorder, false), recorder, agent, nil, children, 0), "no Deployment yet")
}
