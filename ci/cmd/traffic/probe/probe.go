// Package probe tests whether a target can be reached from here: one request, one verdict.
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The kinds of probe.
const (
	Connect = "connect" // send a line over TCP or UDP and expect it back
	Resolve = "resolve" // look up a name with the pod's resolver
)

// The verdicts.
const (
	Allowed = "allowed"
	Reached = "reached" // refused: a packet came back, so nothing on the way dropped it
	Denied  = "denied"
)

// Request is one probe. Its JSON is a line of the input of traffic probe.
type Request struct {
	ID             string  `json:"id"`
	Kind           string  `json:"kind"`
	Protocol       string  `json:"protocol,omitempty"`       // tcp or udp; default tcp, for Resolve udp
	Host           string  `json:"host,omitempty"`           // Connect; for Resolve the name
	Port           int     `json:"port,omitempty"`           // Connect
	NoEcho         bool    `json:"noEcho,omitempty"`         // Connect over TCP: a completed handshake is enough
	Server         string  `json:"server,omitempty"`         // Resolve: host:port to query instead of the pod's resolver
	TimeoutSeconds float64 `json:"timeoutSeconds,omitempty"` // default 2 for Connect, 5 for Resolve
}

// Verdict is the outcome of a request. Its JSON is a line of the output of traffic probe.
type Verdict struct {
	ID        string   `json:"id"`
	Verdict   string   `json:"verdict"`
	Cause     string   `json:"cause,omitempty"`     // refused, timeout, unreachable, or the error, unless Allowed
	Addresses []string `json:"addresses,omitempty"` // Resolve
	TookMS    int64    `json:"tookMs"`
}

// String is the verdict as a person reads it: "allowed", "reached: refused", "denied: timeout".
func (v Verdict) String() string {
	if v.Cause == "" {
		return v.Verdict
	}
	return v.Verdict + ": " + v.Cause
}

// Run probes once, without retries; only the resolver tries each server of resolv.conf.
func Run(ctx context.Context, q Request) Verdict {
	kinds := map[string]struct {
		timeout time.Duration
		run     func(context.Context, Request, *Verdict) error
	}{
		Connect: {2 * time.Second, connect},
		Resolve: {5 * time.Second, resolve},
	}
	kind, known := kinds[q.Kind]
	if !known {
		return Verdict{ID: q.ID, Verdict: Denied, Cause: fmt.Sprintf("kind %q: give connect or resolve", q.Kind)}
	}
	if q.TimeoutSeconds > 0 {
		kind.timeout = time.Duration(q.TimeoutSeconds * float64(time.Second))
	}
	ctx, cancel := context.WithTimeout(ctx, kind.timeout)
	defer cancel()
	began := time.Now()
	v := Verdict{ID: q.ID}
	v.Verdict, v.Cause = verdictOf(kind.run(ctx, q, &v))
	v.TookMS = time.Since(began).Milliseconds()
	return v
}

// verdictOf distinguishes success, a refused connection, and no response.
func verdictOf(err error) (verdict, cause string) {
	var timeout net.Error
	switch {
	case err == nil:
		return Allowed, ""
	case errors.Is(err, syscall.ECONNREFUSED):
		return Reached, "refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return Denied, "unreachable"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Denied, "timeout"
	}
	return Denied, err.Error()
}

func connect(ctx context.Context, q Request, _ *Verdict) error {
	protocol := q.Protocol
	if protocol == "" {
		protocol = "tcp"
	}
	if protocol != "tcp" && protocol != "udp" {
		return fmt.Errorf("protocol %q: give tcp or udp", protocol)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, protocol, net.JoinHostPort(q.Host, strconv.Itoa(q.Port)))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if q.NoEcho && protocol == "tcp" {
		return nil
	}
	return echo(ctx, conn)
}

// echo sends a line and expects it back.
func echo(ctx context.Context, conn net.Conn) error {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	line := []byte("flokoa " + strconv.FormatInt(time.Now().UnixNano(), 36) + "\n")
	if _, err := conn.Write(line); err != nil {
		return err
	}
	back := make([]byte, len(line))
	if n, err := io.ReadFull(conn, back); err != nil {
		return fmt.Errorf("%d of %d bytes came back: %w", n, len(line), err)
	}
	if string(back) != string(line) {
		return fmt.Errorf("%q came back: not an echo, use no-echo", back)
	}
	return nil
}

// resolve uses one protocol only. Go's resolver retries over TCP when a response over UDP is truncated; here this is an error.
func resolve(ctx context.Context, q Request, v *Verdict) error {
	protocol := q.Protocol
	if protocol == "" {
		protocol = "udp"
	}
	if protocol != "tcp" && protocol != "udp" {
		return fmt.Errorf("protocol %q: give tcp or udp", protocol)
	}
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, server string) (net.Conn, error) {
		if protocol == "udp" && strings.HasPrefix(network, "tcp") {
			return nil, errors.New("the answer does not fit into UDP")
		}
		if q.Server != "" {
			server = q.Server
		}
		var dialer net.Dialer
		return dialer.DialContext(ctx, protocol, server)
	}}
	addresses, err := resolver.LookupHost(ctx, q.Host)
	v.Addresses = addresses
	return err
}

// Batch reads requests as JSON lines, runs up to atOnce of them at a time, and writes each verdict as a JSON line once it is known.
// An invalid line ends it with an error, after the verdicts of the requests before.
func Batch(ctx context.Context, in io.Reader, out io.Writer, atOnce int) error {
	var (
		requests = json.NewDecoder(in)
		places   = make(chan struct{}, atOnce)
		mu       sync.Mutex
		written  error
		work     sync.WaitGroup
	)
	verdicts := json.NewEncoder(out)
	for n := 1; ; n++ {
		var q Request
		err := requests.Decode(&q)
		if err != nil {
			work.Wait()
			if errors.Is(err, io.EOF) {
				return written
			}
			return fmt.Errorf("request %d: %w", n, err)
		}
		places <- struct{}{}
		work.Go(func() {
			v := Run(ctx, q)
			<-places
			mu.Lock()
			defer mu.Unlock()
			written = errors.Join(written, verdicts.Encode(v))
		})
	}
}
