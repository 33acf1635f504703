package report

import (
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
)

// WriteTable writes what was measured: of every row the least, the middle and the most of the rounds, the ratio to the floor, and
// whether the bar was met.
func (r Results) WriteTable(w io.Writer) error {
	m := r.Machine
	_, err := fmt.Fprintf(w, "Flokoa %s on Kubernetes %s, %d CPUs (%s, %s), %d MiB; %s, in %.0f minutes\n",
		m.Version, m.Kubernetes, m.CPUs, m.Processor, m.System, m.MemoryMiB, m.Time, math.Ceil(r.Seconds/60))
	if err != nil {
		return err
	}
	if len(r.Flags) > 0 {
		if _, err := fmt.Fprintf(w, "NOT the defaults: the operator has %s\n", strings.Join(r.Flags, " ")); err != nil {
			return err
		}
	}
	for _, g := range r.groups() {
		if err := r.writeGroup(w, g); err != nil {
			return err
		}
	}
	return nil
}

var titles = map[string]string{
	Scale:     "created, rolled, and left alone",
	Replicas:  "with several pods each",
	Unrelated: "beside what is none of its business",
	Delete:    "deleted at once",
	Crowd:     "in one namespace",
	Spread:    "each in a namespace of its own",
	Slow:      "on an API server that answers 200 ms later and refuses 30% with 429",
	Size:      "on one operator",
}

func (r Results) writeGroup(w io.Writer, g group) error {
	floors, operators := r.rounds(g, Floor), r.rounds(g, Operator)
	lines := [][]string{{"", "", heading("floor", floors), heading("operator", operators), "ratio", "bar", ""}}
	for _, row := range rowsOf(g.scenario) {
		if cells := row.cells(g, floors, operators); cells != nil {
			lines = append(lines, cells)
		}
	}
	if len(floors) == 0 { // nor is there a ratio to it
		for i := range lines {
			lines[i] = slices.Concat(lines[i][:2], lines[i][3:4], lines[i][5:])
		}
	}
	_, err := fmt.Fprintf(w, "\n%s, %s\n%s", size(g), titles[g.scenario], align(lines))
	return err
}

// align puts cells into columns, without blanks at the ends of lines.
func align(lines [][]string) string {
	text := &strings.Builder{}
	out := tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)
	for _, cells := range lines {
		_, _ = fmt.Fprintln(out, strings.Join(cells, "\t")+"\t") // a Builder does not fail
	}
	_ = out.Flush()
	return regexp.MustCompile(`(?m) +$`).ReplaceAllString(text.String(), "")
}

func size(g group) string {
	text := thousands(g.agents) + " Agents"
	if g.agents == 0 {
		text = "no Agents"
	}
	if g.replicas > 1 {
		text += fmt.Sprintf(" of %d pods", g.replicas)
	}
	return text
}

// thousands writes a number as people read it: 12,345.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

func heading(side string, rounds map[int]*Measurement) string {
	switch len(rounds) {
	case 0:
		return ""
	case 1:
		return side + " (1 round)"
	default:
		return fmt.Sprintf("%s, min / median / max of %d", side, len(rounds))
	}
}

// cells are what a row shows of a group; nil when the operator has no such number.
func (r row) cells(g group, floors, operators map[int]*Measurement) []string {
	above, below := read(r.value, operators), read(r.floor, floors)
	if len(above)+len(below) == 0 {
		return nil
	}
	ratio, text := ratioOf(above, below)
	limit, verdict := "", ""
	if bar, has := r.bar(g); has && len(above) > 0 && (bar.kind != timesMost || ratio != nil) {
		limit, verdict = bar.String(), "missed"
		if bar.met(above, ratio) {
			verdict = "met"
		}
	}
	return []string{r.title, r.unit, show(below), show(above), text, limit, verdict}
}

// read takes a row's number out of every round that has it.
func read(of reading, rounds map[int]*Measurement) map[int]float64 {
	all := map[int]float64{}
	if of == nil {
		return all
	}
	for round, m := range rounds {
		if v, there := of(m); there {
			all[round] = v
		}
	}
	return all
}

func ratioOf(above, below map[int]float64) (*Ratio, string) {
	ratio, ok := RatioOf(above, below)
	if !ok {
		return nil, ""
	}
	digits := 2
	if ratio.OfMedians < 0.2 {
		digits = 3
	}
	text := fmt.Sprintf("%.*f", digits, ratio.OfMedians)
	if len(above) > 1 && ratio.Min <= ratio.Max {
		text += fmt.Sprintf(" (%.*f-%.*f)", digits, ratio.Min, digits, ratio.Max)
	}
	return &ratio, text
}

// show writes the range of some numbers, or the number that they all are.
func show(rounds map[int]float64) string {
	if len(rounds) == 0 {
		return ""
	}
	r := RangeOf(values(rounds))
	if r.Min == r.Max {
		return number(r.Median)
	}
	return fmt.Sprintf("%s / %s / %s", number(r.Min), number(r.Median), number(r.Max))
}

// number writes three digits or more.
func number(v float64) string {
	switch size := math.Abs(v); {
	case v == math.Trunc(v) && size < 1e9:
		return fmt.Sprintf("%.0f", v)
	case size >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case size >= 9.995:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// bar is the first of a row's bars that is about a group.
func (r row) bar(g group) (bar, bool) {
	for _, b := range r.bars {
		if b.when == nil || b.when(g.agents, g.replicas) {
			return b, true
		}
	}
	return bar{}, false
}

// met reports whether the operator reaches a bar.
func (b bar) met(above map[int]float64, ratio *Ratio) bool {
	spread := RangeOf(values(above))
	switch b.kind {
	case exactly:
		return spread.Min == b.limit && spread.Max == b.limit
	case atMost:
		return spread.Median <= b.limit
	default:
		return ratio.OfMedians <= b.limit
	}
}

// String is a bar as the table shows it.
func (b bar) String() string {
	switch b.kind {
	case exactly:
		return number(b.limit)
	case atMost:
		return "<= " + number(b.limit)
	default:
		return "<= " + number(b.limit) + " x"
	}
}
