package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/flokoa/flokoa/ci/cmd/bench/floor"
	"github.com/flokoa/flokoa/ci/cmd/bench/report"
	"github.com/flokoa/flokoa/ci/testkit/harness"
)

// side is one of the two that bring Agents up.
type side interface {
	// created and rolled are called after an Agent was created or got another image.
	created(agent *agent)
	rolled(agent *agent)
	// broken is the error that stopped it, if any.
	broken() error
	// settle waits until it has nothing more to do.
	settle(ctx context.Context) error
	// cpu is the CPU time that it has used; harness.ErrNoProc where that cannot be known.
	cpu() (time.Duration, error)
}

// measuring is one measurement under way.
type measuring struct {
	*stage
	*report.Measurement
	// program is the operator's, flags are those that it gets beside its defaults.
	program string
	flags   []string
	// samples are what the floor applies, by image.
	samples map[string]*floor.Sample
	// profiler is nil unless profiles are asked for.
	profiler *profiler
	logf     func(format string, args ...any)
}

// create has Agents made, and measures until all are ready.
func (m *measuring) create(ctx context.Context, name string, s side, from, to int) error {
	return m.phase(ctx, name, s, firstImage, to-from, func(ctx context.Context) error {
		return forEach(ctx, from, to, func(ctx context.Context, i int) error {
			a, err := m.workload.create(ctx, m.api, i)
			if err == nil {
				s.created(a)
			}
			return err
		})
	})
}

// roll gives Agents another image, and measures until all run it.
func (m *measuring) roll(ctx context.Context, name string, s side, image string, agents int) error {
	return m.phase(ctx, name, s, image, agents, func(ctx context.Context) error {
		return forEach(ctx, 0, agents, func(ctx context.Context, i int) error {
			a, err := m.workload.reimage(ctx, m.api, i, image)
			if err == nil {
				s.rolled(a)
			}
			return err
		})
	})
}

// phase measures what it takes from the beginning of act until all Agents are ready.
func (m *measuring) phase(ctx context.Context, name string, s side, image string, agents int, act func(context.Context) error) error {
	mark, err := m.Audit.End()
	if err != nil {
		return err
	}
	used, profiled := m.clocks(s), m.profiler.start(ctx, name)
	seen, began := m.observer.startPhase(image, agents), time.Now()
	if err := act(ctx); err != nil {
		return err
	}
	if err := seen.await(ctx, s.broken, m.logf); err != nil {
		return err
	}
	seconds := seen.last.Sub(began).Seconds()
	m.Values[name+".seconds"] = seconds
	m.spent(name+".cpu.controlplane", used.cluster, m.CPU)
	if err := errors.Join(s.settle(ctx), profiled()); err != nil {
		return err
	}
	m.spent(name+".cpu."+m.Side, used.side, s.cpu)
	m.latencies(name, seen)
	m.logf("%s: %d Agents ready after %.1fs", name, agents, seconds)
	return m.count(name, mark)
}

// clocks are CPU times at the beginning of a phase.
type clocks struct{ cluster, side time.Duration }

func (m *measuring) clocks(s side) clocks {
	cluster, _ := m.CPU() // where it cannot be known, it cannot be known in the end either
	own, _ := s.cpu()
	return clocks{cluster, own}
}

// spent keeps the CPU seconds since a time, where they can be known.
func (m *measuring) spent(name string, since time.Duration, clock func() (time.Duration, error)) {
	if now, err := clock(); err == nil {
		m.Values[name] = (now - since).Seconds()
	}
}

func (m *measuring) latencies(name string, p *phase) {
	m.Latencies[name+".reaction"] = p.latencies(p.available, p.ready)
	if len(p.sent) > 0 {
		m.Latencies[name+".write"] = p.latencies(p.sent, p.ready)
	}
}

// count records the requests of the operator's account in a phase.
func (m *measuring) count(name string, since harness.Mark) error {
	requests, err := m.since(since, "")
	if err != nil {
		return err
	}
	c := tally(requests)
	m.Requests[name] = c.requests
	for what, n := range map[string]int{
		"children": c.children, "statuses": c.statuses, "events": c.events, "conflicts": c.conflicts, "failures": c.failures, "requests": c.all,
	} {
		m.Values[name+"."+what] = float64(n)
	}
	return nil
}

// rate is how many requests a second the operator's account has sent since a mark, with those about Leases.
func (m *measuring) rate(since harness.Mark, period time.Duration) (float64, error) {
	requests, err := m.since(since, "")
	requests = slices.DeleteFunc(requests, func(r harness.Request) bool { return r.Verb == "watch" })
	return float64(len(requests)) / period.Seconds(), err
}

// since are the requests of the operator's account after a mark, by one credential or by all.
func (m *measuring) since(mark harness.Mark, credential string) ([]harness.Request, error) {
	all, err := m.Audit.Requests(harness.Account, mark)
	if err != nil || credential == "" {
		return all, err
	}
	var theirs []harness.Request
	for _, r := range all {
		if r.SentBy(credential) {
			theirs = append(theirs, r)
		}
	}
	return theirs, nil
}

// memory keeps what a process holds, in MiB, where that can be known.
func (m *measuring) memory(name string, pid int) {
	memory, err := harness.MemoryOf(pid)
	if errors.Is(err, harness.ErrNoProc) {
		return
	}
	m.Values[name+".rss"], m.Values[name+".peak"] = float64(memory.RSS)/1024, float64(memory.Peak)/1024
}

// silence waits until the operator's account sends no requests for a while, except for leases and watches.
func (m *measuring) silence(ctx context.Context, long time.Duration) error {
	mark, err := m.Audit.End()
	if err != nil {
		return err
	}
	quiet := time.Now()
	return await(ctx, 5*time.Minute, "no request is sent any more", func(context.Context) (bool, error) {
		requests, err := m.since(mark, "")
		if err != nil {
			return false, err
		}
		if tally(requests).all > 0 {
			quiet = time.Now()
		}
		mark, err = m.Audit.End()
		return time.Since(quiet) >= long, err
	})
}
