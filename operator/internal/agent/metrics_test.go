package agent

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

// collecting returns the collector of a controller that has seen Agents, and has written the status of each with these missing
// requirements.
func collecting(missing []string, agents ...*v1alpha1.Agent) *collector {
	c := &collector{complete: func() bool { return true }, states: &states{}}
	for _, agent := range agents {
		c.OnAdd(agent, false)
		c.states.For(agent).missing.Store(&missing)
	}
	return c
}

// registered returns a registry that rejects duplicate and undescribed series.
func registered(t *testing.T, collector *collector) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(collector))
	return registry
}

// exported returns the series of a scrape, one per line, without prefix and help.
func exported(t *testing.T, collector *collector) string {
	t.Helper()
	return gathered(t, registered(t, collector))
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
			require.Equal(t, row.want, exported(t, collecting(row.missing, row.agent)))
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

	collector := collecting(nil, agent)
	collector.states = &c.states
	series := exported(t, collector)
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
	series := exported(t, collecting(nil,
		agenttest.New("a", agenttest.In("dev"), agenttest.Replicas(1)), agenttest.New("a", agenttest.In("production"), agenttest.Replicas(3))))
	require.Contains(t, series, `replicas_desired{agent="a",namespace="dev"} 1`)
	require.Contains(t, series, `replicas_desired{agent="a",namespace="production"} 3`)
}

func TestAgentsOfAnotherOperatorHaveNoSeries(t *testing.T) {
	collector := collecting([]string{"image"}, agenttest.New("a"))
	operator := "platform/other"
	for _, r := range []struct {
		precedence Precedence
		exported   bool
	}{{nil, true}, {yieldsTo{nil}, true}, {yieldsTo{&operator}, false}} {
		collector.precedence = r.precedence
		require.Equal(t, r.exported, strings.Contains(exported(t, collector), `missing_requirement{agent="a"`))
	}
}

func TestSeriesFollowTheAgentsOfTheCache(t *testing.T) {
	collector := collecting(nil, agenttest.New("kept", agenttest.Replicas(1)), agenttest.New("deleted"), agenttest.New("missed"))
	registry := registered(t, collector)
	count, err := testutil.GatherAndCount(registry, "flokoa_agent_replicas_desired")
	require.NoError(t, err)
	require.Equal(t, 3, count)

	collector.OnUpdate(agenttest.New("kept"), agenttest.New("kept", agenttest.Replicas(2)))
	collector.OnDelete(agenttest.New("deleted"))
	// The cache did not see the deletion, and found out when it listed the Agents again.
	collector.OnDelete(cache.DeletedFinalStateUnknown{Key: "default/missed", Obj: agenttest.New("missed")})
	require.Contains(t, gathered(t, registry), `replicas_desired{agent="kept",namespace="default"} 2`)
	count, err = testutil.GatherAndCount(registry)
	require.NoError(t, err)
	require.Equal(t, 6, count, "series of the kept Agent")
}

// A part would look like deleted Agents.
func TestIncompleteCacheExportsNothing(t *testing.T) {
	collector := collecting(nil, agenttest.New("a"))
	collector.complete = func() bool { return false }
	require.Empty(t, exported(t, collector))
}

// Prometheus scrapes again and again, and what a scrape holds at a time adds to the peak of the operator. With client_golang's constant
// metrics, a series takes 390 bytes instead of 155.
func TestASeriesTakesLittleMemory(t *testing.T) {
	agents := make([]*v1alpha1.Agent, 2000)
	for i := range agents {
		agents[i] = agenttest.New(fmt.Sprint("a", i), agenttest.Replicas(3), counts(3, 3))
	}
	registry := registered(t, collecting(nil, agents...))
	before := heap()
	families, err := registry.Gather()
	require.NoError(t, err)
	held := heap() - before
	series := 0
	for _, family := range families {
		series += len(family.GetMetric())
	}
	require.Equal(t, 6*len(agents), series)
	require.Less(t, held/series, 220, "bytes per series")
	runtime.KeepAlive(registry)
}

// heap returns the bytes that are in use.
func heap() int {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

func TestGaugesFollowPrometheusConventions(t *testing.T) {
	all := collecting([]string{"replicas"}, agenttest.New("a",
		condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonQuotaExceeded, ""),
		condition(v1alpha1.ConditionConfigOutdated, metav1.ConditionTrue, v1alpha1.ReasonOnNextRollout, ""),
		condition(v1alpha1.ConditionHighlyAvailable, metav1.ConditionFalse, v1alpha1.ReasonMissingRequirements, "replicas: 1")))
	problems, err := testutil.CollectAndLint(all)
	require.NoError(t, err)
	require.Empty(t, problems)

	families, err := registered(t, all).Gather()
	require.NoError(t, err)
	for _, family := range families {
		require.NotEmpty(t, family.GetHelp(), family.GetName())
	}

	described := make(chan *prometheus.Desc, 100)
	all.Describe(described)
	require.Len(t, described, len(families), "the Agent has a series of every gauge")
}
