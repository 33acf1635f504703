package check

import (
	"errors"
	"flag"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/flokoa/flokoa/operator/internal/cli"
)

// defaultNamespace is the namespace of an Agent if neither its manifest nor the command line names one.
const defaultNamespace = "default"

// stdinFile is the name of standard input on the command line and in JSON.
const stdinFile = "-"

const help = `flokoa-operator check validates the manifests of Agents and Models before they are applied: it finds fields that they do not
have or that have another type, what each Agent lacks for high availability, whether the Model that it names is among the
manifests, and what the operator would create. It needs no cluster and reads no kubeconfig.

Usage:
  flokoa-operator check -f FILE... [flags]
  helm template my-release my-chart | flokoa-operator check -f -
  kubectl kustomize overlays/production | flokoa-operator check -f -

FILE is a file of YAML or JSON, - for standard input, or a directory: check reads its *.yaml, *.yml, and *.json, including
subdirectories, but nothing hidden. It reads a file once, however often you name it. A file may hold several documents and
lists; check skips and counts objects of other kinds. It renders no chart and no kustomization: pipe in the output of helm
template or kubectl kustomize. Unknown and duplicate fields are errors, as with kubectl --validate=strict.

Flags:
  -f, --filename FILE        what to check; repeat it for more, or name FILE without the flag
  -n, --namespace NAMESPACE  namespace of Agents and Models whose manifest names none; without -n they are evaluated in
                             "default" and printed without a namespace
  -o, --output text|json     format of the report (default text)
      --render               also print the objects that the operator would create: YAML documents on standard output, with
                             the report on standard error; inside the report with -o json. They are for reading and for
                             kubectl diff, not for applying: they lack the owner reference and the digest, which depend on
                             the uid of the Agent in the cluster
  -h, --help                 print this and exit

Exit codes:
  0  every Agent is highly available
  1  an Agent lacks something that high availability needs
  2  an error: a file that cannot be read, invalid YAML, an unknown or duplicate field,
     a spec that cannot be rendered, a Model that cannot be resolved, neither an Agent nor a Model, or a wrong flag;
     the other Agents are checked anyway
A warning does not change the exit code.

High availability needs three or more replicas, spread over nodes and zones, with pinned images, resource requests and
limits, and probes.

Checks that need a cluster are skipped: where the pods would run, whether a rollout finds enough nodes, and the
PodDisruptionBudgets of others (see the Agent's condition HighlyAvailable); ranges, enums, rules between fields, quotas, and
admission policies (see kubectl apply --dry-run=server).

The report as JSON. Fields may be added; the meaning of a field does not change:
  agents[]   file, document, line, item      location: number and first line of the document, both from 1; item only
                                             inside a list, from 1; file is - for standard input
             namespace, name                 no namespace when neither the manifest nor -n names one; a generated name
                                             ends in xxxxx
             highlyAvailable                 whether nothing is missing
             missing[] {id, text}            what high availability needs, as in the condition HighlyAvailable
             warnings[]                      what is probably a mistake
             children[]                      the rendered objects, only with --render
  errors[]   file, document, line, item      location; no document when the error is the file's
             agent or model, field           Agent or Model, and field, where known
             message                         a whole sentence
  summary    agents, highlyAvailable         how many valid Agents, and how many of them lack nothing
             models                          how many valid Models
             errors, skipped                 how many errors, and how many objects of other kinds
`

// options are the settings on the command line.
type options struct {
	files     []string
	namespace string // empty if unset
	output    string
	render    bool
}

func parseOptions(args []string) (options, error) {
	o := options{}
	flags := newFlags(&o)
	for {
		if err := cli.Parse(flags, args); err != nil {
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
		// The flag package stops at the first argument that is not a flag, but here files and flags may be mixed.
		o.files, args = append(o.files, rest[0]), rest[1:]
	}
}

func newFlags(o *options) *flag.FlagSet {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
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
		return errors.New("nothing to check: name files with -f, or - for standard input; see check --help")
	}
	return nil
}
