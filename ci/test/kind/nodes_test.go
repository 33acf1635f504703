package kind_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

func withSpread(policy v1alpha1.SpreadPolicy) change {
	return func(a *v1alpha1.Agent) { a.Spec.Availability = &v1alpha1.Availability{Spread: policy} }
}

// Every node is drained in turn, as for an upgrade, while two Agents are called: one spreads where it can, the other must.
func TestEveryNodeIsDrainedInTurn(t *testing.T) {
	s := newFixture(t, "production")
	s.apply("spread-preferred", 3, withSpread(v1alpha1.SpreadPreferred))
	s.create("spread-required", 3, withSpread(v1alpha1.SpreadRequired))
	loads := []*load{s.startLoad("spread-preferred"), s.startLoad("spread-required")}
	measureAll(loads, "each node is drained in turn", onePodAtATime, func() {
		for _, node := range cluster.nodes {
			s.drain(node.Name)
			s.kubectl("uncordon", node.Name)
			for _, l := range loads {
				s.waitReady(l.agent)
			}
		}
	})
}

// onePodAtATime: not one failed request, and never more than one replica missing.
var onePodAtATime = criterion{"0 failed, every drain completes, one pod at a time", func(o outcome) (string, error) {
	if o.minAvailable < 2 {
		return "", fmt.Errorf("%d of 3 available", o.minAvailable)
	}
	return noFailures.holds(o)
}}

func (s *fixture) drain(node string) {
	s.Helper()
	s.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=3m")
}

// measureAll measures one disturbance for several Agents of three replicas at once.
func measureAll(loads []*load, what string, criterion criterion, do func()) {
	if len(loads) == 0 {
		do()
		return
	}
	l := loads[0]
	l.Helper()
	l.measure(what+" ("+l.agent+")", 3, criterion, func() { measureAll(loads[1:], what, criterion, do) })
}

// A worker stops without a shutdown, as in a power loss. Kubernetes detects it after 50 s and only then withdraws its endpoints; the
// Agent's pods move after 60 s more.
func TestAWorkerStopsHard(t *testing.T) {
	s := newFixture(t, "production")
	needsKind(t, "stopping a node hard")
	s.create("survivor", 3, withSpread(v1alpha1.SpreadRequired))
	l := s.startLoad("survivor")
	victim := s.pods("survivor")[0]
	counted := criterion{"counted: only calls to its pods, until its endpoints are withdrawn, and a handful later; pods replaced", func(o outcome) (string, error) {
		return checkNodeLoss(o, victim.Name)
	}}
	l.measure("a worker stops hard", 3, counted, func() {
		s.docker("kill", victim.Spec.NodeName)
		s.eventually("the Agent shows what it lost", waitTimeout, func() error {
			agent := s.agent("survivor")
			if ready := condition(agent, v1alpha1.ConditionReady); ready.Status == "True" || agent.Status.AvailableReplicas != 2 {
				return fmt.Errorf("%d available, Ready %s", agent.Status.AvailableReplicas, ready.Status)
			}
			return nil
		})
		lost := condition(s.agent("survivor"), v1alpha1.ConditionHighlyAvailable)
		require.Equal(s, "False", string(lost.Status), lost.Message)
		s.eventually("its pod was replaced", 2*waitTimeout, func() error { return s.checkReplaced("survivor", victim) })
		s.docker("start", victim.Spec.NodeName)
		s.waitNodeReady(victim.Spec.NodeName)
		s.waitReady("survivor")
	})
}

// checkNodeLoss allows failures only at the lost pod, and only until its endpoints are withdrawn. A few come later: for two minutes,
// connection tracking on the caller's node sends a new connection from the same port to the lost pod.
func checkNodeLoss(o outcome, lost string) (string, error) {
	const withdrawn = 75_000 // milliseconds; Kubernetes takes 40 to 50 s
	for pod, failures := range o.FailuresBy {
		if pod != lost && pod != "" && failures > 0 {
			return "", fmt.Errorf("%d failures at %s: %s", failures, pod, o.Summary)
		}
	}
	late, last := 0, int64(0)
	for _, r := range o.failedRequests {
		if r.Start-o.began > withdrawn {
			late++
		} else {
			last = max(last, r.Start-o.began)
		}
	}
	if o.Failures > o.Requests/10 || late > o.Requests/200 || o.LongestGap > 2000 {
		return "", fmt.Errorf("%d of the failures were after %d s: %s", late, withdrawn/1000, o.Summary)
	}
	return fmt.Sprintf("withdrawn after %.0f s, %d failed later; an answer every %.1f s at least", float64(last)/1000, late, o.LongestGap/1000), nil
}

// checkReplaced reports why there are not yet as many replicas as wanted without a lost pod.
func (s *fixture) checkReplaced(agent string, lost corev1.Pod) error {
	if available := s.agent(agent).Status.AvailableReplicas; available != 3 {
		return fmt.Errorf("%d available", available)
	}
	for _, pod := range s.pods(agent) {
		if pod.UID == lost.UID && pod.DeletionTimestamp == nil {
			return fmt.Errorf("%s is still wanted", pod.Name)
		}
	}
	return nil
}

func (s *fixture) docker(args ...string) {
	s.Helper()
	out, err := exec.CommandContext(s.Context(), "docker", args...).CombinedOutput()
	require.NoError(s, err, "docker %s: %s", strings.Join(args, " "), out)
}

func (s *fixture) waitNodeReady(name string) {
	s.Helper()
	s.eventually(name+" is ready", waitTimeout, func() error {
		node := &corev1.Node{}
		require.NoError(s, api.Get(s.Context(), client.ObjectKey{Name: name}, node))
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue && len(node.Spec.Taints) == 0 {
				return nil
			}
		}
		return fmt.Errorf("conditions %v, taints %v", node.Status.Conditions, node.Spec.Taints)
	})
}

// restoreNodes brings back what an interrupted run took away: stopped nodes, cordons.
func restoreNodes(ctx context.Context) {
	for _, node := range cluster.nodes {
		if cluster.kind != "" {
			_ = exec.CommandContext(ctx, "docker", "start", node.Name).Run()
		}
		_ = kubectl(ctx, "uncordon", node.Name).Run()
	}
}
