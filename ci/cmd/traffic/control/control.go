// Package control is how a suite talks to a running load generator: over HTTP on the loopback of its pod, by a second process
// that kubectl exec starts there.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/flokoa/flokoa/ci/cmd/traffic/load"
	"github.com/flokoa/flokoa/ci/cmd/traffic/report"
)

// Address is where a generator serves its results by default. A loopback address needs no file system that can be
// written.
const Address = "127.0.0.1:9790"

// Listen listens at an address of the loopback, 127.0.0.1:9790, or at a socket, unix:/path. Any other address is an error:
// whoever reaches it could stop the load.
func Listen(address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return net.Listen("unix", path)
	}
	parsed, err := netip.ParseAddrPort(address)
	if err != nil || !parsed.Addr().IsLoopback() {
		return nil, fmt.Errorf("control address %q: give 127.0.0.1:PORT or unix:/path", address)
	}
	return net.Listen("tcp", address)
}

// Handler answers for the generator: GET /mark, /results and /summary, POST /reset and /stop.
func Handler(g *load.Generator) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /mark", func(w http.ResponseWriter, _ *http.Request) { mark(w, g) })
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) {
		g.Records().Reset()
		mark(w, g)
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, r *http.Request) {
		if err := g.Stop(r.Context()); err != nil {
			return // the caller has gone
		}
		mark(w, g)
	})
	mux.HandleFunc("GET /results", inWindow(g, func(w io.Writer, records []report.Record, from, to int64) error {
		return report.Encode(w, records, from, to)
	}))
	mux.HandleFunc("GET /summary", inWindow(g, func(w io.Writer, records []report.Record, from, to int64) error {
		return json.NewEncoder(w).Encode(report.Summarize(records, from, to))
	}))
	return mux
}

func mark(w io.Writer, g *load.Generator) { _, _ = fmt.Fprintln(w, g.Now().UnixMilli()) }

// inWindow serves the records of the window [from, to). It waits until all that was due before its end has ended; a window
// without an end, or that ends in the future, is as it stands.
func inWindow(g *load.Generator, write func(io.Writer, []report.Record, int64, int64) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, err := milliseconds(r, "from")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		to, err := milliseconds(r, "to")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := g.Records().Settle(r.Context(), min(to, g.Now().UnixMilli())); err != nil {
			return // the caller has gone
		}
		if err := write(w, g.Records().All(), from, to); err != nil {
			panic(http.ErrAbortHandler) // the caller sees that the list was cut
		}
	}
}

func milliseconds(r *http.Request, name string) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s=%q: give Unix milliseconds, as traffic mark prints them", name, text)
	}
	return n, nil
}

// Serve answers on the listener until ctx ends.
func Serve(ctx context.Context, listener net.Listener, g *load.Generator) error {
	server := &http.Server{Handler: Handler(g), ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Call sends a request to the generator at an address, as Listen takes it, and copies the response to w. The error is what it answered if that
// is no 200, or that no generator runs there.
func Call(ctx context.Context, address, method, path string, query url.Values, w io.Writer) error {
	network, endpoint := "tcp", address
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		network, endpoint = "unix", socket
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, network, endpoint)
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://generator"+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return fmt.Errorf("no generator answers at %s: run this in the pod of traffic load: %w", address, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
		return fmt.Errorf("generator: %s: %s", response.Status, strings.TrimSpace(string(text)))
	}
	_, err = io.Copy(w, response.Body)
	return err
}
