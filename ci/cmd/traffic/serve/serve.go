// Package serve is the other end of a probe: it sends back what it is sent.
package serve

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// TCP sends back what comes over each connection, or answers one HTTP request with 200, until ctx ends.
func TCP(ctx context.Context, listener net.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return unlessOver(ctx, err)
		}
		go func() {
			defer func() { _ = conn.Close() }()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			answer(conn)
		}()
	}
}

// answer detects HTTP by the first bytes.
func answer(conn net.Conn) {
	first := make([]byte, 4096)
	n, err := conn.Read(first)
	if err != nil {
		return
	}
	if looksLikeHTTP(first[:n]) {
		answerHTTP(conn, io.MultiReader(bytes.NewReader(first[:n]), conn))
		return
	}
	if _, err := conn.Write(first[:n]); err == nil {
		_, _ = io.Copy(conn, conn)
	}
}

func looksLikeHTTP(first []byte) bool {
	for _, method := range []string{"GET ", "HEAD ", "POST "} {
		if bytes.HasPrefix(first, []byte(method)) {
			return true
		}
	}
	return false
}

func answerHTTP(conn net.Conn, in io.Reader) {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	request, err := http.ReadRequest(bufio.NewReader(in))
	if err != nil {
		return
	}
	const body = "flokoa traffic\n"
	response := http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Request: request, Close: true,
		Header: http.Header{"Content-Type": {"text/plain"}}, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader([]byte(body)))}
	_ = response.Write(conn)
}

// UDP sends back each packet until ctx ends.
func UDP(ctx context.Context, conn net.PacketConn) error {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	packet := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFrom(packet)
		if err != nil {
			return unlessOver(ctx, err)
		}
		_, _ = conn.WriteTo(packet[:n], from) // the client may have gone
	}
}

// HTTP serves the handler until ctx ends, which cuts what is in flight.
func HTTP(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	return unlessOver(ctx, server.Serve(listener))
}

// unlessOver is the error, unless ctx has ended, which is how serving is meant to end.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed)) {
		return nil
	}
	return err
}
