package alerts_test

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

const (
	// scrape is how often the operator's metrics are read and the rules evaluated.
	scrape = 30 * time.Second
	// watched is how long a world is looked at.
	watched = 40 * time.Minute
	// production is a namespace of that environment, as its label says.
	production = "flokoa-production"
	// first leads, second stands by.
	first, second = "flokoa-operator-1", "flokoa-operator-2"
)

// series are the values of metrics over time, by name and the labels that the operator itself gives them: `stalled` or
// `not_ready_reason{reason="Pending"}`.
type series map[string]string

// world is what the operators export.
type world struct {
	// agents are gauges without their prefix, by namespace/agent. Both operators export them.
	agents map[string]series
	// environments are values by namespace and environment, beside those of production and staging.
	environments map[string]series
	// operators are metrics by pod; those that are not named are as of operators that are well.
	operators map[string]series
}

// during is a value that stays for some minutes.
func during(minutes float64, value string) string {
	return fmt.Sprintf(" %sx%d", value, int(minutes*float64(time.Minute/scrape))-1)
}

// gone is a series that ends: Prometheus marks it when a scrape does not find it any more.
func gone(minutes float64) string {
	return " stale" + during(minutes, "_")
}

// well is what operators export when all is well: one leads, and the other has its queue filled for when it takes over.
func well() map[string]series {
	errors, depth := `controller_runtime_reconcile_errors_total{controller="agent"}`, `workqueue_depth{name="agent",controller="agent",priority="0"}`
	lease := `leader_election_master_status{name="flokoa-operator"}`
	return map[string]series{
		first:  {lease: during(41, "1"), depth: during(41, "0"), errors: during(41, "0")},
		second: {lease: during(41, "0"), `workqueue_depth{name="agent",controller="agent",priority="-100"}`: during(41, "40")},
	}
}

// load is the world in the notation of Prometheus' own tests.
func (w world) load() string {
	operators := well()
	for pod, changed := range w.operators {
		maps.Copy(operators[pod], changed)
	}
	var lines []string
	add := func(pod, metric, more, values string) {
		name, own, _ := strings.Cut(strings.TrimSuffix(metric, "}"), "{")
		if own != "" {
			own += ","
		}
		lines = append(lines, fmt.Sprintf(`  %s{%s%s,job="flokoa-operator-metrics",service="flokoa-operator-metrics",endpoint="metrics",container="operator",pod=%q,instance=%q}%s`,
			name, own, more, pod, "10.0.0."+pod[len(pod)-1:]+":8080", values))
	}
	for pod, metrics := range operators {
		for name, values := range metrics {
			add(pod, name, fmt.Sprintf("namespace=%q", system), values)
		}
		for namespace, labeled := range w.labeled() {
			for environment, values := range labeled {
				add(pod, "flokoa_namespace_environment", fmt.Sprintf("namespace=%q,environment=%q", namespace, environment), values)
			}
		}
		for key, gauges := range w.agents {
			namespace, agent, _ := strings.Cut(key, "/")
			for gauge, values := range gauges {
				add(pod, "flokoa_agent_"+gauge, fmt.Sprintf("namespace=%q,agent=%q", namespace, agent), values)
			}
		}
	}
	slices.Sort(lines)
	return "load 30s\n" + strings.Join(lines, "\n") + "\n"
}

// labeled are the environments of namespaces over time: values by namespace and environment.
func (w world) labeled() map[string]series {
	environments := map[string]series{production: {"production": during(41, "1")}, "flokoa-staging": {"staging": during(41, "1")}}
	maps.Copy(environments, w.environments)
	return environments
}

// engine evaluates as a Prometheus server does that has no experimental feature on.
func engine(t *testing.T) *promql.Engine {
	t.Helper()
	return promqltest.NewTestEngineWithOpts(t, promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute})
}

// happened is what became of alerts over time, such as "7m0s fires FlokoaAgentUnavailable{...}", and the last firing one of
// each name.
type happened struct {
	timeline []string
	alerts   map[string]rules.Alert
}

// watch evaluates a file of rules as Prometheus does, for as long as a world is watched.
func watch(t *testing.T, w world, file string) happened {
	t.Helper()
	store := promqltest.LoadedStorage(t, w.load())
	groups := loadRules(t, store, file)
	seen := happened{alerts: map[string]rules.Alert{}}
	firing := map[string]bool{}
	for at := time.Duration(0); at <= watched; at += scrape {
		now := map[string]bool{}
		for _, group := range groups {
			group.Eval(t.Context(), time.Unix(0, 0).Add(at))
			for _, rule := range group.AlertingRules() {
				require.NoError(t, rule.LastError(), rule.Name())
				rule.ForEachActiveAlert(func(alert *rules.Alert) {
					require.NotContains(t, alert.Annotations.String(), "error expanding template")
					if alert.State == rules.StateFiring {
						name := strings.Replace(alert.Labels.String(), `alertname="`+rule.Name()+`", `, "", 1)
						now[rule.Name()+name] = true
						seen.alerts[rule.Name()+alert.Labels.Get("cause")] = *alert
					}
				})
			}
		}
		seen.timeline = append(seen.timeline, changes(at, firing, now)...)
		firing = now
	}
	return seen
}

// changes are the lines of a timeline at one time.
func changes(at time.Duration, before, now map[string]bool) []string {
	var lines []string
	for _, alert := range slices.Sorted(maps.Keys(before)) {
		if !now[alert] {
			lines = append(lines, fmt.Sprintf("%s ends %s", at, alert))
		}
	}
	for _, alert := range slices.Sorted(maps.Keys(now)) {
		if !before[alert] {
			lines = append(lines, fmt.Sprintf("%s fires %s", at, alert))
		}
	}
	return lines
}

// loadRules reads a file of rules strictly.
func loadRules(t *testing.T, store storage.Storage, file string) map[string]*rules.Group {
	t.Helper()
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc: rules.EngineQueryFunc(engine(t), store), Appendable: store, Queryable: store,
		Context: t.Context(), ExternalURL: &url.URL{}, NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
	})
	groups, errs := manager.LoadGroups(scrape, labels.EmptyLabels(), "", nil, false, file)
	require.Empty(t, errs)
	for _, group := range groups {
		for _, rule := range group.Rules() {
			rule.(*rules.AlertingRule).SetRestored(true) // there is no earlier Prometheus whose alerts could go on
		}
	}
	return groups
}
