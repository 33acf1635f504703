// Command agent is a small AI agent that speaks A2A, the protocol with which agents call each other. It loses no request in a
// rollout, a drain, or a scale-down. It is an example to start from; each file has one subject.
//
//	main.go    startup and shutdown
//	config.go  settings, all from environment variables
//	card.go    the agent card
//	a2a.go     requests and responses of A2A and JSON-RPC
//	model.go   the model that generates the answer
//	server.go  HTTP
//	drain.go   connection draining
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

	_ "golang.org/x/crypto/x509roots/fallback" // the image has no CA certificates; SSL_CERT_FILE takes precedence
)

// version is the version of the build, set with -ldflags "-X main.version=v1.2.3". AGENT_VERSION takes precedence.
var version = "dev"

func main() {
	level := new(slog.LevelVar)
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if err := run(log, level); err != nil {
		log.Error("the agent failed", "error", err.Error())
		os.Exit(1)
	}
}

// run serves from the start, so that probes get an answer while the card loads. It returns after a graceful shutdown. The level of the log
// is that of the settings once they are read.
func run(log *slog.Logger, level *slog.LevelVar) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT) // never reset: a second signal does not cut the drain short
	settings, err := readConfig(os.LookupEnv)
	if err != nil {
		return err
	}
	level.Set(settings.logLevel)
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
		return served.terminate(settings)
	}
}

// load creates the agent, after which the server is ready.
func (s *server) load(settings config) error {
	card, err := loadCard(settings)
	if err != nil {
		return err
	}
	s.agent.Store(&agent{card: card, model: newModel(settings.model, card, s.log), log: s.log})
	s.log.Info("ready", "name", card.name)
	return nil
}

// terminate drains connections, then waits for requests in flight.
func (s *server) terminate(settings config) error {
	s.draining.Store(true)
	s.log.Info("draining: still serving, and closing the connection after each response", "atMost", settings.drain.String())
	s.drain(settings.drain)
	s.log.Info("waiting for requests in flight", "connections", s.connections.count(), "atMost", settings.shutdown.String())
	ctx, cancel := context.WithTimeout(context.Background(), settings.shutdown)
	defer cancel()
	if err := s.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("requests were cut off: raise SHUTDOWN_SECONDS and terminationGracePeriodSeconds", "connections", s.connections.count())
	} else if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	s.log.Info("stopped")
	return nil
}
