package report

import (
	"fmt"
	"math"
	"slices"
)

// row is one line of the table: what it shows of a measurement, and what it should be.
type row struct {
	title string
	unit  string
	// value is what the row shows of the operator; floor of the floor, nil when there is nothing to compare.
	value, floor reading
	// bars are what the operator is to reach; the first one that is about this size counts.
	bars []bar
}

// reading takes a number out of a measurement; it is false when the number is not there.
type reading func(*Measurement) (float64, bool)

// bar is a limit, and the sizes it is about.
type bar struct {
	limit float64
	kind  kind
	when  func(agents, replicas int) bool // nil for all
}

// kind is what a bar limits.
type kind int

const (
	exactly   kind = iota // the value of every round is the limit
	atMost                // the median is not above the limit
	timesMost             // the ratio to the floor is not above the limit
)

func value(name string) reading {
	return func(m *Measurement) (float64, bool) {
		v, there := m.Values[name]
		return v, there
	}
}

// each is a value divided by the number of Agents, and scaled.
func each(name string, scale float64) reading {
	return func(m *Measurement) (float64, bool) {
		v, there := m.Values[name]
		return v * scale / float64(m.Agents), there && m.Agents > 0
	}
}

// less is the difference of two values.
func less(name, than string) reading {
	return func(m *Measurement) (float64, bool) {
		a, there := m.Values[name]
		b, too := m.Values[than]
		return a - b, there && too
	}
}

// quotient is one value divided by another.
func quotient(name, by string) reading {
	return func(m *Measurement) (float64, bool) {
		a, there := m.Values[name]
		b, too := m.Values[by]
		return a / b, there && too && b > 0
	}
}

func percentile(name string, percent float64) reading {
	return func(m *Measurement) (float64, bool) {
		v := Percentile(m.Latencies[name], percent)
		return v, !math.IsNaN(v)
	}
}

// Sizes that bars are about.
func one(_, replicas int) bool        { return replicas == 1 }
func several(_, replicas int) bool    { return replicas > 1 }
func small(agents, replicas int) bool { return agents <= 1000 && replicas == 1 }

// rowsOf are the rows of a scenario.
func rowsOf(scenario string) []row {
	switch scenario {
	case Scale:
		return slices.Concat(start(), create(), reaction("create", "create"), roll(), reaction("roll", "roll"), reaction("quiet", "one at a time"), afterwards())
	case Replicas, Crowd, Spread:
		return slices.Concat(create(), roll(), memory())
	case Size:
		return slices.Concat(create(), afterwards())
	default:
		return rowsOfScenarios[scenario]
	}
}

// start is the row of what both sides start with, the same control plane: a ratio other than 1 is the drift of the machine.
func start() []row {
	start := value("start.cpu.controlplane")
	return []row{{"drift of the machine: CPU of starting the control plane", "s", start, start, nil}}
}

func create() []row {
	return phase("create", 1.15, 0.08, []bar{{2, exactly, one}, {3, exactly, several}}, []bar{{2, atMost, one}, {4, atMost, several}})
}

func roll() []row {
	return phase("roll", 1.1, 0.07, []bar{{1, exactly, nil}}, []bar{{3, atMost, one}})
}

// phase are the rows of a phase in which all Agents come to run an image: how many times the floor's time it may take, how much of the
// CPU that the floor costs the control plane, and the bars of writes of children and statuses.
func phase(name string, times, cpu float64, children, statuses []bar) []row {
	both := func(title, unit string, value reading, bars ...bar) row {
		return row{name + ": " + title, unit, value, value, bars}
	}
	alone := func(title, unit string, value reading, bars ...bar) row {
		return row{name + ": " + title, unit, value, nil, bars}
	}
	return []row{
		both("until all are ready", "s", value(name+".seconds"), bar{times, timesMost, nil}),
		both("writes of children per Agent", "", each(name+".children", 1), children...),
		both("writes of status per Agent", "", each(name+".statuses", 1), statuses...),
		alone("Events per Agent", "", each(name+".events", 1), bar{2, atMost, nil}),
		both("all requests per Agent", "", each(name+".requests", 1)),
		both("answers 409", "", value(name+".conflicts"), bar{0, exactly, nil}),
		both("other refusals", "", value(name+".failures")),
		{
			name + ": CPU per Agent, operator / floor's control plane", "ms",
			each(name+".cpu.operator", 1000), each(name+".cpu.controlplane", 1000), []bar{{cpu, timesMost, nil}},
		},
		both("CPU of the control plane per Agent", "ms", each(name+".cpu.controlplane", 1000)),
	}
}

// reaction compares how soon a status follows with how long a bare write of a status takes, in the same phase.
func reaction(name, title string) []row {
	at := func(percent float64) row {
		title := fmt.Sprintf("%s: Deployment available -> status, p%.0f", title, percent)
		return row{title, "ms", percentile(name+".reaction", percent), percentile(name+".write", percent), []bar{{3, timesMost, nil}}}
	}
	return []row{at(50), at(99)}
}

func memory() []row {
	return []row{
		{"RSS when all are ready", "MiB", value("created.rss"), nil, []bar{{70, atMost, small}}},
		{"RSS, the most it ever was", "MiB", value("rolled.peak"), nil, nil},
	}
}

// afterwards are the rows of an operator whose Agents are settled.
func afterwards() []row {
	return []row{
		{"RSS without Agents", "MiB", value("idle.rss"), nil, []bar{{40, atMost, nil}}},
		{"RSS when all are ready", "MiB", value("created.rss"), nil, []bar{{70, atMost, small}}},
		{"RSS at rest", "MiB", value("rest.rss"), nil, []bar{{70, atMost, small}}},
		{"RSS, the most it ever was", "MiB", value("rest.peak"), nil, []bar{{200, atMost, several}}},
		{"RSS after a restart", "MiB", value("restart.rss"), nil, []bar{{70, atMost, small}}},
		{"RSS, the most during the restart", "MiB", value("restart.peak"), nil, []bar{{200, atMost, several}}},
		{"RSS after a restart and three scrapes of its metrics", "MiB", value("scraped.rss"), nil, nil},
		{"RSS, the most with these scrapes", "MiB", value("scraped.peak"), nil, []bar{{200, atMost, several}}},
		{"at rest for 10 s: requests", "", value("rest.requests"), nil, []bar{{0, exactly, nil}}},
		{"at rest: requests per second, Leases included", "", value("rest.rate"), nil, []bar{{0.6, atMost, nil}}},
		{"restart: writes", "", func(m *Measurement) (float64, bool) {
			c, there := m.Values["restart.children"]
			return c + m.Values["restart.statuses"], there
		}, nil, []bar{{0, exactly, nil}}},
		{"restart: requests", "", value("restart.requests"), nil, nil},
		{"restart: until the lease is held", "s", value("restart.leads.seconds"), nil, nil},
		{"restart: lease -> last request", "s", value("restart.last.seconds"), nil, []bar{{2, atMost, small}}},
		{"restart: lease -> all Agents looked at", "s", value("restart.busy.seconds"), nil, nil},
		{"takeover: leader stopped -> the other leads", "s", value("takeover.stopped.seconds"), nil, []bar{{3, atMost, nil}}},
		{"takeover: leader killed -> the other leads", "s", value("takeover.killed.seconds"), nil, []bar{{17, atMost, nil}}},
	}
}

// unnoticed is how much the memory of a process differs by itself, in MiB.
const unnoticed = 1

var rowsOfScenarios = map[string][]row{
	Unrelated: {
		{"RSS without Agents", "MiB", value("idle.rss"), nil, []bar{{40, atMost, nil}}},
		{"RSS growth by 2,000 Secrets and 2,000 ConfigMaps of 10 KiB", "MiB", less("after.rss", "idle.rss"), nil, []bar{{unnoticed, atMost, nil}}},
		{"RSS growth, started beside them", "MiB", less("restart.rss", "idle.rss"), nil, []bar{{unnoticed, atMost, nil}}},
		{"requests meanwhile", "", value("unrelated.requests"), nil, []bar{{0, exactly, nil}}},
	},
	Delete: {
		{"delete all at once: until nothing is left", "s", value("delete.seconds"), nil, nil},
		{"delete: writes of the operator", "", func(m *Measurement) (float64, bool) {
			c, there := m.Values["delete.children"]
			return c + m.Values["delete.statuses"], there
		}, nil, nil},
		{"delete: all requests of the operator", "", value("delete.requests"), nil, nil},
		{"delete: CPU of the operator per Agent", "ms", each("delete.cpu.operator", 1000), nil, nil},
		{"RSS before", "MiB", value("created.rss"), nil, nil},
		{"RSS afterwards", "MiB", value("deleted.rss"), nil, nil},
	},
	Slow: {
		{"requests per Agent, a good API server", "", each("quiet.requests", 1), nil, nil},
		{"requests per Agent, 200 ms slower and 30% refused", "", each("slow.requests", 1), nil, nil},
		{"of these, refused", "", each("slow.refused", 1), nil, nil},
		{"requests per second, a good API server", "", quotient("quiet.requests", "quiet.span"), nil, nil},
		{"requests per second, slow, by that of a good one", "", func(m *Measurement) (float64, bool) {
			quiet, there := quotient("quiet.requests", "quiet.span")(m)
			slow, too := quotient("slow.requests", "slow.span")(m)
			return slow / quiet, there && too
		}, nil, []bar{{1, atMost, nil}}},
		{"busiest second, a good API server", "", value("quiet.busiest"), nil, nil},
		{"busiest second, slow, by that of a good one", "", quotient("slow.busiest", "quiet.busiest"), nil, []bar{{1, atMost, nil}}},
		{"until all are ready, a good API server", "s", value("quiet.seconds"), nil, nil},
		{"until all are ready, slow", "s", value("slow.seconds"), nil, nil},
		{"writes of children per Agent that got through, slow", "", each("slow.children", 1), nil, []bar{{2, exactly, one}}},
	},
}
