package cluster_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// nodeLossTimeout is how long it takes until a lost machine is noticed (50 s), its pods are given up (60 s) and others stand in.
const nodeLossTimeout = 4 * time.Minute

// highlyAvailable makes a spec meet all requirements of the guide.
func highlyAvailable(a *v1alpha1.Agent) {
	three := int32(3)
	spec := &a.Spec.Runtime.Spec
	spec.Replicas = &three
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	spec.Container.Resources = corev1.ResourceRequirements{Requests: list, Limits: list}
}

// waitHighlyAvailable polls until an Agent is, or is not, highly available, for a reason that has these words.
func (s *fixture) waitHighlyAvailable(name string, want bool, words string, limit time.Duration) *v1alpha1.Agent {
	s.Helper()
	return s.waitForAgent(name, fmt.Sprintf("HighlyAvailable is %v: %s", want, words), limit, func(a *v1alpha1.Agent) bool {
		ha := condition(a, v1alpha1.ConditionHighlyAvailable)
		return (ha.Status == metav1.ConditionTrue) == want && strings.Contains(ha.Message, words)
	})
}

func (s *fixture) drain(node string) {
	s.Helper()
	s.kubectl("drain", node, "--pod-selector", v1alpha1.LabelAgent, "--timeout=60s")
}

func TestDrainingEachNodeEvictsOneReplicaAtATime(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	nodes := s.newPool("a", "b", "c", "a")
	s.create("a", highlyAvailable, s.inPool(), simulate("ready-after", "1s"))
	s.waitReady("a")
	w, done := watchRollout(s, 2)
	for _, node := range nodes {
		s.drain(node)
		require.Zero(t, s.hosts("a")[node], "%s is drained", node)
		s.kubectl("uncordon", node)
	}
	s.waitReady("a")
	done()
	require.Empty(t, w.violations)
	require.NotEmpty(t, w.unready, "pods moved, and were seen before they were ready")
	s.note("%d nodes drained, %d instants, never fewer than 2", len(nodes), w.instants)
}

func TestADrainIsNotBlockedByASingleReplica(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	nodes := s.newPool("a", "b")
	s.create("a", replicas(1), s.inPool())
	s.waitReady("a")
	require.NoError(t, s.checkDeleted("a", &policyv1.PodDisruptionBudget{}))
	for _, node := range nodes {
		s.drain(node)
		s.kubectl("uncordon", node)
	}
	s.waitReady("a")
}

func TestAPodDisruptionBudgetFollowsTheReplicasAndIsRestored(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a", replicas(2))
	s.waitReady("a")
	made := read(s, "a", &policyv1.PodDisruptionBudget{})
	require.Equal(t, "1", made.Spec.MaxUnavailable.String())
	require.Equal(t, policyv1.AlwaysAllow, *made.Spec.UnhealthyPodEvictionPolicy)

	s.kubectl("patch", "pdb", "a", "--type=merge", "-p", `{"spec":{"maxUnavailable":0}}`)
	s.eventually("a manual change is reverted", waitTimeout, func() error {
		return checkEqual("maxUnavailable", made.Spec.MaxUnavailable, read(s, "a", &policyv1.PodDisruptionBudget{}).Spec.MaxUnavailable)
	})
	s.patch("a", `[{"op":"add","path":"/spec/availability","value":{"podDisruptionBudget":{"minAvailable":1}}}]`)
	s.eventually("the Agent's own bound is set and the default one gone", waitTimeout, func() error {
		spec := read(s, "a", &policyv1.PodDisruptionBudget{}).Spec
		return firstError(checkEqual("minAvailable", 1, spec.MinAvailable), checkEqual("maxUnavailable", nil, spec.MaxUnavailable))
	})
	s.kubectl("scale", "agent", "a", "--replicas=1")
	s.eventually("a single replica has no budget", waitTimeout, func() error { return s.checkDeleted("a", &policyv1.PodDisruptionBudget{}) })
	s.kubectl("scale", "agent", "a", "--replicas=2")
	s.waitReady("a")
	read(s, "a", &policyv1.PodDisruptionBudget{})
	s.patch("a", `[{"op":"replace","path":"/spec/availability/podDisruptionBudget","value":{"mode":"None"}}]`)
	s.eventually("mode None removes the budget", waitTimeout, func() error { return s.checkDeleted("a", &policyv1.PodDisruptionBudget{}) })
}

func TestALostNodeIsReportedAndItsReplicaReplaced(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	nodes := s.newPool("a", "b", "c", "c")
	s.create("a", highlyAvailable, s.inPool())
	s.waitHighlyAvailable("a", true, "3 replicas available on 3 nodes in 3 zones", waitTimeout)
	began := time.Now()
	s.kubectl("label", "node", nodes[0], "simulation/lost=")
	s.waitHighlyAvailable("a", false, "availability: 2 of 3 replicas available", nodeLossTimeout)
	noticed := time.Since(began)
	lost := s.waitForAgent("a", "Ready is False", waitTimeout, func(a *v1alpha1.Agent) bool { return !isReady(a) })
	require.Equal(t, v1alpha1.ReasonReplicasUnavailable, condition(lost, v1alpha1.ConditionReady).Reason)
	require.Equal(t, metav1.ConditionTrue, condition(lost, v1alpha1.ConditionAvailable).Status, "two still answer")
	s.waitHighlyAvailable("a", true, "3 replicas available", nodeLossTimeout)
	require.Zero(t, s.hosts("a")[nodes[0]])
	s.note("noticed after %.0fs, made good after %.0fs", noticed.Seconds(), time.Since(began).Seconds())
}

func TestALostZoneIsReportedAndItsReplicasReplaced(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	nodes := s.newPool("a", "a", "b", "b", "c")
	s.create("a", highlyAvailable, s.inPool())
	s.waitHighlyAvailable("a", true, "in 3 zones", waitTimeout)
	s.kubectl("label", "node", nodes[0], nodes[1], "simulation/lost=")
	s.waitHighlyAvailable("a", false, "availability: 2 of 3 replicas available", nodeLossTimeout)
	s.waitHighlyAvailable("a", true, "in 2 zones", nodeLossTimeout)
	s.kubectl("label", "node", nodes[0], nodes[1], "simulation/lost-")
}

func TestPlacementIsReevaluatedWhenNodesAndPodsChange(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	nodes := s.newPool("a", "b", "c")
	s.kubectl("cordon", nodes[1], nodes[2])
	s.create("a", highlyAvailable, s.inPool())
	s.waitHighlyAvailable("a", true, "3 replicas available on 1 node in 1 zone", waitTimeout) // there is no better place
	s.kubectl("uncordon", nodes[1])
	s.waitHighlyAvailable("a", false, "placement: all available replicas are on 1 node, and 2 nodes fit", waitTimeout)
	s.kubectl("cordon", nodes[1])
	s.waitHighlyAvailable("a", true, "on 1 node in 1 zone", waitTimeout)
	s.kubectl("uncordon", nodes[1], nodes[2])
	s.waitHighlyAvailable("a", false, "placement: all available replicas are in 1 zone, and 3 zones fit", waitTimeout)
	s.kubectl("delete", "pods", "--selector", v1alpha1.LabelAgent+"=a", "--wait=false")
	s.waitHighlyAvailable("a", true, "on 3 nodes in 3 zones", waitTimeout)
}

// nodeTaintsPolicy Honor: a cordoned node is not counted, or its emptiness would keep every new pod waiting.
func TestRequiredSpreadGoesOnWithoutACordonedNode(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	nodes := s.newPool("a", "b", "c")
	required := func(a *v1alpha1.Agent) { a.Spec.Availability = &v1alpha1.Availability{Spread: v1alpha1.SpreadRequired} }
	s.create("a", highlyAvailable, s.inPool(), required)
	s.waitReady("a")
	require.Equal(t, map[string]int{nodes[0]: 1, nodes[1]: 1, nodes[2]: 1}, s.hosts("a"))
	s.drain(nodes[0])
	s.waitReady("a")
	require.Zero(t, s.hosts("a")[nodes[0]])
	s.setImage("a", "registry.example/agent:v2")
	s.waitReady("a")
	s.eventually("old pods are gone", waitTimeout, func() error { return checkEqual("pods", 3, sum(s.hosts("a"))) })
	require.Zero(t, s.hosts("a")[nodes[0]])
	s.kubectl("scale", "agent", "a", "--replicas=4")
	s.waitReady("a")
	require.Equal(t, map[string]int{nodes[1]: 2, nodes[2]: 2}, s.hosts("a"))
}

func sum(counts map[string]int) int {
	all := 0
	for _, count := range counts {
		all += count
	}
	return all
}

func term(key, agent string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelAgent: agent}}}
}

// The guide, "Pod anti-affinity": both rules may be stacked with different weights.
func TestStackedRulesSpreadOverHostsAndZones(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.newPool("a", "a", "b", "b", "c", "c")
	stacked := func(a *v1alpha1.Agent) {
		a.Spec.Runtime.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
			{Weight: 100, PodAffinityTerm: term(corev1.LabelTopologyZone, "a")}, {Weight: 50, PodAffinityTerm: term(corev1.LabelHostname, "a")},
		}}}
	}
	s.create("a", highlyAvailable, s.inPool(), stacked)
	s.waitHighlyAvailable("a", true, "3 replicas available on 3 nodes in 3 zones", waitTimeout)
	s.kubectl("scale", "agent", "a", "--replicas=6")
	s.waitReady("a")
	require.Len(t, s.hosts("a"), 6)
}

func TestARolloutThatCannotFinishIsPredictedWithTheFix(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	nodes := s.newPool("a", "b", "c")
	requiredAntiAffinity := func(a *v1alpha1.Agent) {
		a.Spec.Runtime.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term(corev1.LabelHostname, "a")},
		}}
	}
	s.create("a", highlyAvailable, s.inPool(), requiredAntiAffinity)
	const foretold = "anti-affinity: required pod anti-affinity over kubernetes.io/hostname wants 4 places for 3 replicas and the one more of a rollout, and 3 fit"
	s.waitHighlyAvailable("a", false, foretold, waitTimeout)
	s.waitReady("a")
	s.eventually("an Event reports it", waitTimeout, func() error { return s.checkEvents("a", v1alpha1.ReasonMissingRequirements, foretold, 1) })

	// It is true: the rollout waits, all replicas go on serving, and the scheduler's words are in the status.
	s.setImage("a", "registry.example/agent:v2")
	stuck := s.waitForAgent("a", "the new pod finds no node", waitTimeout, func(a *v1alpha1.Agent) bool {
		return condition(a, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonUnschedulable
	})
	require.Contains(t, condition(stuck, v1alpha1.ConditionReady).Message, "anti-affinity")
	require.EqualValues(t, 3, stuck.Status.AvailableReplicas)

	s.addNode(nodes[0]+"-more", "a")
	s.waitHighlyAvailable("a", true, "", waitTimeout)
	s.waitReady("a")
	require.NoError(t, s.checkEvents("a", v1alpha1.ReasonMissingRequirements, foretold, 1), "reported once")
}
