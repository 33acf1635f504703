package load

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/cmd/traffic/report"
)

// head starts a stream, whose chunks are sent by chunk.
const head = "HTTP/1.1 200 OK\r\nX-Agent-Pod: pod-1\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

func (p *peer) chunk(text string) { _, _ = fmt.Fprintf(p, "%x\r\n%s\r\n", len(text), text) }

func (p *peer) event(id string, final bool) {
	p.chunk(fmt.Sprintf(": a comment\n\nevent: message\ndata: {\"id\":%q,\ndata: \"result\":{\"kind\":\"status-update\",\"final\":%t}}\n\n", id, final))
}

func TestAStreamFinishesOrIsCut(t *testing.T) {
	for name, test := range map[string]struct {
		behave func(p *peer, id string)
		want   string
	}{
		"final event":     {func(p *peer, id string) { p.event(id, true) }, report.OK},
		"ends without it": {func(p *peer, _ string) { p.chunk("") }, report.Cut},
		"closed":          {func(*peer, string) {}, report.Cut},
		"reset":           {func(p *peer, _ string) { p.reset() }, report.Reset},
		"silent":          {func(p *peer, _ string) { _, _ = p.read() }, report.Timeout},
		"an error": {func(p *peer, id string) {
			p.chunk(fmt.Sprintf("data: {\"id\":%q,\"error\":{\"code\":-32603}}\n\n", id))
		}, "rpc error -32603"},
		"another's event":         {func(p *peer, _ string) { p.event("other", true) }, report.BadAnswer},
		"a message is the answer": {func(p *peer, id string) { p.chunk("data: " + result(id) + "\n\n") }, report.OK},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(serve(t, func(_ int, p *peer) {
				id, _ := p.read()
				_, _ = p.Write([]byte(head))
				p.event(id, false)
				test.behave(p, id)
			}))
			if test.want == report.Timeout {
				o.StreamFor, o.Timeout = 200*time.Millisecond, 200*time.Millisecond
			}
			g := generator(t, o)
			record := g.stream(t.Context(), g.Now())
			require.Equal(t, test.want, record.Outcome)
			if test.want != report.Reset { // a reset may overtake the event
				require.Positive(t, record.FirstEvent)
				require.Equal(t, "pod-1", record.Pod)
			}
			require.GreaterOrEqual(t, record.Latency, record.FirstEvent)
		})
	}
}

func TestAStreamThatDoesNotStartRecordsItsCause(t *testing.T) {
	for want, behave := range map[string]func(p *peer){
		report.EOF:       func(*peer) {},
		"status 503":     func(p *peer) { p.respond(503, "", "busy") },
		report.BadAnswer: func(p *peer) { p.respond(200, "Content-Type: application/json\r\n", "{}") },
	} {
		t.Run(want, func(t *testing.T) {
			g := generator(t, options(serve(t, func(_ int, p *peer) {
				_, _ = p.read()
				behave(p)
			})))
			require.Equal(t, want, g.stream(t.Context(), g.Now()).Outcome)
		})
	}
}

func TestTheRequestedNumberOfStreamsStaysOpen(t *testing.T) {
	var open atomic.Int64
	finish, ids := make(chan struct{}), make(chan int, 99)
	o := options(serve(t, func(n int, p *peer) {
		id, _ := p.read()
		_, _ = p.Write([]byte(head))
		ids <- n
		open.Add(1)
		<-finish
		open.Add(-1)
		p.event(id, true)
	}))
	o.Rate, o.Streams = 0, 3
	g := generator(t, o)
	start(t, g)
	eventually(t, func() bool { return open.Load() == 3 }, "three open")
	finish <- struct{}{}
	eventually(t, func() bool { return count(g) == 1 && open.Load() == 3 }, "another in the place of one that finished")
	require.Len(t, ids, 4)
	g.stop()
	close(finish)
	require.NoError(t, g.Stop(t.Context()))
	require.Equal(t, 4, report.Summarize(g.Records().All(), 0, 0).StreamsFinished)
	require.Len(t, ids, 4)
}
