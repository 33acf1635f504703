package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

func TestAgentsWithPodChangesPrecedeNewAgents(t *testing.T) {
	q := priorityqueue.New[reconcile.Request]("test")
	defer q.ShutDown()
	pods := withHighPriority(podHandler())
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", Labels: map[string]string{v1alpha1.LabelAgent: "running"}}}
	fresh := &handler.EnqueueRequestForObject{}

	pods.Create(t.Context(), event.CreateEvent{Object: pod, IsInInitialList: true}, q)
	requireNext(t, q, "running", handler.LowPriority)
	fresh.Create(t.Context(), event.CreateEvent{Object: agenttest.New("new")}, q)
	pods.Update(t.Context(), event.UpdateEvent{ObjectOld: pod, ObjectNew: changed(pod)}, q)
	requireNext(t, q, "running", highPriority)
	requireNext(t, q, "new", normalPriority)
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

// recordingQueue records after which delay something is added.
type recordingQueue struct {
	queue
	delays []time.Duration
}

func (q *recordingQueue) Add(reconcile.Request) { q.delays = append(q.delays, 0) }
func (q *recordingQueue) AddAfter(_ reconcile.Request, after time.Duration) {
	q.delays = append(q.delays, after)
}

func TestRequeuedAgentsFollowAgentsWithPodChanges(t *testing.T) {
	q := priorityqueue.New[reconcile.Request]("test")
	defer q.ShutDown()
	delayed := requeueAfter(time.Nanosecond)
	q.AddWithOpts(priorityqueue.AddOpts{After: delayed.RequeueAfter, Priority: delayed.Priority}, requestFor("requeued"))
	require.Eventually(t, func() bool { return q.Len() == 1 }, time.Second, time.Millisecond)
	priorityQueue{q}.Add(requestFor("changed"))
	require.Eventually(t, func() bool { return q.Len() == 2 }, time.Second, time.Millisecond)
	requireNext(t, q, "changed", highPriority)
	requireNext(t, q, "requeued", normalPriority)
	require.True(t, ptr.To(requeueAfter(0)).IsZero(), "no requeue")
}

func requestFor(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKey{Namespace: "default", Name: name}}
}

func changed(pod *corev1.Pod) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.ResourceVersion = "2"
	return pod
}

func requireNext(t *testing.T, q priorityqueue.PriorityQueue[reconcile.Request], name string, priority int) {
	t.Helper()
	next, actual, _ := q.GetWithPriority()
	require.Equal(t, requestFor(name), next)
	require.Equal(t, priority, actual)
	q.Done(next)
}
