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
