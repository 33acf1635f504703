package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// keptDeployment returns an Agent's Deployment that is rolled out, except for some changes, as the cache holds it.
func keptDeployment(t *testing.T, changes ...func(*appsv1.Deployment)) client.Object {
	t.Helper()
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "a", Generation: 2,
			Annotations:     map[string]string{v1alpha1.AnnotationDigest: "1"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.AgentKind, Name: "a", Controller: ptr.To(true)}}},
		Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](2)},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: 2, AvailableReplicas: 2,
			Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue}}},
	}
	for _, change := range changes {
		change(deployment)
	}
	kept, err := KeepDeployment(deployment)
	require.NoError(t, err)
	return kept
}

func TestADeploymentIsReconciledAtOnceUnlessItIsInARolloutOrJustApplied(t *testing.T) {
	rolling := func(available int32) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) { d.Status.UpdatedReplicas, d.Status.AvailableReplicas = 1, available }
	}
	require.True(t, status.RolledOut(unpack(keptDeployment(t)).(*appsv1.Deployment)))
	require.False(t, status.RolledOut(unpack(keptDeployment(t, rolling(2))).(*appsv1.Deployment)))
	for _, r := range []struct {
		name          string
		before, after []func(*appsv1.Deployment)
		atOnce        bool
	}{
		{"one pod more is updated", []func(*appsv1.Deployment){rolling(1)}, []func(*appsv1.Deployment){rolling(2)}, false},
		{"the rollout ends", []func(*appsv1.Deployment){rolling(2)}, nil, true},
		{"a pod is lost", nil, []func(*appsv1.Deployment){rolling(1)}, true},
		{"somebody scales it", nil, []func(*appsv1.Deployment){func(d *appsv1.Deployment) { d.Generation, d.Spec.Replicas = 3, ptr.To[int32](1) }}, true},
		{"somebody scales it in a rollout", []func(*appsv1.Deployment){rolling(1)},
			[]func(*appsv1.Deployment){rolling(1), func(d *appsv1.Deployment) { d.Generation, d.Spec.Replicas = 3, ptr.To[int32](1) }}, true},
		{"this operator applied another template", nil,
			[]func(*appsv1.Deployment){func(d *appsv1.Deployment) { d.Generation, d.Annotations[v1alpha1.AnnotationDigest] = 3, "2" }}, false},
		{"a large one, of which the cache holds no status", []func(*appsv1.Deployment){rolling(1), large}, []func(*appsv1.Deployment){rolling(2), large}, true},
	} {
		t.Run(r.name, func(t *testing.T) {
			q := &recordingQueue{}
			childHandler(deploymentIsUrgent).Update(t.Context(), event.UpdateEvent{ObjectOld: keptDeployment(t, r.before...), ObjectNew: keptDeployment(t, r.after...)}, q)
			want := followUp
			if r.atOnce {
				want = 0
			}
			require.Equal(t, []time.Duration{want}, q.delays)
			require.Equal(t, []string{"team/a"}, q.agents)
		})
	}
}

// large is a change that makes a Deployment too large to be cached whole.
func large(d *appsv1.Deployment) {
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "agent", Args: []string{strings.Repeat("x", maxWholeDeployment)}}}
}

func TestAChildThatThisOperatorCreatedWaitsForWhatFollows(t *testing.T) {
	created := keptDeployment(t)
	handler := childHandler(alwaysUrgent)
	q := &recordingQueue{}
	handler.Create(t.Context(), event.CreateEvent{Object: created}, q)
	handler.Create(t.Context(), event.CreateEvent{Object: created, IsInInitialList: true}, q)
	handler.Delete(t.Context(), event.DeleteEvent{Object: created}, q)
	require.Equal(t, []time.Duration{followUp, 0, 0}, q.delays)
}

func TestAnUpdateEnqueuesTheAgentsThatControlTheChildOrDidSo(t *testing.T) {
	ownedBy := func(kind, name string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) { d.OwnerReferences[0].Kind, d.OwnerReferences[0].Name = kind, name }
	}
	orphan := func(d *appsv1.Deployment) { d.OwnerReferences = nil }
	for _, r := range []struct {
		name          string
		before, after func(*appsv1.Deployment)
		agents        []string
	}{
		{"the same", ownedBy("Agent", "b"), ownedBy("Agent", "b"), []string{"team/b"}},
		{"another", ownedBy("Agent", "b"), ownedBy("Agent", "c"), []string{"team/b", "team/c"}},
		{"released", ownedBy("Agent", "b"), orphan, []string{"team/b"}},
		{"adopted", orphan, ownedBy("Agent", "b"), []string{"team/b"}},
		{"of another kind", ownedBy("Job", "b"), ownedBy("Job", "b"), nil},
	} {
		t.Run(r.name, func(t *testing.T) {
			q := &recordingQueue{}
			childHandler(alwaysUrgent).Update(t.Context(), event.UpdateEvent{ObjectOld: keptDeployment(t, r.before), ObjectNew: keptDeployment(t, r.after)}, q)
			require.Equal(t, r.agents, q.agents)
		})
	}
}

func TestAFailureOfAPodIsReconciledAtOnceAndProgressFollowsTheDeployment(t *testing.T) {
	waiting := func(reason string) corev1.ContainerStatus {
		return corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}
	}
	ended := func(code int32) corev1.ContainerStatus {
		return corev1.ContainerStatus{LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}}
	}
	for _, r := range []struct {
		name   string
		status corev1.PodStatus
		atOnce bool
	}{
		{"created", corev1.PodStatus{Phase: corev1.PodPending}, false},
		{"starting", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("ContainerCreating")}}, false},
		{"initializing", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("PodInitializing")}}, false},
		{"initialized", corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{ended(0)}}, false},
		{"ready", readyStatus, false},
		{"failed", corev1.PodStatus{Phase: corev1.PodFailed}, true},
		{"unschedulable", corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse}}}, true},
		{"image not pulled", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("ErrImagePull")}}, true},
		{"init container fails", corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{waiting("CrashLoopBackOff")}}, true},
		{"restarted after a crash", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{ended(137)}}, true},
	} {
		t.Run(r.name, func(t *testing.T) {
			pod := CompressPod(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelAgent: "a"}}}, r.status)
			for _, enqueue := range []func(queue){
				func(q queue) { podHandler().Create(t.Context(), event.CreateEvent{Object: pod}, q) },
				func(q queue) { podHandler().Update(t.Context(), event.UpdateEvent{ObjectOld: pod, ObjectNew: pod}, q) },
				func(q queue) { podHandler().Delete(t.Context(), event.DeleteEvent{Object: pod}, q) },
			} {
				q := &recordingQueue{}
				enqueue(q)
				want := followUp
				if r.atOnce {
					want = 0
				}
				require.Equal(t, []time.Duration{want}, q.delays)
			}
			q := &recordingQueue{}
			podHandler().Create(t.Context(), event.CreateEvent{Object: pod, IsInInitialList: true}, q)
			require.Equal(t, []time.Duration{0}, q.delays, "after a start, each Agent is reconciled once")
		})
	}
}

// recordingQueue records what is added, and after which delay.
type recordingQueue struct {
	queue
	agents []string
	delays []time.Duration
}

func (q *recordingQueue) Add(agent reconcile.Request) { q.AddAfter(agent, 0) }
func (q *recordingQueue) AddAfter(agent reconcile.Request, after time.Duration) {
	q.agents, q.delays = append(q.agents, agent.String()), append(q.delays, after)
}
