// Package app assembles the operator: options, client configuration, manager, caches, probes, controllers, and its precedence
// among other operators.
package app

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"github.com/flokoa/flokoa/operator/internal/cli"
)

// Options are the settings on the command line.
type Options struct {
	// Kubeconfig is the client configuration of the kubeconfig files; nil in a pod, where its ServiceAccount is used.
	Kubeconfig *rest.Config
	// Namespaces are those whose Agents this operator reconciles, in order; none means all.
	Namespaces Namespaces
	// LeaderElect makes the operator reconcile only while it holds the leader election Lease, so that several replicas may run.
	LeaderElect bool
	// LeaderElectionNamespace is the namespace of that Lease; empty for the pod's own.
	LeaderElectionNamespace string
	// LeaseName is the name of that Lease; with its namespace it names the installation.
	LeaseName string
	// MetricsBindAddress and HealthProbeBindAddress are host:port to listen on; "0" for neither.
	MetricsBindAddress, HealthProbeBindAddress string
	// PprofBindAddress is the loopback host:port that serves profiles; "0" for none.
	PprofBindAddress string
	// AgentMetrics exports gauges of every Agent in addition to the operator's own metrics.
	AgentMetrics bool
	// Concurrency is the number of Agents reconciled at a time.
	Concurrency int
	// ConfigRollouts is how many Agents roll at a time because a ConfigMap, Secret, or Model changed; 0 if none ever does.
	// ConfigRolloutsPerNamespace is how many of one namespace.
	ConfigRollouts, ConfigRolloutsPerNamespace int
	// ConfigRolloutSecrets are the Secrets whose changes are observed.
	ConfigRolloutSecrets Secrets
	// KubeAPIQPS and KubeAPIBurst limit the requests to the API server: per second, and at once.
	KubeAPIQPS   float64
	KubeAPIBurst int
	// LogLevel is debug, info, warn, or error; LogFormat is json or text.
	LogLevel  slog.Level
	LogFormat string
	// Version prints the version instead of running.
	Version bool
}

// Namespaces is a flag's value: comma-separated names.
type Namespaces []string

// String writes the names as Set reads them.
func (n *Namespaces) String() string { return strings.Join(*n, ",") }

// Set parses comma-separated names; empty text means no names.
func (n *Namespaces) Set(text string) error {
	*n = nil
	if text == "" {
		return nil
	}
	for name := range strings.SplitSeq(text, ",") {
		if wrong := validation.IsDNS1123Label(name); wrong != nil {
			return fmt.Errorf("%q is not the name of a namespace: separate names with commas, as in team-a,team-b", name)
		}
		if slices.Contains(*n, name) {
			return fmt.Errorf("%q is listed twice", name)
		}
		*n = append(*n, name)
	}
	slices.Sort(*n)
	return nil
}

// Secrets is a flag's value: comma-separated namespace/name.
type Secrets []types.NamespacedName

// String writes the Secrets as Set reads them.
func (s *Secrets) String() string {
	texts := make([]string, len(*s))
	for i, secret := range *s {
		texts[i] = secret.String()
	}
	return strings.Join(texts, ",")
}

// Set parses comma-separated Secrets; empty text means none.
func (s *Secrets) Set(text string) error {
	*s = nil
	if text == "" {
		return nil
	}
	for reference := range strings.SplitSeq(text, ",") {
		namespace, name, _ := strings.Cut(reference, "/")
		if validation.IsDNS1123Label(namespace) != nil || validation.IsDNS1123Subdomain(name) != nil {
			return fmt.Errorf("%q is not a Secret: write namespace/name, and separate Secrets with commas, as in team-a/tokens,team-b/tokens", reference)
		}
		secret := types.NamespacedName{Namespace: namespace, Name: name}
		if slices.Contains(*s, secret) {
			return fmt.Errorf("%q is listed twice", reference)
		}
		*s = append(*s, secret)
	}
	return nil
}

// logLevel is a flag's value. slog's own text form is in upper case.
type logLevel slog.Level

func (l *logLevel) String() string { return strings.ToLower(slog.Level(*l).String()) }

// Set parses a level in any case.
func (l *logLevel) Set(text string) error {
	if (*slog.Level)(l).UnmarshalText([]byte(text)) != nil {
		return errors.New("use debug, info, warn, or error")
	}
	return nil
}

// ParseOptions parses the command line, and loads the kubeconfig files. For --help it prints the flags to output and returns
// flag.ErrHelp.
func ParseOptions(args []string, output io.Writer) (Options, error) {
	o, kubeconfig := Options{}, ""
	flags := flag.NewFlagSet("flokoa-operator", flag.ContinueOnError)
	flags.StringVar(&kubeconfig, "kubeconfig", "", "`path` of a kubeconfig file; if unset, the files in KUBECONFIG, or else the ServiceAccount of the operator's pod")
	flags.Var(&o.Namespaces, "namespaces", "comma-separated `names` of the namespaces whose Agents this operator reconciles; if unset, all namespaces that no other operator names")
	flags.BoolVar(&o.LeaderElect, "leader-elect", true, "reconcile only while holding the leader election Lease, so that several replicas may run; if false, nothing keeps two operators apart")
	flags.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", "", "`namespace` of the leader election Lease; if unset, that of the operator's pod. Required with --kubeconfig or KUBECONFIG, unless --leader-elect=false")
	flags.StringVar(&o.LeaseName, "lease-name", "flokoa-operator", "`name` of the leader election Lease; shared by the replicas of an installation, and by no other installation in the namespace")
	flags.StringVar(&o.MetricsBindAddress, "metrics-bind-address", ":8080", "`host:port` that serves /metrics over plain HTTP; 0 to disable")
	flags.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", ":8081", "`host:port` that serves /healthz and /readyz; 0 to disable")
	flags.StringVar(&o.PprofBindAddress, "pprof-bind-address", "0", "`host:port` that serves /debug/pprof over plain HTTP, on a loopback address: reach it with kubectl port-forward; 0 to disable")
	flags.BoolVar(&o.AgentMetrics, "agent-metrics", true, "export gauges of every Agent in addition to the operator's own metrics")
	flags.IntVar(&o.Concurrency, "concurrency", 8, "`number` of Agents reconciled at a time")
	flags.IntVar(&o.ConfigRollouts, "config-rollouts", 20, "`number` of Agents that roll at a time because a ConfigMap, Secret, or Model changed; 0 to roll none, and observe only Models")
	flags.IntVar(&o.ConfigRolloutsPerNamespace, "config-rollouts-per-namespace", 5, "`number` of them in one namespace")
	flags.Var(&o.ConfigRolloutSecrets, "config-rollout-secrets", "comma-separated `secrets`, each as namespace/name, whose changes are observed; the operator needs get, list, and watch on each")
	flags.Float64Var(&o.KubeAPIQPS, "kube-api-qps", 200, "`requests` per second to the API server, on average")
	flags.IntVar(&o.KubeAPIBurst, "kube-api-burst", 400, "`requests` to the API server at once, after a pause")
	flags.Var((*logLevel)(&o.LogLevel), "log-level", "lowest `level` to log: debug, info, warn, or error")
	flags.StringVar(&o.LogFormat, "log-format", "json", "`format` of the log on standard error: json or text")
	flags.BoolVar(&o.Version, "version", false, "print the version and exit")
	switch err := cli.Parse(flags, args); {
	case errors.Is(err, flag.ErrHelp):
		printHelp(output, flags)
		return o, err
	case err != nil:
		return o, fmt.Errorf("%w: see --help", err)
	case flags.NArg() > 0 && flags.Arg(0) == args[0]:
		return o, fmt.Errorf("unknown subcommand %q: the subcommands are check and health: see --help", args[0])
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q: every setting is a flag, and a subcommand comes first: see --help", flags.Arg(0))
	}
	if err := o.validate(); err != nil || o.Version {
		return o, err
	}
	config, err := loadKubeconfig(kubeconfig)
	o.Kubeconfig = config
	if err == nil && config != nil && o.LeaderElect && o.LeaderElectionNamespace == "" {
		err = errors.New("--leader-election-namespace is required with --kubeconfig or KUBECONFIG: outside a pod, no namespace is known for the Lease")
	}
	return o, err
}

const help = `flokoa-operator runs AI agents, described by Agent resources, as Deployments and Services.

To check manifests of Agents and Models without a cluster: flokoa-operator check --help
To check the health of an operator: flokoa-operator health --help

Flags:
`

// printHelp prints each flag with two dashes, its value, and its default. The flag package prints one dash.
func printHelp(output io.Writer, flags *flag.FlagSet) {
	_, _ = io.WriteString(output, help)
	flags.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		head := "--" + f.Name
		if value != "" {
			head += " " + value
		}
		if f.DefValue != "" && f.DefValue != "false" {
			usage += " (default " + f.DefValue + ")"
		}
		_, _ = fmt.Fprintf(output, "  %s\n      %s\n", head, usage)
	})
}

func (o Options) validate() error {
	switch {
	case o.Concurrency < 1:
		return errors.New("--concurrency must be 1 or more")
	case o.ConfigRollouts < 0 || o.ConfigRolloutsPerNamespace < 1:
		return errors.New("--config-rollouts must be 0 or more, and --config-rollouts-per-namespace 1 or more")
	case o.outsideNamespaces() != "":
		return fmt.Errorf("--config-rollout-secrets: namespace %q is not in --namespaces", o.outsideNamespaces())
	case !(o.KubeAPIQPS > 0) || // also rejects NaN
		o.KubeAPIBurst < 1:
		return errors.New("--kube-api-qps and --kube-api-burst must be more than 0")
	case o.LogFormat != "json" && o.LogFormat != "text":
		return fmt.Errorf("--log-format %q: use json or text", o.LogFormat)
	case o.PprofBindAddress != "0" && !isLoopback(o.PprofBindAddress):
		return fmt.Errorf("--pprof-bind-address %q: use a loopback address, such as 127.0.0.1:6060, because profiles are served to anyone who can connect", o.PprofBindAddress)
	case validation.IsDNS1123Label(o.LeaseName) != nil:
		return fmt.Errorf("--lease-name %q: use lowercase letters, digits, and hyphens, at most 63 characters", o.LeaseName)
	default:
		return nil
	}
}

// isLoopback reports whether an address, as host:port, can be reached only from the same pod or machine.
func isLoopback(address string) bool {
	parsed, err := netip.ParseAddrPort(address)
	return err == nil && parsed.Addr().IsLoopback()
}

// outsideNamespaces returns a namespace of a Secret whose Agents this operator does not reconcile, empty if there is none.
func (o Options) outsideNamespaces() string {
	for _, secret := range o.ConfigRolloutSecrets {
		if len(o.Namespaces) > 0 && !slices.Contains(o.Namespaces, secret.Namespace) {
			return secret.Namespace
		}
	}
	return ""
}
