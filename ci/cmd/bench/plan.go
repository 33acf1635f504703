package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/flokoa/flokoa/ci/cmd/bench/report"
)

// planned is a measurement to be made.
type planned struct {
	scenario, side string
	workload       workload
	round, rounds  int
	do             func(context.Context, *measuring) error
}

// String is how progress calls it.
func (p planned) String() string {
	return fmt.Sprintf("%s, %d Agents x %d, %s, round %d of %d", p.scenario, p.workload.agents, p.workload.replicas, p.side, p.round, p.rounds)
}

// plan lists the requested measurements in order. Sides alternate, and so does the first side, from round to round and from size to size: a
// machine that gets slower or faster affects both.
func (b *bench) plan() []planned {
	var all []planned
	for round := 1; slices.Contains(b.scenarios, report.Scale); round++ {
		sizes := slices.DeleteFunc(slices.Clone(b.sizes), func(size int) bool { return b.roundsAt(size) < round })
		if len(sizes) == 0 {
			break
		}
		for _, size := range sizes {
			both := b.bothSides(size, round)
			if (round+slices.Index(b.sizes, size))%2 == 0 {
				slices.Reverse(both)
			}
			all = append(all, both...)
		}
	}
	for _, one := range others {
		if slices.Contains(b.scenarios, one.scenario) {
			one.side, one.round, one.rounds = report.Operator, 1, 1
			all = append(all, one)
		}
	}
	return all
}

func (b *bench) bothSides(size, round int) []planned {
	w := workload{agents: size, replicas: b.replicas, namespaces: 10}
	return []planned{
		{report.Scale, report.Floor, w, round, b.roundsAt(size), bareScale},
		{report.Scale, report.Operator, w, round, b.roundsAt(size), operated(scale)},
	}
}
