package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// key is the provider's API key. No response and no log may contain it.
const key = "sk-very-secret"

// binary is the agent, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	code, err := testAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func testAll(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "flokoa-agent-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "agent")
	if out, err := exec.Command("go", "build", "-ldflags", "-s -w -X main.version=v1.2.3", "-o", binary, ".").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building the agent: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// process is a running agent.
type process struct {
	command *exec.Cmd
	address string
	log     *journal
	exited  chan struct{} // closed when it has ended
}

// journal is the log of the agent so far.
type journal struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (j *journal) Write(text []byte) (int, error) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.text.Write(text)
}

func (j *journal) String() string {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.text.String()
}

// launch runs an agent without the environment of this machine.
func launch(t *testing.T, env map[string]string) *process {
	t.Helper()
	settings := map[string]string{"PORT": "0", "AGENT_CARD_FILE": filepath.Join(t.TempDir(), "none.json")}
	maps.Copy(settings, env)
	p := &process{command: exec.Command(binary), log: &journal{}, exited: make(chan struct{})}
	p.command.Stderr, p.command.Dir = p.log, t.TempDir()
	p.command.Env = []string{}
	for name, value := range settings {
		p.command.Env = append(p.command.Env, name+"="+value)
	}
	require.NoError(t, p.command.Start())
	go func() {
		_ = p.command.Wait() // ended reads the exit code
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.command.Process.Kill()
		<-p.exited
		require.NotContains(t, p.log.String(), key)
	})
	return p
}

// startProcess launches an agent and waits until it is alive.
func startProcess(t *testing.T, env map[string]string) *process {
	t.Helper()
	p := launch(t, env)
	p.await(t, "serving")
	_, port, err := net.SplitHostPort(p.logged(t, "serving")["address"].(string))
	require.NoError(t, err)
	p.address = "127.0.0.1:" + port
	return p
}

// start launches an agent and waits until it is ready.
func start(t *testing.T, env map[string]string) *process {
	t.Helper()
	p := startProcess(t, env)
	p.await(t, "ready")
	return p
}

// await waits for a message in the log.
func (p *process) await(t *testing.T, message string) {
	t.Helper()
	require.Eventually(t, func() bool { return p.logged(t, message) != nil }, 20*time.Second, 5*time.Millisecond, message)
}

// logged is the first whole line of the log with a message, or nil.
func (p *process) logged(t *testing.T, message string) map[string]any {
	t.Helper()
	for line := range strings.Lines(p.log.String()) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		var entry map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &entry), line)
		if entry["msg"] == message {
			return entry
		}
	}
	return nil
}

// terminate sends SIGTERM and waits until the agent drains.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	require.NoError(t, p.command.Process.Signal(syscall.SIGTERM))
	p.await(t, "draining: still serving, and closing the connection after each response")
}

// ended waits until the agent exits, and returns the exit code.
func (p *process) ended(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		require.Fail(t, "the agent still runs", p.log.String())
	}
	return p.command.ProcessState.ExitCode()
}

// reply is a whole response.
type reply struct {
	status int
	header http.Header
	body   string
}

func (p *process) do(t *testing.T, method, path, body string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.address+path, strings.NewReader(body))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NotContains(t, string(text), key)
	return reply{response.StatusCode, response.Header, string(text)}
}

// rpcText is a JSON-RPC request with one text part.
func rpcText(method, text string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":{"message":{"kind":"message","role":"user","messageId":"m1","contextId":"c1","parts":[{"kind":"text","text":%q}]}}}`, method, text)
}

// rpcResponse is the part of a JSON-RPC response that tests read: a message or a status-update.
type rpcResponse struct {
	JSONRPC string
	ID      any
	Result  struct {
		turn
		TaskID string
		Final  bool
		Status struct {
			State   string
			Message *turn
		}
	}
	Error *struct {
		Code    int
		Message string
	}
}

type turn struct {
	Kind, Role, MessageID, ContextID string
	Parts                            []struct{ Kind, Text string }
}

func (p *process) rpc(t *testing.T, body string) rpcResponse {
	t.Helper()
	got := p.do(t, "POST", "/", body)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	return decode(t, got.body)
}

func decode(t *testing.T, text string) rpcResponse {
	t.Helper()
	var answer rpcResponse
	require.NoError(t, json.Unmarshal([]byte(text), &answer), text)
	require.Equal(t, "2.0", answer.JSONRPC)
	return answer
}

// events reads all events of a stream.
func events(t *testing.T, body io.Reader) []rpcResponse {
	t.Helper()
	var all []rpcResponse
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		if data, found := strings.CutPrefix(lines.Text(), "data: "); found {
			all = append(all, decode(t, data))
		}
	}
	require.NoError(t, lines.Err())
	return all
}
