package gitops_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// proofs are the columns of the table.
var proofs = []string{"ready", "at rest", "corrected", "health", "upgraded", "1,000 Agents"}

// table is what the run has shown; examples/gitops/README.md has that of the last run.
var table results

type results struct {
	mutex sync.Mutex
	rows  []row
}

type row struct {
	tool, environment string
	proved            map[string]string
}

// record notes that a proof holds for a tool in an environment.
func (r *results) record(tool fmt.Stringer, environment, proof, shown string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, each := range r.rows {
		if each.tool == tool.String() && each.environment == environment {
			each.proved[proof] = shown
			return
		}
	}
	r.rows = append(r.rows, row{tool.String(), environment, map[string]string{proof: shown}})
}

// String is the table in Markdown; a proof that was not shown is a dash.
func (r *results) String() string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var text strings.Builder
	write := func(cells ...string) { text.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	write(append([]string{"tool", "environment"}, proofs...)...)
	write(slices.Repeat([]string{"---"}, 2+len(proofs))...)
	slices.SortFunc(r.rows, func(a, b row) int {
		return cmp.Or(strings.Compare(a.tool, b.tool), slices.Index(environments, a.environment)-slices.Index(environments, b.environment))
	})
	for _, each := range r.rows {
		cells := []string{each.tool, each.environment}
		for _, proof := range proofs {
			cells = append(cells, max(each.proved[proof], "-"))
		}
		write(cells...)
	}
	return text.String()
}
