// Command traffic makes requests and answers them, inside the pods of a cluster, for the suite that checks high availability
// there. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// streams are what a sub-command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// command runs a sub-command. It returns its error unprinted.
type command func(ctx context.Context, args []string, s streams) error

// commands are the sub-commands by name.
var commands = map[string]command{
	"load":     runLoad,
	"results":  runResults,
	"summary":  runSummary,
	"mark":     runMark,
	"reset":    runReset,
	"stop":     runStop,
	"probe":    runProbe,
	"serve":    runServe,
	"provider": runProvider,
	"calls":    runCalls,
}

// errUsage is a mistake in how the program was called.
var errUsage = errors.New("usage")

func main() {
	// As process 1 of a pod, a program without a handler would not end by SIGTERM.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// run returns the exit code: 0, 1 for a failure, 2 for a mistake in the arguments.
func run(ctx context.Context, args []string, s streams) int {
	names := strings.Join(slices.Sorted(maps.Keys(commands)), ", ")
	if len(args) == 0 || commands[args[0]] == nil {
		_, _ = fmt.Fprintln(s.err, "traffic: give a sub-command:", names)
		return 2
	}
	err := commands[args[0]](ctx, args[1:], s)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	_, _ = fmt.Fprintf(s.err, "traffic %s: %v\n", args[0], err)
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}

// parse reads flags. No sub-command takes other arguments.
func parse(flags *flag.FlagSet, args []string, s streams) error {
	flags.SetOutput(s.err)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%w: unexpected arguments %q", errUsage, flags.Args())
	}
	return nil
}
