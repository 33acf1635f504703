package status_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

func sufficient() corev1.ResourceRequirements {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	return corev1.ResourceRequirements{Requests: list, Limits: list}
}

// compliant returns an Agent whose spec meets every requirement.
func compliant(options ...agenttest.Option) *v1alpha1.Agent {
	all := []agenttest.Option{agenttest.Replicas(3), agenttest.Container(func(c *corev1.Container) { c.Resources = sufficient() })}
	return agenttest.New("a", append(all, options...)...)
}

func requirements(t *testing.T, agent *v1alpha1.Agent) []status.Requirement {
	t.Helper()
	children, err := render.Agent(agent, render.Live{})
	require.NoError(t, err)
	return status.Requirements(agent, children)
}

func budget(b v1alpha1.DisruptionBudget) agenttest.Option {
	return agenttest.Availability(v1alpha1.Availability{PodDisruptionBudget: &b})
}

func autoscaled(least *int32) agenttest.Option {
	return func(a *v1alpha1.Agent) {
		a.Spec.Autoscaling = &v1alpha1.Autoscaling{MinReplicas: least, MaxReplicas: 9}
	}
}

func image(image string) agenttest.Option {
	return agenttest.Container(func(c *corev1.Container) { c.Image = image })
}

func resources(requests, limits corev1.ResourceList) agenttest.Option {
	return agenttest.Container(func(c *corev1.Container) {
		c.Resources = corev1.ResourceRequirements{Requests: requests, Limits: limits}
	})
}

func rollout(unavailable intstr.IntOrString) agenttest.Option {
	return agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) { s.Strategy = &v1alpha1.RolloutStrategy{MaxUnavailable: &unavailable} })
}

// spreadOver adds a soft constraint over some topologies, by default over hosts and zones.
func spreadOver(selector *metav1.LabelSelector, maxSkew int32, keys ...string) agenttest.Option {
	if len(keys) == 0 {
		keys = []string{corev1.LabelHostname, corev1.LabelTopologyZone}
	}
	return agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) {
		for _, key := range keys {
			s.TopologySpreadConstraints = append(s.TopologySpreadConstraints, corev1.TopologySpreadConstraint{
				TopologyKey: key, WhenUnsatisfiable: corev1.ScheduleAnyway, MaxSkew: maxSkew, LabelSelector: selector})
		}
	})
}

// One row for each way of meeting or missing a requirement of the guide.
func TestMissingRequirementsAreThoseOfTheGuide(t *testing.T) {
	sidecar := agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) { s.Sidecars = []corev1.Container{{Name: "proxy", Image: "proxy"}} })
	noPorts := agenttest.Container(func(c *corev1.Container) { c.Ports = nil })
	const otherPods = "the topologySpreadConstraints over them select other pods: add a labelSelector that selects flokoa.ai/agent: a"
	half := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("0")}
	for _, r := range []struct {
		name  string
		agent *v1alpha1.Agent
		want  string
	}{
		{"nothing", compliant(), ""},
		{"one replica", compliant(agenttest.Replicas(1)), "replicas: 1, high availability needs three or more"},
		{"two", compliant(agenttest.Replicas(2)), "replicas: 2, high availability needs three or more"},
		{"zero", compliant(agenttest.Replicas(0)), "replicas: 0, high availability needs three or more"},
		{"suspended", compliant(func(a *v1alpha1.Agent) { a.Spec.Suspend = true }), "replicas: suspended, no replica runs"},
		{"autoscaling from one", compliant(autoscaled(nil)), "replicas: autoscaling.minReplicas is 1, high availability needs three or more"},
		{"autoscaling from three", compliant(agenttest.Replicas(1), autoscaled(ptr.To[int32](3))), ""},

		{"no tag", compliant(image("registry.example:5000/team/agent")), "image: registry.example:5000/team/agent (container agent): pin every image to a version tag (one with a digit, such as v1.2.3) or a digest"},
		{"latest", compliant(image("agent:latest")), "image: agent:latest (container agent): pin every image to a version tag (one with a digit, such as v1.2.3) or a digest"},
		{"a branch", compliant(image("reg:5000/agent:main")), "image: reg:5000/agent:main (container agent): pin every image to a version tag (one with a digit, such as v1.2.3) or a digest"},
		{"an empty tag", compliant(image("agent:")), "image: agent: (container agent): pin every image to a version tag (one with a digit, such as v1.2.3) or a digest"},
		{"a digest", compliant(image("agent@sha256:00")), ""},
		{"latest with a digest", compliant(image("agent:latest@sha256:00")), ""},
		{"a tag and a port", compliant(image("registry.example:5000/agent:v1")), ""},

		{"an image name with a separator", compliant(image("x; replicas")), "image: x; replicas (container agent): pin every image to a version tag (one with a digit, such as v1.2.3) or a digest"},
		{"no resources", compliant(resources(nil, nil)), "resources: container agent has no cpu request, no cpu limit, no memory request, no memory limit: set requests and limits for CPU and memory"},
		{"no limits", compliant(resources(sufficient().Requests, nil)), "resources: container agent has no cpu limit, no memory limit: set requests and limits for CPU and memory"},
		{"limits stand for requests", compliant(resources(nil, sufficient().Limits)), ""},
		{"zero counts as none", compliant(resources(half, half)), "resources: container agent has no memory request, no memory limit: set requests and limits for CPU and memory"},
		{"a sidecar too", compliant(sidecar), "image: proxy (container proxy): pin every image to a version tag (one with a digit, such as v1.2.3) or a digest; " +
			"resources: container proxy has no cpu request, no cpu limit, no memory request, no memory limit: set requests and limits for CPU and memory"},

		{"no port to probe", compliant(noPorts), "probes: no readiness probe, which keeps traffic from a pod that cannot serve yet, and no liveness probe, which restarts a pod that is stuck: set them, or a TCP port for the default ones"},
		{"default probes off, with a liveness probe", compliant(agenttest.Availability(v1alpha1.Availability{Probes: v1alpha1.ProbesNone}), agenttest.Container(func(c *corev1.Container) { c.LivenessProbe = &corev1.Probe{} })),
			"probes: no readiness probe, which keeps traffic from a pod that cannot serve yet: set them, or a TCP port for the default ones"},

		{"no spread", compliant(agenttest.Availability(v1alpha1.Availability{Spread: v1alpha1.SpreadNone})), "spread: nothing spreads the pods over hosts and zones: leave availability.spread out, or add pod anti-affinity"},

		{"constraints without a selector", compliant(spreadOver(nil, 1)), "spread: nothing spreads the pods over hosts and zones: " + otherPods},
		{"constraints on another app", compliant(spreadOver(agenttest.Selecting("b"), 1)), "spread: nothing spreads the pods over hosts and zones: " + otherPods},
		{"a constraint on another app over zones", compliant(spreadOver(agenttest.Selecting("b"), 1, corev1.LabelTopologyZone)), "spread: nothing spreads the pods over zones: " + otherPods},
		{"a constraint on another app over zones, and no default one", compliant(agenttest.Availability(v1alpha1.Availability{Spread: v1alpha1.SpreadNone}), spreadOver(agenttest.Selecting("b"), 1, corev1.LabelTopologyZone)),
			"spread: nothing spreads the pods over hosts: leave availability.spread out, or add pod anti-affinity; spread: nothing spreads the pods over zones: " + otherPods},
		{"constraints on these pods", compliant(spreadOver(agenttest.Selecting("a"), 2)), ""},
		{"constraints with a maxSkew of all replicas", compliant(spreadOver(agenttest.Selecting("a"), 3)), "spread: the topologySpreadConstraints over hosts and zones allow every replica in one place: lower maxSkew to 1"},
		{"a constraint with a maxSkew of all replicas, and anti-affinity", compliant(spreadOver(agenttest.Selecting("a"), 9, corev1.LabelHostname),
			agenttest.RequiredAntiAffinity(corev1.PodAffinityTerm{TopologyKey: corev1.LabelHostname, LabelSelector: agenttest.Selecting("a")})), ""},
		{"a maxSkew of all replicas of idle autoscaling", compliant(agenttest.Replicas(9), autoscaled(ptr.To[int32](4)), spreadOver(agenttest.Selecting("a"), 4, corev1.LabelHostname)),
			"spread: the topologySpreadConstraints over hosts allow every replica in one place: lower maxSkew to 1"},

		{"a rollout that reduces capacity", compliant(rollout(intstr.FromInt32(1))), "rollout: strategy.maxUnavailable lets a rollout take away 1 of 3 replicas before new ones are ready: leave it out, or 0"},
		{"a percentage that rounds down to 0", compliant(rollout(intstr.FromString("25%"))), ""},
		{"a percentage that does not", compliant(agenttest.Replicas(4), rollout(intstr.FromString("25%"))), "rollout: strategy.maxUnavailable lets a rollout take away 1 of 4 replicas before new ones are ready: leave it out, or 0"},

		{"no budget", compliant(budget(v1alpha1.DisruptionBudget{Mode: "None"})), "disruption-budget: none protects the pods while nodes are drained: leave availability.podDisruptionBudget.mode out"},
		{"a budget that blocks", compliant(budget(v1alpha1.DisruptionBudget{MaxUnavailable: ptr.To(intstr.FromInt32(0))})), "disruption-budget: maxUnavailable 0 never lets a node be drained: make it 1 or more"},
		{"all must stay", compliant(budget(v1alpha1.DisruptionBudget{MinAvailable: ptr.To(intstr.FromInt32(3))})), "disruption-budget: minAvailable 3 of 3 replicas never lets a node be drained: make it less"},
		{"a percentage that rounds up to all", compliant(budget(v1alpha1.DisruptionBudget{MinAvailable: ptr.To(intstr.FromString("70%"))})), "disruption-budget: minAvailable 70% of 3 replicas never lets a node be drained: make it less"},
		{"all of the replicas of idle autoscaling must stay", compliant(autoscaled(ptr.To[int32](3)), budget(v1alpha1.DisruptionBudget{MinAvailable: ptr.To(intstr.FromInt32(3))})), "disruption-budget: minAvailable 3 of 3 replicas never lets a node be drained: make it less"},
		{"100% must stay", compliant(budget(v1alpha1.DisruptionBudget{MinAvailable: ptr.To(intstr.FromString("100%"))})), "disruption-budget: minAvailable 100% of 3 replicas never lets a node be drained: make it less"},
		{"two must stay", compliant(budget(v1alpha1.DisruptionBudget{MinAvailable: ptr.To(intstr.FromInt32(2))})), ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			var parts []string
			for _, requirement := range requirements(t, r.agent) {
				parts = append(parts, requirement.ID+": "+requirement.Text)
			}
			require.Equal(t, r.want, strings.Join(parts, "; "))
		})
	}
}

func TestLongListOfContainersIsAbbreviated(t *testing.T) {
	agent := compliant(agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) {
		for _, name := range []string{"a1", "a2", "a3", "a4", "a5"} {
			s.InitContainers = append(s.InitContainers, corev1.Container{Name: name, Image: name, Resources: sufficient()})
		}
	}))
	require.Equal(t, "a1 (container a1), a2 (container a2), a3 (container a3) and 2 more: pin every image to a version tag (one with a digit, such as v1.2.3) or a digest", requirements(t, agent)[0].Text)
}

func TestGuideAgentMeetsEveryRequirement(t *testing.T) {
	require.Empty(t, requirements(t, agenttest.Read(t, "../../../examples/agents/production-agent.yaml")))
}

// --- placement ----------------------------------------------------------------------------------------------------------

func node(name, zone string, changes ...func(*corev1.Node)) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	if zone != "" {
		n.Labels[corev1.LabelTopologyZone] = zone
	}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	for _, change := range changes {
		change(&n)
	}
	return n
}

func cordoned(n *corev1.Node) { n.Spec.Unschedulable = true }
func notReady(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }
func tainted(effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "gpu", Effect: effect}} }
}

// readyPod returns a pod that is ready.
func readyPod(nodeName, zone string) corev1.Pod {
	pod := running(nodeName, zone)
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	return pod
}

func known(nodes ...corev1.Node) status.Nodes { return status.Nodes{Known: true, Items: nodes} }

func TestHighlyAvailableDependsOnThePlacementOfAvailablePods(t *testing.T) {
	together := []corev1.Pod{readyPod("n1", "z1"), readyPod("n1", "z1"), readyPod("n1", "z1")}
	oneZone := []corev1.Pod{readyPod("n1", "z1"), readyPod("n2", "z1"), readyPod("n2", "z1")}
	spread := []corev1.Pod{readyPod("n1", "z1"), readyPod("n2", "z2"), readyPod("n3", "z3")}
	terminating := readyPod("n2", "z2")
	terminating.DeletionTimestamp = &metav1.Time{Time: now}
	unlabeled := []corev1.Pod{readyPod("n1", ""), readyPod("n2", ""), readyPod("n2", "")}
	three := known(node("n1", "z1"), node("n2", "z2"), node("n3", "z3"))
	onNode := func(names string) string {
		return "False MissingRequirements: placement: all available replicas are on 1 node, and " + names
	}
	const fix = ": delete a pod to have it placed anew"
	for _, r := range []struct {
		name  string
		pods  []corev1.Pod
		nodes status.Nodes
		want  string
	}{
		{"spread", spread, status.Nodes{}, "True RequirementsMet: 3 replicas available on 3 nodes in 3 zones"},
		{"on one node of three", together, three, onNode("3 nodes fit" + fix + "; placement: all available replicas are in 1 zone, and 3 zones fit" + fix)},
		{"a terminating pod does not count", append(together[:2:2], terminating), three, onNode("3 nodes fit" + fix + "; placement: all available replicas are in 1 zone, and 3 zones fit" + fix)},
		{"in one zone of three", oneZone, three, "False MissingRequirements: placement: all available replicas are in 1 zone, and 3 zones fit" + fix},
		{"on the only node", together, known(node("n1", "z1")), "True RequirementsMet: 3 replicas available on 1 node in 1 zone"},
		{"in the only zone", oneZone, known(node("n1", "z1"), node("n2", "z1")), "True RequirementsMet: 3 replicas available on 2 nodes in 1 zone"},
		{"nodes without zones", unlabeled, known(node("n1", ""), node("n2", "")), "True RequirementsMet: 3 replicas available on 2 nodes in 0 zones"},
		{"pods without a zone label, on nodes with one", unlabeled, three, "True RequirementsMet: 3 replicas available on 2 nodes in 2 zones"},
		{"the others are cordoned", together, known(node("n1", "z1"), node("n2", "z2", cordoned), node("n3", "z3", cordoned)), "True RequirementsMet: 3 replicas available on 1 node in 1 zone"},
		{"the others are not ready", together, known(node("n1", "z1"), node("n2", "z2", notReady)), "True RequirementsMet: 3 replicas available on 1 node in 1 zone"},
		{"the others have a taint", together, known(node("n1", "z1"), node("n2", "z2", tainted(corev1.TaintEffectNoSchedule))), "True RequirementsMet: 3 replicas available on 1 node in 1 zone"},
		{"a PreferNoSchedule taint does not count", together, known(node("n1", "z1"), node("n2", "z1", tainted(corev1.TaintEffectPreferNoSchedule))), onNode("2 nodes fit" + fix)},
		{"nodes may not be read", together, status.Nodes{}, "True RequirementsMet: 3 replicas available on 1 node in 1 zone; not evaluated: whether the replicas, on 1 node in 1 zone, could be on more: the operator may not read nodes"},
	} {
		t.Run(r.name, func(t *testing.T) {
			observed := status.Observed{Now: now, Deployment: deployment(), Pods: r.pods, Nodes: r.nodes}
			got := statusOf(compliant(), observed, nil)
			require.Equal(t, r.want, conditionText(got, v1alpha1.ConditionHighlyAvailable))
			if strings.HasPrefix(r.want, "False") {
				require.Equal(t, []string{"placement"}, missingIn(compliant(), observed, nil), "one id for both, as in metrics")
			}
		})
	}
}

func TestNodesThatCannotRunThePodsDoNotCount(t *testing.T) {
	together := []corev1.Pod{readyPod("n1", "z1"), readyPod("n1", "z1"), readyPod("n1", "z1")}
	gpu := func(n *corev1.Node) { n.Labels["gpu"] = "yes" }
	nodes := known(node("n1", "z1", gpu), node("n2", "z1"), node("n3", "z1", gpu, tainted(corev1.TaintEffectNoExecute)))
	for _, r := range []struct {
		name   string
		change func(*corev1.PodSpec)
		fits   bool
	}{
		{"all but the tainted node", func(*corev1.PodSpec) {}, true},
		{"a node selector", func(p *corev1.PodSpec) { p.NodeSelector = map[string]string{"gpu": "yes"} }, false},
		{"a node selector and a toleration", func(p *corev1.PodSpec) {
			p.NodeSelector, p.Tolerations = map[string]string{"gpu": "yes"}, []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
		}, true},
		{"required node affinity", func(p *corev1.PodSpec) {
			p.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"n1"}}}}}}}}
		}, false},
	} {
		t.Run(r.name, func(t *testing.T) {
			d := deployment()
			r.change(&d.Spec.Template.Spec)
			got := statusOf(compliant(), status.Observed{Now: now, Deployment: d, Pods: together, Nodes: nodes}, nil)
			require.Equal(t, !r.fits, meta.IsStatusConditionTrue(got.Conditions, v1alpha1.ConditionHighlyAvailable), conditionText(got, v1alpha1.ConditionHighlyAvailable))
		})
	}
}

// noncompliant returns an Agent with one replica and three containers, whose images have long names, no tag, and no resources.
func noncompliant() *v1alpha1.Agent {
	name := strings.Repeat("registry.example/team/", 10) + "agent"
	container := func(c *corev1.Container) { c.Image, c.Resources = name, corev1.ResourceRequirements{} }
	sidecars := agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) {
		s.Sidecars = []corev1.Container{{Name: "proxy", Image: name}, {Name: "logs", Image: name}}
	})
	apart := agenttest.RequiredAntiAffinity(corev1.PodAffinityTerm{TopologyKey: corev1.LabelHostname, LabelSelector: agenttest.Selecting("a")})
	return agenttest.New("a", agenttest.Replicas(1), agenttest.Container(container), sidecars, apart)
}

func TestLongMessageTruncatesTextsAndKeepsEveryID(t *testing.T) {
	agent := noncompliant()
	observed := status.Observed{Now: now, Deployment: deployment(counts(1, 1, 0, 0)), Nodes: known(node("n1", "z1")), Missing: requirements(t, agent)}
	whole := 0
	for _, requirement := range observed.Missing {
		whole += len(requirement.Text)
	}
	require.Greater(t, whole, maxMessage, "the test needs a message that is too long")

	got, missing := status.Of(agent, observed, nil)
	require.Equal(t, []string{"replicas", "image", "resources", "availability", "anti-affinity"}, missing)
	message := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionHighlyAvailable).Message
	require.LessOrEqual(t, len(message), maxMessage)
	for _, id := range missing {
		require.Contains(t, message, id+": ")
	}
	require.Contains(t, message, "replicas: 1, high availability needs three or more; ", "a short text is not truncated")
}

func TestRepeatedRequirementsNeverDropAnotherID(t *testing.T) {
	observed := status.Observed{Now: now, Deployment: deployment(counts(3, 3, 1, 1))}
	for range 100 {
		observed.Missing = append(observed.Missing, status.Requirement{ID: "image", Text: strings.Repeat("x", 60)})
	}
	got, missing := status.Of(compliant(), observed, nil)
	require.Equal(t, []string{"image", "availability"}, missing)
	message := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionHighlyAvailable).Message
	require.LessOrEqual(t, len(message), maxMessage)
	require.Contains(t, message, "; availability: 1 of 3 replicas available")
}

// "Once AVAILABLE REPLICAS reaches three, your agent is running in a highly available configuration" (the guide).
func TestThreeAvailableReplicasAreRequired(t *testing.T) {
	two := []corev1.Pod{readyPod("n1", "z1"), readyPod("n2", "z2")}
	observed := status.Observed{Now: now, Deployment: deployment(counts(3, 3, 2, 2)), Pods: two}
	require.Equal(t, "False MissingRequirements: availability: 2 of 3 replicas available", conditionText(statusOf(compliant(), observed, nil), v1alpha1.ConditionHighlyAvailable))
	five := status.Observed{Now: now, Deployment: deployment(counts(5, 5, 4, 4)), Pods: append(two, two...)}
	require.Contains(t, conditionText(statusOf(compliant(agenttest.Replicas(5)), five, nil), v1alpha1.ConditionHighlyAvailable), "True RequirementsMet: 4 replicas available")
	require.Contains(t, conditionText(statusOf(compliant(), status.Observed{Now: now}, nil), v1alpha1.ConditionHighlyAvailable), "availability: 0 of 3 replicas available")
}

func TestSpecAndLiveRequirementsAreReportedTogether(t *testing.T) {
	observed := status.Observed{Now: now, Deployment: deployment(counts(2, 2, 1, 1)), Missing: []status.Requirement{{ID: "replicas", Text: "2, high availability needs three or more"}, {ID: "image", Text: "a; b"}}}
	require.Equal(t, []string{"replicas", "image", "availability"}, missingIn(compliant(agenttest.Replicas(2)), observed, nil))
	invalid := status.InvalidSpec(errors.New("no"))
	require.Contains(t, conditionText(statusOf(compliant(), status.Observed{Now: now}, invalid), v1alpha1.ConditionHighlyAvailable), "spec: it cannot be rendered")
	require.Equal(t, []string{"spec", "availability"}, missingIn(compliant(), status.Observed{Now: now}, invalid))
}

func TestRolloutDeadlockIsForecast(t *testing.T) {
	apart := func(key string, hash ...string) agenttest.Option {
		return agenttest.RequiredAntiAffinity(corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: agenttest.Selecting("a"), MatchLabelKeys: hash})
	}
	three := []corev1.Node{node("n1", "z1"), node("n2", "z2"), node("n3", "z3")}
	const host = "anti-affinity: required pod anti-affinity over kubernetes.io/hostname wants "
	const help = ": a pod would wait forever. Use the preferred form, or fewer replicas, or strategy maxSurge 0 with maxUnavailable 1"
	const free = ": a pod would wait forever. Leave hostPort out, or use fewer replicas, or strategy maxSurge 0 with maxUnavailable 1"
	const ports = "host-port: hostPort 80, 443 wants "
	taken := agenttest.Container(func(c *corev1.Container) {
		c.Ports[0].HostPort = 80
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: "https", ContainerPort: 8443, HostPort: 443})
	})
	sidecar := agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) {
		s.Sidecars = []corev1.Container{{Name: "proxy", Image: "proxy:v1", Resources: sufficient(), Ports: []corev1.ContainerPort{{ContainerPort: 9090, HostPort: 9090}}}}
	})
	for _, r := range []struct {
		name  string
		agent *v1alpha1.Agent
		nodes status.Nodes
		want  string
	}{
		{"a node for each replica, none for the surge", compliant(apart(corev1.LabelHostname)), known(three...), host + "4 places for 3 replicas and the one more of a rollout, and 3 fit" + help},
		{"one more node", compliant(apart(corev1.LabelHostname)), known(append(three, node("n4", "z1"))...), ""},
		{"one more node that is cordoned", compliant(apart(corev1.LabelHostname)), known(append(three, node("n4", "z1", cordoned))...), host + "4 places for 3 replicas and the one more of a rollout, and 3 fit" + help},
		{"by zone", compliant(apart(corev1.LabelTopologyZone)), known(append(three, node("n4", "z1"))...), strings.Replace(host, corev1.LabelHostname, corev1.LabelTopologyZone, 1) + "4 places for 3 replicas and the one more of a rollout, and 3 fit" + help},
		{"only against pods of the same template", compliant(apart(corev1.LabelHostname, "pod-template-hash")), known(three...), ""},
		{"an old pod may terminate first", compliant(apart(corev1.LabelHostname), rollout(intstr.FromInt32(1))), known(three...), ""},
		{"not even the replicas fit", compliant(agenttest.Replicas(4), apart(corev1.LabelHostname), rollout(intstr.FromInt32(1))), known(three...), host + "4 places for 4 replicas, and 3 fit" + help},
		{"host ports, a node for each replica, none for the surge", compliant(taken), known(three...), ports + "4 nodes for 3 replicas and the one more of a rollout, and 3 fit" + free},
		{"host ports, one more node", compliant(taken), known(append(three, node("n4", "z1"))...), ""},
		{"host ports, one more node that is cordoned", compliant(taken), known(append(three, node("n4", "z1", cordoned))...), ports + "4 nodes for 3 replicas and the one more of a rollout, and 3 fit" + free},
		{"host ports, an old pod may terminate first", compliant(taken, rollout(intstr.FromInt32(1))), known(three...), ""},
		{"host ports, not even the replicas fit", compliant(agenttest.Replicas(4), taken, rollout(intstr.FromInt32(1))), known(three...), ports + "4 nodes for 4 replicas, and 3 fit" + free},
		{"a host port of a sidecar", compliant(sidecar), known(three...), "host-port: hostPort 9090 wants 4 nodes for 3 replicas and the one more of a rollout, and 3 fit" + free},
		{"host ports, nodes may not be read", compliant(taken), status.Nodes{}, ""},
		{"another agent's pods", compliant(agenttest.RequiredAntiAffinity(corev1.PodAffinityTerm{TopologyKey: corev1.LabelHostname, LabelSelector: agenttest.Selecting("b")})), known(three...), ""},
		{"nodes may not be read", compliant(apart(corev1.LabelHostname)), status.Nodes{}, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			pods := []corev1.Pod{readyPod("n1", "z1"), readyPod("n2", "z2"), readyPod("n3", "z3")}
			observed := status.Observed{Now: now, Deployment: deployment(counts(4, 4, 4, 4)), Pods: pods, Nodes: r.nodes}
			got := statusOf(r.agent, observed, nil)
			condition := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionHighlyAvailable)
			require.Equal(t, r.want != "", status.ForecastsDeadlock(missingIn(r.agent, observed, nil)))
			if r.want != "" {
				require.Equal(t, r.want, condition.Message)
			}
		})
	}
}

func TestMinDomainsThatLeaveNoRoomAreForecast(t *testing.T) {
	with := func(minDomains, maxSkew int32, change func(*corev1.TopologySpreadConstraint)) *v1alpha1.Agent {
		c := corev1.TopologySpreadConstraint{TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule,
			MaxSkew: maxSkew, MinDomains: &minDomains, LabelSelector: agenttest.Selecting("a")}
		change(&c)
		return compliant(agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) { s.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{c} }))
	}
	asIs := func(*corev1.TopologySpreadConstraint) {}
	two := known(node("n1", "z1"), node("n2", "z2"), node("n3", "z2"), node("n4", "z3", cordoned))
	const format = "spread: topologySpreadConstraint over topology.kubernetes.io/zone with minDomains 3 and maxSkew 1 wants room for 3 replicas and the one more of a rollout, and the 2 that fit take 2: a pod would wait forever. Leave minDomains out"
	for _, r := range []struct {
		name  string
		agent *v1alpha1.Agent
		nodes status.Nodes
		want  string
	}{
		{"more than there are zones", with(3, 1, asIs), two, format},
		{"of one revision only", with(3, 1, func(c *corev1.TopologySpreadConstraint) { c.MatchLabelKeys = []string{"pod-template-hash"} }), two, strings.Replace(format, " and the one more of a rollout", "", 1)},
		{"as many as there are zones", with(2, 1, asIs), two, ""},
		{"a maxSkew that has room for all", with(3, 2, asIs), two, ""},
		{"on other pods", with(3, 1, func(c *corev1.TopologySpreadConstraint) { c.LabelSelector = agenttest.Selecting("b") }), two, ""},
		{"nodes may not be read", with(3, 1, asIs), status.Nodes{}, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			pods := []corev1.Pod{readyPod("n1", "z1"), readyPod("n2", "z2"), readyPod("n3", "z2")}
			observed := status.Observed{Now: now, Deployment: deployment(), Pods: pods, Nodes: r.nodes}
			condition := meta.FindStatusCondition(statusOf(r.agent, observed, nil).Conditions, v1alpha1.ConditionHighlyAvailable)
			require.Equal(t, r.want == "", condition.Status == metav1.ConditionTrue, condition.Message)
			if r.want != "" {
				require.Equal(t, r.want, condition.Message)
				require.True(t, status.NeedsNodes(r.agent, observed))
			}
		})
	}
}

func TestForeignBudgetsThatBlockADrainAreNamed(t *testing.T) {
	minimum := func(name, value string) policyv1.PodDisruptionBudget {
		limit := intstr.Parse(value)
		return policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &limit}}
	}
	maximum := func(name, value string) policyv1.PodDisruptionBudget {
		limit := intstr.Parse(value)
		return policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &limit}}
	}
	const (
		tooMany = "disruption-budget: more than one PodDisruptionBudget selects the pods, so every eviction fails and no node can be drained: delete "
		less    = " replicas never lets a node be drained: make it less"
		more    = " never lets a node be drained: make it 1 or more"
		none    = "disruption-budget: none protects the pods while nodes are drained: leave availability.podDisruptionBudget.mode out"
	)
	automatic := compliant()
	off := compliant(budget(v1alpha1.DisruptionBudget{Mode: v1alpha1.DisruptionBudgetNone}))
	type budgets []policyv1.PodDisruptionBudget
	for _, r := range []struct {
		name    string
		agent   *v1alpha1.Agent
		foreign budgets
		want    string
	}{
		{"none", automatic, nil, ""},
		{"a second one", automatic, budgets{maximum("other", "1")}, tooMany + `"other"`},
		{"two more", automatic, budgets{maximum("one", "1"), minimum("two", "0")}, tooMany + `"one", "two"`},
		{"five more", automatic, budgets{maximum("1", "1"), maximum("2", "1"), maximum("3", "1"), maximum("4", "1"), maximum("5", "1")}, tooMany + `"1", "2", "3" and 2 more`},
		{"beside one that blocks", compliant(budget(v1alpha1.DisruptionBudget{MaxUnavailable: ptr.To(intstr.FromInt32(0))})), budgets{maximum("other", "1")},
			"disruption-budget: maxUnavailable 0" + more + "; " + tooMany + `"other"`},
		{"turned off, none", off, nil, none},
		{"turned off, one that lets one go", off, budgets{maximum("mine", "1")}, ""},
		{"turned off, one that keeps two", off, budgets{minimum("mine", "2")}, ""},
		{"turned off, one that keeps half", off, budgets{minimum("mine", "50%")}, ""},
		{"turned off, one that lets none go", off, budgets{maximum("mine", "0")}, `disruption-budget: PodDisruptionBudget "mine": maxUnavailable 0` + more},
		{"turned off, one that lets 0% go", off, budgets{maximum("mine", "0%")}, `disruption-budget: PodDisruptionBudget "mine": maxUnavailable 0%` + more},
		{"turned off, one that keeps all", off, budgets{minimum("mine", "3")}, `disruption-budget: PodDisruptionBudget "mine": minAvailable 3 of 3` + less},
		{"turned off, one that keeps 90%", off, budgets{minimum("mine", "90%")}, `disruption-budget: PodDisruptionBudget "mine": minAvailable 90% of 3` + less},
		{"turned off, two", off, budgets{maximum("one", "1"), maximum("two", "1")}, tooMany + `all but one of "one", "two"`},
		{"one that keeps the only replica", compliant(agenttest.Replicas(1)), budgets{minimum("mine", "1")},
			`replicas: 1, high availability needs three or more; disruption-budget: PodDisruptionBudget "mine": minAvailable 1 of 1` + less},
	} {
		t.Run(r.name, func(t *testing.T) {
			pods := []corev1.Pod{readyPod("n1", "z1"), readyPod("n2", "z2"), readyPod("n3", "z3")}
			observed := status.Observed{Now: now, Deployment: deployment(), Pods: pods, Missing: requirements(t, r.agent), ForeignBudgets: r.foreign}
			want := "False MissingRequirements: " + r.want
			if r.want == "" {
				want = "True RequirementsMet: 3 replicas available on 3 nodes in 3 zones"
			}
			require.Equal(t, want, conditionText(statusOf(r.agent, observed, nil), v1alpha1.ConditionHighlyAvailable))
		})
	}
}

func TestNodesAreListedOnlyIfTheStatusDependsOnThem(t *testing.T) {
	spread := []corev1.Pod{readyPod("n1", "z1"), readyPod("n2", "z2"), readyPod("n3", "z3")}
	together := []corev1.Pod{readyPod("n1", "z1"), readyPod("n1", "z1")}
	apart := agenttest.RequiredAntiAffinity(corev1.PodAffinityTerm{TopologyKey: corev1.LabelHostname, LabelSelector: agenttest.Selecting("a")})
	taken := agenttest.Container(func(c *corev1.Container) { c.Ports[0].HostPort = 80 })
	for _, r := range []struct {
		name     string
		agent    *v1alpha1.Agent
		observed status.Observed
		want     bool
	}{
		{"spread", compliant(), status.Observed{Deployment: deployment(), Pods: spread}, false},
		{"on one node", compliant(), status.Observed{Deployment: deployment(), Pods: together}, true},
		{"required anti-affinity", compliant(apart), status.Observed{Deployment: deployment(), Pods: spread}, true},
		{"a host port", compliant(taken), status.Observed{Deployment: deployment(), Pods: spread}, true},
		{"a single pod", compliant(), status.Observed{Deployment: deployment(), Pods: together[:1]}, false},
		{"none desired", compliant(agenttest.Replicas(0), apart), status.Observed{Deployment: deployment(), Pods: together}, false},
		{"no Deployment", compliant(), status.Observed{}, false},
	} {
		require.Equal(t, r.want, status.NeedsNodes(r.agent, r.observed), r.name)
	}
	placed := func(nodes, zones int32, options ...agenttest.Option) bool {
		agent := compliant(options...)
		agent.Status.Placement = &v1alpha1.Placement{Nodes: nodes, Zones: zones}
		return status.DependsOnNodes(agent)
	}
	require.True(t, status.DependsOnNodes(compliant()))
	require.True(t, placed(1, 1))
	require.True(t, placed(2, 1))
	require.False(t, placed(2, 2))
	require.True(t, placed(3, 3, apart))
	require.True(t, placed(3, 3, taken))
}

func TestSuspendedAgentIsReadyOnceNoReplicaRuns(t *testing.T) {
	agent := compliant(func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
	stopping := statusOf(agent, status.Observed{Now: now, Deployment: deployment()}, nil)
	require.Equal(t, "False RolloutInProgress: 3 replicas pending termination", conditionText(stopping, v1alpha1.ConditionReady))
	require.Equal(t, "True ReplicasAvailable: 3 replicas available, 0 desired", conditionText(stopping, v1alpha1.ConditionAvailable))
	stopped := statusOf(agent, status.Observed{Now: now, Deployment: deployment(counts(0, 0, 0, 0))}, nil)
	require.Equal(t, "True Suspended: suspended: no replica runs", conditionText(stopped, v1alpha1.ConditionReady))
	require.Equal(t, "False Suspended: suspended: no replica runs", conditionText(stopped, v1alpha1.ConditionAvailable))
	require.Empty(t, conditionText(stopped, v1alpha1.ConditionReconciling))
}
