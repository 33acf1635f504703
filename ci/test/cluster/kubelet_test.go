package cluster_test

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// What a kubelet writes about pods that simulated nodes never would: why a container does not run, and Events.

// neverReady has the pods run without ever getting ready, until recovered.
func neverReady(a *v1alpha1.Agent) { simulate("never-ready", "true")(a) }

// runningPods are the pods of the Agent "a" once each runs on its node.
func (s *fixture) runningPods() []*corev1.Pod {
	s.Helper()
	var pods []*corev1.Pod
	s.eventually("the pods run", waitTimeout, func() error {
		pods = nil
		for _, object := range s.list(&corev1.PodList{}, client.MatchingLabels{v1alpha1.LabelAgent: "a"}) {
			pod := object.(*corev1.Pod)
			if pod.Status.Phase != corev1.PodRunning {
				return fmt.Errorf("%s is %s", pod.Name, pod.Status.Phase)
			}
			pods = append(pods, pod)
		}
		if len(pods) == 0 {
			return fmt.Errorf("no pod")
		}
		return nil
	})
	return pods
}

// write changes the status of a pod, as its kubelet may.
func (s *fixture) write(name string, change func(*corev1.Pod)) {
	s.Helper()
	require.NoError(s, retry.RetryOnConflict(retry.DefaultRetry, func() error {
		pod := read(s, name, &corev1.Pod{})
		change(pod)
		return api.Status().Update(s.Context(), pod)
	}))
}

// container has the state of a container of every pod of the Agent be changed.
func container(name string, change func(*corev1.ContainerStatus)) func(*fixture) {
	return func(s *fixture) {
		s.Helper()
		for _, pod := range s.runningPods() {
			s.write(pod.Name, func(pod *corev1.Pod) {
				for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
					for i := range statuses {
						if statuses[i].Name == name {
							change(&statuses[i])
						}
					}
				}
			})
		}
	}
}

func waiting(reason, message string) func(*corev1.ContainerStatus) {
	return func(status *corev1.ContainerStatus) {
		status.Ready, status.Started = false, ptr.To(false)
		status.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
}

// crashLooping is a container that waits for its next start after it ended.
func crashLooping(code int32, reason, message string) func(*corev1.ContainerStatus) {
	return func(status *corev1.ContainerStatus) {
		waiting("CrashLoopBackOff", "back-off 10s restarting failed container")(status)
		status.RestartCount++
		status.LastTerminationState = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}}
	}
}

// runningSince is a container that began some time ago.
func runningSince(ago time.Duration) func(*corev1.ContainerStatus) {
	return func(status *corev1.ContainerStatus) {
		status.Started = ptr.To(true)
		status.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Now().Add(-ago))}}
	}
}

// recoverPods has the containers of every pod run, and get ready.
func recoverPods(s *fixture) {
	s.Helper()
	for _, pod := range s.runningPods() {
		s.write(pod.Name, func(pod *corev1.Pod) {
			for i, init := range pod.Spec.InitContainers {
				if init.RestartPolicy != nil {
					runningSince(0)(&pod.Status.InitContainerStatuses[i])
					continue
				}
				pod.Status.InitContainerStatuses[i].Ready = true
				pod.Status.InitContainerStatuses[i].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed"}}
			}
			for i := range pod.Status.ContainerStatuses {
				runningSince(0)(&pod.Status.ContainerStatuses[i])
			}
		})
		s.kubectl("annotate", "pod", pod.Name, "simulation/never-ready-")
	}
}

// emitEvent writes an Event about every pod of the Agent, as a kubelet does; container is empty for one about the whole pod.
func emitEvent(container, reason, message string) func(*fixture) {
	return func(s *fixture) {
		s.Helper()
		for _, pod := range s.runningPods() {
			now := metav1.Now()
			about := corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
			if container != "" {
				about.FieldPath = fmt.Sprintf("spec.containers{%s}", container)
			}
			require.NoError(s, api.Create(s.Context(), &corev1.Event{
				ObjectMeta:     metav1.ObjectMeta{Namespace: pod.Namespace, GenerateName: pod.Name + "."},
				InvolvedObject: about, Type: corev1.EventTypeWarning, Reason: reason, Message: message,
				Source: corev1.EventSource{Component: "kubelet"}, FirstTimestamp: now, LastTimestamp: now, Count: 1,
			}))
		}
	}
}

// inSequence does one thing after the other.
func inSequence(steps ...func(*fixture)) func(*fixture) {
	return func(s *fixture) {
		s.Helper()
		for _, step := range steps {
			step(s)
		}
	}
}
