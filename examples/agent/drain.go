package main

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// quietPeriod is how long no connection must be open before a drain ends early. A client that opens a connection for each request
// has none open between two requests.
const quietPeriod = time.Second

// drain keeps serving, new connections included, while each response closes its connection. It returns when no connection is left,
// or at the limit.
//
// It runs before Shutdown, which closes idle connections at once: a client that is sending on one would lose its request.
func (s *server) drain(limit time.Duration) {
	start := time.Now()
	end := time.NewTimer(limit)
	defer end.Stop()
	poll := time.NewTicker(quietPeriod / 20)
	defer poll.Stop()
	for {
		select {
		case <-end.C:
			return
		case now := <-poll.C:
			if s.connections.noneSince(now.Add(-quietPeriod)) && now.Sub(start) >= quietPeriod {
				return
			}
		}
	}
}

// closeWhileDraining adds "Connection: close" to responses that start while the server drains. The client then opens its next
// connection to another pod.
func (s *server) closeWhileDraining(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &closingWriter{ResponseWriter: w, draining: s.draining.Load}
		next.ServeHTTP(answer, r)
		answer.writeConnectionHeader() // for a response without a body
	})
}

// closingWriter checks for the drain when the response starts, not when the request arrives, so that it covers long requests.
type closingWriter struct {
	http.ResponseWriter
	draining func() bool
	started  bool
}

func (w *closingWriter) writeConnectionHeader() {
	if !w.started && w.draining() {
		w.Header().Set("Connection", "close")
	}
	w.started = true
}

func (w *closingWriter) WriteHeader(code int) {
	w.writeConnectionHeader()
	w.ResponseWriter.WriteHeader(code)
}

func (w *closingWriter) Write(text []byte) (int, error) {
	w.writeConnectionHeader()
	return w.ResponseWriter.Write(text)
}

// Unwrap lets http.ResponseController flush and set deadlines.
func (w *closingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// connections counts open connections.
type connections struct {
	mutex sync.Mutex
	open  int
	since time.Time // when the last one closed
}

func (c *connections) track(_ net.Conn, state http.ConnState) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	switch state {
	case http.StateNew:
		c.open++
	case http.StateClosed, http.StateHijacked:
		c.open--
		c.since = time.Now()
	}
}

func (c *connections) count() int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.open
}

// noneSince reports whether no connection has been open since a time.
func (c *connections) noneSince(when time.Time) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.open == 0 && !c.since.After(when)
}
