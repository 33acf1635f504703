package cli_test

import (
	"errors"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/operator/internal/cli"
)

func newFlags() *flag.FlagSet {
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	flags.Int("concurrency", 8, "")
	flags.Float64("qps", 1, "")
	flags.Bool("leader-elect", true, "")
	flags.Duration("timeout", time.Second, "")
	flags.String("f", "", "")
	flags.Func("color", "", func(string) error { return errors.New("use red") })
	flags.Func("name", "", func(text string) error { return errors.New(`"` + text + `" is not a name`) })
	return flags
}

func TestFlagErrorsNameTheFlagAsItIsTyped(t *testing.T) {
	for arguments, want := range map[string]string{
		"--concurrency=abc":                  `--concurrency: "abc" is not a whole number`,
		"-concurrency 1.5":                   `--concurrency: "1.5" is not a whole number`,
		"--concurrency=":                     `--concurrency: "" is not a whole number`,
		"--concurrency=99999999999999999999": `--concurrency: "99999999999999999999" is out of range`,
		"--qps=fast":                         `--qps: "fast" is not a number`,
		"--leader-elect=maybe":               `--leader-elect: "maybe" is not true or false`,
		"--timeout=soon":                     `--timeout: "soon" is not a duration such as 30s`,
		"--timeout=5":                        `--timeout: "5" is not a duration such as 30s`,
		"--color=blue":                       `--color: "blue": use red`,
		"--name=A":                           `--name: "A" is not a name`,
		"-f":                                 "-f needs a value",
		"--timeout":                          "--timeout needs a value",
		"--nonsense":                         "unknown flag --nonsense",
		"-x":                                 "unknown flag -x",
	} {
		require.EqualError(t, cli.Parse(newFlags(), strings.Fields(arguments)), want, arguments)
	}
}

func TestValidFlagsAndHelpAreNoErrors(t *testing.T) {
	flags := newFlags()
	require.NoError(t, cli.Parse(flags, []string{"--concurrency=3", "rest"}))
	require.Equal(t, []string{"rest"}, flags.Args())
	require.ErrorIs(t, cli.Parse(newFlags(), []string{"--help"}), flag.ErrHelp)
}
