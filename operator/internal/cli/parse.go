// Package cli parses command lines with the flag package, and reports errors as people type flags: with two dashes.
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// ExitUsage is the exit code of every command for a wrong command line.
const ExitUsage = 2

// Parse parses flags and prints nothing. It returns flag.ErrHelp as it is, and any other error as one line that names the flag.
func Parse(flags *flag.FlagSet, args []string) error {
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return errors.New(explain(flags, err.Error()))
}

// The texts of the flag package, which has no error types.
var (
	invalid = regexp.MustCompile(`(?s)^invalid (?:boolean )?value (".*") for (?:flag )?-([^ :]+): (.*)$`)
	missing = regexp.MustCompile(`^flag needs an argument: -(.+)$`)
	unknown = regexp.MustCompile(`^flag provided but not defined: -(.+)$`)
)

func explain(flags *flag.FlagSet, text string) string {
	if match := missing.FindStringSubmatch(text); match != nil {
		return dashed(match[1]) + " needs a value"
	}
	if match := unknown.FindStringSubmatch(text); match != nil {
		return "unknown flag " + dashed(match[1])
	}
	match := invalid.FindStringSubmatch(text)
	if match == nil {
		return text
	}
	value, name, reason := match[1], match[2], match[3]
	switch reason {
	case "parse error":
		return fmt.Sprintf("%s: %s is not %s", dashed(name), value, expected(flags.Lookup(name)))
	case "value out of range":
		return fmt.Sprintf("%s: %s is out of range", dashed(name), value)
	}
	if strings.HasPrefix(reason, value) {
		return fmt.Sprintf("%s: %s", dashed(name), reason)
	}
	return fmt.Sprintf("%s: %s: %s", dashed(name), value, reason)
}

// dashed returns a flag as people type it.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// expected describes the values of a flag.
func expected(f *flag.Flag) string {
	getter, ok := f.Value.(flag.Getter)
	if !ok {
		return "valid"
	}
	switch getter.Get().(type) {
	case bool:
		return "true or false"
	case int, int64, uint, uint64:
		return "a whole number"
	case float64:
		return "a number"
	case time.Duration:
		return "a duration such as 30s"
	default:
		return "valid"
	}
}
