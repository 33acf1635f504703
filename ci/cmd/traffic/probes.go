package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flokoa/flokoa/ci/cmd/traffic/probe"
)

// atOnce is how many probes of a batch run at a time.
const atOnce = 32

func runConnect(ctx context.Context, args []string, s streams) error {
	q := probe.Question{Kind: probe.Connect}
	flags := flag.NewFlagSet("connect", flag.ContinueOnError)
	flags.StringVar(&q.Protocol, "protocol", "tcp", "tcp or udp")
	timeout := flags.Duration("timeout", 2*time.Second, "longest time for all of it")
	flags.BoolVar(&q.NoEcho, "no-echo", false, "for tcp: a completed handshake is enough")
	refused := flags.Bool("refused-is-reached", false, "exit 0 if the connection was refused, since a packet came back")
	words, err := parse(flags, args, s, "HOST", "PORT")
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(words[1], 10, 16)
	if err != nil {
		return fmt.Errorf("%w: port %q: give 1 to 65535", errUsage, words[1])
	}
	q.Host, q.Port, q.TimeoutSeconds = words[0], int(port), timeout.Seconds()
	verdict := probe.Ask(ctx, q)
	_, _ = fmt.Fprintln(s.out, verdict)
	if verdict.Verdict == probe.Denied || verdict.Verdict == probe.Reached && !*refused {
		return errDenied
	}
	return nil
}

// headers are flags of the form NAME=VALUE.
type headers map[string]string

// String is empty: there is no default.
func (h headers) String() string { return "" }

// Set adds a header.
func (h headers) Set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return errors.New("give NAME=VALUE")
	}
	h[name] = value
	return nil
}

func runHTTP(ctx context.Context, args []string, s streams) error {
	sent := headers{}
	flags := flag.NewFlagSet("http", flag.ContinueOnError)
	flags.Var(sent, "header", "`NAME=VALUE` to send; may be given again")
	timeout := flags.Duration("timeout", 3*time.Second, "longest time for all of it")
	words, err := parse(flags, args, s, "URL")
	if err != nil {
		return err
	}
	v := probe.Ask(ctx, probe.Question{Kind: probe.HTTP, URL: words[0], Headers: sent, TimeoutSeconds: timeout.Seconds()})
	if v.Verdict != probe.Allowed {
		_, _ = fmt.Fprintln(s.out, v)
		return errDenied
	}
	_, _ = fmt.Fprintf(s.out, "%d\n%s\n", v.Status, v.Body)
	return nil
}

func runResolve(ctx context.Context, args []string, s streams) error {
	q := probe.Question{Kind: probe.Resolve}
	flags := flag.NewFlagSet("resolve", flag.ContinueOnError)
	flags.StringVar(&q.Protocol, "protocol", "udp", "udp or tcp: only this one is used")
	flags.StringVar(&q.Server, "server", "", "`host:port` to ask instead of the pod's resolver")
	timeout := flags.Duration("timeout", 5*time.Second, "longest time for all of it")
	words, err := parse(flags, args, s, "NAME")
	if err != nil {
		return err
	}
	q.Host, q.TimeoutSeconds = words[0], timeout.Seconds()
	v := probe.Ask(ctx, q)
	if v.Verdict != probe.Allowed {
		_, _ = fmt.Fprintln(s.out, v)
		return errDenied
	}
	_, _ = fmt.Fprintln(s.out, strings.Join(v.Addresses, "\n"))
	return nil
}

func runProbe(ctx context.Context, args []string, s streams) error {
	if _, err := parse(flag.NewFlagSet("probe", flag.ContinueOnError), args, s); err != nil {
		return err
	}
	return probe.Batch(ctx, s.in, s.out, atOnce)
}
