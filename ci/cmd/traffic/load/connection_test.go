package load

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/cmd/traffic/report"
)

func TestAConnectionWithConnectionCloseIsNotReused(t *testing.T) {
	var connections atomic.Int64
	g := generator(t, options(serve(t, func(_ int, p *peer) {
		connections.Add(1)
		id, _ := p.read()
		p.respond(200, "Connection: close\r\n", result(id))
		answerWell(p) // leaves it open, so that only the header announces the close
	})))
	for i := range 6 {
		record := one(t, g, report.Post)
		require.Equal(t, report.OK, record.Outcome)
		require.Equal(t, report.Opened, record.Connection)
		require.EqualValues(t, i+1, connections.Load())
	}
}

func TestAnIdleConnectionClosedByTheServerIsReplaced(t *testing.T) {
	for want, end := range map[string]func(*peer){
		report.ReplacedClosed: func(p *peer) { _ = p.CloseWrite() },
		report.ReplacedReset:  (*peer).reset,
	} {
		t.Run(want, func(t *testing.T) {
			answered := make(chan struct{})
			g := generator(t, options(serve(t, func(n int, p *peer) {
				if n > 0 {
					answerWell(p)
					return
				}
				id, _ := p.read()
				p.respond(200, "", result(id))
				<-answered // a reset would overtake the answer
				end(p)
				_, _ = p.read()
			})))
			g.pool.size = 1
			require.Equal(t, report.OK, one(t, g, report.Post).Outcome)
			close(answered)
			state := report.Kept
			eventually(t, func() bool {
				state = g.pool.idle[0].idleState()
				return state != report.Kept
			}, "the end arrives")
			require.Equal(t, want, state)
			second := one(t, g, report.Post)
			require.Equal(t, report.OK, second.Outcome)
			require.Contains(t, second.Connection, "replaced", "the kernel reports a reset once, and a close after that")
			require.Equal(t, report.Kept, one(t, g, report.Post).Connection)
			require.Equal(t, 1, g.pool.open)
		})
	}
}

func TestConnectionsTakeTurns(t *testing.T) {
	var served [3]atomic.Int64
	o := options(serve(t, func(n int, p *peer) {
		for {
			id, err := p.read()
			if err != nil {
				return
			}
			served[n].Add(1)
			p.respond(200, "", result(id))
		}
	}))
	o.Connections = 3
	g := generator(t, o)
	for range 9 {
		require.Equal(t, report.OK, one(t, g, report.Get).Outcome)
	}
	for n := range served {
		require.EqualValues(t, 3, served[n].Load())
	}
}

func TestConnectionsBeyondThoseKeptAreClosed(t *testing.T) {
	g := generator(t, options(serve(t, func(_ int, p *peer) { answerWell(p) })))
	var taken []*connection
	for range 5 {
		c, how, err := g.pool.get(t.Context())
		require.NoError(t, err)
		require.Equal(t, report.Opened, how)
		taken = append(taken, c)
	}
	for _, c := range taken {
		g.pool.put(c, true)
	}
	require.Len(t, g.pool.idle, 2)
	require.Equal(t, 2, g.pool.open)
}

func TestANewConnectionServesOneRequest(t *testing.T) {
	closed := make(chan error, 2)
	g := generator(t, options(serve(t, func(_ int, p *peer) {
		id, _ := p.read()
		p.respond(200, "", result(id))
		_, err := p.read()
		closed <- err
	})))
	for range 2 {
		record := g.request(t.Context(), report.Post, true, g.Now())
		require.Equal(t, report.OK, record.Outcome)
		require.Equal(t, report.New, record.Connection)
		require.Error(t, <-closed)
	}
}
