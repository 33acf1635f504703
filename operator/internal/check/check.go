// Package check validates the manifests of Agents and Models before they are applied, without a cluster. It reports what each Agent lacks
// for high availability, by the code behind the condition HighlyAvailable, whether its Model is there, and what it renders to.
//
// A run reads all of its input in five steps, one source file each: options, paths (which files), document (a file's
// documents), decode (a document's Agents and Models), and evaluate; report prints. Nothing stops at the first error.
package check

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/cli"
)

// Exit codes. A run returns the worst of everything that it read.
const (
	// ExitHighlyAvailable: no Agent lacks anything.
	ExitHighlyAvailable = 0
	// ExitMissing: an Agent lacks something that high availability requires.
	ExitMissing = 1
	// ExitError: something could not be read, decoded, or rendered, or there was no Agent, or a flag was wrong.
	ExitError = cli.ExitUsage
)

// Run runs the command `flokoa-operator check` with the arguments that follow it, and returns the exit code.
func Run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	options, err := parseOptions(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitCode(ExitHighlyAvailable, write(stdout, help), stderr)
	case err != nil:
		return exitCode(ExitError, err, stderr)
	}
	report := read(options, stdin)
	return exitCode(report.exitCode(), report.print(options, stdout, stderr), stderr)
}

// read evaluates every file that the options name.
func read(options options, stdin io.Reader) *Report {
	report := &Report{Agents: []Agent{}, Errors: []Error{}}
	input := manifests{models: map[string]*v1alpha1.Model{}}
	for _, source := range expandPaths(options.files) {
		report.position++
		data, err := source.read(stdin)
		if err != nil {
			report.error(Error{Location: Location{File: source.name}, Message: plain(err)})
			continue
		}
		for _, document := range documents(source.name, data) {
			report.position++
			decode(document, options, &input, report)
		}
	}
	end := report.position
	for _, agent := range input.agents { // after all Models, which may follow their Agents
		report.position = agent.position
		evaluate(agent, input.models, options, report)
	}
	report.position = end
	report.finish()
	return report
}

// exitCode returns the code, or prints an error and returns ExitError.
func exitCode(code int, err error, stderr io.Writer) int {
	if err == nil {
		return code
	}
	_, _ = fmt.Fprintln(stderr, "flokoa-operator check:", escape(err.Error()))
	return ExitError
}

func write(to io.Writer, text string) error {
	_, err := io.WriteString(to, text)
	return err
}
