// Package alerts_test evaluates the alerts and the dashboard of the chart flokoa-operator with Prometheus' own code, on series
// as the operator exports them and as the chart's ServiceMonitor labels them.
package alerts_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

const (
	chart = "../../../../charts/flokoa-operator"
	// The release that is rendered; its names are in the labels of the operator's series.
	release = "flokoa-operator"
	system  = "flokoa-system"
)

// helm is the path of the pinned helm.
var helm = sync.OnceValues(func() (string, error) {
	build := exec.Command("../../../tools/build.sh", "helm")
	build.Stderr = os.Stderr
	folder, err := build.Output()
	return filepath.Join(strings.TrimSpace(string(folder)), "helm"), err
})

// render is what a template of the chart renders to, with monitoring on and values in JSON, such as `metrics.agents=false`.
func render(t *testing.T, template string, values ...string) string {
	t.Helper()
	program, err := helm()
	require.NoError(t, err)
	args := []string{
		"template", release, chart, "--namespace", system, "--show-only", "templates/" + template,
		"--set", "monitoring.alerts.enabled=true,monitoring.dashboard.enabled=true",
	}
	for _, value := range values {
		args = append(args, "--set-json", value)
	}
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(t.Context(), program, args...)
	command.Stdout, command.Stderr = &stdout, &stderr
	require.NoError(t, command.Run(), "helm %s\n%s", strings.Join(args, " "), &stderr)
	return stdout.String()
}

// ruleFile is the path of a file of rules as Prometheus reads it, made of the chart's PrometheusRule.
func ruleFile(t *testing.T, values ...string) string {
	t.Helper()
	rule := struct {
		Spec json.RawMessage `json:"spec"`
	}{}
	require.NoError(t, yaml.Unmarshal([]byte(render(t, "prometheusrule.yaml", values...)), &rule))
	path := filepath.Join(t.TempDir(), "rules.yaml")
	require.NoError(t, os.WriteFile(path, rule.Spec, 0o600)) // JSON is YAML
	return path
}

// dashboardJSON is the dashboard as Grafana's sidecar finds it.
func dashboardJSON(t *testing.T) []byte {
	t.Helper()
	configMap := struct {
		Data map[string]string `json:"data"`
	}{}
	require.NoError(t, yaml.Unmarshal([]byte(render(t, "dashboard.yaml")), &configMap))
	require.Len(t, configMap.Data, 1)
	return []byte(configMap.Data["flokoa.json"])
}

var update = flag.Bool("update", false, "update the golden files of alerts and panels; review the diff")

// requireYAML compares a value with a golden file.
func requireYAML(t *testing.T, file string, value any) {
	t.Helper()
	got, err := yaml.Marshal(value)
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(file, got, 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), file)
}
