package alerts_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/stretchr/testify/require"
)

// dashboard is what these tests look at of Grafana's classic model.
type dashboard struct {
	UID           string `json:"uid"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []variable `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

type variable struct {
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Datasource datasource      `json:"datasource"`
	Query      json.RawMessage `json:"query"`
}

type panel struct {
	ID          int        `json:"id"`
	Type        string     `json:"type"`
	Title       string     `json:"title"`
	Description string     `json:"description"`
	Datasource  datasource `json:"datasource"`
	GridPos     grid       `json:"gridPos"`
	Targets     []target   `json:"targets"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type grid struct{ H, W, X, Y int }

type target struct {
	RefID        string     `json:"refId"`
	Datasource   datasource `json:"datasource"`
	Expr         string     `json:"expr"`
	LegendFormat string     `json:"legendFormat"`
	Format       string     `json:"format"`
}

func read(t *testing.T) dashboard {
	t.Helper()
	var read dashboard
	require.NoError(t, json.Unmarshal(dashboardJSON(t), &read))
	require.NotEmpty(t, read.queries())
	return read
}

// queries are the expressions of all panels, by panel and reference.
func (d dashboard) queries() map[string]string {
	all := map[string]string{}
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			name := panel.Title
			if len(panel.Targets) > 1 {
				name += ": " + target.RefID
			}
			all[name] = target.Expr
		}
	}
	return all
}

var reference = regexp.MustCompile(`\$\{?([A-Za-z_]+)\}?`)

// resolved is an expression as Grafana sends it when everything is selected.
func (d dashboard) resolved(t *testing.T, expr string) string {
	t.Helper()
	values := map[string]string{"__rate_interval": "2m"}
	for _, variable := range d.Templating.List {
		values[variable.Name] = ".+"
	}
	return reference.ReplaceAllStringFunc(expr, func(found string) string {
		value, known := values[reference.FindStringSubmatch(found)[1]]
		require.True(t, known, "%s in %s is no variable", found, expr)
		return value
	})
}

// shown is what every panel shows of a world after ten minutes.
func (d dashboard) shown(t *testing.T, w world) map[string][]string {
	t.Helper()
	store, querier := promqltest.LoadedStorage(t, w.load()), engine(t)
	all := map[string][]string{}
	for name, expr := range d.queries() {
		query, err := querier.NewInstantQuery(t.Context(), store, nil, d.resolved(t, expr), time.Unix(0, 0).Add(10*time.Minute))
		require.NoError(t, err, name)
		result := query.Exec(t.Context())
		require.NoError(t, result.Err, name)
		vector, err := result.Vector()
		require.NoError(t, err, name)
		all[name] = lines(vector)
		query.Close()
	}
	return all
}

func TestEveryPanelShowsWhatItSaysOfAFleetInWhichMuchIsWrong(t *testing.T) {
	requireYAML(t, "testdata/panels.yaml", read(t).shown(t, fleet()))
}

func TestCountsAreZeroAndNotEmptyWhereThereIsNothingToCount(t *testing.T) {
	d := read(t)
	shown := d.shown(t, world{})
	counts := 0
	for _, panel := range d.Panels {
		if panel.Type == "stat" && panel.FieldConfig.Defaults.Unit == "none" {
			counts++
			require.Equal(t, []string{"{} 0"}, shown[panel.Title], panel.Title)
		}
	}
	require.Equal(t, 5, counts)
}

// fleet is an Agent that is well, one that is down, one in a stuck rollout and one that is suspended, and an operator at work.
func fleet() world {
	histogram := func(metrics series, name, labels, faster, slower string) {
		for bound, values := range map[string]string{"0.5": faster, "1": slower, "+Inf": slower} {
			metrics[fmt.Sprintf("%s_bucket{%s,le=%q}", name, labels, bound)] = values
		}
	}
	leader := series{
		`workqueue_depth{name="agent",controller="agent",priority="0"}`:           during(41, "2"),
		`workqueue_depth{name="agent",controller="agent",priority="-100"}`:        during(41, "3"),
		`controller_runtime_reconcile_total{controller="agent",result="success"}`: " 0+60x80",
		`controller_runtime_reconcile_total{controller="agent",result="error"}`:   " 0+15x80",
		`controller_runtime_reconcile_errors_total{controller="agent"}`:           " 0+15x80",
		`controller_runtime_terminal_reconcile_errors_total{controller="agent"}`:  " 0+3x80",
		`process_resident_memory_bytes`:                                           during(41, "40000000"),
		`process_cpu_seconds_total`:                                               " 0+6x80",
	}
	histogram(leader, "workqueue_queue_duration_seconds", `name="agent",controller="agent"`, " 0+100x80", " 0+100x80")
	histogram(leader, "controller_runtime_reconcile_time_seconds", `controller="agent"`, " 0+0x80", " 0+100x80")
	return world{
		agents: map[string]series{
			production + "/well": running(),
			production + "/down": but(series{
				"replicas_available": during(41, "0"), "replicas_ready": during(41, "1"), "ready": during(41, "0"), "highly_available": during(41, "0"),
				`not_ready_reason{reason="CrashLooping"}`: during(41, "1"), `missing_requirement{requirement="availability"}`: during(41, "1"),
				`missing_requirement{requirement="image"}`: during(41, "1"),
			}),
			"dev/stuck": but(series{
				"replicas_available": during(41, "2"), "replicas_ready": during(41, "2"), "ready": during(41, "0"), "stalled": during(41, "1"), "highly_available": during(41, "0"),
				`not_ready_reason{reason="ProgressDeadlineExceeded"}`: during(41, "1"), `config_outdated{reason="ConfigRolloutPending"}`: during(41, "1"),
			}),
			"dev/suspended": but(series{
				"replicas_desired": during(41, "0"), "replicas_available": during(41, "0"), "replicas_ready": during(41, "0"), "highly_available": during(41, "0"),
				`missing_requirement{requirement="replicas"}`: during(41, "1"),
			}),
		},
		operators: map[string]series{first: leader, second: {`process_resident_memory_bytes`: during(41, "30000000")}},
	}
}

// lines are the samples of a vector, sorted.
func lines(vector promql.Vector) []string {
	text := make([]string, 0, len(vector))
	for _, sample := range vector {
		text = append(text, fmt.Sprintf("%s %.4g", sample.Metric, sample.F))
	}
	slices.Sort(text)
	return text
}

func TestEveryPanelIsSomethingThatGrafanaCanShow(t *testing.T) {
	d := read(t)
	require.GreaterOrEqual(t, d.SchemaVersion, 39)
	require.Equal(t, "flokoa-agents", d.UID, "links to the dashboard break when it changes")
	ids := map[int]string{}
	for _, panel := range d.Panels {
		require.Empty(t, ids[panel.ID], "id %d is also that of %s", panel.ID, panel.Title)
		ids[panel.ID] = panel.Title
		require.NotEmpty(t, panel.Title)
		if panel.Type == "row" {
			require.Empty(t, panel.Targets)
			continue
		}
		require.Contains(t, []string{"stat", "table", "timeseries", "state-timeline"}, panel.Type, panel.Title)
		require.NotEmpty(t, panel.Description, panel.Title)
		require.NotEmpty(t, panel.Targets, panel.Title)
		refs := map[string]bool{}
		for _, target := range panel.Targets {
			require.False(t, refs[target.RefID] || target.RefID == "", "reference %q of %s", target.RefID, panel.Title)
			refs[target.RefID] = true
			if target.Format != "table" {
				require.NotEmpty(t, target.LegendFormat, panel.Title)
			}
		}
		if panel.Type == "stat" || panel.Type == "timeseries" {
			require.NotEmpty(t, panel.FieldConfig.Defaults.Unit, panel.Title)
		}
	}
}

func TestPanelsFillTheGridWithoutCoveringEachOther(t *testing.T) {
	taken := map[[2]int]string{}
	bottom := 0
	for _, panel := range read(t).Panels {
		at := panel.GridPos
		require.LessOrEqual(t, at.X+at.W, 24, panel.Title)
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				require.Empty(t, taken[[2]int{x, y}], "%s is also at column %d, row %d", panel.Title, x, y)
				taken[[2]int{x, y}] = panel.Title
			}
		}
		bottom = max(bottom, at.Y+at.H)
	}
	require.Len(t, taken, 24*bottom, "cells of the grid")
}

// A dashboard that names the data source of the Grafana it was drawn in shows nothing in any other.
func TestEveryQueryAsksTheDataSourceThatIsChosen(t *testing.T) {
	d := read(t)
	chosen := datasource{Type: "prometheus", UID: "${datasource}"}
	names := map[string]bool{}
	for _, variable := range d.Templating.List {
		require.Contains(t, []string{"datasource", "query"}, variable.Type)
		if variable.Type == "query" {
			require.Equal(t, chosen, variable.Datasource, variable.Name)
		}
		names[variable.Name] = true
	}
	require.Equal(t, []string{"agent", "datasource", "namespace", "operator"}, slices.Sorted(maps.Keys(names)))
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			require.Equal(t, chosen, panel.Datasource, panel.Title)
			require.Equal(t, chosen, target.Datasource, panel.Title)
		}
	}
	require.NotContains(t, string(dashboardJSON(t)), "__inputs", "an export for another Grafana, not a dashboard")
}

// Whoever selects a namespace or an Agent expects every panel about Agents to follow.
func TestEveryPanelFollowsTheVariables(t *testing.T) {
	d := read(t)
	for name, expr := range d.queries() {
		for _, selector := range selectors(t, d.resolved(t, expr)) {
			follows := []string{`job=~".+"`}
			if strings.HasPrefix(selector.Name, "flokoa_agent_") {
				follows = []string{`namespace=~".+"`, `agent=~".+"`}
			}
			for _, matcher := range follows {
				require.Contains(t, selector.String(), matcher, name)
			}
		}
	}
}
