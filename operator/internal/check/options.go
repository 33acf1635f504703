package check

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// defaultNamespace is what an Agent is judged and rendered in when neither its manifest nor the command line names one.
const defaultNamespace = "default"

// stdinFile is how a command line, and JSON output, call standard input.
const stdinFile = "-"

const help = `flokoa-operator check judges Agent manifests before they are applied: what each lacks for high availability, and what
the operator would make of it. It needs no cluster and reads no kubeconfig.

Usage:
  flokoa-operator check -f FILE... [flags]
  helm template my-release my-chart | flokoa-operator check -f -
  kubectl kustomize overlays/production | flokoa-operator check -f -

FILE is a file of YAML or JSON, - for standard input, or a folder: its *.yaml, *.yml and *.json are read, those of its
subfolders too, and nothing hidden. A file that is named twice is judged once. A file may hold several documents and lists;
objects that are not Agents are passed over and counted. Charts and kustomizations are not rendered: pipe in what their own
tools print. Unknown fields are mistakes, as they are to the API server, and so are duplicate ones, of which kubectl takes
the last without a word.

Flags:
  -f, --filename FILE        what to judge; may be given several times, and FILE may also stand without the flag
  -n, --namespace NAMESPACE  namespace of Agents whose manifest names none; without it they are taken to be in "default",
                             and printed without a namespace
  -o, --output text|json     form of the report (default text)
      --render               also print the objects that the operator would make: YAML documents on standard output, with
                             the report on standard error; inside the report with -o json. They are for reading and for
                             kubectl diff, not for applying: owner reference and digest, which depend on the uid that the
                             Agent gets when it is created, are left out
  -h, --help                 print this and exit

Exit codes:
  0  every Agent is highly available
  1  an Agent lacks something that high availability asks for
  2  a mistake: a file that cannot be read, bad YAML, an unknown or duplicate field, a spec that cannot be rendered, no Agent
     at all, or a wrong flag; Agents without a mistake are judged all the same
A warning changes no exit code.

Not judged here, because it takes a cluster: where the pods will run (the Agent's condition HighlyAvailable tells), and what
only the API server checks: ranges, enumerations and the rules between fields (kubectl apply --dry-run=server tells).

The report as JSON; fields may be added, none will change its meaning:
  agents[]    file, document, line, item      where it stands: number and first line of the document, both from 1; item only
                                              inside a list, from 1; file is - for standard input
              namespace, name                 no namespace when neither the manifest nor -n names one
              highlyAvailable                 whether nothing is missing
              missing[] {id, text}            what high availability asks for, as in the condition HighlyAvailable
              warnings[]                      what is likely not meant
              children[]                      the rendered objects, only with --render
  problems[]  file, document, line, item      where the mistake is; no document when it is the file's
              agent, field                    of which Agent and field, where that is known
              message                         a whole sentence
  summary     agents, highlyAvailable         how many Agents were judged, and how many of them lack nothing
              problems, passedOver            how many mistakes, and how many objects of other kinds
`

// options are what check is told on its command line.
type options struct {
	files     []string
	namespace string // empty when it was not given
	output    string
	render    bool
}

func parseOptions(args []string) (options, error) {
	o := options{}
	flags := newFlags(&o)
	for {
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return o, err
			}
			return o, fmt.Errorf("%w: see check --help", err)
		}
		rest := flags.Args()
		if ended := len(args) > len(rest) && args[len(args)-len(rest)-1] == "--"; ended || len(rest) == 0 {
			o.files = append(o.files, rest...)
			return o, o.validate()
		}
		// The flag package stops at the first argument that is none; files and flags may be mixed here.
		o.files, args = append(o.files, rest[0]), rest[1:]
	}
}

func newFlags(o *options) *flag.FlagSet {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a mistake is one line, which the caller prints
	file := func(name string) error { o.files = append(o.files, name); return nil }
	flags.Func("f", "", file)
	flags.Func("filename", "", file)
	flags.StringVar(&o.namespace, "n", "", "")
	flags.StringVar(&o.namespace, "namespace", "", "")
	flags.StringVar(&o.output, "o", "text", "")
	flags.StringVar(&o.output, "output", "text", "")
	flags.BoolVar(&o.render, "render", false, "")
	return flags
}

func (o options) validate() error {
	if o.output != "text" && o.output != "json" {
		return fmt.Errorf("--output %q: use text or json", o.output)
	}
	if wrong := validation.IsDNS1123Label(o.namespace); o.namespace != "" && len(wrong) > 0 {
		return fmt.Errorf("--namespace %q: %s", o.namespace, strings.Join(wrong, ", "))
	}
	if len(o.files) == 0 {
		return errors.New("nothing to judge: name files with -f, or - for standard input; see check --help")
	}
	return nil
}
