package agent

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

// agentLister lists two Agents, one with a label of its own on its pods.
type agentLister struct{ client.Reader }

func (agentLister) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	into.(*v1alpha1.AgentList).Items = []v1alpha1.Agent{
		*agenttest.New("a"),
		*agenttest.New("b", agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) {
			s.PodMetadata = &v1alpha1.PodMetadata{Labels: map[string]string{"app": "b"}}
		})),
	}
	return nil
}

func TestForeignBudgetEnqueuesOnlyTheAgentsThatItSelects(t *testing.T) {
	for _, r := range []struct {
		name     string
		selector *metav1.LabelSelector
		want     []string
	}{
		{"nothing", nil, nil},
		{"another app", &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}, nil},
		{"one Agent", agenttest.Selecting("a"), []string{"a"}},
		{"a label of the author", &metav1.LabelSelector{MatchLabels: map[string]string{"app": "b"}}, []string{"b"}},
		{"every pod", &metav1.LabelSelector{}, []string{"a", "b"}},
		{"an invalid selector", &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "k", Operator: "Near"}}}, nil},
	} {
		var got []string
		for _, request := range agentsSelectedBy(agentLister{})(t.Context(), &policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{Selector: r.selector}}) {
			got = append(got, request.Name)
		}
		require.Equal(t, r.want, got, r.name)
	}
}

func TestForeignBudgetPassesOnlyChangesOfItsSpec(t *testing.T) {
	controlled := func(kind, by, name string) *policyv1.PodDisruptionBudget {
		controller := true
		return &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1, OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Name: by, Controller: &controller}}}}
	}
	foreign, child := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "other", Generation: 1}}, controlled("Agent", "a", "a")
	require.True(t, isForeignBudget(controlled("Agent", "a", "b")), "an Agent makes none of this name")
	require.True(t, isForeignBudget(controlled("Team", "a", "a")))

	created := func(object client.Object, first bool) bool {
		e := event.CreateEvent{Object: object}
		e.IsInInitialList = first
		return foreignBudgetChanged.Create(e)
	}
	require.True(t, created(foreign, false))
	require.False(t, created(foreign, true), "every Agent is enqueued then")
	require.False(t, created(child, false))
	require.True(t, foreignBudgetChanged.Delete(event.DeleteEvent{Object: foreign}))
	require.False(t, foreignBudgetChanged.Delete(event.DeleteEvent{Object: child}))

	updated := func(before, after client.Object) bool {
		return foreignBudgetChanged.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after})
	}
	statusOnly, edited := foreign.DeepCopy(), foreign.DeepCopy()
	statusOnly.ResourceVersion, edited.Generation = "8", 2
	adopted := controlled("Agent", "other", "other")
	require.False(t, updated(foreign, statusOnly))
	require.True(t, updated(foreign, edited))
	require.True(t, updated(foreign, adopted), "the other Agents that it selects")
	require.False(t, updated(child, child))
}
