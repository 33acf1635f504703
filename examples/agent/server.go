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
	// bodyLimit is how many bytes a request may have, and bodyTimeout how long they may take to arrive.
	bodyLimit   = 1 << 20
	bodyTimeout = 30 * time.Second
	// eventTimeout is how long a client may take to accept one event of a stream.
	eventTimeout = 30 * time.Second
	// idleTimeout is longer than clients keep a connection that they do not use (Google's load balancers have the longest
	// time of the common ones, 600 s). So it is the client that closes it, and never meets one that closes under its request.
	idleTimeout = 620 * time.Second
)

// server is the HTTP side of the agent, which is nil until it is loaded.
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
	// Ready while it drains, too: the pod has left the Service by then, and what still comes is served.
	mux.Handle("GET /ready", s.whenLoaded(func(_ *agent, w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ready") }))
	mux.Handle("GET /.well-known/agent-card.json", s.whenLoaded(serveCard))
	mux.Handle("POST /{$}", s.whenLoaded(serveRPC))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "An A2A agent: its card is at /.well-known/agent-card.json, and it answers JSON-RPC by POST here.")
	})
	s.Server = &http.Server{
		Handler:           signed(settings, s.closing(mux)),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       idleTimeout,
		ConnState:         s.connections.track,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		// No WriteTimeout, which would cut long streams, and no ReadTimeout, which would end the context of a long answer:
		// deadlines are set where something is read or written.
	}
	return s
}

// signed says in each answer which pod of which version gave it.
func signed(settings config, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Agent-Pod", settings.pod)
		w.Header().Set("X-Agent-Version", settings.version)
		next.ServeHTTP(w, r)
	})
}

// whenLoaded answers 503 until there is an agent.
func (s *server) whenLoaded(next func(*agent, http.ResponseWriter, *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		loaded := s.agent.Load()
		if loaded == nil {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "not ready: the configuration is being loaded", http.StatusServiceUnavailable)
			return
		}
		next(loaded, w, r)
	})
}

func serveCard(a *agent, w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(a.card.text)
}

// serveRPC answers one JSON-RPC request. Its errors have status 200, as is usual for JSON-RPC, but for a body that is too large.
func serveRPC(a *agent, w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	body, err := readBody(w, r)
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		answer(w, http.StatusRequestEntityTooLarge, nil, nil, &rpcError{codeInvalidRequest, fmt.Sprintf("the body has more than %d bytes", tooLarge.Limit)})
		return
	} else if err != nil {
		return // whoever does not send a request gets no answer
	}
	request, err := parse(body)
	method := "other" // what a caller makes up is not logged
	switch {
	case err != nil:
		answer(w, http.StatusOK, request.ID, nil, err)
	case request.Method == "message/send":
		method = request.Method
		var said *message
		said, err = a.send(r.Context(), request.Params)
		answer(w, http.StatusOK, request.ID, said, err)
	case request.Method == "message/stream":
		method = request.Method
		err = a.serveStream(w, r, request)
	default:
		err = unsupported(request.Method)
		answer(w, http.StatusOK, request.ID, nil, err)
	}
	a.record(r, method, time.Since(start), err)
}

// record logs that a request was answered and how, never what it said.
func (a *agent) record(r *http.Request, method string, took time.Duration, err error) {
	log := a.log.With("method", method, "took", took.String())
	if r.Context().Err() != nil {
		log.Info("the caller went away")
		return
	}
	if failed := new(modelError); errors.As(err, &failed) {
		log = log.With("reason", failed.reason)
	}
	if err != nil {
		log.Warn("answered with an error", "code", asRPCError(err).Code)
		return
	}
	log.Info("answered")
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(bodyTimeout))
	defer func() { _ = connection.SetReadDeadline(time.Time{}) }()
	return io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
}

// answer writes a result, or an error when there is one.
func answer(w http.ResponseWriter, code int, id json.RawMessage, result any, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(response(id, result, err)) // a caller that has gone needs no answer
}

func response(id json.RawMessage, result any, err error) rpcResponse {
	if err != nil {
		return rpcResponse{JSONRPC: "2.0", ID: id, Error: asRPCError(err)}
	}
	return rpcResponse{JSONRPC: "2.0", ID: id, Result: result}
}

// serveStream answers with Server-Sent Events, each a JSON-RPC response. A stream has a connection of its own: it may outlive
// the drain, and its headers, sent long before, are the only place to say that nothing can follow it.
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
