package agent

import (
	"context"
	"errors"
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

// scribe is an API server that takes statuses, or refuses them, and counts.
type scribe struct {
	client.Client
	patches int
	err     error
}

func (s *scribe) Status() client.SubResourceWriter { return statusScribe{s: s} }

type statusScribe struct {
	client.SubResourceWriter
	s *scribe
}

func (w statusScribe) Patch(context.Context, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
	w.s.patches++
	return w.s.err
}

func TestNumbersWaitAWhileForSomethingElseToBeWritten(t *testing.T) {
	scribe := &scribe{}
	c, state := New(scribe, nil, events.NewFakeRecorder(8), false), &state{}
	was := agenttest.New("a", agenttest.Replicas(3))
	was.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRolloutInProgress}}
	for _, step := range []struct {
		name    string
		at      time.Duration
		change  func(*v1alpha1.AgentStatus)
		wait    time.Duration
		patches int
	}{
		{"nothing", 0, func(*v1alpha1.AgentStatus) {}, 0, 0},
		{"one more answers", 100 * time.Millisecond, func(s *v1alpha1.AgentStatus) { s.ReadyReplicas = 1 }, 500 * time.Millisecond, 0},
		{"and another", 300 * time.Millisecond, func(s *v1alpha1.AgentStatus) { s.ReadyReplicas = 2 }, 300 * time.Millisecond, 0},
		{"half a second after the first", 600 * time.Millisecond, func(s *v1alpha1.AgentStatus) { s.ReadyReplicas = 2 }, 0, 1},
		{"where it runs", 700 * time.Millisecond, func(s *v1alpha1.AgentStatus) { s.Placement = &v1alpha1.Placement{} }, 30 * time.Second, 1},
		{"a condition meanwhile", 800 * time.Millisecond, func(s *v1alpha1.AgentStatus) { s.Conditions[0].Status = metav1.ConditionTrue }, 0, 2},
		{"where it runs, anew", time.Second, func(s *v1alpha1.AgentStatus) { s.Placement = &v1alpha1.Placement{} }, 30 * time.Second, 2},
		{"as it was", 2 * time.Second, func(*v1alpha1.AgentStatus) {}, 0, 2},
		{"where it runs, from then on", 3 * time.Second, func(s *v1alpha1.AgentStatus) { s.Placement = &v1alpha1.Placement{} }, 30 * time.Second, 2},
		{"one answers meanwhile", 4 * time.Second, func(s *v1alpha1.AgentStatus) { s.ReadyReplicas = 1 }, 0, 3},
	} {
		t.Run(step.name, func(t *testing.T) {
			updated := was.Status.DeepCopy()
			step.change(updated)
			wait, err := c.patchStatus(t.Context(), was, written{status: updated}, status.Observed{Now: begin.Add(step.at)}, state)
			require.NoError(t, err)
			require.Equal(t, step.wait, wait)
			require.Equal(t, step.patches, scribe.patches)
		})
	}
}

func TestAStatusThatWasRefusedIsNotTakenForWritten(t *testing.T) {
	refusal := errors.New("not now")
	gone := apierrors.NewNotFound(schema.GroupResource{}, "a")
	for _, r := range []struct {
		name      string
		err, want error
	}{{"refused", refusal, refusal}, {"the Agent is gone", gone, nil}} {
		t.Run(r.name, func(t *testing.T) {
			recorder := events.NewFakeRecorder(8)
			c := New(&scribe{err: r.err}, nil, recorder, false)
			was := agenttest.New("a")
			state := &state{}
			updated := &v1alpha1.AgentStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonRolloutComplete}}}
			_, err := c.patchStatus(t.Context(), was, written{updated, []string{"image"}}, status.Observed{Now: begin}, state)
			require.ErrorIs(t, err, r.want)
			require.Nil(t, state.missing.Load(), "metrics do not report what was not written")
			require.Empty(t, recorder.Events, "no event about what is not told")
		})
	}
}

func TestTheSoonestOfSomeWaitsIsTheShortestThatThereIs(t *testing.T) {
	require.Equal(t, time.Second, soonest(0, 3*time.Second, time.Second, 0))
	require.Zero(t, soonest(0, 0))
}
