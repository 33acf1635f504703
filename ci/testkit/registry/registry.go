// Package registry runs a real OCI registry on loopback, for tests that push to one and install from it.
package registry

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	startTimeout = 15 * time.Second
	stopTimeout  = 5 * time.Second
)

// config has no cache and no metrics: a test starts the registry empty and reads each artifact once.
const config = `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %q}
http: {addr: %q}
`

// Start runs a registry that stores what is pushed in dir, and returns its host and port when it answers. The registry stops when the
// context ends, or when stop is called, which returns after its process has ended. root is the folder of the repository; the program
// is built first if it is absent.
func Start(ctx context.Context, root, dir string) (address string, stop func(), err error) {
	program, err := build(ctx, root)
	if err != nil {
		return "", nil, err
	}
	if address, err = freeAddress(ctx); err != nil {
		return "", nil, err
	}
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, config, filepath.Join(dir, "data"), address), 0o600); err != nil {
		return "", nil, err
	}
	command := exec.CommandContext(ctx, program, "serve", file)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = stopTimeout
	command.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none") // by default it looks for a collector of traces
	var log strings.Builder
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		return "", nil, err
	}
	ended := make(chan struct{})
	go func() { _ = command.Wait(); close(ended) }()
	stop = func() { _ = command.Cancel(); <-ended }
	if err := waitUntilReady(ctx, address, ended); err != nil {
		stop()
		return "", nil, fmt.Errorf("start a registry on %s: %w\n%s", address, err, log.String())
	}
	return address, stop, nil
}

func build(ctx context.Context, root string) (string, error) {
	command := exec.CommandContext(ctx, "ci/tools/build.sh", "registry")
	command.Dir, command.Stderr = root, os.Stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("build the registry: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "registry"), nil
}

// freeAddress is free now; if another process takes the port before the registry does, the registry ends and Start fails.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func waitUntilReady(ctx context.Context, address string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := ping(ctx, address)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func ping(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v2/", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET /v2/ answered %s", response.Status)
	}
	return nil
}
