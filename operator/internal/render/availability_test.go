package render_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/render"
)

func scaling(least *int32, most int32) agenttest.Option {
	return func(a *v1alpha1.Agent) {
		a.Spec.Autoscaling = &v1alpha1.Autoscaling{MinReplicas: least, MaxReplicas: most}
	}
}

func suspended(a *v1alpha1.Agent) { a.Spec.Suspend = true }

func children(t *testing.T, live render.Live, options ...agenttest.Option) render.Children {
	t.Helper()
	rendered, err := render.Agent(agenttest.New("a", options...), live)
	require.NoError(t, err)
	return rendered
}

func TestBudgetExistsIfTheAgentCanHaveTwoReplicas(t *testing.T) {
	budget := func(b v1alpha1.DisruptionBudget) agenttest.Option {
		return agenttest.Availability(v1alpha1.Availability{PodDisruptionBudget: &b})
	}
	for _, r := range []struct {
		name    string
		options []agenttest.Option
		want    string
	}{
		{"one replica", []agenttest.Option{agenttest.Replicas(1)}, ""},
		{"none", []agenttest.Option{agenttest.Replicas(0)}, ""},
		{"two", []agenttest.Option{agenttest.Replicas(2)}, "maxUnavailable: 1\n"},
		{"two, suspended", []agenttest.Option{agenttest.Replicas(2), suspended}, "maxUnavailable: 1\n"},
		{"one that may become two", []agenttest.Option{agenttest.Replicas(1), scaling(nil, 2)}, "maxUnavailable: 1\n"},
		{"one that may not", []agenttest.Option{agenttest.Replicas(1), scaling(nil, 1)}, ""},
		{"turned off", []agenttest.Option{agenttest.Replicas(3), budget(v1alpha1.DisruptionBudget{Mode: "None"})}, ""},
		{"own minAvailable", []agenttest.Option{agenttest.Replicas(3), budget(v1alpha1.DisruptionBudget{MinAvailable: ptr.To(intstr.FromInt32(2))})}, "minAvailable: 2\n"},
		{"own maxUnavailable as a percentage", []agenttest.Option{agenttest.Replicas(3), budget(v1alpha1.DisruptionBudget{Mode: "Auto", MaxUnavailable: ptr.To(intstr.FromString("50%"))})}, "maxUnavailable: 50%\n"},
		{"own maxUnavailable of 0", []agenttest.Option{agenttest.Replicas(3), budget(v1alpha1.DisruptionBudget{MaxUnavailable: ptr.To(intstr.FromInt32(0))})}, "maxUnavailable: 0\n"},
	} {
		t.Run(r.name, func(t *testing.T) {
			budget := children(t, render.Live{}, r.options...).Disruption
			if r.want == "" {
				require.Nil(t, budget)
				return
			}
			text, err := yaml.Marshal(budget.Spec)
			require.NoError(t, err)
			require.Equal(t, r.want+"selector:\n  matchLabels:\n    flokoa.ai/agent: a\nunhealthyPodEvictionPolicy: AlwaysAllow\n", string(text))
		})
	}
}

// The rows of a handover are in the order of events.
func TestHandoverToAutoscalingNeverLowersTheReplicaCount(t *testing.T) {
	three := ptr.To[int32](3)
	for _, r := range []struct {
		name          string
		replicas      int32
		options       []agenttest.Option
		live          render.Live
		count, lowest int32 // lowest is the autoscaler's minReplicas, 0 without one
	}{
		{"no autoscaling", 4, nil, render.Live{Replicas: 9}, 4, 0},
		{"zero", 0, nil, render.Live{Replicas: 9}, 0, 0},
		{"suspended", 4, []agenttest.Option{suspended}, render.Live{Replicas: 4}, 0, 0},
		{"inside the bounds", 5, []agenttest.Option{scaling(three, 10)}, render.Live{}, 5, 3},
		{"below them", 1, []agenttest.Option{scaling(three, 10)}, render.Live{}, 3, 3},
		{"above them", 12, []agenttest.Option{scaling(three, 10)}, render.Live{}, 10, 3},
		{"no lower bound", 1, []agenttest.Option{scaling(nil, 10)}, render.Live{}, 1, 1},
		{"zero stays zero", 0, []agenttest.Option{scaling(three, 10)}, render.Live{Replicas: 5, MinReplicas: 3}, 0, 3},
		{"suspended with autoscaling", 5, []agenttest.Option{scaling(three, 10), suspended}, render.Live{Replicas: 5, MinReplicas: 3}, 0, 3},

		{"just turned on, replicas kept", 5, []agenttest.Option{scaling(three, 10)}, render.Live{Replicas: 5}, 5, 3},
		{"just turned on, replicas removed, so 1", 1, []agenttest.Option{scaling(three, 10)}, render.Live{Replicas: 5}, 5, 5},
		{"the autoscaler exists and has not scaled yet", 1, []agenttest.Option{scaling(three, 10)}, render.Live{Replicas: 5, MinReplicas: 5}, 5, 5},
		{"it has scaled", 5, []agenttest.Option{scaling(three, 10)}, render.Live{Replicas: 5, MinReplicas: 5}, 5, 3},
		{"it scales by the load", 4, []agenttest.Option{scaling(three, 10)}, render.Live{Replicas: 5, MinReplicas: 3}, 4, 3},

		{"a user raised the lower bound of the autoscaler", 3, []agenttest.Option{scaling(three, 10)}, render.Live{Replicas: 3, MinReplicas: 9}, 3, 3},
		{"just turned on above the bounds", 1, []agenttest.Option{scaling(three, 4)}, render.Live{Replicas: 9}, 4, 4},
		{"the lower bound goes down", 6, []agenttest.Option{scaling(three, 10)}, render.Live{Replicas: 6, MinReplicas: 5}, 6, 3},
		{"the lower bound goes up", 3, []agenttest.Option{scaling(ptr.To[int32](6), 10)}, render.Live{Replicas: 3, MinReplicas: 3}, 6, 6},
		{"the upper bound goes down", 8, []agenttest.Option{scaling(three, 5)}, render.Live{Replicas: 8, MinReplicas: 3}, 5, 3},
		{"turned off: the autoscaler's count stays", 8, nil, render.Live{Replicas: 8, MinReplicas: 3}, 8, 0},
	} {
		t.Run(r.name, func(t *testing.T) {
			rendered := children(t, r.live, append(r.options, agenttest.Replicas(r.replicas))...)
			require.Equal(t, r.count, *rendered.Deployment.Spec.Replicas)
			require.Equal(t, r.count, render.Replicas(agenttest.New("a", append(r.options, agenttest.Replicas(r.replicas))...), r.live))
			if r.lowest == 0 {
				require.Nil(t, rendered.Autoscaler)
				return
			}
			require.Equal(t, r.lowest, *rendered.Autoscaler.Spec.MinReplicas)
		})
	}
}

func TestAutoscalerClaimsOnlyTheFieldsOfTheSpec(t *testing.T) {
	made := children(t, render.Live{}, scaling(nil, 4)).Autoscaler
	text, err := yaml.Marshal(made.Spec)
	require.NoError(t, err)
	require.Equal(t, "maxReplicas: 4\nminReplicas: 1\nscaleTargetRef:\n  apiVersion: agent.flokoa.ai/v1alpha1\n  kind: Agent\n  name: a\n", string(text))

	window := func(a *v1alpha1.Agent) {
		a.Spec.Autoscaling.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](0)}}
	}
	text, err = yaml.Marshal(children(t, render.Live{}, scaling(nil, 4), window).Autoscaler.Spec.Behavior)
	require.NoError(t, err)
	require.Equal(t, "scaleDown:\n  stabilizationWindowSeconds: 0\n", string(text))
}

func TestScalingSuspendingAndAutoscalingRestartNoPod(t *testing.T) {
	plain := children(t, render.Live{}, agenttest.Replicas(3)).Deployment.Spec.Template
	for name, options := range map[string][]agenttest.Option{
		"suspended":   {suspended},
		"autoscaled":  {scaling(nil, 9)},
		"without PDB": {agenttest.Availability(v1alpha1.Availability{PodDisruptionBudget: &v1alpha1.DisruptionBudget{Mode: "None"}})},
	} {
		require.Equal(t, plain, children(t, render.Live{Replicas: 5}, options...).Deployment.Spec.Template, name)
	}
}

func withCard(card v1alpha1.Card) agenttest.Option {
	return func(a *v1alpha1.Agent) { a.Spec.Card = &card }
}

func TestCardHasDefaultsForOmittedFields(t *testing.T) {
	require.Nil(t, children(t, render.Live{}).Card)
	made := children(t, render.Live{}, withCard(v1alpha1.Card{Description: "Answers <all>.", Version: "1"})).Card
	require.Equal(t, "a-card", *made.Name)
	require.JSONEq(t, `{"name":"a","description":"Answers <all>.","version":"1","defaultInputModes":["text/plain"],"defaultOutputModes":["text/plain"],"capabilities":{},"skills":[]}`,
		made.Data["agent-card.json"])
	require.Contains(t, made.Data["agent-card.json"], "<all>", "not escaped")

	skilled := children(t, render.Live{}, withCard(v1alpha1.Card{Description: "d", Version: "1", Skills: []v1alpha1.CardSkill{{ID: "s", Name: "S", Description: "d"}}})).Card
	read := struct{ Skills []map[string]any }{}
	require.NoError(t, json.Unmarshal([]byte(skilled.Data["agent-card.json"]), &read))
	require.Equal(t, []map[string]any{{"id": "s", "name": "S", "description": "d", "tags": []any{}}}, read.Skills)
}

func TestCardIsMountedAndAChangeTriggersARollout(t *testing.T) {
	sidecar := agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) { s.Sidecars = []corev1.Container{{Name: "proxy", Image: "i"}} })
	template := func(options ...agenttest.Option) string {
		text, err := yaml.Marshal(children(t, render.Live{}, options...).Deployment.Spec.Template)
		require.NoError(t, err)
		return string(text)
	}
	card := v1alpha1.Card{Description: "d", Version: "1"}
	first := children(t, render.Live{}, withCard(card), sidecar).Deployment.Spec.Template
	require.Len(t, first.Spec.Containers[0].VolumeMounts, 1)
	require.Equal(t, "/etc/flokoa/agent-card.json", *first.Spec.Containers[0].VolumeMounts[0].MountPath)
	require.Empty(t, first.Spec.InitContainers[0].VolumeMounts, "the sidecar does not get it")
	require.NotEqual(t, template(withCard(card)), template(withCard(v1alpha1.Card{Description: "d", Version: "2"})))
	require.NotContains(t, template(), "card")
}

func TestSpreadReportsDefaultsAndUserRules(t *testing.T) {
	own := func(key string) agenttest.Option {
		return agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) {
			s.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
				PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: antiAffinity(key, "a")}},
			}}
		})
	}
	over := func(when corev1.UnsatisfiableConstraintAction, skew int32, selector *metav1.LabelSelector) agenttest.Option {
		return agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) {
			s.TopologySpreadConstraints = append(s.TopologySpreadConstraints, corev1.TopologySpreadConstraint{
				TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: when, MaxSkew: skew, LabelSelector: selector, MinDomains: ptr.To[int32](2)})
		})
	}
	const soft, hard = corev1.ScheduleAnyway, corev1.DoNotSchedule
	of := func(policy v1alpha1.SpreadPolicy) agenttest.Option {
		return agenttest.Availability(v1alpha1.Availability{Spread: policy})
	}
	none, selecting := of(v1alpha1.SpreadNone), agenttest.Selecting
	hashed := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "pod-template-hash", Operator: metav1.LabelSelectorOpExists}}}
	for _, r := range []struct {
		name         string
		options      []agenttest.Option
		hosts, zones int32
		otherPods    bool
	}{
		{"by default", nil, 1, 1, false},
		{"turned off", []agenttest.Option{none}, 0, 0, false},
		{"turned off, with a rule over hosts", []agenttest.Option{none, own(corev1.LabelHostname)}, 1, 0, false},
		{"turned off, with a rule over zones", []agenttest.Option{none, own(corev1.LabelTopologyZone)}, 0, 1, false},
		{"a constraint", []agenttest.Option{over(soft, 3, selecting("a"))}, 3, 1, false},
		{"the stricter of two constraints", []agenttest.Option{over(soft, 3, selecting("a")), over(hard, 2, selecting("a"))}, 2, 1, false},
		{"a constraint on the pods of one revision", []agenttest.Option{none, over(hard, 2, hashed)}, 2, 0, false},
		{"a constraint without a selector", []agenttest.Option{over(soft, 1, nil)}, 0, 1, true},
		{"a constraint on other pods", []agenttest.Option{over(soft, 1, selecting("b"))}, 0, 1, true},
		{"a constraint on other pods, and an anti-affinity", []agenttest.Option{over(soft, 1, selecting("b")), own(corev1.LabelHostname)}, 1, 1, false},
		{"a constraint on other pods, and one on these", []agenttest.Option{none, over(soft, 1, selecting("b")), over(hard, 2, selecting("a"))}, 2, 0, true},
		{"a hard constraint on other pods leaves the default one", []agenttest.Option{over(hard, 1, selecting("b"))}, 1, 1, false},
		{"a hard constraint on other pods, where the default one is hard", []agenttest.Option{of(v1alpha1.SpreadRequired), over(hard, 1, selecting("b"))}, 0, 1, true},
		{"a constraint on other pods, turned off", []agenttest.Option{none, over(hard, 1, selecting("b"))}, 0, 0, true},
	} {
		t.Run(r.name, func(t *testing.T) {
			agent := agenttest.New("a", r.options...)
			hosts, otherPods := render.Spread(agent, corev1.LabelHostname)
			zones, _ := render.Spread(agent, corev1.LabelTopologyZone)
			require.Equal(t, []int32{r.hosts, r.zones}, []int32{hosts, zones})
			require.Equal(t, r.otherPods, otherPods)
		})
	}
}

func antiAffinity(key, agent string) corev1.PodAffinityTerm {
	term := corev1.PodAffinityTerm{TopologyKey: key}
	term.LabelSelector = agenttest.Selecting(agent)
	return term
}

func TestHostPortsAreThoseOfContainersThatKeepRunning(t *testing.T) {
	with := func(name string, hostPort int32) corev1.Container {
		return corev1.Container{Name: name, Ports: []corev1.ContainerPort{{ContainerPort: 1}, {ContainerPort: 2, HostPort: hostPort}}}
	}
	restarted := with("restarted", 83)
	restarted.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	require.Empty(t, render.HostPorts(agenttest.New("a")))
	require.Equal(t, []string{"80", "81", "83"}, render.HostPorts(agenttest.New("a", agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) {
		s.Container, s.Sidecars, s.InitContainers = with("agent", 80), []corev1.Container{with("sidecar", 81)}, []corev1.Container{with("init", 82), restarted}
	}))))
}

func TestRequiredAntiAffinityIsOnlyBetweenOwnPods(t *testing.T) {
	with := func(terms ...corev1.PodAffinityTerm) *v1alpha1.Agent {
		return agenttest.New("a", agenttest.RequiredAntiAffinity(terms...))
	}
	own, other := antiAffinity(corev1.LabelHostname, "a"), antiAffinity(corev1.LabelHostname, "b")
	elsewhere := antiAffinity(corev1.LabelHostname, "a")
	elsewhere.Namespaces = []string{"elsewhere"}
	require.Empty(t, render.RequiredAntiAffinity(agenttest.New("a")))
	require.Empty(t, render.RequiredAntiAffinity(with(other, elsewhere)))
	require.Equal(t, []corev1.PodAffinityTerm{own}, render.RequiredAntiAffinity(with(other, own)))
}
