// Package health checks an HTTP endpoint. It is the command of the pod that `helm test` starts, because the image has no shell and
// no curl.
package health

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/flokoa/flokoa/operator/internal/cli"
)

// Exit codes.
const (
	// ExitHealthy: the endpoint answered with 2xx.
	ExitHealthy = 0
	// ExitUnhealthy: it did not within the timeout.
	ExitUnhealthy = 1
	// ExitUsage: the command line was wrong.
	ExitUsage = cli.ExitUsage
)

const (
	// tryTimeout bounds one request; retryInterval is the time between two.
	tryTimeout    = 5 * time.Second
	retryInterval = 500 * time.Millisecond
)

const help = `flokoa-operator health polls an HTTP endpoint until it answers with 2xx.

Usage:
  flokoa-operator health [--timeout 30s] URL

Exit codes:
  0  it answered with 2xx
  1  it did not answer with 2xx within the timeout; the last answer is on standard error
  2  the command line was wrong
`

// Run runs the command `flokoa-operator health` with the arguments that follow it, and returns the exit code.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	address, timeout, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(stdout, help)
		return ExitHealthy
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "flokoa-operator health: %v: see health --help\n", err)
		return ExitUsage
	}
	answer, err := await(ctx, address, timeout)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "flokoa-operator health: %v\n", err)
		return ExitUnhealthy
	}
	_, _ = fmt.Fprintf(stdout, "%s: %s\n", address, answer)
	return ExitHealthy
}

func parse(args []string) (address string, timeout time.Duration, err error) {
	flags := flag.NewFlagSet("health", flag.ContinueOnError)
	flags.DurationVar(&timeout, "timeout", 30*time.Second, "")
	if err := cli.Parse(flags, args); err != nil {
		return "", 0, err
	}
	if flags.NArg() != 1 {
		return "", 0, fmt.Errorf("expected one URL, got %d", flags.NArg())
	}
	if timeout <= 0 {
		return "", 0, errors.New("--timeout must be more than 0")
	}
	address = flags.Arg(0)
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		return "", 0, fmt.Errorf("%q is not a URL such as http://flokoa-operator-metrics:8080/metrics", address)
	}
	return address, timeout, nil
}

// await queries the endpoint until it answers with 2xx or the timeout is over, and returns the last answer.
func await(ctx context.Context, address string, timeout time.Duration) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for last := error(nil); ; {
		answer, err := query(ctx, address)
		if err == nil {
			return answer, nil
		}
		if last == nil || ctx.Err() == nil {
			last = err // an error that the timeout caused says less than the one before
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no 2xx answer within %s; the last answer: %w", timeout, last)
		case <-time.After(retryInterval):
		}
	}
}

func query(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return "", fmt.Errorf("%s: %s", address, response.Status)
	}
	return response.Status, nil
}
