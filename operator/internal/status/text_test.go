package status_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// forgery tries to add a line, to hide text from a terminal, and to reverse it.
const forgery = "bad\r\n  Ready:\tTrue\x1b[2K\x00\u0085\u009b1m\u2028\u202eeurT\u2066\u200b\x7f end"

const harmless = "bad    Ready: True\ufffd[2K\ufffd \ufffd1m \ufffdeurT\ufffd\ufffd\ufffd end"

func TestForeignTextCannotForgeLines(t *testing.T) {
	rolling := deployment(counts(3, 3, 2, 2))
	starting := pod("a-1-x", waiting("ContainerCreating", ""))
	withImage := func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "agent", Image: forgery}}
	}
	for _, r := range []struct {
		name     string
		observed status.Observed
		err      error
	}{
		{"a termination message", status.Observed{Deployment: rolling, Pods: []corev1.Pod{pod("a-1-x", terminated(waiting("CrashLoopBackOff", ""), 1, "Error", forgery))}}, nil},
		{"a waiting container", status.Observed{Deployment: rolling, Pods: []corev1.Pod{pod("a-1-x", waiting("ErrImagePull", forgery))}}, nil},
		{"the scheduler", status.Observed{Deployment: rolling, Pods: []corev1.Pod{unschedulable(forgery)}}, nil},
		{"an Event", status.Observed{Deployment: rolling, Pods: []corev1.Pod{starting}, PodEvents: []status.PodEvent{podEvent("a-1-x", "FailedMount", forgery, 0)}}, nil},
		{"a pod creation failure", status.Observed{Deployment: deployment(counts(2, 2, 2, 2), creationFails(forgery))}, nil},
		{"an error of the API server", status.Observed{Deployment: deployment()}, status.ApplyFailure("Service", errors.New(forgery))},
		{"a field that admission changes", status.Observed{Deployment: deployment(), Rewritten: []string{forgery}}, nil},
		{"an image", status.Observed{Deployment: deployment(withImage)}, nil},
	} {
		t.Run(r.name, func(t *testing.T) {
			r.observed.Now = now
			got := statusOf(agenttest.New("a", agenttest.Replicas(3)), r.observed, r.err)
			require.Contains(t, conditionText(got, v1alpha1.ConditionReady)+got.Image, harmless)
			for _, condition := range got.Conditions {
				require.NotContains(t, condition.Message, "\n")
			}
		})
	}
}

// Replacement characters are longer than what they replace.
func TestCauseOfControlCharactersLeavesRoomForTheReplicaCounts(t *testing.T) {
	observed := status.Observed{Now: now, Deployment: deployment(counts(4, 1, 3, 3)), Pods: []corev1.Pod{pod("a-1-x", waiting("ErrImagePull", strings.Repeat("\x1b", 700)))}}
	message := conditionText(statusOf(agenttest.New("a", agenttest.Replicas(3)), observed, nil), v1alpha1.ConditionReady)
	require.LessOrEqual(t, len(message), maxMessage)
	require.Contains(t, message, "...; 1 of 3 replicas updated, 3 available")
}

func TestMessagesKeepPrintableText(t *testing.T) {
	for _, text := range []string{"", "plain \"quoted\" <b>&", "日本語 é ünïcode", "naïve 🚀", "%s \\n"} {
		require.Equal(t, text, status.Message(text))
	}
}
