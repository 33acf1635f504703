package check_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/operator/internal/check"
)

var update = flag.Bool("update", false, "write the current output as the new goldens")

// outcome is the exit code and the output of a run.
type outcome struct {
	code           int
	stdout, stderr string
}

// run runs check with standard input and arguments.
func run(t testing.TB, stdin string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := check.Run(args, strings.NewReader(stdin), &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

// files writes files to a new folder and changes to it.
func files(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
}

// runtimeOf returns a one-line Agent with this YAML of spec.runtime.spec.
func runtimeOf(name, runtime string) string {
	return fmt.Sprintf("{apiVersion: agent.flokoa.ai/v1alpha1, kind: Agent, metadata: {name: %s}, spec: {runtime: {spec: %s}}}\n", name, runtime)
}

// resources are those that high availability requires of a container.
const resources = `resources: {limits: {cpu: 1, memory: 1Gi}}`

// good returns a highly available Agent, and bare one that misses most requirements.
func good(name string) string {
	return runtimeOf(name, `{replicas: 3, container: {image: "r.example/a:v1", ports: [{containerPort: 80}], `+resources+`}}`)
}

func bare(name string) string { return runtimeOf(name, `{container: {image: r.example/a}}`) }

const configMap = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n"

// The goldens are the contract for the people and programs that read reports.
func TestReportsMatchTheirGoldens(t *testing.T) {
	t.Chdir("testdata")
	for _, r := range []struct {
		name string
		code int
		args string
	}{
		{"agents.txt", check.ExitMissing, "-f agents.yaml"},
		{"agents.json", check.ExitMissing, "-f agents.yaml -o json"},
		{"rendered.yaml", check.ExitMissing, "-f agents.yaml --render"},
		{"rendered.json", check.ExitMissing, "-f agents.yaml --render -o json"},
		{"errors.txt", check.ExitError, "-f errors.yaml -f absent.yaml"},
		{"errors.json", check.ExitError, "-f errors.yaml -f absent.yaml -o json"},
	} {
		t.Run(r.name, func(t *testing.T) {
			got := run(t, "", strings.Fields(r.args)...)
			require.Equal(t, r.code, got.code)
			if *update {
				require.NoError(t, os.WriteFile("want."+r.name, []byte(got.stdout), 0o644))
			}
			want, err := os.ReadFile("want." + r.name)
			require.NoError(t, err, "no golden: run go test ./operator/internal/check -update and read what it wrote")
			require.Equal(t, string(want), got.stdout)
			if r.name == "rendered.yaml" {
				require.Equal(t, run(t, "", "-f", "agents.yaml").stdout, got.stderr, "the report goes to standard error")
			} else {
				require.Empty(t, got.stderr)
			}
		})
	}
}

func TestExitCodeIsTheWorstResult(t *testing.T) {
	for _, r := range []struct {
		name, stdin string
		want        int
	}{
		{"all highly available", good("a") + "---\n" + good("b"), check.ExitHighlyAvailable},
		{"highly available among other kinds", configMap + "---\n" + good("a"), check.ExitHighlyAvailable},
		{"one lacks something", good("a") + "---\n" + bare("b"), check.ExitMissing},
		{"an error after one that lacks something", bare("b") + "---\n" + runtimeOf("c", `{container: {imaeg: x}}`), check.ExitError},
		{"an error among highly available ones", good("a") + "---\na: [", check.ExitError},
		{"a spec that cannot be rendered", runtimeOf("Upper", `{container: {image: "a:v1"}}`), check.ExitError},
		{"no Agent", configMap, check.ExitError},
		{"empty input", "", check.ExitError},
		{"a warning", `{apiVersion: agent.flokoa.ai/v1alpha1, kind: Agent, metadata: {name: a}, spec: {autoscaling: {minReplicas: 3, maxReplicas: 4},
			runtime: {spec: {replicas: 3, container: {image: "a:v1", ports: [{containerPort: 80}], ` + resources + `}}}}}`, check.ExitHighlyAvailable},
	} {
		t.Run(r.name, func(t *testing.T) {
			for _, form := range []string{"text", "json"} {
				got := run(t, r.stdin, "-f", "-", "-o", form)
				require.Equal(t, r.want, got.code, got.stdout)
				require.Empty(t, got.stderr)
			}
		})
	}
}

func TestRunContinuesAfterErrors(t *testing.T) {
	files(t, map[string]string{
		"1.yaml": "a: [\n---\n" + runtimeOf("typo", `{container: {imaeg: x}, replica: 3}`) + "---\n" + bare("after-bad-yaml"),
		"3.json": `{"apiVersion": "agent.flokoa.ai/v1", "kind": "Agent"}`,
		"4.yaml": good("last"),
	})
	got := run(t, "", "1.yaml", "2.yaml", "3.json", "4.yaml")
	require.Equal(t, check.ExitError, got.code)
	for _, want := range []string{
		"error: 1.yaml:1, document 1: ",
		`unknown field "spec.runtime.spec.container.imaeg"`, `unknown field "spec.runtime.spec.replica"`,
		"after-bad-yaml (1.yaml:5, document 3): not highly available\n",
		"error: 2.yaml: no such file or directory\n",
		"error: 3.json:1, document 1: apiVersion agent.flokoa.ai/v1 is not supported: the supported one is agent.flokoa.ai/v1alpha1\n",
		"last (4.yaml:1, document 1): highly available\n",
		"\n2 Agents checked: 1 highly available, 1 not; 5 errors\n",
	} {
		require.Contains(t, got.stdout, want)
	}
}

func TestJSONIsNotEscapedAndListsAreNeverNull(t *testing.T) {
	got := run(t, "", "-o", "json", "-")
	require.Contains(t, got.stdout, `"agents": []`)
	got = run(t, runtimeOf("a", `{container: {image: "r.example/<a>&b"}}`), "-o", "json", "-")
	require.Contains(t, got.stdout, `"r.example/<a>&b (container agent)`)
	require.Contains(t, got.stdout, `"errors": []`)
	require.Contains(t, got.stdout, `"warnings": []`)
	require.Contains(t, run(t, good("a"), "-o", "json", "-").stdout, `"missing": []`)
}

func TestReportThatCannotBeWrittenIsAnError(t *testing.T) {
	for _, args := range []string{"-f -", "-f - -o json", "-f - --render", "--help"} {
		var stderr bytes.Buffer
		require.Equal(t, check.ExitError, check.Run(strings.Fields(args), strings.NewReader(good("a")), broken{}, &stderr), args)
		require.Equal(t, "flokoa-operator check: disk full\n", stderr.String())
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }
