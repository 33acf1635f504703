package kind_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// row is what one disturbance came to.
type row struct {
	disturbance string
	// requests were made while it went on, failures of them were not answered well; slowest is a good answer's time, in milliseconds.
	requests, failures int
	slowest            float64
	// minAvailable is the smallest number of available replicas that was ever seen, of wanted.
	minAvailable, wanted int32
	// criterion is what must hold, and verdict whether it did, with what else was measured.
	criterion, verdict string
	met                bool
}

// table collects the rows in the order in which they were measured.
type table struct {
	mutex sync.Mutex
	rows  []row
}

func (t *table) add(r row) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.rows = append(t.rows, r)
}

// print writes the table as Markdown, as README.md shows it.
func (t *table) print(w io.Writer) {
	if len(t.rows) == 0 {
		return
	}
	lines := []string{
		"", "| what is done meanwhile | requests | failed | slowest | replicas available, at least | the bar | |",
		"|---|---:|---:|---:|---:|---|---|",
	}
	for _, r := range t.rows {
		mark := "met"
		if !r.met {
			mark = "**missed**"
		}
		if r.verdict != "" {
			mark += ": " + r.verdict
		}
		lines = append(lines, fmt.Sprintf("| %s | %s | %s | %s | %s |",
			r.disturbance, r.calls(), r.available(), r.criterion, mark))
	}
	_, _ = io.WriteString(w, strings.Join(lines, "\n")+"\n\n")
}

// calls are the columns of requests, failures and the slowest answer, which a row without calls leaves empty.
func (r row) calls() string {
	if r.requests == 0 {
		return "| |"
	}
	return fmt.Sprintf("%d | %d | %.0f ms", r.requests, r.failures, r.slowest)
}

func (r row) available() string {
	if r.wanted == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d", r.minAvailable, r.wanted)
}
