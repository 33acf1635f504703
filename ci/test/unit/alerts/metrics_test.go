package alerts_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

// metrics.txt lists every metric that the alerts and the dashboard query; ci/test/cluster compares it with what an operator exports.
func TestTheListOfMetricsIsComplete(t *testing.T) {
	used := map[string]bool{}
	collect := func(expr string) {
		for _, selector := range selectors(t, expr) {
			used[selector.Name] = true
		}
	}
	for _, rule := range alertRules(t) {
		collect(rule.Query().String())
		for _, text := range rule.Annotations().Map() { // the queries inside texts
			for _, name := range regexp.MustCompile(`flokoa_agent_\w+`).FindAllString(text, -1) {
				used[name] = true
			}
		}
	}
	d := read(t)
	for _, expr := range d.queries() {
		collect(d.resolved(t, expr))
	}
	for _, variable := range d.Templating.List {
		if variable.Type == "query" {
			collect(d.resolved(t, labelValues(t, variable)))
		}
	}
	listed, err := os.ReadFile("metrics.txt")
	require.NoError(t, err)
	require.Equal(t, strings.Join(slices.Sorted(maps.Keys(used)), "\n")+"\n", string(listed))
}

// selectors are the vector selectors of an expression, which must be valid.
func selectors(t *testing.T, expr string) []*parser.VectorSelector {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	require.NoError(t, err, expr)
	var all []*parser.VectorSelector
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			all = append(all, selector)
		}
		return nil
	})
	require.NotEmpty(t, all, expr)
	return all
}

// labelValues is the selector in a query of a variable: label_values(SELECTOR, LABEL).
func labelValues(t *testing.T, of variable) string {
	t.Helper()
	query := struct {
		Query string `json:"query"`
	}{}
	require.NoError(t, json.Unmarshal(of.Query, &query))
	match := regexp.MustCompile(`^label_values\((.+), \w+\)$`).FindStringSubmatch(query.Query)
	require.NotNil(t, match, query.Query)
	return match[1]
}
