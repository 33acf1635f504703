package load

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/cmd/traffic/report"
)

// peer is the server's end of a connection: a test controls every byte that it sends.
type peer struct {
	*net.TCPConn
	reader *bufio.Reader
}

// read reads a request and returns its JSON-RPC id, empty for a get.
func (p *peer) read() (string, error) {
	request, err := http.ReadRequest(p.reader)
	if err != nil {
		return "", err
	}
	var rpc struct {
		ID string `json:"id"`
	}
	body, err := io.ReadAll(request.Body)
	if len(body) > 0 && err == nil {
		err = json.Unmarshal(body, &rpc)
	}
	return rpc.ID, err
}

// respond writes a response with a body.
func (p *peer) respond(status int, headers, body string) {
	_, _ = fmt.Fprintf(p, "HTTP/1.1 %d Some Text\r\nX-Agent-Pod: pod-1\r\nX-Agent-Version: v1\r\nContent-Length: %d\r\n%s\r\n%s", status, len(body), headers, body)
}

func result(id string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":{"kind":"message"}}`, id)
}

// reset ends the connection by a RST.
func (p *peer) reset() {
	_ = p.SetLinger(0)
	_ = p.Close()
}

// answerWell answers until the connection ends.
func answerWell(p *peer) {
	for {
		id, err := p.read()
		if err != nil {
			return
		}
		p.respond(200, "", result(id))
	}
}

// serve listens, gives each connection to behave, in the order in which they come with n from 0, and returns the URL.
func serve(t *testing.T, behave func(n int, p *peer)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for n := 0; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				behave(n, &peer{conn.(*net.TCPConn), bufio.NewReader(conn)})
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

// options are such that a test with a server that answers does not fail on a slow machine.
func options(target string) Options {
	return Options{Target: target, Rate: 100, Connections: 2, PostPath: "/", GetPath: "/card", Timeout: 20 * time.Second, MaxInFlight: 512, StreamFor: 20 * time.Second}
}

func generator(t *testing.T, o Options) *Generator {
	t.Helper()
	g, err := New(o)
	require.NoError(t, err)
	return g
}

// one makes one request over a kept connection.
func one(t *testing.T, g *Generator, kind string) report.Record {
	t.Helper()
	return g.request(t.Context(), kind, false, g.Now())
}

// eventually waits until the condition holds.
func eventually(t *testing.T, holds func() bool, what string) {
	t.Helper()
	require.Eventually(t, holds, 15*time.Second, 5*time.Millisecond, what)
}
