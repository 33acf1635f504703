// Command agent is a small AI agent that speaks A2A, the protocol by which agents call each other, and that no rollout, drain or
// scale-down costs a request. It is an example to start from: each file has one subject.
//
//	main.go    start and end
//	config.go  settings, all from the environment
//	card.go    who the agent is
//	a2a.go     what it is asked and what it answers, as A2A and JSON-RPC have it
//	model.go   the model that thinks of the answer
//	server.go  HTTP
//	drain.go   how it stops without losing a request
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	_ "golang.org/x/crypto/x509roots/fallback" // the image has no certificates of its own; SSL_CERT_FILE still wins
)

// version is that of the build, set by -ldflags "-X main.version=v1.2.3". AGENT_VERSION wins over it.
var version = "dev"

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	if err := run(log); err != nil {
		log.Error("the agent ends", "error", err.Error())
		os.Exit(1)
	}
}

// run serves from the first moment, so that probes are answered while the rest is loaded, and until it has ended gracefully.
func run(log *slog.Logger) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT) // for good: a second signal does not cut the drain short
	settings, err := readConfig(os.Getenv)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", ":"+settings.port)
	if err != nil {
		return fmt.Errorf("PORT: %w", err)
	}
	served := newServer(settings, log)
	failed := make(chan error, 2)
	go func() { failed <- served.Serve(listener) }()
	go func() {
		if err := served.load(settings); err != nil {
			failed <- err
		}
	}()
	log.Info("serving", "address", listener.Addr().String(), "version", settings.version)
	select {
	case err := <-failed:
		return err
	case <-stop:
		return served.end(settings)
	}
}

// load makes the agent that the server waits for.
func (s *server) load(settings config) error {
	card, err := loadCard(settings)
	if err != nil {
		return err
	}
	s.agent.Store(&agent{card: card, model: newModel(settings.model, card, s.log), log: s.log})
	s.log.Info("ready", "name", card.name)
	return nil
}

// end drains, and finishes what is in flight.
func (s *server) end(settings config) error {
	s.draining.Store(true)
	s.log.Info("draining: new requests are served, and each answer closes its connection", "atMost", settings.drain.String())
	s.drain(settings.drain)
	s.log.Info("finishing what is in flight", "connections", s.connections.count(), "atMost", settings.shutdown.String())
	ctx, cancel := context.WithTimeout(context.Background(), settings.shutdown)
	defer cancel()
	if err := s.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("requests were cut off: raise SHUTDOWN_SECONDS and the pod's grace period", "connections", s.connections.count())
	} else if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	s.log.Info("ended")
	return nil
}
