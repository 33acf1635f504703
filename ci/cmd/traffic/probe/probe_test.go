package probe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/cmd/traffic/serve"
)

const patient = 10 // seconds

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

func listenPacket(t *testing.T) net.PacketConn {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func port(address net.Addr) int {
	switch a := address.(type) {
	case *net.TCPAddr:
		return a.Port
	case *net.UDPAddr:
		return a.Port
	}
	return 0
}

func TestConnectReportsTheOutcome(t *testing.T) {
	tcp, udp := listen(t), listenPacket(t)
	go func() { _ = serve.TCP(t.Context(), tcp) }()
	go func() { _ = serve.UDP(t.Context(), udp) }()
	silent, mute := listen(t), listenPacket(t)
	closedTCP, closedUDP := listen(t), listenPacket(t)
	require.NoError(t, closedTCP.Close())
	require.NoError(t, closedUDP.Close())
	for name, test := range map[string]struct {
		q    Request
		want string
	}{
		"tcp echo":           {Request{Port: port(tcp.Addr()), TimeoutSeconds: patient}, "allowed"},
		"udp echo":           {Request{Protocol: "udp", Port: port(udp.LocalAddr()), TimeoutSeconds: patient}, "allowed"},
		"tcp refused":        {Request{Port: port(closedTCP.Addr()), TimeoutSeconds: patient}, "reached: refused"},
		"udp refused":        {Request{Protocol: "udp", Port: port(closedUDP.LocalAddr()), TimeoutSeconds: patient}, "reached: refused"},
		"tcp without echo":   {Request{Port: port(silent.Addr()), TimeoutSeconds: 0.2}, "denied: timeout"},
		"handshake enough":   {Request{Port: port(silent.Addr()), TimeoutSeconds: patient, NoEcho: true}, "allowed"},
		"udp without echo":   {Request{Protocol: "udp", Port: port(mute.LocalAddr()), TimeoutSeconds: 0.2}, "denied: timeout"},
		"no echo is for tcp": {Request{Protocol: "udp", Port: port(mute.LocalAddr()), TimeoutSeconds: 0.2, NoEcho: true}, "denied: timeout"},
		"no such protocol":   {Request{Protocol: "sctp"}, `denied: protocol "sctp": give tcp or udp`},
	} {
		t.Run(name, func(t *testing.T) {
			test.q.Kind, test.q.Host = Connect, "127.0.0.1"
			require.Equal(t, test.want, Run(t.Context(), test.q).String())
		})
	}
}

func TestAResponseThatIsNoEchoIsDenied(t *testing.T) {
	for want, back := range map[string]string{"not an echo": strings.Repeat("x", 99), "bytes came back": "x"} {
		t.Run(want, func(t *testing.T) {
			listener := listen(t)
			go func() {
				conn, err := listener.Accept()
				if err == nil {
					_, _ = conn.Read(make([]byte, 99))
					_, _ = conn.Write([]byte(back))
					_ = conn.Close()
				}
			}()
			v := Run(t.Context(), Request{Kind: Connect, Host: "127.0.0.1", Port: port(listener.Addr()), TimeoutSeconds: patient})
			require.Equal(t, Denied, v.Verdict)
			require.Contains(t, v.Cause, want)
		})
	}
}

func TestProbeErrorsMapToVerdictAndCause(t *testing.T) {
	dial := func(err error) error { return fmt.Errorf("get: %w", &net.OpError{Op: "dial", Err: err}) }
	for name, test := range map[string]struct {
		err            error
		verdict, cause string
	}{
		"through":  {nil, Allowed, ""},
		"refused":  {dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), Reached, "refused"},
		"no route": {dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), Denied, "unreachable"},
		"silence":  {dial(os.ErrDeadlineExceeded), Denied, "timeout"},
		"given up": {dial(os.NewSyscallError("connect", syscall.ETIMEDOUT)), Denied, "timeout"},
		"over":     {context.DeadlineExceeded, Denied, "timeout"},
		"no DNS":   {&net.DNSError{IsTimeout: true}, Denied, "timeout"},
		"other":    {errors.New("odd"), Denied, "odd"},
	} {
		t.Run(name, func(t *testing.T) {
			verdict, cause := verdictOf(test.err)
			require.Equal(t, test.verdict, verdict)
			require.Equal(t, test.cause, cause)
		})
	}
}

// answerName answers a DNS query for an A record with 192.0.2.7, and any other with nothing; truncated sets the TC bit.
func answerName(query []byte, truncated bool) []byte {
	end := 12 + bytes.IndexByte(query[12:], 0) + 5 // name, type, class
	answer := append([]byte{}, query[:end]...)
	binary.BigEndian.PutUint16(answer[2:], 0x8180)
	copy(answer[6:12], make([]byte, 6))
	if truncated {
		answer[2] |= 2
	}
	if query[end-3] == 1 && !truncated {
		answer[7] = 1
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7)
	}
	return answer
}

// resolvers serves DNS over both protocols and counts the queries of each.
func resolvers(t *testing.T, truncated bool) (udp, tcp string, queries *[2]atomic.Int64) {
	t.Helper()
	packets, listener, queries := listenPacket(t), listen(t), new([2]atomic.Int64)
	go func() {
		query := make([]byte, 1500)
		for {
			n, from, err := packets.ReadFrom(query)
			if err != nil {
				return
			}
			queries[0].Add(1)
			_, _ = packets.WriteTo(answerName(query[:n], truncated), from)
		}
	}()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			queries[1].Add(1)
			var length uint16
			_ = binary.Read(conn, binary.BigEndian, &length)
			query := make([]byte, length)
			_, _ = io.ReadFull(conn, query)
			answer := answerName(query, false)
			_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
			_ = conn.Close()
		}
	}()
	return packets.LocalAddr().String(), listener.Addr().String(), queries
}

func TestResolveUsesOneProtocolOnly(t *testing.T) {
	udp, tcp, queries := resolvers(t, false)
	for i, q := range []Request{{Server: udp}, {Server: tcp, Protocol: "tcp"}} {
		q.Kind, q.Host, q.TimeoutSeconds = Resolve, "agent.example.", patient
		v := Run(t.Context(), q)
		require.Equal(t, "allowed", v.String())
		require.Equal(t, []string{"192.0.2.7"}, v.Addresses)
		require.Positive(t, queries[i].Load())
		require.Zero(t, queries[1].Load()*int64(1-i), "no query over TCP")
		queries[0].Store(0)
	}
	require.Zero(t, queries[0].Load(), "no query over UDP")
}

func TestATruncatedUDPResponseIsNotRetriedOverTCP(t *testing.T) {
	udp, _, _ := resolvers(t, true)
	v := Run(t.Context(), Request{Kind: Resolve, Host: "agent.example.", Server: udp, TimeoutSeconds: patient})
	require.Equal(t, Denied, v.Verdict)
	require.Contains(t, v.Cause, "does not fit")
}

func TestABatchRunsEveryProbeWithBoundedConcurrency(t *testing.T) {
	var now, most atomic.Int64
	full := make(chan struct{})
	open := sync.OnceFunc(func() { close(full) })
	listener := listen(t)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				line, err := bufio.NewReader(conn).ReadString('\n')
				n := now.Add(1)
				defer now.Add(-1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				if n == 4 {
					open()
				}
				<-full // none continues before the limit is reached
				if err == nil {
					_, _ = io.WriteString(conn, line)
				}
			}()
		}
	}()
	var in, out bytes.Buffer
	for i := range 40 {
		require.NoError(t, json.NewEncoder(&in).Encode(Request{ID: fmt.Sprint(i), Kind: Connect, Host: "127.0.0.1", Port: port(listener.Addr()), TimeoutSeconds: patient}))
	}
	in.WriteString(`{"id":"odd","kind":"guess"}`)
	require.NoError(t, Batch(t.Context(), &in, &out, 4))
	verdicts := map[string]string{}
	for lines := json.NewDecoder(&out); ; {
		var v Verdict
		if err := lines.Decode(&v); err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
		verdicts[v.ID] = v.String()
	}
	require.Len(t, verdicts, 41)
	require.Equal(t, "allowed", verdicts["39"])
	require.Contains(t, verdicts["odd"], "give connect or resolve")
	require.EqualValues(t, 4, most.Load())
}

func TestAnInvalidProbeEndsABatchWithAnError(t *testing.T) {
	var out bytes.Buffer
	err := Batch(t.Context(), strings.NewReader("{\"id\":\"1\",\"kind\":\"x\"}\nnonsense\n"), &out, 4)
	require.ErrorContains(t, err, "request 2")
	require.Contains(t, out.String(), `"id":"1"`)
}

func TestAnEmptyBatchSucceeds(t *testing.T) {
	require.NoError(t, Batch(t.Context(), strings.NewReader(""), io.Discard, 4))
}
