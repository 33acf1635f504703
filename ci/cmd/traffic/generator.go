package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/flokoa/flokoa/ci/cmd/traffic/control"
	"github.com/flokoa/flokoa/ci/cmd/traffic/load"
)

func runLoad(ctx context.Context, args []string, s streams) error {
	var o load.Options
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.StringVar(&o.Target, "target", "", "`URL` of the agent, such as http://agent.namespace.svc:8080")
	flags.Float64Var(&o.Rate, "rate", 100, "posts and gets per second; 0 for none")
	flags.IntVar(&o.Connections, "connections", 8, "connections that are kept alive; more are opened while all are busy")
	flags.Float64Var(&o.NewConnections, "new-connections", 0.2, "share of requests with a connection of their own, 0 to 1")
	flags.StringVar(&o.PostPath, "post-path", "/", "`path` of A2A message/send and message/stream; empty for no posts")
	flags.StringVar(&o.GetPath, "get-path", "/.well-known/agent-card.json", "`path` of the gets; empty for none")
	flags.DurationVar(&o.Timeout, "timeout", 5*time.Second, "longest time for a request")
	flags.IntVar(&o.MaxInFlight, "max-in-flight", 512, "requests at once; more are not sent, but fail as overrun")
	flags.IntVar(&o.Streams, "streams", 0, "A2A message/stream requests that are open at all times")
	seconds := flags.Float64("stream-seconds", 30, "how long the agent takes for a stream, which its model decides; one longer than this and --timeout has failed")
	flags.StringVar(&o.StreamText, "stream-text", "", "the `text` that requests a stream (default: stream for 30s, of --stream-seconds)")
	address := flags.String("control", control.Address, "where results are served: 127.0.0.1:PORT or unix:/path")
	if err := parse(flags, args, s); err != nil {
		return err
	}
	o.StreamFor = time.Duration(*seconds * float64(time.Second))
	g, err := load.New(o)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	listener, err := control.Listen(*address)
	if err != nil {
		return err
	}
	go g.Run(ctx)
	return control.Serve(ctx, listener, g)
}

func runResults(ctx context.Context, args []string, s streams) error {
	return readWindow(ctx, "results", args, s)
}

func runSummary(ctx context.Context, args []string, s streams) error {
	return readWindow(ctx, "summary", args, s)
}

func readWindow(ctx context.Context, name string, args []string, s streams) error {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	from := flags.Int64("from", 0, "start of the window, Unix milliseconds; 0 is open")
	to := flags.Int64("to", 0, "end of the window, Unix milliseconds; waits until what was due before has ended; 0 is open")
	query := url.Values{}
	return call(ctx, flags, args, s, http.MethodGet, query, func() {
		query.Set("from", strconv.FormatInt(*from, 10))
		query.Set("to", strconv.FormatInt(*to, 10))
	})
}

func runMark(ctx context.Context, args []string, s streams) error {
	return call(ctx, flag.NewFlagSet("mark", flag.ContinueOnError), args, s, http.MethodGet, nil, nil)
}

func runReset(ctx context.Context, args []string, s streams) error {
	return call(ctx, flag.NewFlagSet("reset", flag.ContinueOnError), args, s, http.MethodPost, nil, nil)
}

func runStop(ctx context.Context, args []string, s streams) error {
	return call(ctx, flag.NewFlagSet("stop", flag.ContinueOnError), args, s, http.MethodPost, nil, nil)
}

// call sends the generator of this pod the request that the flag set is named after.
func call(ctx context.Context, flags *flag.FlagSet, args []string, s streams, method string, query url.Values, parsed func()) error {
	address := flags.String("control", control.Address, "where the generator serves its results")
	if err := parse(flags, args, s); err != nil {
		return err
	}
	if parsed != nil {
		parsed()
	}
	return control.Call(ctx, *address, method, "/"+flags.Name(), query, s.out)
}
