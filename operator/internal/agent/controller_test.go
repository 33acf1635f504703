package agent

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/status"
)

func TestErrorsAreRetriedOnlyIfARetryCanHelp(t *testing.T) {
	invalid := status.InvalidSpec(errors.New("invalid"))
	waiting := waitForDeletion(&child{kind: "Service", name: "a"})
	conflict := &status.Failure{Reason: v1alpha1.ReasonNameConflict, Message: "conflict"}
	rejected := &status.Failure{Reason: v1alpha1.ReasonApplyFailed, Message: "rejected"}
	for _, r := range []struct {
		name     string
		err      error
		again    time.Duration
		backoff  bool
		terminal bool
	}{
		{name: "no error"},
		{name: "an invalid spec is terminal", err: invalid, terminal: true},
		{name: "a reason alone is not terminal", err: &status.Failure{Reason: v1alpha1.ReasonInvalidSpec, Message: "x"}, backoff: true},
		{name: "a deletion is awaited", err: waiting, again: 10 * time.Second},
		{name: "two deletions are awaited", err: errors.Join(waiting, waiting), again: 10 * time.Second},
		{name: "a foreign object may be deleted", err: conflict, backoff: true},
		{name: "a rejected apply may succeed later", err: rejected, backoff: true},
		{name: "another error", err: errors.New("boom"), backoff: true},
		{name: "a deletion and a rejected apply", err: errors.Join(waiting, rejected), backoff: true},
		{name: "a name conflict and a deletion", err: errors.Join(conflict, waiting), backoff: true},
	} {
		t.Run(r.name, func(t *testing.T) {
			got, err := result(r.err, 0)
			require.Equal(t, requeueAfter(r.again), got)
			require.Equal(t, r.terminal, errors.Is(err, reconcile.TerminalError(nil)))
			require.Equal(t, r.backoff || r.terminal, err != nil)
			if err != nil {
				require.ErrorIs(t, err, r.err)
			}
		})
	}
}

func TestEventIsRecordedWhenReadyHasANewReason(t *testing.T) {
	ready := func(reason string) *metav1.Condition {
		status := metav1.ConditionFalse
		if reason == v1alpha1.ReasonRolloutComplete || reason == v1alpha1.ReasonScaledToZero {
			status = metav1.ConditionTrue
		}
		return &metav1.Condition{Type: v1alpha1.ConditionReady, Status: status, Reason: reason, Message: "50% of " + reason}
	}
	for _, r := range []struct {
		name         string
		old, updated *metav1.Condition
		want         string
	}{
		{"a new Agent", nil, ready(v1alpha1.ReasonRolloutInProgress), ""},
		{"a new Agent, with the CRD's default", ready(v1alpha1.ReasonPending), ready(v1alpha1.ReasonRolloutInProgress), ""},
		{"a rollout", ready(v1alpha1.ReasonRolloutComplete), ready(v1alpha1.ReasonRolloutInProgress), "Normal RolloutInProgress 50% of RolloutInProgress"},
		{"complete", ready(v1alpha1.ReasonRolloutInProgress), ready(v1alpha1.ReasonRolloutComplete), "Normal RolloutComplete 50% of RolloutComplete"},
		{"scaled to zero", ready(v1alpha1.ReasonRolloutInProgress), ready(v1alpha1.ReasonScaledToZero), "Normal ScaledToZero 50% of ScaledToZero"},
		{"invalid", nil, ready(v1alpha1.ReasonInvalidSpec), "Warning InvalidSpec 50% of InvalidSpec"},
		{"a name conflict", nil, ready(v1alpha1.ReasonNameConflict), "Warning NameConflict 50% of NameConflict"},
		{"rejected", nil, ready(v1alpha1.ReasonApplyFailed), "Warning ApplyFailed 50% of ApplyFailed"},
		{"the deadline exceeded", nil, ready(v1alpha1.ReasonProgressDeadlineExceeded), "Warning ProgressDeadlineExceeded 50% of ProgressDeadlineExceeded"},
		{"replicas lost", ready(v1alpha1.ReasonRolloutComplete), ready(v1alpha1.ReasonReplicasUnavailable), "Warning ReplicasUnavailable 50% of ReplicasUnavailable"},
		{"the same reason", ready(v1alpha1.ReasonApplyFailed), ready(v1alpha1.ReasonApplyFailed), ""},
		{"other numbers", &metav1.Condition{Type: v1alpha1.ConditionReady, Reason: "RolloutInProgress", Message: "1 of 3"}, ready(v1alpha1.ReasonRolloutInProgress), ""},
		{"no condition", nil, nil, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			require.Equal(t, r.want, recorded(written{status: with(r.old)}, written{status: with(r.updated)}))
		})
	}
}

// A rollout records two Events at most. So gaining high availability records none, and losing it does.
func TestLostHighAvailabilityAndDeadlocksAreRecorded(t *testing.T) {
	ha := func(value metav1.ConditionStatus, message string) *metav1.Condition {
		reason := v1alpha1.ReasonRequirementsMet
		if value != metav1.ConditionTrue {
			reason = v1alpha1.ReasonMissingRequirements
		}
		return &metav1.Condition{Type: v1alpha1.ConditionHighlyAvailable, Status: value, Reason: reason, Message: message}
	}
	none := written{with(nil), nil}
	met := written{with(ha(metav1.ConditionTrue, "")), nil}
	missing := written{with(ha(metav1.ConditionFalse, "replicas: 2")), []string{"replicas"}}
	deadlock := written{with(ha(metav1.ConditionFalse, "anti-affinity: no room")), []string{"anti-affinity"}}
	noNode := written{with(ha(metav1.ConditionFalse, "host-port: no room")), []string{"host-port"}}
	restarted := written{deadlock.status, nil} // the ids of a status that an earlier process wrote are unknown
	for _, r := range []struct {
		name         string
		old, updated written
		want         string
	}{
		{"never highly available", none, missing, ""},
		{"gained", missing, met, ""},
		{"lost", met, missing, "Warning MissingRequirements replicas: 2"},
		{"still lost", missing, missing, ""},
		{"a deadlock of a new Agent", none, deadlock, "Warning MissingRequirements anti-affinity: no room"},
		{"a deadlock after another requirement", missing, deadlock, "Warning MissingRequirements anti-affinity: no room"},
		{"a deadlock by a host port", missing, noNode, "Warning MissingRequirements host-port: no room"},
		{"still deadlocked", deadlock, deadlock, ""},
		{"still deadlocked, after a restart", restarted, deadlock, ""},
		{"resolved", deadlock, missing, ""},
	} {
		t.Run(r.name, func(t *testing.T) { require.Equal(t, r.want, recorded(r.old, r.updated)) })
	}
}

// The Event ConfigChanged says more about the start of a rollout than RolloutInProgress, so a config rollout records two Events, too.
func TestAConfigRolloutHasNoOtherEventForItsStart(t *testing.T) {
	ready := func(reason string) written {
		return written{status: with(&metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason})}
	}
	for name, row := range map[string]struct{ old, updated, want string }{
		"the start": {v1alpha1.ReasonRolloutComplete, v1alpha1.ReasonRolloutInProgress, ""},
		"the fix":   {v1alpha1.ReasonProgressDeadlineExceeded, v1alpha1.ReasonRolloutInProgress, ""},
		"a failure": {v1alpha1.ReasonRolloutComplete, v1alpha1.ReasonApplyFailed, "Warning ApplyFailed "},
	} {
		require.Equal(t, row.want, recordedAfter(ready(row.old), ready(row.updated), true), name)
	}
}

// recorded returns the Events about the transition from one written status to the next, empty for none.
func recorded(old, updated written) string { return recordedAfter(old, updated, false) }

// recordedAfter returns the same. explained is true if another Event reports the start of a rollout.
func recordedAfter(old, updated written, explained bool) string {
	recorder := events.NewFakeRecorder(8)
	New(nil, nil, recorder, false).recordEvents(agenttest.New("a"), old, updated, explained)
	close(recorder.Events)
	var all []string
	for sent := range recorder.Events {
		all = append(all, sent)
	}
	return strings.Join(all, "\n")
}

// with returns a status with a condition, if it is not nil.
func with(condition *metav1.Condition) *v1alpha1.AgentStatus {
	status := &v1alpha1.AgentStatus{}
	if condition != nil {
		status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAvailable, Reason: "Other"}, *condition}
	}
	return status
}

func TestApplyFailureNamesTheChildAndWrapsTheCause(t *testing.T) {
	require.NoError(t, applyFailure(&child{kind: "Service", name: "a"}, nil))
	cause := errors.New("no room")
	err := applyFailure(&child{kind: "Service", name: "a"}, cause)
	require.EqualError(t, err, "Service: no room")
	require.ErrorIs(t, err, cause)
	require.Equal(t, v1alpha1.ReasonApplyFailed, status.Failures(err)[0].Reason)
}

func TestNameConflictListsEveryFix(t *testing.T) {
	err := nameConflict(agenttest.New("a"), &child{kind: "Service", name: "a"})
	require.Equal(t, v1alpha1.ReasonNameConflict, status.Failures(err)[0].Reason)
	for _, part := range []string{`Service named "a"`, "rename the Agent", "delete the Service", "flokoa.ai/adopt=a"} {
		require.ErrorContains(t, err, part)
	}
}

func TestPodEnqueuesTheAgentInItsLabel(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "a-5d7-x", Labels: map[string]string{v1alpha1.LabelAgent: "a"}}}
	require.Equal(t, "team/a", fmt.Sprint(agentOf(pod).NamespacedName))
}

func TestAgentUpdateEnqueuesItUnlessTheOperatorWroteIt(t *testing.T) {
	c := New(nil, nil, nil, false)
	live := agenttest.New("a")
	live.Status = v1alpha1.AgentStatus{Replicas: 1, Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, LastTransitionTime: metav1.NewTime(start)}}}
	own := live.Status.DeepCopy()
	own.Replicas, own.Conditions[0].LastTransitionTime = 2, metav1.NewTime(start.Add(time.Second+time.Millisecond))
	c.states.For(live).lastStatus.Store(statusSum(own))
	for _, r := range []struct {
		name   string
		change func(*v1alpha1.Agent)
		passes bool
	}{
		{"nothing, as a resync sends", func(*v1alpha1.Agent) {}, false},
		{"another spec, or a deletion", func(a *v1alpha1.Agent) { a.Generation++ }, true},
		{"a label and a finalizer", func(a *v1alpha1.Agent) {
			a.Labels, a.Finalizers = map[string]string{"a": "b"}, []string{"f"}
		}, false},
		{"the operator's status, as the API server returns it", func(a *v1alpha1.Agent) {
			a.Status = *own.DeepCopy()
			a.Status.Conditions[0].LastTransitionTime = metav1.NewTime(start.Add(time.Second).Local())
		}, false},
		{"another status", func(a *v1alpha1.Agent) { a.Status.Replicas = 9 }, true},
		{"no status", func(a *v1alpha1.Agent) { a.Status = v1alpha1.AgentStatus{} }, true},
		{"a status of an Agent of the same name", func(a *v1alpha1.Agent) { a.Status, a.UID = *own, "another" }, true},
	} {
		t.Run(r.name, func(t *testing.T) {
			after := live.DeepCopy()
			r.change(after)
			require.Equal(t, r.passes, c.agentChanged().Update(event.UpdateEvent{ObjectOld: live, ObjectNew: after}))
		})
	}
}

func TestPodUpdateEnqueuesTheAgentOnlyIfTheStatusNeedsIt(t *testing.T) {
	for _, r := range []struct {
		name   string
		change func(*corev1.Pod)
		passes bool
	}{
		{"nothing", func(*corev1.Pod) {}, false},
		{"ready", func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}, true},
		{"a container that waits", func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "agent"}} }, true},
		{"an annotation", func(p *corev1.Pod) { p.Annotations = map[string]string{"a": "b"} }, false},
		{"bound to a node", func(p *corev1.Pod) { p.Spec.NodeName = "n2" }, true},
		{"running", func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }, true},
		{"rejected by a node", func(p *corev1.Pod) { p.Status.Reason = "OutOfcpu" }, true},
		{"terminating", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, true},
		{"a zone", func(p *corev1.Pod) { p.Labels = map[string]string{corev1.LabelTopologyZone: "z"} }, true},
	} {
		t.Run(r.name, func(t *testing.T) {
			before := &corev1.Pod{Spec: corev1.PodSpec{NodeName: "n1"}}
			after := before.DeepCopy()
			r.change(after)
			var update event.UpdateEvent
			update.ObjectOld, update.ObjectNew = CompressPod(before, before.Status), CompressPod(after, after.Status)
			require.Equal(t, r.passes, podChanged.Update(update))
		})
	}
}

// Anyone who may patch a Deployment chooses the name of the field manager.
func TestEventsQuoteFieldManagersOnOneLine(t *testing.T) {
	recorder := events.NewFakeRecorder(8)
	c := New(nil, nil, recorder, false)
	manager := "kubectl\nWarning\x1b[2K\u202e" + strings.Repeat("x", 2000)
	c.warnTemplateChange(agenttest.New("a"), []string{manager}, &state{})
	c.warnScaleConflict(agenttest.New("a"), &scaleConflict{manager, 5, 3}, &state{})
	for range 2 {
		sent := <-recorder.Events
		require.Contains(t, sent, "kubectl Warning\ufffd[2K\ufffdxxx")
		require.Less(t, len(sent), 1100, "the API server rejects an Event with a longer note")
	}
}
