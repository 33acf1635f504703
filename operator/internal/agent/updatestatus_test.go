package agent

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// fakeStatusClient counts status updates and accepts or rejects them.
type fakeStatusClient struct {
	client.Client
	updates int
	err     error
}

func (s *fakeStatusClient) Status() client.SubResourceWriter { return fakeStatusWriter{client: s} }

type fakeStatusWriter struct {
	client.SubResourceWriter
	client *fakeStatusClient
}

func (w fakeStatusWriter) Update(context.Context, client.Object, ...client.SubResourceUpdateOption) error {
	w.client.updates++
	return w.client.err
}

func TestReplicaCountsAndProgressAreBatched(t *testing.T) {
	server := &fakeStatusClient{}
	c, state := New(server, nil, events.NewFakeRecorder(8), false), &state{}
	agent := agenttest.New("a", agenttest.Replicas(3))
	agent.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse,
		Reason: v1alpha1.ReasonRolloutInProgress, LastTransitionTime: metav1.NewTime(start)}}
	for _, step := range []struct {
		name    string
		at      time.Duration
		change  func(*v1alpha1.AgentStatus)
		wait    time.Duration
		updates int
	}{
		{"nothing", 0, func(*v1alpha1.AgentStatus) {}, 0, 0},
		{"one replica is ready", 100 * time.Millisecond, func(s *v1alpha1.AgentStatus) { s.ReadyReplicas = 1 }, 500 * time.Millisecond, 0},
		{"another replica is ready", 300 * time.Millisecond, func(s *v1alpha1.AgentStatus) { s.ReadyReplicas = 2 }, 300 * time.Millisecond, 0},
		{"half a second after the first", 600 * time.Millisecond, func(s *v1alpha1.AgentStatus) { s.ReadyReplicas = 2 }, 0, 1},
		{"placement", 700 * time.Millisecond, func(s *v1alpha1.AgentStatus) { s.Placement = &v1alpha1.Placement{} }, 30 * time.Second, 1},
		{"a condition before the delay ends", 800 * time.Millisecond, func(s *v1alpha1.AgentStatus) { s.Conditions[0].Status = metav1.ConditionTrue }, 0, 2},
		{"placement again", time.Second, func(s *v1alpha1.AgentStatus) { s.Placement = &v1alpha1.Placement{} }, 30 * time.Second, 2},
		{"unchanged again", 2 * time.Second, func(*v1alpha1.AgentStatus) {}, 0, 2},
		{"placement, with a new delay", 3 * time.Second, func(s *v1alpha1.AgentStatus) { s.Placement = &v1alpha1.Placement{} }, 30 * time.Second, 2},
		{"one replica is ready before the delay ends", 4 * time.Second, func(s *v1alpha1.AgentStatus) { s.ReadyReplicas = 1 }, 0, 3},
	} {
		t.Run(step.name, func(t *testing.T) {
			updated := agent.Status.DeepCopy()
			step.change(updated)
			wait, err := c.updateStatus(t.Context(), agent, written{status: updated}, status.Observed{Now: start.Add(step.at)}, state)
			require.NoError(t, err)
			require.Equal(t, step.wait, wait)
			require.Equal(t, step.updates, server.updates)
		})
	}
}

func TestProgressOfThousandsWaitsUntilFewerWait(t *testing.T) {
	server := &fakeStatusClient{}
	c := New(server, nil, events.NewFakeRecorder(8), false)
	progress := v1alpha1.AgentStatus{Placement: &v1alpha1.Placement{}}
	pass := func(name string, at time.Duration, updated v1alpha1.AgentStatus) time.Duration {
		agent := agenttest.New(name)
		state := c.states.For(agent)
		wait, err := c.updateStatus(t.Context(), agent, written{status: &updated}, status.Observed{Now: start.Add(at)}, state)
		require.NoError(t, err)
		return wait
	}
	for i := range 1000 {
		pass(fmt.Sprint("agent-", i), 0, progress)
	}
	require.Equal(t, 5*time.Minute, pass("agent-0", 130*time.Second, progress), "of the remaining 370 s")
	for i := range 960 {
		switch i % 3 {
		case 0:
			pass(fmt.Sprint("agent-", i), 130*time.Second, v1alpha1.AgentStatus{})
		case 1:
			pass(fmt.Sprint("agent-", i), 130*time.Second, v1alpha1.AgentStatus{Image: "b"})
		default:
			c.forget(client.ObjectKeyFromObject(agenttest.New(fmt.Sprint("agent-", i))))
		}
	}
	require.Equal(t, 320, server.updates, "only the statuses that cannot wait")
	require.Equal(t, time.Duration(0), pass("agent-999", 130*time.Second, progress), "40 wait, for 30 s at most")
	require.Equal(t, 321, server.updates)
}

func TestRejectedStatusDoesNotCountAsWritten(t *testing.T) {
	rejection := errors.New("not now")
	gone, changed := apierrors.NewNotFound(schema.GroupResource{}, "a"), apierrors.NewConflict(schema.GroupResource{}, "a", errors.New("changed"))
	for _, r := range []struct {
		name      string
		err, want error
	}{{"rejected", rejection, rejection}, {"the Agent is deleted", gone, nil}, {"the Agent changed", changed, changed}} {
		t.Run(r.name, func(t *testing.T) {
			recorder := events.NewFakeRecorder(8)
			c := New(&fakeStatusClient{err: r.err}, nil, recorder, false)
			agent := agenttest.New("a")
			state := &state{}
			updated := &v1alpha1.AgentStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonRolloutComplete}}}
			_, err := c.updateStatus(t.Context(), agent, written{updated, []string{"image"}}, status.Observed{Now: start}, state)
			require.ErrorIs(t, err, r.want)
			require.Nil(t, state.missing.Load(), "metrics do not report what was not written")
			require.Empty(t, recorder.Events, "events do not report what was not written")
		})
	}
}

func TestStatusOfSomebodyElseIsPutBackAtOnceAndWithoutAnEvent(t *testing.T) {
	server, recorder := &fakeStatusClient{}, events.NewFakeRecorder(8)
	c, state := New(server, nil, recorder, false), &state{}
	agent := agenttest.New("a", agenttest.Replicas(3))
	own := v1alpha1.AgentStatus{Replicas: 3, Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRolloutComplete}}}
	counts, condition := own.DeepCopy(), own.DeepCopy()
	counts.Replicas = 99
	condition.Conditions[0].Status, condition.Conditions[0].Reason = metav1.ConditionFalse, "Restored"
	for _, step := range []struct {
		name    string
		at      time.Duration
		live    *v1alpha1.AgentStatus
		wait    time.Duration
		updates int
	}{
		{"after a start, nobody knows who wrote the counts", 0, counts, 30 * time.Second, 0},
		{"the status is correct", time.Second, &own, 0, 0},
		{"counts", 2 * time.Second, counts, 0, 1},
		{"put back", 3 * time.Second, &own, 0, 1},
		{"a condition, before the interval is over", 5 * time.Second, condition, 7 * time.Second, 1},
		{"a condition", 12 * time.Second, condition, 0, 2},
		{"put back again", 13 * time.Second, &own, 0, 2},
		{"the same condition again", 20 * time.Second, condition, 2 * time.Second, 2},
		{"withdrawn", 21 * time.Second, &own, 0, 2},
		{"nothing at all", 30 * time.Second, &v1alpha1.AgentStatus{}, 0, 3},
	} {
		agent.Status = *step.live.DeepCopy()
		wait, err := c.updateStatus(t.Context(), agent, written{status: own.DeepCopy()}, status.Observed{Now: start.Add(step.at)}, state)
		require.NoError(t, err)
		require.Equal(t, step.wait, wait, step.name)
		require.Equal(t, step.updates, server.updates, step.name)
	}
	require.Empty(t, recorder.Events, "the Agent did not change")
}

// Retries of a write, and passes that read a cache, must not take the operator's own status for a foreign one.
func TestEventsAreRecordedAfterARejectedStatusAndAStaleRead(t *testing.T) {
	server, recorder := &fakeStatusClient{}, events.NewFakeRecorder(8)
	c, state := New(server, nil, recorder, false), &state{}
	agent := agenttest.New("a", agenttest.Replicas(3))
	ready := func(reason string) *v1alpha1.AgentStatus {
		return &v1alpha1.AgentStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason}}}
	}
	agent.Status = *ready(v1alpha1.ReasonRolloutInProgress)
	patch := func(reason string, want int) {
		t.Helper()
		wait, _ := c.updateStatus(t.Context(), agent, written{status: ready(reason)}, status.Observed{Now: start}, state)
		require.Zero(t, wait)
		require.Len(t, recorder.Events, want)
	}
	patch(v1alpha1.ReasonRolloutInProgress, 0)
	server.err = errors.New("busy")
	patch(v1alpha1.ReasonCrashLooping, 0)
	server.err = nil
	patch(v1alpha1.ReasonCrashLooping, 1)
	patch(v1alpha1.ReasonOOMKilled, 2) // agent.Status is as before the last write
}

func TestSoonestIgnoresZeroDelays(t *testing.T) {
	require.Equal(t, time.Second, soonest(0, 3*time.Second, time.Second, 0))
	require.Zero(t, soonest(0, 0))
}
