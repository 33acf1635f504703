package status_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// maxMessage is the limit of an Event's note. A condition's message may be longer, but is recorded as an Event too.
const maxMessage = 1024

// Whatever is observed, the API server accepts the status, and kstatus can read it.
func FuzzStatus(f *testing.F) {
	f.Add(int32(3), []byte(`{"replicas":3,"updatedReplicas":3,"readyReplicas":3,"availableReplicas":3,"conditions":[{"type":"Progressing","reason":"NewReplicaSetAvailable"}]}`), true, false, []byte("RRP"), byte(0), "", 0)
	f.Add(int32(3), []byte(`{"replicas":4,"updatedReplicas":1,"availableReplicas":3,"conditions":[{"type":"Progressing","reason":"ProgressDeadlineExceeded"}]}`), true, true, []byte("RD"), byte(5), "refused", 1)
	f.Add(int32(0), []byte(`{"observedGeneration":-1}`), true, false, []byte{}, byte(15), "x", 40000)
	f.Add(int32(-1), []byte(``), false, false, []byte("F"), byte(8), "é%s\x00", 3)
	f.Fuzz(func(t *testing.T, replicas int32, deploymentStatus []byte, exists, paused bool, pods []byte, failures byte, text string, times int) {
		agent := agenttest.New("fuzz", agenttest.Replicas(replicas))
		observed := status.Observed{Now: now, Pods: podsOf(pods)}
		if exists {
			observed.Deployment = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: 1}, Spec: appsv1.DeploymentSpec{Paused: paused}}
			_ = json.Unmarshal(deploymentStatus, &observed.Deployment.Status) // what does not decode is left zero
		}
		err := failuresOf(failures, strings.Repeat(text, times&0xffff))
		got := statusOf(agent, observed, err)
		requireValidStatus(t, got)
		if err != nil {
			require.False(t, meta.IsStatusConditionTrue(got.Conditions, v1alpha1.ConditionReady), "the pass failed")
		}
		agent.Status = got
		require.Equal(t, got, statusOf(agent, observed, err), "a second pass changes nothing")
	})
}

func requireValidStatus(t *testing.T, got v1alpha1.AgentStatus) {
	t.Helper()
	require.NotNil(t, meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionReady))
	require.NotNil(t, meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionAvailable))
	var trueConditions []string
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if meta.IsStatusConditionTrue(got.Conditions, kind) {
			trueConditions = append(trueConditions, kind)
		}
	}
	require.Len(t, trueConditions, 1, "exactly one of Ready, Reconciling and Stalled is True")
	kinds := map[string]bool{}
	for _, c := range got.Conditions {
		require.False(t, kinds[c.Type], "%s twice", c.Type)
		kinds[c.Type] = true
		require.Regexp(t, `^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`, c.Reason)
		require.LessOrEqual(t, len(c.Message), maxMessage, "message of %s", c.Type)
		require.NotZero(t, c.LastTransitionTime)
	}
}

// podsOf returns one pod for each letter.
func podsOf(letters []byte) []corev1.Pod {
	var pods []corev1.Pod
	for i, letter := range letters {
		pod := running(string('a'+rune(i%3)), string('a'+rune(i%2)))
		switch letter {
		case 'P':
			pod.Status.Phase = corev1.PodPending
		case 'F':
			pod.Status.Phase = corev1.PodFailed
		case 'D':
			pod.DeletionTimestamp = &metav1.Time{Time: now}
		}
		pods = append(pods, pod)
	}
	return pods
}

// failuresOf returns one failure for each bit, all with the same message.
func failuresOf(bits byte, message string) error {
	var all []error
	for i, reason := range []string{v1alpha1.ReasonInvalidSpec, v1alpha1.ReasonNameConflict, v1alpha1.ReasonApplyFailed, v1alpha1.ReasonRolloutInProgress} {
		if bits&(1<<i) != 0 {
			all = append(all, &status.Failure{Reason: reason, Message: message})
		}
	}
	if bits&16 != 0 {
		all = append(all, errors.New(message))
	}
	return errors.Join(all...)
}
