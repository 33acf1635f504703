// Package load is an open-loop load generator for an A2A agent. Requests are due at a constant rate whatever becomes of those
// before, and latency counts from when a request was due, so that a stall of the target shows in all that it held up. It
// repeats nothing: Go's own HTTP client sends a request again when a kept connection turns out to be closed, so this one
// writes to its connections itself.
package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flokoa/flokoa/ci/cmd/traffic/report"
)

// streamPause is the least time from the start of a stream to that of the next one in its place, so that a target that refuses,
// or whose model answers at once, is not flooded.
const streamPause = 200 * time.Millisecond

// Options configure the requests.
type Options struct {
	Target         string        // URL without a path, http only
	Rate           float64       // requests a second; 0 for streams only
	Connections    int           // how many are kept alive
	NewConnections float64       // the share of requests that go over a connection of their own, 0 to 1
	PostPath       string        // for A2A message/send; empty for no posts
	GetPath        string        // empty for no gets
	Timeout        time.Duration // for a request, from when it started
	MaxInFlight    int           // more are not sent, but recorded as Overrun
	Streams        int           // how many A2A message/stream are open at all times
	StreamFor      time.Duration // how long the target takes for each; one that takes longer than this and Timeout has failed
	StreamText     string        // the text that requests a stream; empty for "stream for 30s", of StreamFor
}

func (o Options) check() error {
	switch {
	case o.Rate < 0 || o.Rate > 10000:
		return fmt.Errorf("rate %v: give 0 to 10000 requests a second", o.Rate)
	case o.Rate > 0 && o.PostPath == "" && o.GetPath == "":
		return errors.New("nothing to send: give a path for posts or gets, or rate 0")
	case o.NewConnections < 0 || o.NewConnections > 1:
		return fmt.Errorf("share of new connections %v: give 0 to 1", o.NewConnections)
	case o.Connections < 0 || o.MaxInFlight < 1 || o.Streams < 0:
		return errors.New("connections, streams and requests in flight: give numbers above 0")
	case o.Timeout <= 0:
		return errors.New("timeout: give a duration above 0")
	case o.Streams > 0 && o.StreamFor <= 0:
		return errors.New("duration of a stream: give one above 0")
	}
	return nil
}

// Generator sends requests and records them.
type Generator struct {
	options  Options
	target   target
	pool     pool
	records  *Records
	began    time.Time
	inFlight atomic.Int64
	serial   atomic.Int64
	work     sync.WaitGroup
	quit     chan struct{}
	stop     func()
	done     chan struct{}
}

// New returns a generator that has not started. The error names the invalid option.
func New(options Options) (*Generator, error) {
	t, err := newTarget(options.Target)
	if err != nil {
		return nil, err
	}
	if err := options.check(); err != nil {
		return nil, err
	}
	if options.StreamText == "" {
		options.StreamText = fmt.Sprintf("stream for %v", options.StreamFor)
	}
	quit := make(chan struct{})
	return &Generator{
		options: options,
		target:  t,
		pool:    pool{dial: t.dial, size: options.Connections},
		records: newRecords(),
		began:   time.Now(),
		quit:    quit,
		stop:    sync.OnceFunc(func() { close(quit) }),
		done:    make(chan struct{}),
	}, nil
}

// Records is what was recorded.
func (g *Generator) Records() *Records { return g.records }

// Now is the generator's clock, by which all records are stamped. It does not jump when the machine's clock is set.
func (g *Generator) Now() time.Time { return g.began.Add(time.Since(g.began)) }

// Run sends until Stop is called and what was in flight has ended, or ctx ends, which cuts what is in flight. Call it once.
func (g *Generator) Run(ctx context.Context) {
	defer close(g.done)
	defer context.AfterFunc(ctx, g.stop)()
	for range g.options.Streams {
		g.work.Go(func() { g.keepStreaming(ctx) })
	}
	if g.options.Rate > 0 {
		g.work.Go(func() { g.pace(ctx) })
	}
	<-g.quit
	g.work.Wait()
}

// Stop starts nothing new, and waits until what is in flight has ended. The error is the context's.
func (g *Generator) Stop(ctx context.Context) error {
	g.stop()
	select {
	case <-g.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pace starts each request when it is due. One that is late, since this process was held up, starts at once.
func (g *Generator) pace(ctx context.Context) {
	first := g.Now()
	due := func(i int64) time.Time {
		return first.Add(time.Duration(float64(i) / g.options.Rate * float64(time.Second)))
	}
	key := g.records.expect(first.UnixMilli())
	for i := int64(0); g.await(time.Until(due(i))); i++ {
		// The next one is known before this one can end, so that no window looks whole too early.
		next := g.records.expect(due(i + 1).UnixMilli())
		g.launch(ctx, i, due(i), key)
		key = next
	}
	g.records.cancel(key)
}

// await waits, and reports whether to go on.
func (g *Generator) await(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-g.quit:
		return false
	case <-timer.C:
	}
	select {
	case <-g.quit:
		return false
	default:
		return true
	}
}

func (g *Generator) launch(ctx context.Context, i int64, due time.Time, key uint64) {
	kind, own := g.options.shape(i)
	if g.inFlight.Load() >= int64(g.options.MaxInFlight) {
		late := time.Since(due)
		g.records.end(key, report.Record{Start: due.UnixMilli(), Kind: kind, Late: late, Latency: late, Outcome: report.Overrun})
		return
	}
	g.inFlight.Add(1)
	g.work.Go(func() {
		defer g.inFlight.Add(-1)
		g.records.end(key, g.request(ctx, kind, own, due))
	})
}

// shape returns the kind of a request, alternating by number, and whether it has a connection of its own, which the
// share of them spreads evenly over each kind.
func (o Options) shape(i int64) (kind string, own bool) {
	kinds := []string{report.Post, report.Get}
	switch {
	case o.GetPath == "":
		kinds = []string{report.Post}
	case o.PostPath == "":
		kinds = []string{report.Get}
	}
	n := int64(len(kinds))
	nth := float64(i / n)
	return kinds[i%n], int64((nth+1)*o.NewConnections) > int64(nth*o.NewConnections)
}

func (g *Generator) request(ctx context.Context, kind string, own bool, due time.Time) report.Record {
	record := report.Record{Start: due.UnixMilli(), Kind: kind, Late: time.Since(due)}
	ctx, cancel := context.WithTimeout(ctx, g.options.Timeout)
	defer cancel()
	get, put := g.pool.get, g.pool.put
	if own {
		get, put = g.dialOwn, closeOwn
	}
	c, how, err := get(ctx)
	record.Connection = how
	if err == nil {
		var reusable bool
		release := c.during(ctx)
		reusable, err = g.exchange(c, kind, own)
		record.Pod, record.Version = c.pod, c.version
		put(c, release() && reusable)
	}
	record.Outcome, record.Latency = cause(err), time.Since(due)
	return record
}

func (g *Generator) dialOwn(ctx context.Context) (*connection, string, error) {
	c, err := g.target.dial(ctx)
	return c, report.New, err
}

func closeOwn(c *connection, _ bool) { _ = c.Close() }

// exchange sends one request and checks the response. It reports whether the connection may serve another one.
func (g *Generator) exchange(c *connection, kind string, own bool) (bool, error) {
	id := strconv.FormatInt(g.serial.Add(1), 10)
	request, err := g.newRequest(kind, id)
	if err != nil {
		return false, err
	}
	request.Close = own
	status, body, reusable, err := c.exchange(request)
	if err == nil && status != http.StatusOK {
		err = statusOutcome(status)
	}
	if err == nil && kind == report.Post {
		_, err = checkAnswer(body, id)
	}
	return reusable, err
}

func (g *Generator) newRequest(kind, id string) (*http.Request, error) {
	method, path, body := http.MethodPost, g.options.PostPath, []byte(nil)
	switch kind {
	case report.Get:
		method, path = http.MethodGet, g.options.GetPath
	case report.Post:
		body = rpcRequest("message/send", id, "ping")
	case report.Stream:
		body = rpcRequest("message/stream", id, g.options.StreamText)
	}
	request, err := http.NewRequest(method, "http://"+g.target.url.Host+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "flokoa-traffic")
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
	}
	if kind == report.Stream {
		request.Header.Set("Accept", "text/event-stream")
	}
	return request, nil
}

// keepStreaming keeps one stream open.
func (g *Generator) keepStreaming(ctx context.Context) {
	var pause time.Duration
	for g.await(pause) {
		record := g.stream(ctx, g.Now())
		g.records.add(record)
		pause = streamPause - record.Latency
	}
}

func (g *Generator) stream(ctx context.Context, due time.Time) report.Record {
	record := report.Record{Start: due.UnixMilli(), Kind: report.Stream, Connection: report.New}
	ctx, cancel := context.WithTimeout(ctx, g.options.StreamFor+g.options.Timeout)
	defer cancel()
	dialling, dialled := context.WithTimeout(ctx, g.options.Timeout)
	c, err := g.target.dial(dialling)
	dialled()
	if err == nil {
		release := c.during(ctx)
		err = g.followStream(c, func() { record.FirstEvent = time.Since(due) })
		release()
		record.Pod, record.Version = c.pod, c.version
		_ = c.Close()
	}
	record.Outcome, record.Latency = cause(err), time.Since(due)
	return record
}

// followStream requests a stream and reads it to its final event.
func (g *Generator) followStream(c *connection, onEvent func()) error {
	id := strconv.FormatInt(g.serial.Add(1), 10)
	request, err := g.newRequest(report.Stream, id)
	if err != nil {
		return err
	}
	response, err := c.send(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return statusOutcome(response.StatusCode)
	}
	if !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		return outcome(report.BadAnswer)
	}
	return readStream(response.Body, id, onEvent)
}
