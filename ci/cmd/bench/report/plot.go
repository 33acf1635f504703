package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// panel is one diagram of the plot: a cost per Agent against the number of Agents.
type panel struct {
	title, unit string
	lines       []line
}

// line is what one side costs at each size.
type line struct {
	label, class string
	side         string
	read         reading
}

var panels = []panel{
	{"create: time per Agent", "ms", []line{
		{"operator", "operator", Operator, each("create.seconds", 1000)}, {"floor", "floor", Floor, each("create.seconds", 1000)},
	}},
	{"roll: time per Agent", "ms", []line{
		{"operator", "operator", Operator, each("roll.seconds", 1000)}, {"floor", "floor", Floor, each("roll.seconds", 1000)},
	}},
	{"CPU of the operator per Agent", "ms", []line{
		{"create", "operator", Operator, each("create.cpu.operator", 1000)}, {"roll", "roll", Operator, each("roll.cpu.operator", 1000)},
	}},
}

// The sizes of the drawing, in pixels.
const (
	panelWidth, panelHeight = 320, 300
	left, right, top, under = 52, 16, 64, 44
)

// style follows whether the reader prefers a dark page. It has no variables: not every program that shows pictures knows them.
const style = `
    text { font: 12px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600; font-size: 13px } .small { font-size: 11px }
    .page { fill: #ffffff } .rule { stroke: #d0d7de; stroke-width: 1 } .line { fill: none; stroke-width: 2 } .range { stroke-width: 1.5 }
    .operator { stroke: #0969da } .floor { stroke: #57606a } .roll { stroke: #bc4c00 }
    .operator.dot { fill: #0969da } .floor.dot { fill: #57606a } .roll.dot { fill: #bc4c00 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 } .page { fill: #0d1117 } .rule { stroke: #30363d }
      .operator { stroke: #58a6ff } .floor { stroke: #9198a1 } .roll { stroke: #f0883e }
      .operator.dot { fill: #58a6ff } .floor.dot { fill: #9198a1 } .roll.dot { fill: #f0883e }
    }
  `

// WritePlot draws what an Agent costs against how many there are, as an SVG: medians as lines, all rounds as bars.
func (r Results) WritePlot(w io.Writer) error {
	var sizes []int
	for _, g := range r.groups() {
		if g.scenario == Scale {
			sizes = append(sizes, g.agents)
		}
	}
	slices.Sort(sizes)
	out := &strings.Builder{}
	width, height := panelWidth*len(panels), panelHeight
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(out, "  <title>%s</title>\n  <style>%s</style>\n", escape("What an Agent costs, by the number of Agents"), style)
	fmt.Fprintf(out, `  <rect class="page" width="%d" height="%d"/>`+"\n", width, height)
	for i, p := range panels {
		fmt.Fprintf(out, `  <g transform="translate(%d 0)">`+"\n", i*panelWidth)
		r.draw(out, p, sizes)
		out.WriteString("  </g>\n")
	}
	out.WriteString("</svg>\n")
	_, err := io.WriteString(w, out.String())
	return err
}

func escape(text string) string {
	out := &strings.Builder{}
	_ = xml.EscapeText(out, []byte(text)) // a Builder does not fail
	return out.String()
}

// series are the ranges of a line at the sizes that have one.
func (r Results) series(l line, sizes []int) map[int]Range {
	all := map[int]Range{}
	for _, m := range r.Measurements {
		if m.Scenario != Scale || !slices.Contains(sizes, m.Agents) {
			continue
		}
		if rounds := read(l.read, r.rounds(group{Scale, m.Agents, m.Replicas}, l.side)); len(rounds) > 0 {
			all[m.Agents] = RangeOf(values(rounds))
		}
	}
	return all
}

func (r Results) draw(out *strings.Builder, p panel, sizes []int) {
	most := 0.0
	series := make([]map[int]Range, len(p.lines))
	for i, l := range p.lines {
		series[i] = r.series(l, sizes)
		for _, at := range series[i] {
			most = max(most, at.Max)
		}
	}
	fmt.Fprintf(out, `    <text class="title" x="%d" y="20">%s</text>`+"\n", left, escape(p.title))
	s := scaleFor(sizes, most)
	s.axes(out, p.unit)
	for i, l := range p.lines {
		x := left + i*100
		fmt.Fprintf(out, `    <rect class="dot %s" x="%d" y="33" width="12" height="4"/><text x="%d" y="39">%s</text>`+"\n", l.class, x, x+18, escape(l.label))
		s.line(out, l.class, series[i])
	}
}

// scale turns numbers into places: sizes by their logarithm from left to right, costs from zero upwards.
type scale struct {
	sizes []int
	step  float64 // between two marks of the upright axis
	marks int
}

// scaleFor has four or five marks at round numbers.
func scaleFor(sizes []int, most float64) scale {
	if most <= 0 {
		return scale{sizes, 1, 4}
	}
	unit := math.Pow(10, math.Floor(math.Log10(most/4)))
	for _, times := range []float64{1, 2, 2.5, 5, 10} {
		if marks := math.Ceil(most / (unit * times)); marks <= 5 {
			return scale{sizes, unit * times, int(marks)}
		}
	}
	return scale{sizes, most / 4, 4}
}

func (s scale) x(size int) float64 {
	width := float64(panelWidth - left - right)
	least, most := s.sizes[0], s.sizes[len(s.sizes)-1]
	if least == most {
		return left + width/2
	}
	share := (math.Log(float64(size)) - math.Log(float64(least))) / (math.Log(float64(most)) - math.Log(float64(least)))
	return left + 16 + share*(width-32)
}

func (s scale) y(cost float64) float64 {
	return panelHeight - under - cost/(s.step*float64(s.marks))*(panelHeight-top-under)
}

func (s scale) axes(out *strings.Builder, unit string) {
	for i := range s.marks + 1 {
		cost := float64(i) * s.step
		y := s.y(cost)
		fmt.Fprintf(out, `    <line class="rule" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`+"\n", left, panelWidth-right, y, y)
		fmt.Fprintf(out, `    <text class="small" text-anchor="end" x="%d" y="%.1f">%s</text>`+"\n", left-6, y+4, number(cost))
	}
	fmt.Fprintf(out, `    <text class="small" text-anchor="end" x="%d" y="%d">%s</text>`+"\n", left-6, top-10, escape(unit))
	for _, size := range s.sizes {
		fmt.Fprintf(out, `    <text class="small" text-anchor="middle" x="%.1f" y="%d">%s</text>`+"\n", s.x(size), panelHeight-under+16, thousands(size))
	}
	fmt.Fprintf(out, `    <text class="small" text-anchor="middle" x="%d" y="%d">Agents</text>`+"\n", (left+panelWidth-right)/2, panelHeight-under+34)
}

// line draws medians, and between which numbers all rounds are.
func (s scale) line(out *strings.Builder, class string, series map[int]Range) {
	var points []string
	for _, size := range s.sizes {
		at, there := series[size]
		if !there {
			continue
		}
		x := s.x(size)
		points = append(points, fmt.Sprintf("%.1f,%.1f", x, s.y(at.Median)))
		fmt.Fprintf(out, `    <line class="range %s" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`+"\n", class, x, x, s.y(at.Min), s.y(at.Max))
		fmt.Fprintf(out, `    <circle class="dot %s" cx="%.1f" cy="%.1f" r="3"/>`+"\n", class, x, s.y(at.Median))
	}
	fmt.Fprintf(out, `    <polyline class="line %s" points="%s"/>`+"\n", class, strings.Join(points, " "))
}
