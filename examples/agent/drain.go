package main

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// quiet is how long no connection must have been open before a drain ends early: clients that open one for each request have
// none between two of them.
const quiet = time.Second

// drain goes on serving, new connections included, while draining makes each answer send its connection away. It returns when
// all connections have gone, or at the limit.
//
// It comes before Shutdown, which closes idle connections at once: a client that is just sending on one would lose its request.
func (s *server) drain(limit time.Duration) {
	start := time.Now()
	end := time.NewTimer(limit)
	defer end.Stop()
	look := time.NewTicker(quiet / 20)
	defer look.Stop()
	for {
		select {
		case <-end.C:
			return
		case now := <-look.C:
			if s.connections.noneSince(now.Add(-quiet)) && now.Sub(start) >= quiet {
				return
			}
		}
	}
}

// closing adds "Connection: close" to answers that begin while the server drains: their client uses the connection no more,
// and opens its next one to another pod.
func (s *server) closing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &closingWriter{ResponseWriter: w, draining: s.draining.Load}
		next.ServeHTTP(answer, r)
		answer.begin() // for an answer without a body
	})
}

// closingWriter looks at the last moment whether the server drains, so that a request that came before and takes long counts.
type closingWriter struct {
	http.ResponseWriter
	draining func() bool
	begun    bool
}

func (w *closingWriter) begin() {
	if !w.begun && w.draining() {
		w.Header().Set("Connection", "close")
	}
	w.begun = true
}

func (w *closingWriter) WriteHeader(code int) {
	w.begin()
	w.ResponseWriter.WriteHeader(code)
}

func (w *closingWriter) Write(text []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(text)
}

// Unwrap lets http.ResponseController flush and set deadlines.
func (w *closingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// connections counts those that are open.
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

// noneSince is whether no connection has been open after a time.
func (c *connections) noneSince(when time.Time) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.open == 0 && !c.since.After(when)
}
