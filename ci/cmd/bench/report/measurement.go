// Package report holds the measurements of a benchmark, their statistics, and their presentation. It is
// pure.
package report

import (
	"encoding/json"
	"io"
	"slices"
)

// The sides that are measured.
const (
	Operator = "operator"
	Floor    = "floor" // a bare client that does the same without an operator
)

// The scenarios that are measured.
const (
	Scale     = "scale"     // create and roll, beside the floor
	Replicas  = "replicas"  // the same with more pods per Agent, without the floor
	Unrelated = "unrelated" // Secrets and ConfigMaps that belong to no Agent
	Delete    = "delete"    // all Agents deleted at once
	Spread    = "spread"    // a namespace for every Agent
	Crowd     = "crowd"     // all Agents in one namespace
	Slow      = "slow"      // an API server that is slow and refuses a part
	Size      = "size"      // memory and restart with as many as one operator is meant for
)

// Measurement is what one side did on a control plane of its own.
type Measurement struct {
	Scenario string `json:"scenario"`
	Side     string `json:"side"`
	Agents   int    `json:"agents"`
	Replicas int    `json:"replicas"`
	Round    int    `json:"round"` // from 1
	// Values are single numbers by what they are, such as create.seconds; rows.go describes each. What could not be measured
	// on this machine is absent.
	Values map[string]float64 `json:"values"`
	// Requests are how often each request was sent in a phase, such as "patch deployments"; "404 get services" was refused.
	Requests map[string]map[string]int `json:"requests"`
	// Latencies are milliseconds of single Agents, by what they are.
	Latencies map[string][]float64 `json:"latencies"`
}

// New is a measurement without numbers yet.
func New(scenario, side string, agents, replicas, round int) *Measurement {
	return &Measurement{
		Scenario: scenario, Side: side, Agents: agents, Replicas: replicas, Round: round,
		Values: map[string]float64{}, Requests: map[string]map[string]int{}, Latencies: map[string][]float64{},
	}
}

// Machine is where and with what it was measured.
type Machine struct {
	Time       string `json:"time"`
	Version    string `json:"version"` // of Flokoa
	Kubernetes string `json:"kubernetes"`
	Go         string `json:"go"`
	System     string `json:"system"` // operating system and architecture
	CPUs       int    `json:"cpus"`
	Processor  string `json:"processor,omitempty"`
	MemoryMiB  int    `json:"memoryMiB,omitempty"`
}

// Results are everything that a run of the benchmark measured.
type Results struct {
	Machine Machine `json:"machine"`
	// Flags are those that the operator had beside its defaults.
	Flags        []string       `json:"flags,omitempty"`
	Seconds      float64        `json:"seconds"` // that it took
	Measurements []*Measurement `json:"measurements"`
}

// WriteJSON writes every raw number.
func (r Results) WriteJSON(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetIndent("", " ")
	return out.Encode(r)
}

// group is a scenario at one size.
type group struct {
	scenario         string
	agents, replicas int
}

// groups are all that were measured, in the order in which they first were.
func (r Results) groups() []group {
	var all []group
	for _, m := range r.Measurements {
		g := group{m.Scenario, m.Agents, m.Replicas}
		if !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	slices.SortStableFunc(all, func(a, b group) int { return order(a.scenario) - order(b.scenario) })
	return all
}

// order is where a scenario stands in the table.
func order(scenario string) int {
	return slices.Index([]string{Scale, Replicas, Unrelated, Delete, Crowd, Spread, Slow, Size}, scenario)
}

// rounds are the measurements of one side of a group by round.
func (r Results) rounds(g group, side string) map[int]*Measurement {
	all := map[int]*Measurement{}
	for _, m := range r.Measurements {
		if (group{m.Scenario, m.Agents, m.Replicas}) == g && m.Side == side {
			all[m.Round] = m
		}
	}
	return all
}
