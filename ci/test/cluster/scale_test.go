package cluster_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// scale sets an Agent's replicas as an autoscaler does, through the scale subresource, and waits until it is ready again.
func scale(s *fixture, name string, n int32) *v1alpha1.Agent {
	s.Helper()
	agent := read(s, name, &v1alpha1.Agent{})
	wanted := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: n}}
	require.NoError(s, api.SubResource("scale").Update(s.Context(), agent, client.WithSubResourceBody(wanted)))
	agent = s.waitReady(name)
	require.Equal(s, n, agent.Status.AvailableReplicas)
	s.eventually(fmt.Sprintf("%d pods are left", n), waitTimeout, func() error {
		if have := len(uids(s, &corev1.PodList{})); have != int(n) {
			return fmt.Errorf("%d pods", have)
		}
		return nil
	})
	return agent
}

// uids are those of all objects of a kind in the namespace, by name.
func uids(s *fixture, kind client.ObjectList) map[string]types.UID {
	s.Helper()
	all := map[string]types.UID{}
	for _, object := range s.list(kind) {
		all[object.GetName()] = object.GetUID()
	}
	return all
}

// checkDisjoint reports which object is in both of two sets.
func checkDisjoint(a, b map[string]types.UID) error {
	for name, uid := range a {
		if b[name] == uid {
			return fmt.Errorf("%s is still there", name)
		}
	}
	return nil
}

func TestScalingRestartsNoPod(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a", replicas(0))
	s.waitReady("a")
	before := uids(s, &corev1.PodList{})
	for _, n := range []int32{1, 2, 5, 2, 1, 0, 1, 5} {
		scale(s, "a", n)
		after := uids(s, &corev1.PodList{})
		survivors := 0
		for name, uid := range after {
			if before[name] == uid {
				survivors++
			}
		}
		require.Equal(t, min(len(before), len(after)), survivors, "from %d to %d replicas", len(before), len(after))
		require.Len(t, s.list(&appsv1.ReplicaSetList{}), 1, "at %d replicas: another ReplicaSet is another pod template", n)
		before = after
	}
}

func TestScaledToZeroIsReadyAndNotAvailableAndComesBack(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a", replicas(3))
	s.waitReady("a")
	agent := scale(s, "a", 0)
	ready, available := condition(agent, v1alpha1.ConditionReady), condition(agent, v1alpha1.ConditionAvailable)
	require.Equal(t, v1alpha1.ReasonScaledToZero, ready.Reason)
	require.Equal(t, metav1.ConditionFalse, available.Status)
	require.Equal(t, v1alpha1.ReasonScaledToZero, available.Reason)
	require.Zero(t, agent.Status.Replicas)
	s.eventually("no pod is placed", waitTimeout, func() error {
		if placed := read(s, "a", &v1alpha1.Agent{}).Status.Placement; placed.Nodes+placed.Zones > 0 {
			return fmt.Errorf("placement %+v", placed)
		}
		return nil
	})
	read(s, "a", &corev1.Service{}) // what stands before it stays, for who scales from zero

	agent = scale(s, "a", 3)
	require.Equal(t, v1alpha1.ReasonRolloutComplete, condition(agent, v1alpha1.ConditionReady).Reason)
	require.Equal(t, metav1.ConditionTrue, condition(agent, v1alpha1.ConditionAvailable).Status)
}
