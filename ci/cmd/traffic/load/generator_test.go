package load

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/cmd/traffic/report"
)

// start runs the generator until the test ends.
func start(t *testing.T, g *Generator) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	go g.Run(ctx)
	t.Cleanup(func() {
		cancel()
		<-g.done
	})
}

func count(g *Generator) int { return len(g.Records().All()) }

func TestTheRateIsKept(t *testing.T) {
	o := options(serve(t, func(_ int, p *peer) { answerWell(p) }))
	o.Rate, o.NewConnections = 200, 0.2
	g := generator(t, o)
	began := g.Now()
	start(t, g)
	eventually(t, func() bool { return count(g) >= 200 }, "200 requests")
	require.NoError(t, g.Stop(t.Context()))

	records := g.Records().All()
	require.Greater(t, float64(len(records))/(g.Now().Sub(began).Seconds()*o.Rate), 0.7, "the share of what was due")
	starts := make([]int64, 0, len(records))
	for _, r := range records {
		require.Equal(t, report.OK, r.Outcome)
		starts = append(starts, r.Start)
	}
	slices.Sort(starts)
	for i, start := range starts {
		require.InDelta(t, starts[0]+int64(i)*5, start, 1, "due at a constant rate, 5 ms apart")
	}
	s := report.Summarize(records, 0, 0)
	require.InDelta(t, 0.2, float64(s.Connections[report.New])/float64(s.Requests), 0.03)
	require.Equal(t, map[string]int{"pod-1": s.Requests}, s.Pods)
}

func TestAStallShowsInEveryRequestThatWasDueMeanwhile(t *testing.T) {
	var waiting atomic.Int64
	var gate sync.RWMutex
	o := options(serve(t, func(_ int, p *peer) {
		for {
			id, err := p.read()
			if err != nil {
				return
			}
			waiting.Add(1)
			gate.RLock()
			waiting.Add(-1)
			gate.RUnlock()
			p.respond(200, "", result(id))
		}
	}))
	g := generator(t, o)
	start(t, g)
	eventually(t, func() bool { return count(g) >= 20 }, "some requests before the stall")
	gate.Lock()
	closed := g.Now().UnixMilli()
	eventually(t, func() bool { return waiting.Load() >= 40 }, "requests go on, over more connections than are kept")
	opened := g.Now().UnixMilli()
	gate.Unlock()
	require.NoError(t, g.Stop(t.Context()))

	stalled := 0
	for _, r := range g.Records().All() {
		require.Equal(t, report.OK, r.Outcome)
		if r.Start > closed && r.Start < opened {
			stalled++
			require.GreaterOrEqual(t, r.Latency.Milliseconds(), opened-r.Start-1, "as long as the rest of the stall")
		}
	}
	require.GreaterOrEqual(t, stalled, 35)
	require.Equal(t, 2, g.pool.open)
}

func TestLatencyCountsFromWhenARequestWasDue(t *testing.T) {
	g := generator(t, options(serve(t, func(_ int, p *peer) { answerWell(p) })))
	record := g.request(t.Context(), report.Get, false, g.Now().Add(-time.Minute))
	require.Equal(t, report.OK, record.Outcome)
	require.GreaterOrEqual(t, record.Latency, time.Minute)
	require.GreaterOrEqual(t, record.Late, time.Minute)
}

func TestRequestsBeyondThoseThatMayBeInFlightAreOverruns(t *testing.T) {
	hold := make(chan struct{})
	o := options(serve(t, func(_ int, p *peer) {
		id, _ := p.read()
		<-hold
		p.respond(200, "", result(id))
	}))
	o.MaxInFlight = 3
	g := generator(t, o)
	start(t, g)
	eventually(t, func() bool { return count(g) >= 10 }, "overruns")
	g.stop()
	close(hold)
	require.NoError(t, g.Stop(t.Context()))
	s := report.Summarize(g.Records().All(), 0, 0)
	require.Equal(t, map[string]int{report.Overrun: s.Failures}, s.Causes)
	require.Equal(t, 3, s.Requests-s.Failures)
}

func TestStopDrainsRequestsInFlight(t *testing.T) {
	received, hold := make(chan struct{}, 999), make(chan struct{})
	o := options(serve(t, func(_ int, p *peer) {
		id, _ := p.read()
		received <- struct{}{}
		<-hold
		p.respond(200, "", result(id))
	}))
	g := generator(t, o)
	start(t, g)
	<-received
	over, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, g.Stop(over), context.DeadlineExceeded)
	close(hold)
	require.NoError(t, g.Stop(t.Context()))
	require.Zero(t, report.Summarize(g.Records().All(), 0, 0).Failures)
	require.Empty(t, g.records.pending)
	before := count(g)
	require.False(t, g.await(0), "nothing new starts")
	require.Equal(t, before, count(g))
}

func TestAWindowIsCompleteWhenAllItsRequestsHaveEnded(t *testing.T) {
	received, hold := make(chan struct{}, 999), make(chan struct{})
	g := generator(t, options(serve(t, func(_ int, p *peer) {
		id, _ := p.read()
		received <- struct{}{}
		<-hold
		p.respond(200, "", result(id))
	})))
	start(t, g)
	<-received
	to := g.Now().UnixMilli() + 1
	over, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, g.Records().Settle(over, to), context.DeadlineExceeded)
	close(hold)
	require.NoError(t, g.Records().Settle(t.Context(), to))
	require.NotEmpty(t, g.Records().All())
}

func TestRequestsAlternateAndShareNewConnectionsEvenly(t *testing.T) {
	for name, test := range map[string]struct {
		options    Options
		posts, own int // of 1000, and of these posts
	}{
		"both":               {Options{PostPath: "/", GetPath: "/c"}, 500, 0},
		"posts only":         {Options{PostPath: "/"}, 1000, 0},
		"gets only":          {Options{GetPath: "/"}, 0, 0},
		"a fifth is new":     {Options{PostPath: "/", GetPath: "/c", NewConnections: 0.2}, 500, 100},
		"half, of each kind": {Options{PostPath: "/", GetPath: "/c", NewConnections: 0.5}, 500, 250},
		"all are new":        {Options{PostPath: "/", GetPath: "/c", NewConnections: 1}, 500, 500},
	} {
		t.Run(name, func(t *testing.T) {
			posts, ownPosts, own := 0, 0, 0
			for i := range int64(1000) {
				kind, new := test.options.shape(i)
				if new {
					own++
				}
				if kind == report.Post {
					posts++
					if new {
						ownPosts++
					}
				}
			}
			require.Equal(t, test.posts, posts)
			require.Equal(t, test.own, ownPosts)
			require.InDelta(t, test.options.NewConnections*1000, own, 2)
		})
	}
}

func TestInvalidOptionsAreRejected(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"target":          func(o *Options) { o.Target = "https://agent" },
		"rate":            func(o *Options) { o.Rate = -1 },
		"nothing to send": func(o *Options) { o.PostPath, o.GetPath = "", "" },
		"share":           func(o *Options) { o.NewConnections = 2 },
		"connections":     func(o *Options) { o.MaxInFlight = 0 },
		"timeout":         func(o *Options) { o.Timeout = 0 },
		"duration":        func(o *Options) { o.Streams, o.StreamFor = 1, 0 },
	} {
		t.Run(want, func(t *testing.T) {
			o := options("http://agent")
			change(&o)
			_, err := New(o)
			require.ErrorContains(t, err, want)
		})
	}
}

func TestHalfAnHourFitsInSomeTensOfMegabytes(t *testing.T) {
	records := newRecords()
	for i := range 180_000 {
		records.add(report.Record{Start: int64(i), Pod: "pod", Outcome: report.OK})
	}
	require.Len(t, records.All(), 180_000)
	require.EqualValues(t, 179_999, records.All()[179_999].Start)
	require.Len(t, records.names, 3)
	records.Reset()
	require.Empty(t, records.All())
}
