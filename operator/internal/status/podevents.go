package status

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// PodEvent is an Event about a pod, reduced to what explains why the pod is not ready.
type PodEvent struct {
	// Pod is the name of the pod. Container is empty if the Event is about the whole pod.
	Pod, Container string
	// Reason and Message are the Event's.
	Reason, Message string
	// Last is when the Event was last observed.
	Last time.Time
}

func (e *PodEvent) text() string {
	if e.Container == "" {
		return e.Message
	}
	return fmt.Sprintf("container %s: %s", e.Container, e.Message)
}

// eventReasons map Events to the reasons of Ready=False that a pod's status does not show. The first row that matches applies.
var eventReasons = []struct {
	events []string
	// words narrow a row to messages that contain one of them; nil matches every message.
	words []string
	// applies reports whether a pod can still be in the state that the Event is about. Events live for an hour.
	applies func(*corev1.Pod, *PodEvent) bool
	reason  string
}{
	{[]string{"FailedMount"}, []string{"not found", "non-existent"}, beforeContainers, v1alpha1.ReasonConfigMissing},
	{[]string{"FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox", "FailedPodSandBoxStatus"}, nil, beforeContainers, v1alpha1.ReasonContainerConfigError},
	{[]string{"Unhealthy"}, nil, whileRunning, v1alpha1.ReasonProbeFailing},
}

// beforeContainers reports whether no container of the pod has started, because volumes and network are set up first.
func beforeContainers(pod *corev1.Pod, _ *PodEvent) bool {
	return !slices.ContainsFunc(containerStatuses(pod), func(c corev1.ContainerStatus) bool { return c.State.Running != nil || c.State.Terminated != nil })
}

// whileRunning reports whether the Event's container runs without being ready; without a container, whether all containers run.
func whileRunning(pod *corev1.Pod, event *PodEvent) bool {
	affected := pod.Status.ContainerStatuses
	if event.Container != "" {
		affected = slices.DeleteFunc(containerStatuses(pod), func(c corev1.ContainerStatus) bool { return c.Name != event.Container || c.Ready })
	}
	stopped := slices.ContainsFunc(affected, func(c corev1.ContainerStatus) bool { return c.State.Running == nil })
	return len(affected) > 0 && !stopped
}

// containerStatuses returns the statuses of a pod's init containers, which include sidecars, and of its containers.
func containerStatuses(pod *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
}

// UnexplainedPod returns a pod that is not ready and whose status does not say why: the one to list Events for. It is the first by
// name, nil if the rollout is complete or other pods explain why it is not.
func UnexplainedPod(agent *v1alpha1.Agent, observed Observed) *corev1.Pod {
	if observed.Deployment == nil || rollout(agent, observed).status == metav1.ConditionTrue {
		return nil
	}
	if _, failed := creationFailure(observed); failed {
		return nil
	}
	if _, rejected := rejection(observed.Pods); rejected {
		return nil
	}
	var first *corev1.Pod
	for i := range observed.Pods {
		pod := &observed.Pods[i]
		if !shouldBeReady(pod) {
			continue
		}
		if _, known := podCause(pod, observed); known {
			return nil
		}
		if pod.Spec.NodeName != "" && (first == nil || pod.Name < first.Name) {
			first = pod
		}
	}
	return first
}

// Explains reports whether an Event with this reason can explain why a pod is not ready.
func Explains(reason string) bool {
	for _, row := range eventReasons {
		if slices.Contains(row.events, reason) {
			return true
		}
	}
	return false
}

// eventCause is the cause in the latest Event about a pod. If Events were listed for the pod and explain nothing, it is inferred
// from the probes.
func eventCause(pod *corev1.Pod, observed Observed) (cause, bool) {
	var latest *PodEvent
	reason := ""
	for i := range observed.PodEvents {
		event := &observed.PodEvents[i]
		if r := reasonFor(pod, event); r != "" && (latest == nil || event.Last.After(latest.Last)) {
			latest, reason = event, r
		}
	}
	if latest != nil {
		return cause{reason: reason, message: latest.text()}, true
	}
	if observed.QueriedPod != pod.Name {
		return cause{}, false
	}
	return inferredProbe(pod, observed)
}

// reasonFor is the reason that an Event gives for a pod, empty if the Event is about another pod or an earlier state.
func reasonFor(pod *corev1.Pod, event *PodEvent) string {
	if event.Pod != pod.Name {
		return ""
	}
	for _, row := range eventReasons {
		if slices.Contains(row.events, event.Reason) && row.applies(pod, event) && (row.words == nil || containsAny(event.Message, row.words)) {
			return row.reason
		}
	}
	return ""
}

// inferredProbe finds a container that has run without being ready for longer than its probe takes to pass or fail.
func inferredProbe(pod *corev1.Pod, observed Observed) (cause, bool) {
	template := observed.Deployment.Spec.Template.Spec
	for _, container := range containerStatuses(pod) {
		running := container.State.Running
		if running == nil || container.Ready {
			continue
		}
		kind, probe := pendingProbe(container, slices.Concat(template.InitContainers, template.Containers))
		if probe == nil || observed.Now.Sub(running.StartedAt.Time) < probeTimeout(probe) {
			continue
		}
		return cause{reason: v1alpha1.ReasonProbeFailing, message: fmt.Sprintf(
			"container %s runs but is not ready, so its %s probe%s is probably failing (no Event confirms it)", container.Name, kind, probeTarget(probe))}, true
	}
	return cause{}, false
}

// pendingProbe is the probe that must pass next for a container to be ready, nil if it has none.
func pendingProbe(status corev1.ContainerStatus, containers []corev1.Container) (string, *corev1.Probe) {
	for _, container := range containers {
		switch {
		case container.Name != status.Name:
		case container.StartupProbe != nil && !ptr.Deref(status.Started, false):
			return "startup", container.StartupProbe
		default:
			return "readiness", container.ReadinessProbe
		}
	}
	return "", nil
}

// probeTimeout is how long a probe takes to fail once.
func probeTimeout(probe *corev1.Probe) time.Duration {
	return time.Duration(probe.InitialDelaySeconds+probe.PeriodSeconds*probe.FailureThreshold) * time.Second
}

func probeTarget(probe *corev1.Probe) string {
	if http := probe.HTTPGet; http != nil {
		return fmt.Sprintf(" (GET %s on port %s)", http.Path, http.Port.String())
	}
	return ""
}
