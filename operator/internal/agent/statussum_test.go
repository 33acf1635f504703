package agent

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

func fullStatus() *v1alpha1.AgentStatus {
	return &v1alpha1.AgentStatus{
		Conditions: []metav1.Condition{{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRolloutComplete, Message: "m",
			ObservedGeneration: 2, LastTransitionTime: metav1.NewTime(start),
		}},
		ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 3, ReadyReplicas: 3, AvailableReplicas: 3,
		Selector: "s", URL: "u", Image: "i", Placement: &v1alpha1.Placement{Nodes: 2, Zones: 2},
	}
}

func TestEveryFieldOfAStatusChangesItsSum(t *testing.T) {
	base := statusSum(fullStatus())
	for _, of := range []func(*v1alpha1.AgentStatus) any{
		func(s *v1alpha1.AgentStatus) any { return s },
		func(s *v1alpha1.AgentStatus) any { return s.Placement },
		func(s *v1alpha1.AgentStatus) any { return &s.Conditions[0] },
	} {
		for i := range reflect.TypeOf(of(fullStatus())).Elem().NumField() {
			changed := fullStatus()
			field := reflect.ValueOf(of(changed)).Elem().Field(i)
			require.False(t, field.IsZero(), "field %d of %T is not set", i, of(changed))
			field.SetZero()
			require.NotEqual(t, base, statusSum(changed), "field %d of %T", i, of(changed))
		}
	}
	moved := fullStatus()
	moved.URL, moved.Image = "ui", ""
	require.NotEqual(t, base, statusSum(moved), "two texts are not one")
}

func TestTheSumIsThatOfTheStoredStatus(t *testing.T) {
	computed := fullStatus()
	computed.Conditions[0].LastTransitionTime = metav1.NewTime(start.Add(300 * time.Millisecond))
	raw, err := json.Marshal(computed)
	require.NoError(t, err)
	stored := &v1alpha1.AgentStatus{}
	require.NoError(t, json.Unmarshal(raw, stored))
	require.Equal(t, statusSum(stored), statusSum(computed))
}
