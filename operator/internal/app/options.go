// Package app puts the operator together: options, client configuration, manager, caches, probes and controllers.
package app

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Options are what the operator is told on its command line.
type Options struct {
	// Kubeconfig is the path of a kubeconfig file; empty inside a pod, where its ServiceAccount is used.
	Kubeconfig string
	// Namespaces are those whose Agents are worked on, in order; none means all.
	Namespaces Namespaces
	// LeaderElect makes the operator work only while it holds the lease, so that several may run.
	LeaderElect bool
	// LeaderElectionNamespace holds the lease; empty for the pod's own namespace.
	LeaderElectionNamespace string
	// LeaseName is the name of the lease; with its namespace it names the installation.
	LeaseName string
	// MetricsBindAddress and HealthProbeBindAddress are host:port to listen on; "0" for neither.
	MetricsBindAddress, HealthProbeBindAddress string
	// AgentMetrics exports gauges of every Agent beside the operator's own metrics.
	AgentMetrics bool
	// Concurrency is the number of Agents that are worked on at a time.
	Concurrency int
	// KubeAPIQPS and KubeAPIBurst limit the requests sent to the API server, per second.
	KubeAPIQPS   float64
	KubeAPIBurst int
	// LogLevel is debug, info, warn or error; LogFormat is json or text.
	LogLevel  slog.Level
	LogFormat string
	// Version asks for the version instead of running.
	Version bool
}

// Namespaces is a flag's value: names with commas between them.
type Namespaces []string

// String writes the names as Set reads them.
func (n *Namespaces) String() string { return strings.Join(*n, ",") }

// Set reads names with commas between them; no text is no names.
func (n *Namespaces) Set(text string) error {
	*n = nil
	if text == "" {
		return nil
	}
	for name := range strings.SplitSeq(text, ",") {
		if wrong := validation.IsDNS1123Label(name); wrong != nil {
			return fmt.Errorf("%q is not the name of a namespace: write the names with commas between them, as team-a,team-b", name)
		}
		if slices.Contains(*n, name) {
			return fmt.Errorf("%q is there twice", name)
		}
		*n = append(*n, name)
	}
	slices.Sort(*n)
	return nil
}

// ParseOptions reads the command line. It returns flag.ErrHelp when help was asked for and has been printed to output.
func ParseOptions(args []string, output io.Writer) (Options, error) {
	o := Options{}
	flags := flag.NewFlagSet("flokoa-operator", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a mistake is one line, which the caller prints
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "`path` of a kubeconfig file; without it, the ServiceAccount of the pod is used")
	flags.Var(&o.Namespaces, "namespaces", "`names` of the namespaces whose Agents are worked on, as team-a,team-b; without it, all namespaces")
	flags.BoolVar(&o.LeaderElect, "leader-elect", true, "work only while holding the lease, so that several replicas may run; without it, nothing keeps a second operator away")
	flags.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", "", "`namespace` of the lease; without it, the pod's own")
	flags.StringVar(&o.LeaseName, "lease-name", "flokoa-operator", "`name` of the lease: one for all replicas of an installation, and no other installation's")
	flags.StringVar(&o.MetricsBindAddress, "metrics-bind-address", ":8080", "`host:port` that serves /metrics in plain HTTP; 0 for none")
	flags.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", ":8081", "`host:port` that serves /healthz and /readyz; 0 for none")
	flags.BoolVar(&o.AgentMetrics, "agent-metrics", true, "export gauges of every Agent beside the operator's own metrics")
	flags.IntVar(&o.Concurrency, "concurrency", 8, "`number` of Agents that are worked on at a time")
	flags.Float64Var(&o.KubeAPIQPS, "kube-api-qps", 200, "`requests` per second that may be sent to the API server")
	flags.IntVar(&o.KubeAPIBurst, "kube-api-burst", 400, "`requests` that may be sent at once on top of --kube-api-qps")
	flags.TextVar(&o.LogLevel, "log-level", slog.LevelInfo, "least `level` that is logged: debug, info, warn or error")
	flags.StringVar(&o.LogFormat, "log-format", "json", "`format` of the log on standard error: json or text")
	flags.BoolVar(&o.Version, "version", false, "print the version and exit")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(output)
		_, _ = fmt.Fprintf(output, "flokoa-operator runs AI agents, described by Agent resources, as Deployments and Services.\n\n"+
			"To judge Agent manifests without a cluster instead: flokoa-operator check --help\n"+
			"To ask whether an operator is well: flokoa-operator health --help\n\nFlags:\n")
		flags.PrintDefaults()
		return o, err
	case err != nil:
		return o, fmt.Errorf("%w: see --help", err)
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: every setting is a flag, see --help", flags.Arg(0))
	}
	return o, o.validate()
}

func (o Options) validate() error {
	switch {
	case o.Concurrency < 1:
		return errors.New("--concurrency must be 1 or more")
	case !(o.KubeAPIQPS > 0) || // also refuses NaN
		o.KubeAPIBurst < 1:
		return errors.New("--kube-api-qps and --kube-api-burst must be more than 0")
	case o.LogFormat != "json" && o.LogFormat != "text":
		return fmt.Errorf("--log-format %q: use json or text", o.LogFormat)
	case validation.IsDNS1123Label(o.LeaseName) != nil:
		return fmt.Errorf("--lease-name %q: use lower-case letters, digits and hyphens, 63 characters at most", o.LeaseName)
	case o.Kubeconfig != "" && o.LeaderElect && o.LeaderElectionNamespace == "":
		return errors.New("--leader-election-namespace is needed with --kubeconfig: outside a pod there is no namespace to take the lease in")
	default:
		return nil
	}
}
