package status_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// podOption changes a pod under construction.
type podOption func(*corev1.Pod)

// created returns a pod of a template that was created some time ago.
func created(template string, ago time.Duration, options ...podOption) corev1.Pod {
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("a-%s-%s", template, ago), CreationTimestamp: metav1.NewTime(now.Add(-ago)),
			Labels: map[string]string{"pod-template-hash": template},
		},
		Spec:   corev1.PodSpec{NodeName: "n1"},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, option := range options {
		option(&p)
	}
	return p
}

func unbound(p *corev1.Pod) { p.Spec.NodeName = "" }

// up makes a pod ready, and starting lets it run without being ready.
func up(p *corev1.Pod) {
	starting(p)
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
}

func starting(p *corev1.Pod) {
	p.Status.Phase = corev1.PodRunning
	p.Status.ContainerStatuses = []corev1.ContainerStatus{runningSince(0)}
}

// rejected is a pod that the kubelet did not start, and evicted one that it stopped.
func rejected(reason, message string) podOption {
	return func(p *corev1.Pod) {
		p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: reason, Message: message}
	}
}

func evicted(reason, message string) podOption {
	return func(p *corev1.Pod) {
		rejected(reason, message)(p)
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "agent", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown"}}}}
	}
}

func TestFailedPodsAreACauseOnlyWhileNothingReplacesThem(t *testing.T) {
	noCPU := rejected("OutOfcpu", "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000")
	fullDisk := evicted("Evicted", "The node was low on resource: ephemeral-storage.")
	noDevice := rejected("UnexpectedAdmissionError", "Allocate failed due to no healthy devices")
	old := created("1", time.Hour, up)
	for _, r := range []struct {
		name string
		pods []corev1.Pod
		want string
	}{
		// replaced
		{"an evicted pod of the previous template", []corev1.Pod{old, created("1", time.Hour, fullDisk), created("2", 0, starting)}, ""},
		{"an evicted pod, and its replacement is new", []corev1.Pod{old, created("1", time.Minute, fullDisk), created("1", 0)}, ""},
		{"an evicted pod without a replacement yet", []corev1.Pod{old, created("1", time.Minute, fullDisk)}, ""},
		{"a pod that a crash ended", []corev1.Pod{created("1", time.Minute, evicted("", "")), created("1", 0)}, ""},
		{"a completed pod", []corev1.Pod{created("1", time.Minute, fullDisk, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), created("1", 0)}, ""},
		{"a rejected pod, and another node accepted the next", []corev1.Pod{created("1", time.Minute, noCPU), created("1", 0, starting)}, ""},
		{"a rejected pod, and another node pulls the image", []corev1.Pod{created("1", time.Minute, noCPU), created("1", 0, func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{waiting("ContainerCreating", "")}
		})}, ""},
		{"two pods of the same second, one of them accepted", []corev1.Pod{created("1", 0, noCPU), created("1", 0, up)}, ""},
		{"pods that were rejected before a new template", []corev1.Pod{created("1", time.Minute, noCPU), created("1", 30*time.Second, noCPU), created("2", 0)}, ""},
		{"pods that were rejected long ago", []corev1.Pod{created("1", time.Hour, noCPU), created("1", 59*time.Minute, noCPU), created("1", 0)}, ""},
		{"evicted pods, and the last replacement is ready", []corev1.Pod{created("1", 3*time.Minute, fullDisk), created("1", 2*time.Minute, fullDisk), created("1", time.Minute, up), created("1", 0)}, ""},

		// a cause
		{"a rejected pod", []corev1.Pod{created("1", 0, noCPU)}, "OutOfcpu: Pod was rejected: Node didn't have enough resource: cpu, requested: 1000"},
		{"rejected pods beside old ones", []corev1.Pod{old, created("2", time.Minute, noDevice), created("2", 2*time.Second, noDevice), created("2", 0)}, "UnexpectedAdmissionError: Allocate failed due to no healthy devices"},
		{"rejected pods beside accepted ones", []corev1.Pod{created("1", time.Minute, up), created("1", 2*time.Second, noDevice), created("1", 0)}, "UnexpectedAdmissionError: Allocate failed due to no healthy devices"},
		{"a node that no longer matches", []corev1.Pod{created("1", time.Second, rejected("NodeAffinity", "Pod was rejected")), created("1", 0)}, "NodeAffinity: Pod was rejected"},
		{"a reason without a message", []corev1.Pod{created("1", 0, rejected("SysctlForbidden", ""))}, "SysctlForbidden"},
		{"a node under disk pressure that accepts none", []corev1.Pod{created("1", 0, rejected("Evicted", "The node had condition: [DiskPressure]."))}, "Evicted: The node had condition: [DiskPressure]."},
		{"one eviction after another", []corev1.Pod{created("1", time.Minute, fullDisk), created("1", 30*time.Second, fullDisk), created("1", 0, starting)}, "Evicted: The node was low on resource: ephemeral-storage."},
		{"preempted again and again", []corev1.Pod{created("1", time.Minute, evicted("Preempting", "Preempted in order to admit critical pod")), created("1", 30*time.Second, evicted("Preempting", "Preempted in order to admit critical pod"))}, "Preempting: Preempted in order to admit critical pod"},
	} {
		t.Run(r.name, func(t *testing.T) {
			want := "False RolloutInProgress: 1 of 3 replicas updated, 3 available"
			if r.want != "" {
				want = "False Unschedulable: nodes reject or evict the pods: " + r.want + "; 1 of 3 replicas updated, 3 available"
			}
			observed := status.Observed{Now: now, Deployment: deployment(counts(4, 1, 3, 3)), Pods: r.pods}
			agent := agenttest.New("a", agenttest.Replicas(3))
			require.Equal(t, want, conditionText(statusOf(agent, observed, nil), v1alpha1.ConditionReady))
			if r.want != "" {
				require.Nil(t, status.UnexplainedPod(agent, observed), "no query for Events is needed")
			}
			observed.Deployment = deployment()
			require.Contains(t, conditionText(statusOf(agent, observed, nil), v1alpha1.ConditionReady), "True RolloutComplete")
		})
	}
}

// A dead pod is neither the cause nor in the way of another one.
func TestFailedPodsDoNotHideOtherCauses(t *testing.T) {
	fullDisk := evicted("Evicted", "The node was low on resource: memory.")
	for name, dead := range map[string]podOption{"evicted": fullDisk, "rejected": rejected("OutOfcpu", "no")} {
		pods := []corev1.Pod{created("1", time.Minute, dead), unschedulable("0/3 nodes are available")}
		pods[1].CreationTimestamp = metav1.NewTime(now)
		pods[1].Labels = pods[0].Labels
		observed := status.Observed{Now: now, Deployment: deployment(counts(4, 1, 3, 3)), Pods: pods}
		got := conditionText(statusOf(agenttest.New("a", agenttest.Replicas(3)), observed, nil), v1alpha1.ConditionReady)
		require.Contains(t, got, "False Unschedulable: pod a-1-x: 0/3 nodes are available;", name)
	}
}

func TestEventsAreNotListedForPodsThatHaveEnded(t *testing.T) {
	observed := status.Observed{Now: now, Deployment: deployment(counts(4, 1, 3, 3)), Pods: []corev1.Pod{
		created("1", time.Hour, evicted("Evicted", "")), created("1", 0, starting)}}
	require.Equal(t, "a-1-0s", status.UnexplainedPod(agenttest.New("a", agenttest.Replicas(3)), observed).Name)
}

func TestPodThatNoSchedulerConsidersIsUnschedulable(t *testing.T) {
	gated := func(p *corev1.Pod) {
		unbound(p)
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "SchedulingGated", Message: "gated"}}
	}
	for _, r := range []struct {
		name    string
		pods    []corev1.Pod
		want    string
		recheck time.Duration
	}{
		{"at first", []corev1.Pod{created("1", 0, unbound)}, "RolloutInProgress", 15 * time.Second},
		{"before the delay is over", []corev1.Pod{created("1", 14*time.Second, unbound)}, "RolloutInProgress", time.Second},
		{"after the delay", []corev1.Pod{created("1", 15*time.Second, unbound)}, "Unschedulable: pod a-1-15s: no scheduler has considered the pod for 15 s: " +
			`check that the scheduler "nope" runs, or correct spec.runtime.spec.schedulerName`, 0},
		{"one of two pods", []corev1.Pod{created("1", 20*time.Second, unbound), created("1", 5*time.Second, unbound)}, "Unschedulable: pod a-1-20s:", 10 * time.Second},
		{"the first of two pods is due first", []corev1.Pod{created("1", 5*time.Second, unbound), created("1", 9*time.Second, unbound)}, "RolloutInProgress", 6 * time.Second},
		{"a clock that is behind", []corev1.Pod{created("1", -5*time.Second, unbound)}, "RolloutInProgress", 20 * time.Second},
		{"a pod with a scheduling gate", []corev1.Pod{created("1", time.Minute, gated)}, "Unschedulable: pod a-1-1m0s: gated", 0},
		{"a pod on a node", []corev1.Pod{created("1", time.Second)}, "RolloutInProgress", 0},
		{"a terminating pod", []corev1.Pod{created("1", time.Minute, unbound, func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: now} })}, "RolloutInProgress", 0},
		{"a failed pod", []corev1.Pod{created("1", time.Minute, unbound, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })}, "RolloutInProgress", 0},
	} {
		t.Run(r.name, func(t *testing.T) {
			observed := status.Observed{Now: now, Deployment: deployment(counts(4, 1, 3, 3)), Pods: r.pods}
			observed.Deployment.Spec.Template.Spec.SchedulerName = "nope"
			got := statusOf(agenttest.New("a", agenttest.Replicas(3)), observed, nil)
			require.Contains(t, conditionText(got, v1alpha1.ConditionReady), "False "+r.want)
			require.Equal(t, r.recheck, status.SchedulerRecheck(observed))
		})
	}
}
