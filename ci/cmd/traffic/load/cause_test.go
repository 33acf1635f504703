package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/cmd/traffic/report"
)

func TestAFailedKeepAliveConnectionIsRecordedWithItsCause(t *testing.T) {
	for want, behave := range map[string]func(p *peer, id string){
		report.EOF:         func(*peer, string) {},
		report.Reset:       func(p *peer, _ string) { p.reset() },
		report.Cut:         func(p *peer, _ string) { _, _ = p.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")) },
		report.BadAnswer:   func(p *peer, _ string) { _, _ = p.Write([]byte("SSH-2.0-nonsense\r\n\r\n")) },
		report.Timeout:     func(p *peer, _ string) { _, _ = p.read() },
		"status 503":       func(p *peer, _ string) { p.respond(503, "", "busy") },
		"status 204":       func(p *peer, _ string) { _, _ = p.Write([]byte("HTTP/1.1 204 No Content\r\n\r\n")) },
		"rpc error -32603": func(p *peer, id string) { p.respond(200, "", fmt.Sprintf(`{"id":%q,"error":{"code":-32603}}`, id)) },
	} {
		t.Run(want, func(t *testing.T) {
			connections := make(chan int, 9)
			o := options(serve(t, func(n int, p *peer) {
				connections <- n
				id, _ := p.read()
				p.respond(200, "", result(id))
				id, err := p.read()
				if err == nil {
					behave(p, id)
				}
			}))
			o.Connections = 1
			if want == report.Timeout {
				o.Timeout = 300 * time.Millisecond
			}
			g := generator(t, o)
			first := one(t, g, report.Post)
			require.Equal(t, report.OK, first.Outcome)
			require.Equal(t, report.Opened, first.Connection)

			second := one(t, g, report.Post)
			require.Equal(t, want, second.Outcome)
			require.Equal(t, report.Kept, second.Connection)
			require.Len(t, connections, 1, "a second connection would be a hidden retry")
		})
	}
}

func TestAResponseToAnotherRequestIsAFailure(t *testing.T) {
	for name, body := range map[string]string{
		"another id": result("other"), "no result": `{"jsonrpc":"2.0","id":"1"}`, "a null result": `{"jsonrpc":"2.0","id":"1","result":null}`,
		"no JSON": "hello", "nothing": "",
	} {
		t.Run(name, func(t *testing.T) {
			g := generator(t, options(serve(t, func(_ int, p *peer) {
				_, _ = p.read()
				p.respond(200, "", body)
			})))
			require.Equal(t, report.BadAnswer, one(t, g, report.Post).Outcome)
		})
	}
}

func TestAFailedRequestNamesItsPod(t *testing.T) {
	g := generator(t, options(serve(t, func(_ int, p *peer) {
		id, _ := p.read()
		p.respond(200, "", result(id))
		_, _ = p.read()
	})))
	g.pool.size = 1
	one(t, g, report.Post)
	failed := one(t, g, report.Get)
	require.Equal(t, report.EOF, failed.Outcome)
	require.Equal(t, "pod-1", failed.Pod)
}

func TestConnectingToAClosedPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	g := generator(t, options("http://"+listener.Addr().String()))
	require.Equal(t, report.DialRefused, one(t, g, report.Get).Outcome)
	require.Equal(t, report.DialRefused, g.request(t.Context(), report.Get, true, g.Now()).Outcome)
	require.Equal(t, report.DialRefused, g.stream(t.Context(), g.Now()).Outcome)
	require.Zero(t, g.pool.open)
}

func TestANameThatDoesNotResolve(t *testing.T) {
	g := generator(t, options("http://"+strings.Repeat("a", 64)+".svc:8080")) // too long for a DNS query
	require.Equal(t, report.ResolveNotFound, one(t, g, report.Get).Outcome)
}

func TestErrorsOfTheNetworkHaveCauses(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Err: err} }
	read := func(err error) error { return &net.OpError{Op: "read", Err: err} }
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"no such host":            {&net.DNSError{IsNotFound: true}, report.ResolveNotFound},
		"resolver is silent":      {&net.DNSError{IsTimeout: true}, report.ResolveTimeout},
		"resolver fails":          {&net.DNSError{IsTemporary: true}, report.ResolveFailed},
		"dial runs out of time":   {dial(os.ErrDeadlineExceeded), report.DialTimeout},
		"dial's context ends":     {dial(context.DeadlineExceeded), report.DialTimeout},
		"dial is given up":        {dial(os.NewSyscallError("connect", syscall.ETIMEDOUT)), report.DialTimeout},
		"no route":                {dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), report.DialUnreachable},
		"no network":              {dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), report.DialUnreachable},
		"no port left":            {dial(os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)), report.DialFailed},
		"write to a closed one":   {read(os.NewSyscallError("write", syscall.EPIPE)), report.Reset},
		"acknowledgements lacked": {read(os.NewSyscallError("read", syscall.ETIMEDOUT)), report.Timeout},
		"route lost":              {read(os.NewSyscallError("read", syscall.EHOSTUNREACH)), report.BrokenOther},
		"not HTTP":                {errors.New("malformed HTTP response"), report.BadAnswer},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, cause(test.err)) })
	}
}
