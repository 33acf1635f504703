package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/cmd/bench/floor"
	"github.com/flokoa/flokoa/ci/testkit/harness"
)

const (
	// few is how many Agents are rolled one by one, to see how soon a status follows when little else happens; apart is the time
	// between two.
	few   = 20
	apart = 500 * time.Millisecond
	// resting is how long an operator with nothing to do is watched.
	resting = 10 * time.Second
	// tellTakeover bounds the time until a standby leads.
	tellTakeover = time.Minute
)

// takeSamples has the operator make one Agent and roll it, and returns what it applied, by image.
func (m *measuring) takeSamples(ctx context.Context) (map[string]*floor.Sample, error) {
	o, err := m.operate(ctx)
	if err != nil {
		return nil, err
	}
	defer o.end()
	// As long as the other names are, and a word that is in nothing else.
	specimen := m.workload.named("agent-zzzzz", m.workload.namespace(0))
	samples := map[string]*floor.Sample{}
	for _, image := range []string{firstImage, secondImage} {
		seen := m.observer.startPhase(image, 1)
		specimen.Spec.Runtime.Spec.Container.Image = image
		if image == firstImage {
			err = m.api.Create(ctx, specimen)
		} else {
			err = m.api.Update(ctx, specimen)
		}
		if err != nil {
			return nil, err
		}
		if err := seen.await(ctx, o.broken, m.logf); err != nil {
			return nil, err
		}
		if err := o.settle(ctx); err != nil {
			return nil, err
		}
		key := client.ObjectKeyFromObject(specimen)
		if samples[image], err = floor.TakeSample(ctx, m.api, key); err != nil {
			return nil, err
		}
		if err := m.api.Get(ctx, key, specimen); err != nil {
			return nil, err
		}
	}
	samples[thirdImage] = samples[secondImage]
	return samples, nil
}

// bareScale has the floor create and roll.
func bareScale(ctx context.Context, m *measuring) error {
	b, err := m.startFloor(ctx)
	if err != nil {
		return err
	}
	return m.createAndRoll(ctx, b)
}

func (m *measuring) createAndRoll(ctx context.Context, s side) error {
	if err := m.create(ctx, "create", s, 0, m.Agents); err != nil {
		return err
	}
	if o, is := s.(*operating); is {
		m.memory("created", o.PID())
		if err := m.profiler.heap(ctx, "created"); err != nil {
			return err
		}
	}
	if err := m.roll(ctx, "roll", s, secondImage, m.Agents); err != nil {
		return err
	}
	return m.rollOneByOne(ctx, s)
}

// rollOneByOne rolls a few Agents, each while the others are at rest.
func (m *measuring) rollOneByOne(ctx context.Context, s side) error {
	next := time.NewTicker(apart)
	defer next.Stop()
	agents := min(few, m.Agents)
	return m.phase(ctx, "quiet", s, thirdImage, agents, func(ctx context.Context) error {
		for i := range agents {
			a, err := m.workload.reimage(ctx, m.api, i, thirdImage)
			if err != nil {
				return err
			}
			s.rolled(a)
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-next.C:
			}
		}
		return nil
	})
}

// scale has an operator create and roll. In the first round, it also rests, starts again, and hands over: that hardly varies.
func scale(ctx context.Context, m *measuring, o *operating) error {
	if err := o.settle(ctx); err != nil {
		return err
	}
	m.memory("idle", o.PID())
	if err := m.createAndRoll(ctx, o); err != nil {
		return err
	}
	if m.Round > 1 {
		return nil
	}
	return m.leftAlone(ctx, o)
}

// leftAlone watches an operator at rest, starts it again, and has it hand over.
func (m *measuring) leftAlone(ctx context.Context, o *operating) error {
	if err := m.rest(ctx, o); err != nil {
		return err
	}
	again, err := m.restart(ctx, o)
	if err != nil {
		return err
	}
	defer again.end()
	return m.takeovers(ctx, again)
}

// rest watches an operator that has nothing to do.
func (m *measuring) rest(ctx context.Context, o *operating) error {
	mark, err := m.Audit.End()
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(resting):
	}
	m.memory("rest", o.PID())
	if m.Values["rest.rate"], err = m.rate(mark, resting); err != nil {
		return err
	}
	return m.count("rest", mark)
}

// restart stops an operator and starts it again, with all Agents settled.
func (m *measuring) restart(ctx context.Context, o *operating) (*operating, error) {
	if err := o.Stop(); err != nil {
		return nil, err
	}
	mark, err := m.Audit.End()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	next, err := o.Restart()
	if err != nil {
		return nil, err
	}
	again := &operating{next, m}
	if err := m.watchRestart(ctx, mark, began, again); err != nil {
		again.end()
		return nil, err
	}
	return again, nil
}

func (m *measuring) watchRestart(ctx context.Context, mark harness.Mark, began time.Time, again *operating) error {
	if err := again.WaitFor(ctx, "it is ready", filling, again.Ready); err != nil {
		return err
	}
	leads, err := m.awaitLease(ctx, mark, again)
	if err != nil {
		return err
	}
	m.Values["restart.leads.seconds"] = leads.Sub(began).Seconds()
	m.logf("restart: leads after %.1fs", leads.Sub(began).Seconds())
	if done, err := awaitRest(ctx, again.cpu); err == nil {
		m.Values["restart.busy.seconds"] = max(0, done.Sub(leads).Seconds())
		m.logf("restart: at rest %.1fs later", m.Values["restart.busy.seconds"])
	} else if !errors.Is(err, harness.ErrNoProc) {
		return err
	}
	if err := m.silence(ctx, calm); err != nil {
		return err
	}
	m.memory("restart", again.PID())
	for range 3 { // a second scrape may come before the memory of the first is free
		if looked := again.Metric(ctx, "controller_runtime_reconcile_total", `controller="agent"`); looked < float64(m.Agents) {
			return fmt.Errorf("after its restart the operator has looked at %.0f Agents of %d", looked, m.Agents)
		}
	}
	m.memory("scraped", again.PID())
	return m.countRestart(mark, leads)
}

// countRestart records the requests of an operator after its start, and how long they took.
func (m *measuring) countRestart(mark harness.Mark, leads time.Time) error {
	requests, err := m.since(mark, "")
	if err != nil {
		return err
	}
	last := leads
	for _, r := range requests {
		if tally([]harness.Request{r}).all > 0 && r.RequestReceivedTimestamp.After(last) {
			last = r.RequestReceivedTimestamp
		}
	}
	m.Values["restart.last.seconds"] = last.Sub(leads).Seconds()
	return m.count("restart", mark)
}

const (
	// A process is at rest that uses no more CPU than little in a time of breath: renewing the lease takes less.
	breath = time.Second
	little = 20 * time.Millisecond
)

// awaitRest waits until a process is at rest, and returns since when. It looks at its CPU time, because what it does to find that
// nothing has to be done leaves no other trace.
func awaitRest(ctx context.Context, cpu func() (time.Duration, error)) (since time.Time, err error) {
	used, since := time.Duration(0), time.Now()
	err = await(ctx, 5*time.Minute, "the operator is at rest", func(context.Context) (bool, error) {
		now, err := cpu()
		if now-used > little {
			used, since = now, time.Now()
		}
		return time.Since(since) >= breath, err
	})
	return since, err
}

// awaitLease waits until an operator holds the lease, and returns since when.
func (m *measuring) awaitLease(ctx context.Context, mark harness.Mark, o *operating) (at time.Time, err error) {
	err = await(ctx, tellTakeover, "the operator leads", func(context.Context) (bool, error) {
		if err := o.broken(); err != nil {
			return false, err
		}
		requests, err := m.since(mark, o.Credential)
		if err != nil {
			return false, err
		}
		var leads bool
		at, leads = leadsAt(requests)
		return leads, nil
	})
	return at, err
}

// leadsAt is when the lease was first written.
func leadsAt(requests []harness.Request) (time.Time, bool) {
	for _, r := range requests {
		lease := r.ObjectRef.Resource == "leases" && r.ObjectRef.Namespace == harness.System && r.ObjectRef.Name == "flokoa-operator"
		if lease && r.Verb != "get" && r.ResponseStatus.Code < http.StatusBadRequest {
			return r.RequestReceivedTimestamp, true
		}
	}
	return time.Time{}, false
}

// takeovers ends a leader in both ways, each time with a standby beside it.
func (m *measuring) takeovers(ctx context.Context, leader *operating) error {
	for _, way := range []struct {
		name string
		end  func(*harness.Operator) error
	}{
		{"stopped", (*harness.Operator).Stop},
		{"killed", (*harness.Operator).Kill},
	} {
		standby, err := m.standby(ctx, m.Config)
		if err != nil {
			return err
		}
		defer standby.end()
		if err := m.takeover(ctx, way.name, leader, way.end, standby); err != nil {
			return err
		}
		leader = standby
	}
	return nil
}

func (m *measuring) takeover(ctx context.Context, name string, leader *operating, end func(*harness.Operator) error, standby *operating) error {
	mark, err := m.Audit.End()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := end(leader.Operator); err != nil {
		return err
	}
	leads, err := m.awaitLease(ctx, mark, standby)
	if err != nil {
		return err
	}
	m.Values["takeover."+name+".seconds"] = leads.Sub(began).Seconds()
	m.logf("takeover: leader %s, the other leads %.1fs later", name, leads.Sub(began).Seconds())
	return standby.settle(ctx)
}
