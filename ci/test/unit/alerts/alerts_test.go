package alerts_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"github.com/stretchr/testify/require"
)

// running are the gauges of an Agent of three replicas of which nothing is missing.
func running() series {
	return series{
		"replicas_desired": during(41, "3"), "replicas_available": during(41, "3"), "replicas_ready": during(41, "3"),
		"ready": during(41, "1"), "stalled": during(41, "0"), "highly_available": during(41, "1"),
	}
}

// but is an Agent that is running but for these gauges.
func but(changed series) series {
	gauges := running()
	maps.Copy(gauges, changed)
	return gauges
}

func TestAlertsFireAndResolve(t *testing.T) {
	const (
		unavailable = `FlokoaAgentUnavailable{agent="a", namespace="flokoa-production", severity="critical"}`
		incomplete  = `FlokoaAgentNotFullyAvailable{agent="a", namespace="flokoa-production", severity="warning"}`
		fragile     = `FlokoaAgentNotHighlyAvailable{agent="a", namespace="flokoa-production", severity="warning"}`
		stuck       = `FlokoaAgentRolloutStuck{agent="a", namespace="flokoa-production", severity="warning"}`
		halted      = `FlokoaConfigRolloutHalted{namespace="flokoa-production", severity="warning"}`
		unscraped   = `FlokoaOperatorNotReconciling{cause="NotScraped", job="flokoa-operator-metrics", namespace="flokoa-system", severity="critical"}`
		leaderless  = `FlokoaOperatorNotReconciling{cause="NoLeader", job="flokoa-operator-metrics", namespace="flokoa-system", severity="critical"}`
		overrun     = `FlokoaOperatorNotReconciling{cause="QueueNotDrained", job="flokoa-operator-metrics", namespace="flokoa-system", severity="critical"}`
		failing     = `FlokoaOperatorFailing{job="flokoa-operator-metrics", namespace="flokoa-system", severity="warning"}`
		memory      = `FlokoaOperatorMemoryHigh{job="flokoa-operator-metrics", namespace="flokoa-system", pod="flokoa-operator-1", severity="warning"}`

		lease  = `leader_election_master_status{name="flokoa-operator"}`
		depth  = `workqueue_depth{name="agent",controller="agent",priority="0"}`
		low    = `workqueue_depth{name="agent",controller="agent",priority="-100"}`
		errors = `controller_runtime_reconcile_errors_total{controller="agent"}`
	)
	file := ruleFile(t)
	for name, row := range map[string]struct {
		agent     series // in the production namespace
		staging   series // in another
		operators map[string]series
		want      []string
	}{
		"all is well": {agent: running()},

		"a configuration waits for its turn": {agent: but(series{`config_outdated{reason="ConfigRolloutPending"}`: during(41, "1")})},
		"a configuration is halted for ten minutes": {
			agent: but(series{`config_outdated{reason="ConfigRolloutHalted"}`: during(2, "_") + during(10, "1") + gone(29)}),
			want:  []string{"6m30s fires " + halted, "11m30s ends " + halted},
		},

		"an operator is close to its memory limit": {
			agent: running(),
			operators: map[string]series{first: {
				"go_gc_gomemlimit_bytes": during(41, "174e6"), "process_resident_memory_bytes": during(2, "60e6") + during(13, "220e6") + during(26, "60e6")}},
			want: []string{"12m0s fires " + memory, "15m0s ends " + memory},
		},
		"an operator uses most of its memory for a shorter time": {
			agent: running(),
			operators: map[string]series{first: {
				"go_gc_gomemlimit_bytes": during(41, "174e6"), "process_resident_memory_bytes": during(2, "60e6") + during(9.5, "220e6") + during(29, "200e6")}},
		},
		"an operator uses all the memory that Go may use": {
			agent: running(),
			operators: map[string]series{first: {
				"go_gc_gomemlimit_bytes": during(41, "174e6"), "process_resident_memory_bytes": during(41, "207e6")}}, // with pages of the program
		},
		"an operator has no memory limit": {
			agent: running(),
			operators: map[string]series{first: {
				"go_gc_gomemlimit_bytes": during(41, "9.223372036854776e18"), "process_resident_memory_bytes": during(41, "4e9")}},
		},

		"no replica is available": {
			agent: but(series{"replicas_available": during(2, "3") + during(39, "0"), "highly_available": during(2, "1") + during(39, "0")}),
			want:  []string{"7m0s fires " + unavailable, "12m0s fires " + incomplete, "17m0s fires " + fragile},
		},
		"no replica of the only one is available, in a namespace that is not production": {
			agent:   running(),
			staging: but(series{"replicas_desired": during(41, "1"), "replicas_available": during(2, "1") + during(8, "0") + during(31, "1")}),
			want: []string{
				`7m0s fires FlokoaAgentUnavailable{agent="b", namespace="flokoa-staging", severity="critical"}`,
				`10m0s ends FlokoaAgentUnavailable{agent="b", namespace="flokoa-staging", severity="critical"}`,
			},
		},
		"no replica is available for a shorter time than a new Agent may take": {
			agent: but(series{"replicas_available": during(2, "3") + during(4.5, "0") + during(34, "3")}),
		},
		"a new Agent takes five minutes to start": {
			agent: but(series{"replicas_available": during(5, "0") + during(36, "3")}),
		},

		"one replica of three is missing": {
			agent: but(series{"replicas_available": during(2, "3") + during(12, "2") + during(27, "3")}),
			want:  []string{"12m0s fires " + incomplete, "14m0s ends " + incomplete},
		},
		"a replica is missing, now this and now that one": {
			agent: but(series{"replicas_available": during(2, "2") + during(2, "1") + during(2, "2") + during(35, "1")}),
			want:  []string{"10m0s fires " + incomplete},
		},
		"a lost node's replica is back within ten minutes": {
			agent: but(series{"replicas_available": during(2, "3") + during(9.5, "2") + during(29, "3")}),
		},
		"a rolling update, slow and going well": {
			agent: but(series{
				"replicas_available": during(12, "3") + during(10, "4") + during(10, "3"), "ready": during(2, "1") + during(30, "0") + during(9, "1"),
				`not_ready_reason{reason="RolloutInProgress"}`: during(2, "_") + during(30, "1") + gone(9),
			}),
		},
		"more replicas are wanted, and come one by one": {
			agent: but(series{"replicas_desired": during(2, "3") + during(39, "5"), "replicas_available": during(2, "3") + during(5, "4") + during(34, "5")}),
		},
		"fewer replicas are wanted": {
			agent: but(series{"replicas_desired": during(2, "3") + during(39, "1"), "replicas_available": during(3, "3") + during(38, "1")}),
		},

		"an Agent is suspended, and misses a requirement for that": {
			agent: but(series{
				"replicas_desired": during(2, "3") + during(39, "0"), "replicas_available": during(3, "3") + during(38, "0"),
				"highly_available": during(2, "1") + during(39, "0"), `missing_requirement{requirement="replicas"}`: during(2, "_") + during(39, "1"),
			}),
		},
		"an Agent is deleted before the alert fires": {
			agent: but(series{
				"replicas_desired": during(4.5, "3") + gone(36), "replicas_available": during(4.5, "0") + gone(36),
				"highly_available": during(4.5, "0") + gone(36), "stalled": during(4.5, "1") + gone(36),
			}),
		},
		"an Agent is deleted while alerts fire": {
			agent: but(series{"replicas_desired": during(8, "3") + gone(33), "replicas_available": during(8, "0") + gone(33), "stalled": during(8, "1") + gone(33)}),
			want:  []string{"5m0s fires " + stuck, "5m0s fires " + unavailable, "8m0s ends " + stuck, "8m0s ends " + unavailable},
		},

		"an Agent in production is not highly available": {
			agent: but(series{"highly_available": during(2, "1") + during(18, "0") + during(21, "1")}),
			want:  []string{"17m0s fires " + fragile, "20m0s ends " + fragile},
		},
		"an Agent in production is not highly available while its pods move": {
			agent: but(series{"highly_available": during(2, "1") + during(14.5, "0") + during(24, "1")}),
		},
		"an Agent elsewhere is not highly available": {
			agent:   running(),
			staging: but(series{"highly_available": during(41, "0")}),
		},

		"a change is stuck, and the old replicas serve": {
			agent: but(series{"stalled": during(2, "0") + during(10, "1") + during(29, "0"), "ready": during(2, "1") + during(10, "0") + during(29, "1")}),
			want:  []string{"7m0s fires " + stuck, "12m0s ends " + stuck},
		},
		"a mistake is corrected at once": {
			agent: but(series{"stalled": during(2, "0") + during(4.5, "1") + during(34, "0")}),
		},

		"nothing of the operator is read any more, and an Agent's alert ends with it": {
			agent: but(series{
				"replicas_desired": during(7, "3") + gone(34), "replicas_available": during(7, "0") + gone(34), "stalled": during(7, "0") + gone(34),
				"highly_available": during(7, "1") + gone(34),
			}),
			operators: map[string]series{
				first:  {lease: during(7, "1") + gone(34), depth: during(7, "0") + gone(34), errors: during(7, "0") + gone(34)},
				second: {lease: during(7, "0") + gone(34), low: during(7, "40") + gone(34)},
			},
			want: []string{"5m0s fires " + unavailable, "7m0s ends " + unavailable, "12m0s fires " + unscraped},
		},
		"the operator that stands by is down": {
			agent:     running(),
			operators: map[string]series{second: {lease: during(2, "0") + gone(39), low: during(2, "40") + gone(39)}},
		},
		"the operator that leads is down, and the other takes over": {
			agent: running(),
			operators: map[string]series{
				first:  {lease: during(2, "1") + gone(39), depth: during(2, "0") + gone(39), errors: during(2, "0") + gone(39)},
				second: {lease: during(2.5, "0") + during(38, "1"), low: during(3, "40") + during(38, "0")},
			},
		},
		"no operator leads": {
			agent:     running(),
			operators: map[string]series{first: {lease: during(2, "1") + during(8, "0") + during(31, "1")}},
			want:      []string{"7m0s fires " + leaderless, "10m0s ends " + leaderless},
		},
		"no operator leads for some minutes": {
			agent:     running(),
			operators: map[string]series{first: {lease: during(2, "1") + during(4.5, "0") + during(34, "1")}},
		},
		"the queue is never empty": {
			agent:     running(),
			operators: map[string]series{first: {depth: during(2, "0") + during(10, "7") + during(29, "0"), low: during(12, "0") + during(10, "3") + during(19, "0")}},
			want:      []string{"17m0s fires " + overrun, "22m0s ends " + overrun},
		},
		"the queue is long now and then": {
			agent:     running(),
			operators: map[string]series{first: {depth: during(2, "0") + during(14.5, "900") + during(0.5, "0") + during(14.5, "900") + during(10, "0")}},
		},
		"the operator fails on one Agent, about once a minute": {
			agent:     running(),
			operators: map[string]series{first: {errors: during(2, "0") + " 1+1x77"}},
			want:      []string{"18m0s fires " + failing},
		},
		"the operator fails now and then": {
			agent:     running(),
			operators: map[string]series{first: {errors: during(3, "0") + during(3, "1") + during(3, "2") + during(3, "3") + during(3, "4") + during(3, "5") + during(3, "6") + during(3, "7") + during(20, "8")}},
		},
		"the operator fails many times and then no more": {
			agent:     running(),
			operators: map[string]series{first: {errors: during(2, "0") + during(39, "12")}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := world{agents: map[string]series{production + "/a": row.agent}, operators: row.operators}
			if row.staging != nil {
				w.agents["flokoa-staging/b"] = row.staging
			}
			require.Equal(t, row.want, watch(t, w, file).timeline)
		})
	}
}

// firingAlerts is the last alert of each name, with its cause if it has one, in a world where every alert fires.
func firingAlerts(t *testing.T) map[string]rules.Alert {
	t.Helper()
	down := but(series{
		"replicas_available": during(41, "0"), "highly_available": during(41, "0"), "stalled": during(41, "1"),
		`not_ready_reason{reason="CrashLooping"}`:          during(41, "1"),
		`config_outdated{reason="ConfigRolloutHalted"}`:    during(41, "1"),
		`missing_requirement{requirement="image"}`:         during(41, "1"),
		`missing_requirement{requirement="anti-affinity"}`: during(41, "1"),
	})
	all := map[string]rules.Alert{}
	for _, operators := range []map[string]series{
		{first: {
			`workqueue_depth{name="agent",controller="agent",priority="0"}`: during(41, "7"),
			`controller_runtime_reconcile_errors_total{controller="agent"}`: " 0+1x81",
			`process_resident_memory_bytes`:                                 during(41, "230e6"),
			`go_gc_gomemlimit_bytes`:                                        during(41, "174483046"),
		}},
		{first: {`leader_election_master_status{name="flokoa-operator"}`: during(41, "0")}},
		{
			first:  {`leader_election_master_status{name="flokoa-operator"}`: during(0.5, "1") + gone(40)},
			second: {`leader_election_master_status{name="flokoa-operator"}`: during(0.5, "0") + gone(40)},
		},
	} {
		maps.Copy(all, watch(t, world{agents: map[string]series{production + "/a": down}, operators: operators}, ruleFile(t)).alerts)
	}
	require.Len(t, all, len(alertRules(t)), "every alert fires")
	return all
}

// The texts as an on-call engineer gets them, of every alert that there is.
func TestEveryAlertSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	texts := map[string]map[string]string{}
	for name, alert := range firingAlerts(t) {
		texts[name] = alert.Annotations.Map()
	}
	requireYAML(t, "testdata/texts.yaml", texts)
}

// A runbook is read at night and its commands are pasted: each must be whole, and about this Agent or this operator.
func TestEveryRunbookNamesTheCommandsToRun(t *testing.T) {
	for name, alert := range firingAlerts(t) {
		t.Run(name, func(t *testing.T) {
			runbook := alert.Annotations.Get("runbook")
			require.NotRegexp(t, `\{\{|<no value>|error expanding`, runbook)
			commands := 0
			for line := range strings.Lines(runbook) {
				if command, indented := strings.CutPrefix(line, "  "); indented {
					commands++
					require.Regexp(t, `^kubectl (--namespace (flokoa-production|flokoa-system) \S|get (agents|deployments,services,configmaps,pods) --all-namespaces)`, command)
				}
			}
			require.Positive(t, commands, runbook)
		})
	}
}

func TestEveryAlertHasASeverityThatPeopleRouteBy(t *testing.T) {
	for _, rule := range alertRules(t) {
		require.Contains(t, []string{"critical", "warning"}, rule.Labels().Get("severity"), rule.Name())
		require.Positive(t, rule.HoldDuration(), "%s must not fire for a blip", rule.Name())
	}
}

// alertRules are all alerts of the chart.
func alertRules(t *testing.T) []*rules.AlertingRule {
	t.Helper()
	var all []*rules.AlertingRule
	for _, group := range loadRules(t, promqltest.LoadedStorage(t, ""), ruleFile(t)) {
		all = append(all, group.AlertingRules()...)
	}
	require.NotEmpty(t, all)
	return all
}

// A team adds and removes namespaces; nobody changes the alerts.
func TestAlertsFollowTheEnvironmentOfANamespace(t *testing.T) {
	fragile := but(series{"highly_available": during(41, "0")})
	agents := map[string]series{"payments/a": fragile, "payments-dev/a": fragile, "flokoa-staging/a": fragile, "unlabeled/a": fragile}
	environments := map[string]series{
		"payments":     {"dev": during(10, "1") + gone(31), "production": during(10.5, "_") + during(18, "1") + gone(13)},
		"payments-dev": {"dev": during(41, "1")},
	}
	require.Equal(t, []string{
		`25m0s fires FlokoaAgentNotHighlyAvailable{agent="a", namespace="payments", severity="warning"}`,
		`28m0s ends FlokoaAgentNotHighlyAvailable{agent="a", namespace="payments", severity="warning"}`,
	}, watch(t, world{agents: agents, environments: environments}, ruleFile(t)).timeline)
}

func TestAlertsFollowTheirValues(t *testing.T) {
	fragile, down := but(series{"highly_available": during(41, "0")}), but(series{"replicas_available": during(41, "0")})
	for name, row := range map[string]struct {
		values []string
		agents map[string]series
		want   []string
	}{
		"which namespaces are production": {
			[]string{`monitoring.alerts.productionNamespaces="team-.+-production|payments"`},
			map[string]series{"team-a-production/a": fragile, "payments/a": fragile, "payments-staging/a": fragile, production + "/a": fragile},
			[]string{
				`15m0s fires FlokoaAgentNotHighlyAvailable{agent="a", namespace="payments", severity="warning"}`,
				`15m0s fires FlokoaAgentNotHighlyAvailable{agent="a", namespace="team-a-production", severity="warning"}`,
			},
		},
		"a regular expression with what YAML and PromQL treat specially": {
			[]string{`monitoring.alerts.productionNamespaces="\\d+:|[{}]|pay\\w+"`},
			map[string]series{"payments/a": fragile},
			[]string{`15m0s fires FlokoaAgentNotHighlyAvailable{agent="a", namespace="payments", severity="warning"}`},
		},
		"how long an Agent may take to start": {
			[]string{`monitoring.alerts.unavailableFor="30m"`},
			map[string]series{"dev/a": down},
			[]string{
				`10m0s fires FlokoaAgentNotFullyAvailable{agent="a", namespace="dev", severity="warning"}`,
				`30m0s fires FlokoaAgentUnavailable{agent="a", namespace="dev", severity="critical"}`,
			},
		},
		"no gauges of Agents": {[]string{`metrics.agents=false`}, map[string]series{"dev/a": down}, nil},
		"another name of the operator, which is not there": {
			[]string{`fullnameOverride="other"`}, nil,
			[]string{`5m0s fires FlokoaOperatorNotReconciling{cause="NotScraped", job="other-metrics", namespace="flokoa-system", severity="critical"}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, row.want, watch(t, world{agents: row.agents}, ruleFile(t, row.values...)).timeline)
		})
	}
}
