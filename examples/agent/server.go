package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// bodyLimit bounds a request body in bytes, and bodyTimeout the time to read it.
	bodyLimit   = 1 << 20
	bodyTimeout = 30 * time.Second
	// eventTimeout bounds the time to write one event of a stream.
	eventTimeout = 30 * time.Second
	// idleTimeout is longer than clients keep idle connections; of the common ones, Google Cloud load balancers keep them longest,
	// 600 s. So the client closes the connection first, and never sends a request on a connection that is being closed.
	idleTimeout = 620 * time.Second
)

// server is the HTTP server. Its agent is nil until it is loaded.
type server struct {
	*http.Server
	agent       atomic.Pointer[agent]
	draining    atomic.Bool
	connections connections
	log         *slog.Logger
}

func newServer(settings config, log *slog.Logger) *server {
	s := &server{log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "alive") })
	// Ready during the drain, too: the pod has left the endpoints of the Service, and the agent serves what still arrives.
	mux.Handle("GET /ready", s.whenLoaded(func(_ *agent, w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ready") }))
	mux.Handle("GET /.well-known/agent-card.json", s.whenLoaded(serveCard))
	mux.Handle("POST /{$}", s.whenLoaded(serveRPC))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "An A2A agent: GET /.well-known/agent-card.json returns its card, and POST / takes JSON-RPC requests.")
	})
	s.Server = &http.Server{
		Handler:           identified(settings, s.closeWhileDraining(mux)),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       idleTimeout,
		ConnState:         s.connections.track,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		// WriteTimeout would cut long streams, and ReadTimeout would cancel the context of a long answer. Deadlines are set at each
		// read and write instead.
	}
	return s
}

// identified adds the pod and the version to the headers of each response.
func identified(settings config, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Agent-Pod", settings.pod)
		w.Header().Set("X-Agent-Version", settings.version)
		next.ServeHTTP(w, r)
	})
}

// whenLoaded responds with 503 until the agent is loaded.
func (s *server) whenLoaded(next func(*agent, http.ResponseWriter, *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		loaded := s.agent.Load()
		if loaded == nil {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "not ready: loading the configuration", http.StatusServiceUnavailable)
			return
		}
		next(loaded, w, r)
	})
}

func serveCard(a *agent, w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(a.card.text)
}

// serveRPC handles one JSON-RPC request. Errors have HTTP status 200, as is usual for JSON-RPC, except for a body that is too large.
func serveRPC(a *agent, w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	body, err := readBody(w, r)
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		answer(w, http.StatusRequestEntityTooLarge, nil, nil, &rpcError{codeInvalidRequest, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)})
		return
	} else if err != nil {
		return // the client did not send a whole request
	}
	request, err := parse(body)
	method := "other" // the log never contains an arbitrary method from a client
	switch {
	case err != nil:
		answer(w, http.StatusOK, request.ID, nil, err)
	case request.Method == "message/send":
		method = request.Method
		var sent *message
		sent, err = a.send(r.Context(), request.Params)
		answer(w, http.StatusOK, request.ID, sent, err)
	case request.Method == "message/stream":
		method = request.Method
		err = a.serveStream(w, r, request)
	default:
		err = unsupported(request.Method)
		answer(w, http.StatusOK, request.ID, nil, err)
	}
	a.record(r, method, time.Since(start), err)
}

// record logs the outcome of a request, never its content.
func (a *agent) record(r *http.Request, method string, took time.Duration, err error) {
	log := a.log.With("method", method, "took", took.String())
	if r.Context().Err() != nil {
		log.Info("the client disconnected")
		return
	}
	if failed := new(modelError); errors.As(err, &failed) {
		log = log.With("reason", failed.reason)
	}
	if err != nil {
		log.Warn("request failed", "code", asRPCError(err).Code)
		return
	}
	log.Info("request answered")
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(bodyTimeout))
	defer func() { _ = connection.SetReadDeadline(time.Time{}) }()
	return io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
}

// answer writes a result or an error.
func answer(w http.ResponseWriter, code int, id json.RawMessage, result any, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(response(id, result, err)) // a write error means that the client has disconnected
}

func response(id json.RawMessage, result any, err error) rpcResponse {
	if err != nil {
		return rpcResponse{JSONRPC: "2.0", ID: id, Error: asRPCError(err)}
	}
	return rpcResponse{JSONRPC: "2.0", ID: id, Result: result}
}

// serveStream responds with Server-Sent Events, each a JSON-RPC response. A stream always closes its connection: it may outlive the
// drain, and its headers are sent before the drain starts.
func (a *agent) serveStream(w http.ResponseWriter, r *http.Request, request rpcRequest) error {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Connection", "close")
	connection := http.NewResponseController(w)
	write := func(event rpcResponse) error {
		text, err := json.Marshal(event)
		if err != nil {
			return err
		}
		_ = connection.SetWriteDeadline(time.Now().Add(eventTimeout))
		if _, err := fmt.Fprintf(w, "data: %s\n\n", text); err != nil {
			return err
		}
		return connection.Flush()
	}
	err := a.stream(r.Context(), request.Params, func(result any) error { return write(response(request.ID, result, nil)) })
	if err != nil {
		_ = write(response(request.ID, nil, err))
	}
	return err
}
