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

// wire is one connection, without a client that would mend what breaks.
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

// begin writes a request.
func (w *wire) begin(t *testing.T, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://agent/", strings.NewReader(body))
	require.NoError(t, err)
	require.NoError(t, request.Write(w))
}

// head is what is known of an answer when its head has been read.
type head struct {
	closes bool // the answer says that the connection ends
	body   io.Reader
}

func (w *wire) head(t *testing.T) head {
	t.Helper()
	response, err := http.ReadResponse(w.in, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return head{response.Close, response.Body}
}

// exchange sends a request, reads its whole answer, and is whether the answer says that the connection ends.
func (w *wire) exchange(t *testing.T) (closes bool) {
	t.Helper()
	w.begin(t, ask("message/send", "hello"))
	response := w.head(t)
	body, err := io.ReadAll(response.body)
	require.NoError(t, err)
	require.Contains(t, string(body), "echo: hello")
	return response.closes
}

// isClosed reads the end of a connection.
func (w *wire) isClosed(t *testing.T) {
	t.Helper()
	_, err := w.in.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

func TestADrainSendsClientsAwayAndLosesNothing(t *testing.T) {
	p := start(t, nil)
	kept := make([]*wire, 20)
	for i := range kept {
		kept[i] = p.dial(t)
		require.False(t, kept[i].exchange(t), "a connection is kept before the drain")
	}
	p.terminate(t)
	for _, w := range kept {
		require.True(t, w.exchange(t), "the first answer after SIGTERM says Connection: close")
		w.isClosed(t)
		require.True(t, p.dial(t).exchange(t), "new connections are served")
	}
	require.Equal(t, 0, p.ended(t))
}

// clientsTogether is how many clients send without pause while the agent is told to stop.
const clientsTogether = 8

func TestClientsThatNeverPauseSeeNoFailureAcrossTheSignal(t *testing.T) {
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

// sendUntilClosed sends one request after another on one connection until an answer says that it ends.
func (p *process) sendUntilClosed() error {
	connection, err := net.Dial("tcp", p.address)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	in := bufio.NewReader(connection)
	for {
		request, err := http.NewRequest(http.MethodPost, "http://agent/", strings.NewReader(ask("message/send", "hello")))
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

func TestWhatIsInFlightIsFinishedAfterTheDrain(t *testing.T) {
	env := withProvider(t, "stub-3s", modelstub.New(key))
	env["DRAIN_SECONDS"] = "1"
	p := start(t, env)
	idle, stream, whole := p.dial(t), p.dial(t), p.dial(t)
	stream.begin(t, ask("message/stream", "hello"))
	streamed := stream.head(t)
	require.True(t, streamed.closes, "a stream may outlive the drain, so its head says that its connection ends")
	whole.begin(t, ask("message/send", "hello"))
	p.terminate(t)
	require.NoError(t, p.command.Process.Signal(syscall.SIGTERM), "a second signal changes nothing")
	p.await(t, "finishing what is in flight")
	idle.isClosed(t)

	all := events(t, streamed.body)
	require.True(t, all[len(all)-1].Result.Final)
	answered := whole.head(t)
	require.True(t, answered.closes, "its request came before the signal, its answer after it")
	text, err := io.ReadAll(answered.body)
	require.NoError(t, err)
	require.Contains(t, string(text), "You said: hello")
	require.Equal(t, 0, p.ended(t))
	require.Nil(t, p.logged(t, "requests were cut off: raise SHUTDOWN_SECONDS and the pod's grace period"))
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
	require.Never(t, func() bool { return p.logged(t, "ended") != nil }, 2*time.Second, 50*time.Millisecond, "one is left")
	require.True(t, kept.exchange(t))
	require.Equal(t, 0, p.ended(t))
}

func TestWhatTakesLongerThanTheShutdownIsCutOff(t *testing.T) {
	env := withProvider(t, "stub-1h", modelstub.New(key))
	env["DRAIN_SECONDS"], env["SHUTDOWN_SECONDS"] = "0", "1"
	p := start(t, env)
	stream := p.dial(t)
	stream.begin(t, ask("message/stream", "hello"))
	stream.head(t)
	p.terminate(t)
	require.Equal(t, 0, p.ended(t))
	require.NotNil(t, p.logged(t, "requests were cut off: raise SHUTDOWN_SECONDS and the pod's grace period"))
}
