package agent

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

// cache holds Agents, or the error of reading them. missing are the requirements that the last written status of every Agent
// reports.
type cache struct {
	client.Reader
	agents  []*v1alpha1.Agent
	missing []string
	err     error
}

// collector returns the collector of a controller that has written the status of every Agent.
func (c *cache) collector() collector {
	states := &states{}
	for _, agent := range c.agents {
		states.For(agent).missing.Store(&c.missing)
	}
	return collector{c, states, nil}
}

// List fills in the Agents.
func (c *cache) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	for _, agent := range c.agents {
		agents := list.(*v1alpha1.AgentList)
		agents.Items = append(agents.Items, *agent)
	}
	return c.err
}

// registered returns a registry that rejects duplicate and undescribed series.
func registered(t *testing.T, cached *cache) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(cached.collector()))
	return registry
}

// exported returns the series of a scrape, one per line, without prefix and help.
func exported(t *testing.T, cached *cache) string {
	t.Helper()
	return gathered(t, registered(t, cached))
}

func gathered(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	var text strings.Builder
	for _, family := range families {
		_, err := expfmt.MetricFamilyToText(&text, family)
		require.NoError(t, err)
	}
	var series []string
	for line := range strings.Lines(text.String()) {
		if !strings.HasPrefix(line, "#") {
			series = append(series, strings.TrimPrefix(line, "flokoa_agent_"))
		}
	}
	return strings.Join(series, "")
}

// counts sets the replica counts of a status.
func counts(ready, available int32) agenttest.Option {
	return func(a *v1alpha1.Agent) { a.Status.ReadyReplicas, a.Status.AvailableReplicas = ready, available }
}

// condition adds a condition to the status.
func condition(kind string, value metav1.ConditionStatus, reason, message string) agenttest.Option {
	return func(a *v1alpha1.Agent) {
		a.Status.Conditions = append(a.Status.Conditions, metav1.Condition{Type: kind, Status: value, Reason: reason, Message: message})
	}
}

func TestGaugesMatchTheStatusOfAnAgent(t *testing.T) {
	for name, row := range map[string]struct {
		agent   *v1alpha1.Agent
		missing []string
		want    string
	}{
		"not reconciled yet": {
			agenttest.New("a", agenttest.Replicas(3), condition(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonPending, "")),
			nil,
			`highly_available{agent="a",namespace="default"} 0
not_ready_reason{agent="a",namespace="default",reason="Pending"} 1
ready{agent="a",namespace="default"} 0
replicas_available{agent="a",namespace="default"} 0
replicas_desired{agent="a",namespace="default"} 3
replicas_ready{agent="a",namespace="default"} 0
stalled{agent="a",namespace="default"} 0
`,
		},
		"highly available": {
			agenttest.New("a", agenttest.In("flokoa-production"), agenttest.Replicas(3), counts(3, 3),
				condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonRolloutComplete, ""),
				condition(v1alpha1.ConditionHighlyAvailable, metav1.ConditionTrue, v1alpha1.ReasonRequirementsMet, "")),
			nil,
			`highly_available{agent="a",namespace="flokoa-production"} 1
ready{agent="a",namespace="flokoa-production"} 1
replicas_available{agent="a",namespace="flokoa-production"} 3
replicas_desired{agent="a",namespace="flokoa-production"} 3
replicas_ready{agent="a",namespace="flokoa-production"} 3
stalled{agent="a",namespace="flokoa-production"} 0
`,
		},
		"a stuck rollout, with one ready pod that is not available yet": {
			agenttest.New("a", agenttest.Replicas(3), counts(3, 2),
				condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProgressDeadlineExceeded, ""),
				condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonProgressDeadlineExceeded, "")),
			nil,
			`highly_available{agent="a",namespace="default"} 0
not_ready_reason{agent="a",namespace="default",reason="ProgressDeadlineExceeded"} 1
ready{agent="a",namespace="default"} 0
replicas_available{agent="a",namespace="default"} 2
replicas_desired{agent="a",namespace="default"} 3
replicas_ready{agent="a",namespace="default"} 3
stalled{agent="a",namespace="default"} 1
`,
		},
		"suspended, which is Ready": {
			agenttest.New("a", agenttest.Replicas(3), func(a *v1alpha1.Agent) { a.Spec.Suspend = true },
				condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSuspended, ""),
				condition(v1alpha1.ConditionHighlyAvailable, metav1.ConditionFalse, v1alpha1.ReasonMissingRequirements, "replicas: suspended, no replica runs")),
			[]string{"replicas"},
			`highly_available{agent="a",namespace="default"} 0
missing_requirement{agent="a",namespace="default",requirement="replicas"} 1
ready{agent="a",namespace="default"} 1
replicas_available{agent="a",namespace="default"} 0
replicas_desired{agent="a",namespace="default"} 0
replicas_ready{agent="a",namespace="default"} 0
stalled{agent="a",namespace="default"} 0
`,
		},
		"another configuration than the current one": {
			agenttest.New("a", condition(v1alpha1.ConditionConfigOutdated, metav1.ConditionTrue, v1alpha1.ReasonConfigRolloutHalted, "")),
			nil,
			`config_outdated{agent="a",namespace="default",reason="ConfigRolloutHalted"} 1
highly_available{agent="a",namespace="default"} 0
ready{agent="a",namespace="default"} 0
replicas_available{agent="a",namespace="default"} 0
replicas_desired{agent="a",namespace="default"} 1
replicas_ready{agent="a",namespace="default"} 0
stalled{agent="a",namespace="default"} 0
`,
		},
		"a configuration that is not observed": {
			agenttest.New("a", condition(v1alpha1.ConditionConfigOutdated, metav1.ConditionUnknown, v1alpha1.ReasonSecretsNotObserved, "")),
			nil,
			`highly_available{agent="a",namespace="default"} 0
ready{agent="a",namespace="default"} 0
replicas_available{agent="a",namespace="default"} 0
replicas_desired{agent="a",namespace="default"} 1
replicas_ready{agent="a",namespace="default"} 0
stalled{agent="a",namespace="default"} 0
`,
		},
		"minReplicas above the replicas of the spec": {
			agenttest.New("a", agenttest.Replicas(1), counts(4, 4), func(a *v1alpha1.Agent) {
				a.Spec.Autoscaling = &v1alpha1.Autoscaling{MinReplicas: ptr.To[int32](4), MaxReplicas: 9}
			}),
			nil,
			`highly_available{agent="a",namespace="default"} 0
ready{agent="a",namespace="default"} 0
replicas_available{agent="a",namespace="default"} 4
replicas_desired{agent="a",namespace="default"} 4
replicas_ready{agent="a",namespace="default"} 4
stalled{agent="a",namespace="default"} 0
`,
		},
		"two requirements are missing, one of them twice": {
			agenttest.New("a", condition(v1alpha1.ConditionHighlyAvailable, metav1.ConditionFalse, v1alpha1.ReasonMissingRequirements,
				"placement: all on 1 node; placement: all in 1 zone; image: agent (container agent)")),
			[]string{"placement", "image"},
			`highly_available{agent="a",namespace="default"} 0
missing_requirement{agent="a",namespace="default",requirement="image"} 1
missing_requirement{agent="a",namespace="default",requirement="placement"} 1
ready{agent="a",namespace="default"} 0
replicas_available{agent="a",namespace="default"} 0
replicas_desired{agent="a",namespace="default"} 1
replicas_ready{agent="a",namespace="default"} 0
stalled{agent="a",namespace="default"} 0
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, row.want, exported(t, &cache{agents: []*v1alpha1.Agent{row.agent}, missing: row.missing}))
		})
	}
}

// The texts of the missing requirements of this Agent exceed the limit of a message.
func TestEveryMissingRequirementReachesMetricsAndEvents(t *testing.T) {
	name := strings.Repeat("registry.example/team/", 10) + "agent"
	agent := agenttest.New("a", agenttest.Replicas(3), agenttest.Image(name), agenttest.RequiredAntiAffinity(corev1.PodAffinityTerm{
		TopologyKey: corev1.LabelHostname, LabelSelector: agenttest.Selecting("a")}), agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) {
		s.Sidecars = []corev1.Container{{Name: "proxy", Image: name}, {Name: "logs", Image: name}}
	}))
	cached := settledCache(t, agent)
	cached.agent.Status = v1alpha1.AgentStatus{}
	recorder := events.NewFakeRecorder(8)
	c := New(&fakeStatusClient{Client: cached}, &fakeReader{}, recorder, true)
	_, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(agent)})
	require.NoError(t, err)

	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(collector{&cache{agents: []*v1alpha1.Agent{agent}}, &c.states, nil}))
	series := gathered(t, registry)
	for _, requirement := range []string{"image", "resources", "anti-affinity"} {
		require.Contains(t, series, `missing_requirement{agent="a",namespace="default",requirement="`+requirement+`"} 1`)
	}
	require.Equal(t, 3, strings.Count(series, "missing_requirement{"), series)
	require.Contains(t, <-recorder.Events, "Normal RolloutComplete")
	event := <-recorder.Events
	require.Contains(t, event, "Warning MissingRequirements image: ")
	require.Contains(t, event, "; anti-affinity: required pod anti-affinity over kubernetes.io/hostname ")
}

func TestAgentsOfTheSameNameHaveSeparateSeries(t *testing.T) {
	series := exported(t, &cache{agents: []*v1alpha1.Agent{
		agenttest.New("a", agenttest.In("dev"), agenttest.Replicas(1)), agenttest.New("a", agenttest.In("production"), agenttest.Replicas(3)),
	}})
	require.Contains(t, series, `replicas_desired{agent="a",namespace="dev"} 1`)
	require.Contains(t, series, `replicas_desired{agent="a",namespace="production"} 3`)
}

func TestAgentsOfAnotherOperatorHaveNoSeries(t *testing.T) {
	cached := &cache{agents: []*v1alpha1.Agent{agenttest.New("a")}, missing: []string{"image"}}
	operator := "platform/other"
	for _, r := range []struct {
		precedence Precedence
		exported   bool
	}{{nil, true}, {yieldsTo{nil}, true}, {yieldsTo{&operator}, false}} {
		agents := cached.collector()
		agents.precedence = r.precedence
		registry := prometheus.NewPedanticRegistry()
		require.NoError(t, registry.Register(agents))
		require.Equal(t, r.exported, strings.Contains(gathered(t, registry), `missing_requirement{agent="a"`))
	}
}

func TestDeletedAgentHasNoSeries(t *testing.T) {
	cached := &cache{agents: []*v1alpha1.Agent{agenttest.New("kept"), agenttest.New("deleted")}}
	registry := registered(t, cached)
	count, err := testutil.GatherAndCount(registry, "flokoa_agent_replicas_desired")
	require.NoError(t, err)
	require.Equal(t, 2, count)

	cached.agents = cached.agents[:1]
	require.NotContains(t, exported(t, cached), "deleted")
	count, err = testutil.GatherAndCount(registry)
	require.NoError(t, err)
	require.Equal(t, 6, count, "series of the kept Agent")
}

// A partial answer would look like deleted Agents.
func TestUnreadableCacheExportsNothing(t *testing.T) {
	broken := &cache{agents: []*v1alpha1.Agent{agenttest.New("a")}, err: errors.New("the cache is not started")}
	require.Empty(t, exported(t, broken))
}

func TestGaugesFollowPrometheusConventions(t *testing.T) {
	all := &cache{agents: []*v1alpha1.Agent{agenttest.New("a",
		condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonQuotaExceeded, ""),
		condition(v1alpha1.ConditionConfigOutdated, metav1.ConditionTrue, v1alpha1.ReasonOnNextRollout, ""),
		condition(v1alpha1.ConditionHighlyAvailable, metav1.ConditionFalse, v1alpha1.ReasonMissingRequirements, "replicas: 1"))}, missing: []string{"replicas"}}
	problems, err := testutil.CollectAndLint(all.collector())
	require.NoError(t, err)
	require.Empty(t, problems)

	families, err := registered(t, all).Gather()
	require.NoError(t, err)
	for _, family := range families {
		require.NotEmpty(t, family.GetHelp(), family.GetName())
	}

	described := make(chan *prometheus.Desc, 100)
	all.collector().Describe(described)
	require.Len(t, described, len(families), "the Agent has a series of every gauge")
}
