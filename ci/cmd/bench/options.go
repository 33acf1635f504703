package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/flokoa/flokoa/ci/cmd/bench/report"
)

// options are the command-line options of the benchmark.
type options struct {
	sizes []int
	// rounds is the number of rounds at each size, 0 for the usual ones.
	rounds, replicas int
	scenarios        []string
	// full adds the largest sizes; profile also writes CPU profiles.
	full, profile bool
	// flags are those that the operator gets beside its defaults.
	flags []string
	out   string
}

// scenarios are all there are, in the order in which they run.
var scenarios = []string{
	report.Scale, report.Replicas, report.Unrelated, report.Delete, report.Crowd, report.Spread, report.Slow, report.Size,
}

// fullSize is the size that -full adds to the others. It also adds the scenarios that are not usual.
const fullSize = 5000

var usualScenarios = []string{report.Scale, report.Replicas}

// usualRounds is how many rounds a size has, unless it takes longer: from largeSize on, and with -full, it is one.
const (
	usualRounds = 3
	largeSize   = 1000
)

// roundsAt returns the number of rounds at a size.
func (o options) roundsAt(size int) int {
	switch {
	case size >= fullSize || o.rounds == 0 && (o.full || size >= largeSize):
		return 1
	case o.rounds == 0:
		return usualRounds
	default:
		return o.rounds
	}
}

func parse(args []string, output io.Writer) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a mistake is one line, which the caller prints
	sizes := flags.String("sizes", "300,1000", "`numbers` of Agents that are created and rolled beside the floor, with commas between them")
	flags.IntVar(&o.rounds, "rounds", 0, fmt.Sprintf("`number` of rounds at each size, and 1 at %d; each round has both sides (default %d, and 1 at %d and more, and with -full)", fullSize, usualRounds, largeSize))
	flags.IntVar(&o.replicas, "replicas", 1, "`number` of pods of each Agent, beside the floor")
	chosen := flags.String("scenarios", strings.Join(usualScenarios, ","), "`names` of what is measured, with commas between them: "+strings.Join(scenarios, ", "))
	flags.BoolVar(&o.full, "full", false, fmt.Sprintf("also one round of %d Agents beside the floor, and all scenarios", fullSize))
	flags.BoolVar(&o.profile, "profile", false, "also write CPU profiles of the operator and of the API server")
	operator := flags.String("operator-flags", "", "`flags` that the operator gets, with blanks between them, as \"--concurrency=16 --kube-api-qps=500\"; without it, the defaults are measured")
	flags.StringVar(&o.out, "out", "bin/bench", "`folder` for the results")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(output)
		flags.PrintDefaults()
		return o, err
	case err != nil:
		return o, fmt.Errorf("%w: see -help", err)
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q: every setting is a flag, see -help", flags.Arg(0))
	}
	if err := o.setSizes(*sizes); err != nil {
		return o, err
	}
	o.scenarios, o.flags = strings.Split(*chosen, ","), strings.Fields(*operator)
	if o.full {
		o.sizes = append(o.sizes, fullSize)
		o.scenarios = scenarios
	}
	slices.Sort(o.sizes)
	o.sizes = slices.Compact(o.sizes)
	return o, o.validate()
}

func (o *options) setSizes(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		size, err := strconv.Atoi(word)
		if err != nil || size < 1 || size > 99999 {
			return fmt.Errorf("-sizes (SIZES): %q is no number of Agents: write numbers from 1 to 99999 with commas between them, as 300,1000", word)
		}
		o.sizes = append(o.sizes, size)
	}
	return nil
}

func (o *options) validate() error {
	switch {
	case o.rounds < 0:
		return fmt.Errorf("-rounds (ROUNDS): %d is too few: 1 or more, or 0 for the usual ones", o.rounds)
	case o.replicas < 1:
		return fmt.Errorf("-replicas (REPLICAS): %d is too few: 1 or more", o.replicas)
	}
	for _, name := range o.scenarios {
		if !slices.Contains(scenarios, name) {
			return fmt.Errorf("-scenarios (SCENARIOS): there is no %q: choose from %s", name, strings.Join(scenarios, ", "))
		}
	}
	if _, err := os.Stat("ci/clusters/local/cluster.sh"); err != nil {
		return errors.New("run it from the top folder of the repository: make bench")
	}
	return nil
}
