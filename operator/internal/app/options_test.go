package app

import (
	"bytes"
	"flag"
	"io"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/operator/internal/configrollout"
)

// flags lists every flag with a value other than its default, and the field that it sets.
var flags = map[string]struct{ argument, field string }{
	"kubeconfig":                    {"", "Kubeconfig"}, // the test writes the file
	"namespaces":                    {"b,a", "Namespaces"},
	"leader-elect":                  {"false", "LeaderElect"},
	"leader-election-namespace":     {"ns", "LeaderElectionNamespace"},
	"lease-name":                    {"l", "LeaseName"},
	"metrics-bind-address":          {":1", "MetricsBindAddress"},
	"health-probe-bind-address":     {":2", "HealthProbeBindAddress"},
	"pprof-bind-address":            {"127.0.0.1:3", "PprofBindAddress"},
	"agent-metrics":                 {"false", "AgentMetrics"},
	"concurrency":                   {"3", "Concurrency"},
	"config-rollouts":               {"7", "ConfigRollouts"},
	"config-rollouts-per-namespace": {"3", "ConfigRolloutsPerNamespace"},
	"config-rollout-secrets":        {"a/s,b/s", "ConfigRolloutSecrets"},
	"kube-api-qps":                  {"4.5", "KubeAPIQPS"},
	"kube-api-burst":                {"5", "KubeAPIBurst"},
	"log-level":                     {"debug", "LogLevel"},
	"log-format":                    {"text", "LogFormat"},
	"version":                       {"true", "Version"},
}

func TestMain(m *testing.M) {
	_ = os.Unsetenv("KUBECONFIG") // a test that needs it sets it
	os.Exit(m.Run())
}

func TestNoFlagIsRequiredInAPod(t *testing.T) {
	options, err := ParseOptions(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, Options{
		LeaderElect: true, LeaseName: "flokoa-operator", MetricsBindAddress: ":8080", HealthProbeBindAddress: ":8081", PprofBindAddress: "0",
		AgentMetrics: true, Concurrency: 8, ConfigRollouts: 20, ConfigRolloutsPerNamespace: 5, KubeAPIQPS: 200, KubeAPIBurst: 400, LogLevel: slog.LevelInfo, LogFormat: "json",
	}, options)
}

func TestEveryFlagSetsOneField(t *testing.T) {
	require.Len(t, flags, reflect.TypeFor[Options]().NumField(), "a row for every option")
	defaults, err := ParseOptions(nil, io.Discard)
	require.NoError(t, err)
	for name, f := range flags {
		t.Run(name, func(t *testing.T) {
			if name == "kubeconfig" {
				f.argument = kubeconfig(t, t.TempDir(), "server", true)
			}
			got, _ := ParseOptions([]string{"--" + name + "=" + f.argument}, io.Discard)
			old := reflect.ValueOf(defaults).FieldByName(f.field)
			field := reflect.ValueOf(&got).Elem().FieldByName(f.field)
			require.NotEqual(t, old.Interface(), field.Interface())
			field.Set(old)
			require.Equal(t, defaults, got, "no other field changes")
		})
	}
}

func TestNamespacesAreSortedAndTheLastFlagWins(t *testing.T) {
	for argument, want := range map[string]Namespaces{"team-b,team-a": {"team-a", "team-b"}, "team-a": {"team-a"}, "": nil} {
		options, err := ParseOptions([]string{"--namespaces=" + argument}, io.Discard)
		require.NoError(t, err)
		require.Equal(t, want, options.Namespaces)
	}
	options, err := ParseOptions([]string{"--namespaces=a", "--namespaces=b"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, Namespaces{"b"}, options.Namespaces, "the last one wins, as with every flag")
}

func TestSecretsAreInTheNamespacesOfTheOperator(t *testing.T) {
	options, err := ParseOptions([]string{"--config-rollout-secrets=a/s,b/s.t", "--namespaces=a,b"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, "a/s,b/s.t", options.ConfigRolloutSecrets.String())
	require.Len(t, configRollouts(options).Secrets, 2)
	_, err = ParseOptions([]string{"--config-rollout-secrets=a/s,b/s", "--namespaces=a"}, io.Discard)
	require.ErrorContains(t, err, `--config-rollout-secrets: namespace "b" is not in --namespaces`)
}

func TestNoConfigRolloutsMeansNoLimitsAboveZero(t *testing.T) {
	options, err := ParseOptions([]string{"--config-rollouts=0"}, io.Discard)
	require.NoError(t, err)
	require.Zero(t, configRollouts(options).Limits.Total)
	options, err = ParseOptions([]string{"--config-rollouts=7", "--config-rollouts-per-namespace=3"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, configrollout.Limits{PerNamespace: 3, Total: 7}, configRollouts(options).Limits)
}

func TestHelpDescribesEveryFlag(t *testing.T) {
	var help bytes.Buffer
	_, err := ParseOptions([]string{"--help"}, &help)
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Contains(t, help.String(), "flokoa-operator runs AI agents")
	defaults := map[string]string{
		"leader-elect": "true", "lease-name": "flokoa-operator", "metrics-bind-address": ":8080", "health-probe-bind-address": ":8081", "pprof-bind-address": "0", "agent-metrics": "true",
		"concurrency": "8", "config-rollouts": "20", "config-rollouts-per-namespace": "5", "kube-api-qps": "200", "kube-api-burst": "400", "log-level": "info", "log-format": "json",
	}
	for name := range flags {
		want := `(?m)^  --` + name + `( [a-z:]+)?\n      [a-z].{15,}`
		if value := defaults[name]; value != "" {
			want += ` \(default ` + regexp.QuoteMeta(value) + `\)`
		}
		require.Regexp(t, want+`$`, help.String(), "flag, value, usage, default")
	}
	require.Equal(t, len(flags), strings.Count(help.String(), "\n  --"), "a row here for every flag")
	require.Equal(t, len(defaults), strings.Count(help.String(), "(default "), "a default here for every flag that has one")
	require.Contains(t, help.String(), "  --concurrency number\n"+"      number of Agents reconciled at a time (default 8)\n")
}

func TestInvalidFlagIsNamedInTheError(t *testing.T) {
	for _, r := range []struct{ arguments, want string }{
		{"--concurrency=0", "--concurrency must be 1 or more"},
		{"--concurrency=-1", "--concurrency must be 1 or more"},
		{"--concurrency=abc", `--concurrency: "abc" is not a whole number: see --help`},
		{"--config-rollouts=-1", "--config-rollouts must be 0 or more"},
		{"--config-rollouts-per-namespace=0", "--config-rollouts-per-namespace 1 or more"},
		{"--config-rollout-secrets=tokens", `"tokens" is not a Secret: write namespace/name`},
		{"--config-rollout-secrets=a/b/c", `"a/b/c" is not a Secret`},
		{"--config-rollout-secrets=a/s,a/s", `"a/s" is listed twice`},
		{"--kube-api-qps=0", "--kube-api-qps and --kube-api-burst must be more than 0"},
		{"--kube-api-qps=-1", "--kube-api-qps and --kube-api-burst must be more than 0"},
		{"--kube-api-qps=NaN", "--kube-api-qps and --kube-api-burst must be more than 0"},
		{"--kube-api-qps=fast", `--kube-api-qps: "fast" is not a number: see --help`},
		{"--kube-api-burst=0", "--kube-api-qps and --kube-api-burst must be more than 0"},
		{"--pprof-bind-address=:6060", `--pprof-bind-address ":6060": use a loopback address, such as 127.0.0.1:6060`},
		{"--pprof-bind-address=0.0.0.0:6060", "use a loopback address"},
		{"--pprof-bind-address=localhost:6060", "use a loopback address"},
		{"--log-format=xml", `--log-format "xml": use json or text`},
		{"--log-format=", `--log-format "": use json or text`},
		{"--log-level=loud", `--log-level: "loud": use debug, info, warn, or error`},
		{"--leader-elect=maybe", `--leader-elect: "maybe" is not true or false`},
		{"--namespaces=Team_A", `--namespaces: "Team_A" is not the name of a namespace: separate names with commas`},
		{"--namespaces=a,", `"" is not the name of a namespace`},
		{"--namespaces=a.b", `"a.b" is not the name of a namespace`},
		{"--namespaces=a,b,a", `"a" is listed twice`},
		{"--namespaces=a b", `unexpected argument "b"`},
		{"--lease-name=", `--lease-name "": use lowercase letters`},
		{"--lease-name=A", `--lease-name "A": use lowercase letters`},
		{"--lease-name=scope.flokoa.ai", `--lease-name "scope.flokoa.ai": use lowercase letters, digits, and hyphens`},
		{"--nonsense", "unknown flag --nonsense: see --help"},
		{"--concurrency", "--concurrency needs a value: see --help"},
		{"--leader-elect false", `unexpected argument "false": every setting is a flag`},
		{"--log-level=debug check", `unexpected argument "check": every setting is a flag, and a subcommand comes first`},
		{"chek", `unknown subcommand "chek": the subcommands are check and health: see --help`},
		{"run --leader-elect=false", `unknown subcommand "run": the subcommands are check and health`},
	} {
		t.Run(r.arguments, func(t *testing.T) {
			_, err := ParseOptions(strings.Fields(r.arguments), io.Discard)
			require.ErrorContains(t, err, r.want)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestKubeconfigNeedsANamespaceOnlyForTheLease(t *testing.T) {
	file := kubeconfig(t, t.TempDir(), "server", true)
	for _, arguments := range []string{"--leader-election-namespace=ns", "--leader-elect=false"} {
		_, err := ParseOptions(strings.Fields("--kubeconfig="+file+" "+arguments), io.Discard)
		require.NoError(t, err, arguments)
	}
	_, err := ParseOptions([]string{"--leader-election-namespace=ns"}, io.Discard)
	require.NoError(t, err)
	const want = "--leader-election-namespace is required with --kubeconfig or KUBECONFIG"
	_, err = ParseOptions([]string{"--kubeconfig=" + file}, io.Discard)
	require.ErrorContains(t, err, want)
	t.Setenv("KUBECONFIG", file)
	_, err = ParseOptions(nil, io.Discard)
	require.ErrorContains(t, err, want)
	options, err := ParseOptions([]string{"--version"}, io.Discard)
	require.NoError(t, err)
	require.True(t, options.Version)
}

func TestLogLevelsAreReadInAnyCase(t *testing.T) {
	for argument, want := range map[string]slog.Level{"debug": slog.LevelDebug, "WARN": slog.LevelWarn, "Error": slog.LevelError, "info": slog.LevelInfo} {
		options, err := ParseOptions([]string{"--log-level=" + argument}, io.Discard)
		require.NoError(t, err)
		require.Equal(t, want, options.LogLevel)
	}
}
