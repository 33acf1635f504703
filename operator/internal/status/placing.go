package status

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// schedulerDelay is how long a scheduler may take to bind a new pod or to report that it cannot.
const schedulerDelay = 15 * time.Second

// ignoredByScheduler is the cause for a pod that no scheduler has considered. Nothing in the cluster reports that.
func ignoredByScheduler(pod *corev1.Pod, observed Observed) (cause, bool) {
	if !awaitsScheduler(pod) || observed.Now.Sub(pod.CreationTimestamp.Time) < schedulerDelay {
		return cause{}, false
	}
	return cause{reason: v1alpha1.ReasonUnschedulable, message: fmt.Sprintf(
		"no scheduler has considered the pod for %.0f s: check that the scheduler %q runs, or correct spec.runtime.spec.schedulerName",
		schedulerDelay.Seconds(), observed.Deployment.Spec.Template.Spec.SchedulerName)}, true
}

// awaitsScheduler reports whether a pod is neither bound to a node nor reported as unschedulable.
func awaitsScheduler(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled {
			return false
		}
	}
	return pod.Spec.NodeName == "" && shouldBeReady(pod)
}

// SchedulerRecheck is when the next pod will have waited too long for a scheduler, 0 for never: no event marks that moment.
func SchedulerRecheck(observed Observed) time.Duration {
	var first time.Duration
	for i := range observed.Pods {
		pod := &observed.Pods[i]
		remaining := pod.CreationTimestamp.Add(schedulerDelay).Sub(observed.Now)
		if awaitsScheduler(pod) && remaining > 0 && (first == 0 || remaining < first) {
			first = remaining
		}
	}
	return first
}

// rejectionWindow bounds how much older than the newest pod a failed pod may be to be a cause. While nodes reject the pods, the
// ReplicaSet controller creates new ones all the time.
const rejectionWindow = 5 * time.Minute

// rejection is the cause if nodes reject the pods, or evict one after another. A failed pod that has been replaced is none. Without
// the name of a pod, the message stays the same from one pod to the next.
func rejection(pods []corev1.Pod) (cause, bool) {
	newest := latest(pods, func(*corev1.Pod) bool { return true })
	accepted, ready := latest(pods, isAccepted), latest(pods, podReady)
	rejected, evicted := 0, 0
	last := latest(pods, func(pod *corev1.Pod) bool {
		switch {
		case pod.Status.Phase != corev1.PodFailed || pod.Status.Reason == "" || !sameTemplate(pod, newest) ||
			newest.CreationTimestamp.Sub(pod.CreationTimestamp.Time) > rejectionWindow:
			return false
		case hasRun(pod) && createdAfter(pod, ready):
			evicted++
			return true
		case !hasRun(pod) && createdAfter(pod, accepted):
			rejected++
			return true
		default:
			return false
		}
	})
	if rejected == 0 && evicted < 2 { // a single evicted pod is replaced in a moment
		return cause{}, false
	}
	message := "nodes reject or evict the pods: " + last.Status.Reason
	if last.Status.Message != "" {
		message += ": " + last.Status.Message
	}
	return cause{reason: v1alpha1.ReasonUnschedulable, message: message}, true
}

// isAccepted reports whether a node runs the pod, or has started to. The kubelet reports no container of a pod that it rejects.
func isAccepted(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning || podReady(pod) || shouldBeReady(pod) && len(containerStatuses(pod)) > 0
}

// hasRun reports whether a container of the pod has started.
func hasRun(pod *corev1.Pod) bool { return !beforeContainers(pod, nil) }

// latest returns the last created of the pods that match, of several in one second the last by name, and nil if none matches.
func latest(pods []corev1.Pod, matches func(*corev1.Pod) bool) *corev1.Pod {
	var last *corev1.Pod
	for i := range pods {
		pod := &pods[i]
		if matches(pod) && (createdAfter(pod, last) || !createdAfter(last, pod) && pod.Name > last.Name) {
			last = pod
		}
	}
	return last
}

// createdAfter reports whether a pod was created in a later second than another, which may be nil.
func createdAfter(pod, other *corev1.Pod) bool {
	return other == nil || other.CreationTimestamp.Before(&pod.CreationTimestamp)
}

func sameTemplate(a, b *corev1.Pod) bool {
	const hash = appsv1.DefaultDeploymentUniqueLabelKey
	return a.Labels[hash] == b.Labels[hash]
}
