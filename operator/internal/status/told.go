package status

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// tales are the Events that say why a pod is not ready where its status does not.
var tales = []struct {
	events []string
	// words in the message narrow a row; none match every message.
	words []string
	// fits tells which pods the row is about; an Event about a time that is over is kept for an hour.
	fits   func(*corev1.Pod, *Told) bool
	reason string
}{
	{[]string{"FailedMount"}, []string{"not found", "non-existent"}, beforeContainers, v1alpha1.ReasonConfigMissing},
	{[]string{"FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox", "FailedPodSandBoxStatus"}, nil, beforeContainers, v1alpha1.ReasonContainerConfigError},
	{[]string{"Unhealthy"}, nil, whileRunning, v1alpha1.ReasonProbeFailing},
}

// beforeContainers fits a pod of which no container has been started: its volumes and its network come first.
func beforeContainers(pod *corev1.Pod, _ *Told) bool {
	return !slices.ContainsFunc(containersOf(pod), func(c corev1.ContainerStatus) bool { return c.State.Running != nil || c.State.Terminated != nil })
}

// whileRunning fits a container that runs and is not ready; without its name, a pod whose containers all run.
func whileRunning(pod *corev1.Pod, told *Told) bool {
	suspects := pod.Status.ContainerStatuses
	if told.Container != "" {
		suspects = slices.DeleteFunc(containersOf(pod), func(c corev1.ContainerStatus) bool { return c.Name != told.Container || c.Ready })
	}
	idle := slices.ContainsFunc(suspects, func(c corev1.ContainerStatus) bool { return c.State.Running == nil })
	return len(suspects) > 0 && !idle
}

// containersOf are the states of all containers of a pod: init containers, sidecars among them, and the others.
func containersOf(pod *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
}

// Suspect is a pod that is not ready and does not say why: the one to look for Events about. It is the first by name, nil when
// there is none, or when other pods say why the Agent is not ready.
func Suspect(agent *v1alpha1.Agent, seen Seen) *corev1.Pod {
	if seen.Deployment == nil || settled(agent) {
		return nil
	}
	var first *corev1.Pod
	if _, refused := refusedPods(seen); refused {
		return nil
	}
	for i := range seen.Pods {
		pod := &seen.Pods[i]
		if !shouldBeReady(pod) {
			continue
		}
		if _, known := podCause(pod); known {
			return nil
		}
		if pod.Spec.NodeName != "" && (first == nil || pod.Name < first.Name) {
			first = pod
		}
	}
	return first
}

// Explains tells whether an Event, by its reason, could say why a pod is not ready.
func Explains(reason string) bool {
	for _, row := range tales {
		for _, event := range row.events {
			if event == reason {
				return true
			}
		}
	}
	return false
}

// toldCause is what Events say of a pod, else, once they were asked for and say nothing, what can be inferred.
func toldCause(pod *corev1.Pod, seen Seen) (cause, bool) {
	var latest *Told
	reason := ""
	for i := range seen.Told {
		told := &seen.Told[i]
		if r := taleOf(pod, told); r != "" && (latest == nil || told.Last.After(latest.Last)) {
			latest, reason = told, r
		}
	}
	if latest != nil {
		return cause{reason: reason, message: latest.text()}, true
	}
	if seen.Asked != pod.Name {
		return cause{}, false
	}
	return inferredProbe(pod, seen)
}

func (t *Told) text() string {
	if t.Container == "" {
		return t.Message
	}
	return fmt.Sprintf("container %s: %s", t.Container, t.Message)
}

// taleOf is the reason that an Event gives for a pod, empty when it is about another pod or about a time that is over.
func taleOf(pod *corev1.Pod, told *Told) string {
	if told.Pod != pod.Name {
		return ""
	}
	for _, row := range tales {
		for _, event := range row.events {
			if event == told.Reason && row.fits(pod, told) && (row.words == nil || containsAny(told.Message, row.words)) {
				return row.reason
			}
		}
	}
	return ""
}

// inferredProbe is for a container that has run for longer than its probe needs to pass or fail, without being ready.
func inferredProbe(pod *corev1.Pod, seen Seen) (cause, bool) {
	template := seen.Deployment.Spec.Template.Spec
	for _, container := range containersOf(pod) {
		running := container.State.Running
		if running == nil || container.Ready {
			continue
		}
		kind, probe := probeInTheWay(container, slices.Concat(template.InitContainers, template.Containers))
		if probe == nil || seen.Now.Sub(running.StartedAt.Time) < patience(probe) {
			continue
		}
		return cause{reason: v1alpha1.ReasonProbeFailing, message: fmt.Sprintf(
			"container %s runs and is not ready, so its %s probe%s seems to fail (no Event says so)", container.Name, kind, target(probe))}, true
	}
	return cause{}, false
}

// probeInTheWay is the probe that has to pass next for a container to be ready, nil without one.
func probeInTheWay(status corev1.ContainerStatus, containers []corev1.Container) (string, *corev1.Probe) {
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

// patience is how long a probe takes to give up once.
func patience(probe *corev1.Probe) time.Duration {
	return time.Duration(probe.InitialDelaySeconds+probe.PeriodSeconds*probe.FailureThreshold) * time.Second
}

func target(probe *corev1.Probe) string {
	if http := probe.HTTPGet; http != nil {
		return fmt.Sprintf(" (GET %s on port %s)", http.Path, http.Port.String())
	}
	return ""
}
