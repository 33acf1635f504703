package health_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/operator/internal/health"
)

// run runs the command, and returns the exit code, standard output and standard error.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = health.Run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// serve starts a server that answers with these codes in turn, and then repeats the last one. It counts the requests.
func serve(t *testing.T, codes ...int) (url string, requests *atomic.Int64) {
	t.Helper()
	requests = &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.WriteHeader(codes[min(int(requests.Add(1)), len(codes))-1])
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

func TestEndpointThatAnswersWith2xxIsHealthy(t *testing.T) {
	for _, code := range []int{http.StatusOK, http.StatusNoContent} {
		url, requests := serve(t, code)
		exit, stdout, stderr := run(t, url)
		require.Equal(t, health.ExitHealthy, exit)
		require.Empty(t, stderr)
		require.Contains(t, stdout, url+": 2")
		require.Equal(t, 1, strings.Count(stdout, "\n"))
		require.EqualValues(t, 1, requests.Load())
	}
}

func TestEndpointIsRetriedUntilItIsHealthy(t *testing.T) {
	url, requests := serve(t, http.StatusServiceUnavailable, http.StatusServiceUnavailable, http.StatusOK)
	exit, _, stderr := run(t, url)
	require.Equal(t, health.ExitHealthy, exit, stderr)
	require.EqualValues(t, 3, requests.Load())
}

func TestUnhealthyEndpointIsReportedOnOneLine(t *testing.T) {
	unready, _ := serve(t, http.StatusServiceUnavailable)
	moved, _ := serve(t, http.StatusNotModified)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(hangs.Close)
	for url, want := range map[string]string{
		unready:   "the last answer: " + unready + ": 503 Service Unavailable",
		moved:     "304 Not Modified",
		gone.URL:  "connection refused",
		hangs.URL: "context deadline exceeded",
	} {
		start := time.Now()
		exit, stdout, stderr := run(t, "--timeout=1s", url)
		require.Equal(t, health.ExitUnhealthy, exit)
		require.Less(t, time.Since(start), 3*time.Second)
		require.Empty(t, stdout)
		require.Contains(t, stderr, "flokoa-operator health: no 2xx answer within 1s; ")
		require.Contains(t, stderr, want)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
}

func TestCanceledRunIsUnhealthy(t *testing.T) {
	url, _ := serve(t, http.StatusServiceUnavailable)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	require.Equal(t, health.ExitUnhealthy, health.Run(ctx, []string{url}, &bytes.Buffer{}, &bytes.Buffer{}))
}

func TestInvalidCommandLineIsAUsageError(t *testing.T) {
	for arguments, want := range map[string]string{
		"":                        "expected one URL, got 0",
		"http://a http://b":       "expected one URL, got 2",
		"localhost:8081/healthz":  `"localhost:8081/healthz" is not a URL such as http://`,
		"ftp://a":                 `"ftp://a" is not a URL`,
		"http://":                 `"http://" is not a URL`,
		"--timeout=0s http://a":   "--timeout must be more than 0",
		"--timeout=soon http://a": `--timeout: "soon" is not a duration such as 30s`,
		"--nonsense http://a":     "unknown flag --nonsense",
	} {
		exit, stdout, stderr := run(t, strings.Fields(arguments)...)
		require.Equal(t, health.ExitUsage, exit, arguments)
		require.Empty(t, stdout)
		require.Contains(t, stderr, want)
		require.Contains(t, stderr, ": see health --help\n")
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
}

func TestHelpIsNotAnError(t *testing.T) {
	exit, stdout, stderr := run(t, "--help")
	require.Equal(t, health.ExitHealthy, exit)
	require.Contains(t, stdout, "flokoa-operator health [--timeout 30s] URL")
	require.Empty(t, stderr)
}
