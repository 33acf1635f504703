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
