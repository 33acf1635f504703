package status_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// failing returns a Deployment that has created some of its three replicas. message is why it cannot create the others, empty if
// it does not report it.
func failing(created int32, message string) *appsv1.Deployment {
	d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](3)}, Status: appsv1.DeploymentStatus{UpdatedReplicas: created}}
	if message != "" {
		d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: message}}
	}
	return d
}

func TestAFailureToCreatePodsIsHeldAfterItIsWithdrawn(t *testing.T) {
	for _, r := range []struct {
		name       string
		after      time.Duration
		deployment *appsv1.Deployment
		generation int64
		want       string
		recheck    time.Duration
	}{
		{"just withdrawn", time.Second, failing(2, ""), 1, "quota", 9 * time.Second},
		{"withdrawn for good", 10 * time.Second, failing(2, ""), 1, "", 0},
		{"all pods are created", time.Second, failing(3, ""), 1, "", 0},
		{"another generation", time.Second, failing(2, ""), 2, "", 0},
		{"a new failure", time.Second, failing(2, "policy"), 1, "", 0},
		{"no Deployment", time.Second, nil, 1, "", 0},
	} {
		t.Run(r.name, func(t *testing.T) {
			hold, failure, recheck := status.HoldFailure(status.FailureHold{}, 1, failing(0, "quota"), now)
			require.Empty(t, failure, "the Deployment itself reports it")
			require.Zero(t, recheck)
			_, failure, recheck = status.HoldFailure(hold, r.generation, r.deployment, now.Add(r.after))
			require.Equal(t, r.want, failure)
			require.Equal(t, r.recheck, recheck)
		})
	}
}

const quotaContention = `Operation cannot be fulfilled on resourcequotas "flokoa": the object has been modified; please apply your changes to the latest version and try again`

// The ReplicaSet controller keeps its first message for as long as no pod is admitted. So a message about contention may stand while
// the quota is used up.
func TestContentionThatAdmitsNoPodIsAFailure(t *testing.T) {
	var hold status.FailureHold
	for _, step := range []struct {
		after      time.Duration
		deployment *appsv1.Deployment
		want       string
		recheck    time.Duration
	}{
		{0, failing(0, quotaContention), "", 10 * time.Second},
		{6 * time.Second, failing(0, quotaContention), "", 4 * time.Second},
		{8 * time.Second, failing(1, quotaContention), "", 10 * time.Second}, // one pod was admitted
		{17 * time.Second, failing(1, quotaContention), "", time.Second},
		{18 * time.Second, failing(1, quotaContention), `resourcequotas "flokoa"`, 0},
		{99 * time.Second, failing(1, quotaContention), `resourcequotas "flokoa"`, 0},
		{100 * time.Second, failing(2, ""), `resourcequotas "flokoa"`, 9 * time.Second},
		{101 * time.Second, failing(2, quotaContention), `resourcequotas "flokoa"`, 0},
		{102 * time.Second, failing(3, quotaContention), "", 0},
		{103 * time.Second, failing(2, quotaContention), "", 10 * time.Second},
		{104 * time.Second, failing(2, ""), "", 0},
		{114 * time.Second, failing(2, quotaContention), "", 10 * time.Second},
	} {
		next, failure, recheck := status.HoldFailure(hold, 1, step.deployment, now.Add(step.after))
		hold = next
		require.Equal(t, step.recheck, recheck, step.after)
		if step.want == "" {
			require.Empty(t, failure, step.after)
		}
		require.Contains(t, failure, step.want, step.after)
	}
}

func TestContentionDoesNotWithdrawAFailure(t *testing.T) {
	hold, _, _ := status.HoldFailure(status.FailureHold{}, 1, failing(1, "quota"), now)
	hold, failure, recheck := status.HoldFailure(hold, 1, failing(1, quotaContention), now.Add(time.Hour))
	require.Zero(t, recheck)
	require.Equal(t, "quota", failure)
	_, failure, recheck = status.HoldFailure(hold, 2, failing(1, quotaContention), now.Add(time.Hour))
	require.Empty(t, failure, "another spec may fit")
	require.Equal(t, 10*time.Second, recheck)
}

func TestHeldContentionIsReportedAsAnExceededQuota(t *testing.T) {
	hold, _, _ := status.HoldFailure(status.FailureHold{}, 1, failing(0, quotaContention), now)
	later := now.Add(time.Minute)
	_, failure, _ := status.HoldFailure(hold, 1, failing(0, quotaContention), later)
	got := statusOf(agenttest.New("a", agenttest.Replicas(3)), status.Observed{Now: later, Deployment: failing(0, quotaContention), HeldFailure: failure}, nil)
	ready := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionReady)
	require.Equal(t, v1alpha1.ReasonQuotaExceeded, ready.Reason)
	require.Contains(t, ready.Message, "cannot create pods: no pod fits into a ResourceQuota")
}
