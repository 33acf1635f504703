package main

import (
	"context"
	"flag"

	"github.com/flokoa/flokoa/ci/cmd/traffic/probe"
)

// atOnce is how many probes of a batch run at a time.
const atOnce = 32

func runProbe(ctx context.Context, args []string, s streams) error {
	if err := parse(flag.NewFlagSet("probe", flag.ContinueOnError), args, s); err != nil {
		return err
	}
	return probe.Batch(ctx, s.in, s.out, atOnce)
}
