package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/flokoa/flokoa/ci/cmd/traffic/report"
)

// maxAnswer is the longest body that is read, in bytes.
const maxAnswer = 1 << 20

// connection is one TCP connection to the target and who answered on it last.
type connection struct {
	net.Conn
	reader       *bufio.Reader
	pod, version string
}

// target is where connections lead to.
type target struct {
	url  *url.URL
	host string
	port uint16
}

func newTarget(text string) (target, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" {
		return target{}, fmt.Errorf("target %q: give a URL like http://agent.namespace.svc:8080", text)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return target{}, fmt.Errorf("target %q: port: %w", text, err)
	}
	return target{u, u.Hostname(), uint16(number)}, nil
}

// dial looks up the target and connects to its first address. It does not try the others, which would hide an address without a
// server.
func (t target) dial(ctx context.Context) (*connection, error) {
	resolver := net.Resolver{PreferGo: true}
	addresses, err := resolver.LookupNetIP(ctx, "ip", t.host)
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(addresses[0].Unmap(), t.port).String())
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, reader: bufio.NewReader(conn)}, nil
}

// during aborts reads and writes on the connection when ctx ends. It returns a function that cancels this, and reports whether the
// connection is still usable.
func (c *connection) during(ctx context.Context) func() bool {
	return context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
}

// send sends a request and returns the head of its answer, whose body is still to be read.
func (c *connection) send(request *http.Request) (*http.Response, error) {
	if err := request.Write(c); err != nil {
		return nil, err
	}
	// ReadResponse calls any end of the connection unexpected; whether an answer had begun is worth knowing.
	if _, err := c.reader.Peek(1); errors.Is(err, io.EOF) {
		return nil, outcome(report.EOF)
	} else if err != nil {
		return nil, err
	}
	for {
		response, err := http.ReadResponse(c.reader, request)
		if err != nil {
			return nil, err
		}
		if response.StatusCode >= 200 { // 1xx announce the answer
			c.pod, c.version = response.Header.Get("X-Agent-Pod"), response.Header.Get("X-Agent-Version")
			return response, nil
		}
	}
}

// exchange sends a request and returns the status and body of its answer, and whether the connection may serve another one.
func (c *connection) exchange(request *http.Request) (status int, body []byte, reusable bool, err error) {
	response, err := c.send(request)
	if err != nil {
		return 0, nil, false, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, nil, false, err
	}
	return response.StatusCode, body, !response.Close && !request.Close && len(body) < maxAnswer, nil
}

// idleState is the state of an idle connection: Kept if it is usable. A server may close an idle connection at any time (RFC 9112, 9.5),
// and a client that sees this before its next request opens another one.
func (c *connection) idleState() string {
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return report.ReplacedClosed
	}
	var peeked error
	var n int
	err = raw.Read(func(fd uintptr) bool {
		n, _, peeked = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	switch {
	case err == nil && errors.Is(peeked, syscall.EAGAIN):
		return report.Kept
	case err == nil && peeked == nil && n == 0:
		return report.ReplacedClosed
	case peeked != nil:
		return report.ReplacedReset
	}
	return report.ReplacedClosed // the server sent data without a request: responses would be out of step
}

// pool keeps connections. The one that rested longest serves next, so that all of them are in use.
type pool struct {
	dial func(context.Context) (*connection, error)
	size int // how many are kept; more are opened while all are busy

	mu   sync.Mutex
	idle []*connection
	open int
}

// get returns a connection and how it was come by.
func (p *pool) get(ctx context.Context) (*connection, string, error) {
	c, how := p.take()
	if c != nil {
		return c, how, nil
	}
	c, err := p.dial(ctx)
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open--
	}
	return c, how, err
}

// take returns an idle connection, or none if one is to be dialled, which then counts as open.
func (p *pool) take() (*connection, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open < p.size || len(p.idle) == 0 {
		p.open++
		return nil, report.Opened
	}
	c := p.idle[0]
	p.idle = p.idle[1:]
	if state := c.idleState(); state != report.Kept {
		_ = c.Close()
		return nil, state
	}
	return c, report.Kept
}

// put gives a connection back. One that cannot be used again, or that is one too many, is closed.
func (p *pool) put(c *connection, reusable bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if reusable && p.open <= p.size {
		p.idle = append(p.idle, c)
		return
	}
	p.open--
	_ = c.Close()
}
