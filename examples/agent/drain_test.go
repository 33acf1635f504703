package main_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/testkit/modelstub"
)

// wire is one connection, without a client that would reconnect.
type wire struct {
	net.Conn
	in *bufio.Reader
}

func (p *process) dial(t *testing.T) *wire {
	t.Helper()
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	require.NoError(t, connection.SetDeadline(time.Now().Add(30*time.Second)))
	return &wire{connection, bufio.NewReader(connection)}
}

// writeRequest writes a request.
func (w *wire) writeRequest(t *testing.T, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://agent/", strings.NewReader(body))
	require.NoError(t, err)
	require.NoError(t, request.Write(w))
}

// head is a response whose headers have been read.
type head struct {
	closes bool // the response has Connection: close
	body   io.Reader
}

func (w *wire) head(t *testing.T) head {
	t.Helper()
	response, err := http.ReadResponse(w.in, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return head{response.Close, response.Body}
}

// exchange sends a request, reads the whole response, and returns whether the response has Connection: close.
func (w *wire) exchange(t *testing.T) (closes bool) {
	t.Helper()
	w.writeRequest(t, rpcText("message/send", "hello"))
	response := w.head(t)
	body, err := io.ReadAll(response.body)
	require.NoError(t, err)
	require.Contains(t, string(body), "echo: hello")
	return response.closes
}

// isClosed requires that the server has closed the connection.
func (w *wire) isClosed(t *testing.T) {
	t.Helper()
	_, err := w.in.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

func TestADrainClosesConnectionsAndLosesNoRequest(t *testing.T) {
	p := start(t, nil)
	kept := make([]*wire, 20)
	for i := range kept {
		kept[i] = p.dial(t)
		require.False(t, kept[i].exchange(t), "a connection is kept before the drain")
	}
	p.terminate(t)
	for _, w := range kept {
		require.True(t, w.exchange(t), "the first response after SIGTERM has Connection: close")
		w.isClosed(t)
		require.True(t, p.dial(t).exchange(t), "new connections are served")
	}
	require.Equal(t, 0, p.ended(t))
}

// clientsTogether is how many clients send without pause while the agent stops.
const clientsTogether = 8

func TestBusyClientsSeeNoFailureOnSIGTERM(t *testing.T) {
	p := start(t, nil)
	results := make(chan error, clientsTogether)
	for range clientsTogether {
		go func() { results <- p.sendUntilClosed() }()
	}
	p.terminate(t)
	for range clientsTogether {
		require.NoError(t, <-results)
	}
	require.Equal(t, 0, p.ended(t))
}

// sendUntilClosed sends requests on one connection until a response has Connection: close.
func (p *process) sendUntilClosed() error {
	connection, err := net.Dial("tcp", p.address)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	in := bufio.NewReader(connection)
	for {
		request, err := http.NewRequest(http.MethodPost, "http://agent/", strings.NewReader(rpcText("message/send", "hello")))
		if err != nil {
			return err
		}
		if err := request.Write(connection); err != nil {
			return err
		}
		response, err := http.ReadResponse(in, request)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if err != nil || response.Close {
			return err
		}
	}
}

func TestRequestsInFlightFinishAfterTheDrain(t *testing.T) {
	env := withProvider(t, "stub-3s", modelstub.New(key))
	env["DRAIN_SECONDS"] = "1"
	p := start(t, env)
	idle, stream, whole := p.dial(t), p.dial(t), p.dial(t)
	stream.writeRequest(t, rpcText("message/stream", "hello"))
	streamed := stream.head(t)
	require.True(t, streamed.closes, "a stream may outlive the drain, so its headers have Connection: close")
	whole.writeRequest(t, rpcText("message/send", "hello"))
	p.terminate(t)
	require.NoError(t, p.command.Process.Signal(syscall.SIGTERM), "a second signal changes nothing")
	p.await(t, "waiting for requests in flight")
	idle.isClosed(t)

	all := events(t, streamed.body)
	require.True(t, all[len(all)-1].Result.Final)
	answered := whole.head(t)
	require.True(t, answered.closes, "the request arrived before the signal, and the response started after it")
	text, err := io.ReadAll(answered.body)
	require.NoError(t, err)
	require.Contains(t, string(text), "You said: hello")
	require.Equal(t, 0, p.ended(t))
	require.Nil(t, p.logged(t, "requests were cut off: raise SHUTDOWN_SECONDS and terminationGracePeriodSeconds"))
}

func TestADrainEndsWhenNoConnectionIsLeft(t *testing.T) {
	env := map[string]string{"DRAIN_SECONDS": "600"}
	p := start(t, env)
	p.terminate(t)
	require.Equal(t, 0, p.ended(t))

	p = start(t, env)
	kept := p.dial(t)
	kept.exchange(t)
	p.terminate(t)
	require.Never(t, func() bool { return p.logged(t, "stopped") != nil }, 2*time.Second, 50*time.Millisecond, "one is left")
	require.True(t, kept.exchange(t))
	require.Equal(t, 0, p.ended(t))
}

func TestShutdownCutsOffRequestsThatTakeTooLong(t *testing.T) {
	env := withProvider(t, "stub-1h", modelstub.New(key))
	env["DRAIN_SECONDS"], env["SHUTDOWN_SECONDS"] = "0", "1"
	p := start(t, env)
	stream := p.dial(t)
	stream.writeRequest(t, rpcText("message/stream", "hello"))
	stream.head(t)
	p.terminate(t)
	require.Equal(t, 0, p.ended(t))
	require.NotNil(t, p.logged(t, "requests were cut off: raise SHUTDOWN_SECONDS and terminationGracePeriodSeconds"))
}
