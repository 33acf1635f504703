package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/cmd/traffic/report"
)

// asProgram makes the test binary be the program, so that tests run it as processes of its own.
const asProgram = "FLOKOA_TRAFFIC_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "PROVIDER_KEY=secret")
	return cmd
}

// output runs the program to its end, and returns what it printed and its exit code.
func output(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := program(t, args...)
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// startProgram starts the program, and returns a function that sends SIGTERM and requires exit code 0.
func startProgram(t *testing.T, args ...string) func() {
	t.Helper()
	cmd := program(t, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	return func() {
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait(), stderr.String())
	}
}

// succeeds waits until the program with these arguments exits with 0, and returns what it printed.
func succeeds(t *testing.T, args ...string) string {
	t.Helper()
	var out string
	require.Eventually(t, func() bool {
		var code int
		out, code = output(t, args...)
		return code == 0
	}, 15*time.Second, 20*time.Millisecond, "%v", args)
	return out
}

func agent(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Agent-Pod", "pod-1")
		w.Header().Set("X-Agent-Version", "v1")
		var rpc struct{ ID, Method string }
		if r.Method == http.MethodGet || json.NewDecoder(r.Body).Decode(&rpc) != nil {
			return
		}
		answer := fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":{"kind":"message"}}`, rpc.ID)
		if rpc.Method == "message/stream" {
			w.Header().Set("Content-Type", "text/event-stream")
			answer = "data: " + answer + "\n\n"
		}
		_, _ = w.Write([]byte(answer))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestASecondProcessReadsTheResultsOfTheFirst(t *testing.T) {
	socket := "unix:" + filepath.Join(t.TempDir(), "control")
	end := startProgram(t, "load", "--target", agent(t), "--streams", "1", "--control", socket)
	from, err := strconv.ParseInt(strings.TrimSpace(succeeds(t, "mark", "--control", socket)), 10, 64)
	require.NoError(t, err)
	require.InDelta(t, time.Now().UnixMilli(), from, 60_000)
	summary := func(args ...string) report.Summary {
		text, code := output(t, append([]string{"summary", "--control", socket}, args...)...)
		require.Zero(t, code, text)
		s, err := report.DecodeSummary(strings.NewReader(text))
		require.NoError(t, err)
		return s
	}
	require.Eventually(t, func() bool { return summary().Requests >= 20 }, 15*time.Second, 20*time.Millisecond)

	to, code := output(t, "stop", "--control", socket)
	require.Zero(t, code, to)
	window := []string{"--from", strconv.FormatInt(from, 10), "--to", strings.TrimSpace(to)}
	whole, s := summary(), summary(window...)
	require.Zero(t, whole.Failures, whole)
	require.Equal(t, map[string]int{"pod-1": s.Requests}, s.Pods)
	require.Equal(t, map[string]int{"v1": s.Requests}, s.Versions)
	require.Positive(t, whole.StreamsFinished)
	require.Less(t, s.Requests, whole.Requests+1)
	require.Equal(t, whole, summary(), "nothing new starts after stop")

	text, code := output(t, append([]string{"results", "--control", socket}, window...)...)
	require.Zero(t, code, text)
	records, err := report.Decode(strings.NewReader(text))
	require.NoError(t, err)
	require.Equal(t, s, report.Summarize(records, s.From, s.To), "the suite comes to the same")

	_, code = output(t, "reset", "--control", socket)
	require.Zero(t, code)
	require.Zero(t, summary().Requests)
	end()
}

func TestTheGeneratorEndsAtOnceWithRequestsInFlight(t *testing.T) {
	arrived, hold := make(chan struct{}, 999), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-hold
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hold) })
	end := startProgram(t, "load", "--target", server.URL, "--timeout", "10m", "--control", "127.0.0.1:0")
	<-arrived
	began := time.Now()
	end()
	require.Less(t, time.Since(began), 10*time.Second)
}

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// probeOf runs traffic probe for one request, and returns what it printed.
func probeOf(t *testing.T, request string) string {
	t.Helper()
	batch := program(t, "probe")
	batch.Stdin = strings.NewReader(request)
	out, err := batch.Output()
	require.NoError(t, err)
	return string(out)
}

func TestServeAnswersProbes(t *testing.T) {
	first, second, closed := freePort(t), freePort(t), freePort(t)
	end := startProgram(t, "serve", "--tcp", first+","+second, "--udp", first)
	for _, rest := range []string{
		`"port":` + first, `"port":` + first + `,"protocol":"udp"`, `"port":` + second + `,"noEcho":true`,
	} {
		require.Eventually(t, func() bool {
			return strings.Contains(probeOf(t, `{"id":"a","kind":"connect","host":"127.0.0.1",`+rest+`}`), `{"id":"a","verdict":"allowed"`)
		}, 20*time.Second, 50*time.Millisecond, rest)
	}
	require.Contains(t, probeOf(t, `{"kind":"resolve","host":"127.0.0.1"}`), `"addresses":["127.0.0.1"]`)
	require.Contains(t, probeOf(t, `{"kind":"connect","host":"127.0.0.1","port":`+closed+`}`), `"verdict":"reached","cause":"refused"`)
	end()
}

func TestTheProviderChecksItsKeyAndCountsCalls(t *testing.T) {
	port := freePort(t)
	end := startProgram(t, "provider", "--port", port)
	for key, want := range map[string]int{"secret": http.StatusOK, "": http.StatusUnauthorized} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+"/v1/models", http.NoBody)
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+key)
		status := 0
		require.Eventually(t, func() bool {
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return false // it does not listen yet
			}
			status = response.StatusCode
			return response.Body.Close() == nil
		}, 20*time.Second, 50*time.Millisecond)
		require.Equal(t, want, status, "key %q", key)
	}
	calls, code := output(t, "calls", "--port", port)
	require.Zero(t, code, calls)
	require.JSONEq(t, `{"secret": 1, "": 1}`, calls)
	end()
}

func TestArgumentErrorsNameTheMistake(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	otherPort := strconv.Itoa(other.Listener.Addr().(*net.TCPAddr).Port)
	for name, test := range map[string]struct {
		args []string
		want string
		code int
	}{
		"nothing":             {nil, "give a sub-command: calls, load, mark, probe, provider, reset, results, serve, stop, summary", 2},
		"no such sub-command": {[]string{"lod"}, "give a sub-command", 2},
		"no such flag":        {[]string{"load", "--tarket", "x"}, "tarket", 2},
		"no target":           {[]string{"load"}, "give a URL like", 2},
		"a public control":    {[]string{"load", "--target", "http://a", "--control", "0.0.0.0:9790"}, "give 127.0.0.1:PORT or unix:/path", 1},
		"an argument":         {[]string{"mark", "now"}, `unexpected arguments ["now"]`, 2},
		"nothing to serve":    {[]string{"serve"}, "--tcp or --udp", 2},
		"no provider":         {[]string{"calls", "--port", freePort(t)}, "run this in the pod of traffic provider", 1},
		"another server":      {[]string{"calls", "--port", otherPort}, "serves no provider: it answered 404", 1},
		"no generator":        {[]string{"mark", "--control", "unix:/nowhere"}, "run this in the pod of traffic load", 1},
		"help":                {[]string{"load", "--help"}, "-max-in-flight", 0},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			code := run(t.Context(), test.args, streams{strings.NewReader(""), &out, &out})
			require.Contains(t, out.String(), test.want)
			require.Equal(t, test.code, code)
		})
	}
}
