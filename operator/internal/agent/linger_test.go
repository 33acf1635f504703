package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// refusing is the Deployment of three, of which some pods are made; it says why the others are refused, if at all.
func refusing(made int32, said string) *appsv1.Deployment {
	d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](3)}, Status: appsv1.DeploymentStatus{UpdatedReplicas: made}}
	if said != "" {
		d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: said}}
	}
	return d
}

func TestARefusalOfPodsIsToldForAWhileAfterItIsTakenBack(t *testing.T) {
	for _, r := range []struct {
		name       string
		after      time.Duration
		now        *appsv1.Deployment
		generation int64
		want       string
		again      time.Duration
	}{
		{"taken back the next moment", time.Second, refusing(2, ""), 1, "quota", 9 * time.Second},
		{"taken back for good", 10 * time.Second, refusing(2, ""), 1, "", 0},
		{"all pods are made", time.Second, refusing(3, ""), 1, "", 0},
		{"another spec", time.Second, refusing(2, ""), 2, "", 0},
		{"said anew", time.Second, refusing(2, "policy"), 1, "", 0},
		{"no Deployment", time.Second, nil, 1, "", 0},
	} {
		t.Run(r.name, func(t *testing.T) {
			c := New(nil, nil, nil, false)
			agent := agenttest.New("a", agenttest.Replicas(3))
			require.Zero(t, c.linger(agent, &status.Seen{Now: begin, Deployment: refusing(0, "quota")}))
			agent.Generation = r.generation
			seen := &status.Seen{Now: begin.Add(r.after), Deployment: r.now}
			require.Equal(t, r.again, c.linger(agent, seen))
			require.Equal(t, r.want, seen.Refused)
			c.forget(client.ObjectKeyFromObject(agent))
			require.Empty(t, c.refusals.about)
		})
	}
}

const contention = `Operation cannot be fulfilled on resourcequotas "flokoa": the object has been modified; please apply your changes to the latest version and try again`

// The ReplicaSet controller keeps the first words for as long as no pod gets through, so they may be about contention while a quota
// is used up.
func TestContentionThatLetsNoPodThroughIsARefusal(t *testing.T) {
	c := New(nil, nil, nil, false)
	agent := agenttest.New("a", agenttest.Replicas(3))
	for _, step := range []struct {
		after time.Duration
		now   *appsv1.Deployment
		want  string
		again time.Duration
	}{
		{0, refusing(0, contention), "", 10 * time.Second},
		{6 * time.Second, refusing(0, contention), "", 4 * time.Second},
		{8 * time.Second, refusing(1, contention), "", 10 * time.Second}, // one got through
		{17 * time.Second, refusing(1, contention), "", time.Second},
		{18 * time.Second, refusing(1, contention), `resourcequotas "flokoa"`, 0},
		{99 * time.Second, refusing(1, contention), `resourcequotas "flokoa"`, 0},
		{100 * time.Second, refusing(2, ""), `resourcequotas "flokoa"`, 9 * time.Second},
		{101 * time.Second, refusing(2, contention), `resourcequotas "flokoa"`, 0},
		{102 * time.Second, refusing(3, contention), "", 0},
		{103 * time.Second, refusing(2, contention), "", 10 * time.Second},
		{104 * time.Second, refusing(2, ""), "", 0},
		{114 * time.Second, refusing(2, contention), "", 10 * time.Second},
	} {
		seen := &status.Seen{Now: begin.Add(step.after), Deployment: step.now}
		require.Equal(t, step.again, c.linger(agent, seen), step.after)
		if step.want == "" {
			require.Empty(t, seen.Refused, step.after)
		}
		require.Contains(t, seen.Refused, step.want, step.after)
	}
}

func TestContentionDoesNotTakeBackARefusal(t *testing.T) {
	c := New(nil, nil, nil, false)
	agent := agenttest.New("a", agenttest.Replicas(3))
	require.Zero(t, c.linger(agent, &status.Seen{Now: begin, Deployment: refusing(1, "quota")}))
	seen := &status.Seen{Now: begin.Add(time.Hour), Deployment: refusing(1, contention)}
	require.Zero(t, c.linger(agent, seen))
	require.Equal(t, "quota", seen.Refused)
	agent.Generation++
	require.Equal(t, lingering, c.linger(agent, seen), "another spec may fit")
}
