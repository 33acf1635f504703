// Command flokoa-operator runs AI agents, described by Agent resources, as Deployments and Services.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/flokoa/flokoa/operator/internal/app"
	"github.com/flokoa/flokoa/operator/internal/check"
	"github.com/flokoa/flokoa/operator/internal/health"
)

// version is set by the linker.
var version = "dev"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "check" {
		os.Exit(check.Run(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "health" {
		os.Exit(health.Run(ctx, os.Args[2:], os.Stdout, os.Stderr))
	}
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "flokoa-operator:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	options, err := app.ParseOptions(args, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case options.Version:
		fmt.Println(version)
		return nil
	}
	return app.Run(ctx, options, version, os.Stderr)
}
