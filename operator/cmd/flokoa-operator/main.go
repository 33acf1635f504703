// Command flokoa-operator runs AI agents, described by Agent resources, as Deployments and Services.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/flokoa/flokoa/operator/internal/app"
	"github.com/flokoa/flokoa/operator/internal/check"
	"github.com/flokoa/flokoa/operator/internal/cli"
	"github.com/flokoa/flokoa/operator/internal/health"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs a subcommand or the operator, and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	switch {
	case len(args) > 0 && args[0] == "check":
		return check.Run(args[1:], stdin, stdout, stderr)
	case len(args) > 0 && args[0] == "health":
		return health.Run(ctx, args[1:], stdout, stderr)
	}
	options, err := app.ParseOptions(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "flokoa-operator:", err)
		return cli.ExitUsage
	case options.Version:
		_, _ = fmt.Fprintln(stdout, version)
		return 0
	}
	if err := app.Run(ctx, options, version, stderr); err != nil {
		_, _ = fmt.Fprintln(stderr, "flokoa-operator:", err)
		return 1
	}
	return 0
}
