// Package health asks an HTTP endpoint whether it is well: the command of the pod that `helm test` starts, whose image has no
// shell and no curl.
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
)

// What a run's exit code says.
const (
	// ExitWell: the endpoint answered with 2xx.
	ExitWell = 0
	// ExitUnwell: it did not, in the time it was given.
	ExitUnwell = 1
	// ExitMistake: the command line was wrong.
	ExitMistake = 2
)

// One try takes no longer than patience, and the next begins pause after it.
const (
	patience = 5 * time.Second
	pause    = 500 * time.Millisecond
)

const help = `flokoa-operator health asks an HTTP endpoint until it answers with 2xx.

Usage:
  flokoa-operator health [--timeout 30s] URL

Exit codes:
  0  it answered with 2xx
  1  it did not within the timeout; the last answer is on standard error
  2  the command line was wrong
`

// Run is the command `flokoa-operator health`, with the arguments that follow that word. It returns the exit code.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	address, timeout, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(stdout, help)
		return ExitWell
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "flokoa-operator health: %v: see --help\n", err)
		return ExitMistake
	}
	answer, err := await(ctx, address, timeout)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "flokoa-operator health: %v\n", err)
		return ExitUnwell
	}
	_, _ = fmt.Fprintf(stdout, "%s: %s\n", address, answer)
	return ExitWell
}

func parse(args []string) (address string, timeout time.Duration, err error) {
	flags := flag.NewFlagSet("health", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a mistake is one line, which the caller prints
	flags.DurationVar(&timeout, "timeout", 30*time.Second, "")
	if err := flags.Parse(args); err != nil {
		return "", 0, err
	}
	if flags.NArg() != 1 {
		return "", 0, fmt.Errorf("give one URL, not %d", flags.NArg())
	}
	if timeout <= 0 {
		return "", 0, errors.New("--timeout must be more than 0")
	}
	address = flags.Arg(0)
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		return "", 0, fmt.Errorf("%q is no URL such as http://flokoa-operator-metrics:8080/metrics", address)
	}
	return address, timeout, nil
}

// await asks until the answer is good or the time is over, and returns the last answer.
func await(ctx context.Context, address string, timeout time.Duration) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for last := error(nil); ; {
		answer, err := ask(ctx, address)
		if err == nil {
			return answer, nil
		}
		if last == nil || ctx.Err() == nil {
			last = err // one that was broken off says less than the one before
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no answer with 2xx within %s, the last: %w", timeout, last)
		case <-time.After(pause):
		}
	}
}

func ask(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
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
