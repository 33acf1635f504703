package check_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/operator/internal/check"
)

// where returns the locations of Agents as name@line/document.item.
func where(t *testing.T, o outcome) string {
	t.Helper()
	var all []string
	for _, a := range reported(t, o).Agents {
		location := fmt.Sprintf("%s@%d/%d", a.Name, a.Line, a.Document)
		if a.Item > 0 {
			location += fmt.Sprintf(".%d", a.Item)
		}
		all = append(all, location)
	}
	return strings.Join(all, " ")
}

// block returns an Agent in block style, which has four lines.
func block(name string) string {
	return "apiVersion: agent.flokoa.ai/v1alpha1\nkind: Agent\nmetadata: {name: " + name + "}\nspec: {runtime: {spec: {container: {image: 'a:v1'}}}}\n"
}

func TestEveryDocumentOfAFileIsFound(t *testing.T) {
	const js = `{"apiVersion": "agent.flokoa.ai/v1alpha1", "kind": "Agent", "metadata": {"name": "%s"}, "spec": {"runtime": {"spec": {"container": {"image": "a:v1"}}}}}`
	json := func(name string) string { return fmt.Sprintf(js, name) }
	for _, r := range []struct{ name, text, want string }{
		{"one", block("a"), "a@1/1"},
		{"no newline at the end", strings.TrimSuffix(block("a"), "\n"), "a@1/1"},
		{"two", block("a") + "---\n" + block("b"), "a@1/1 b@6/2"},
		{"no newline after the last separator", block("a") + "---", "a@1/1"},
		{"a separator first", "---\n" + block("a") + "---\n" + block("b"), "a@2/1 b@7/2"},
		{"comments before the first separator", "# license\n\n---\n" + block("a"), "a@4/1"},
		{"comments and spaces after separators", "--- # a\n" + block("a") + "---   \n" + block("b") + "---\t# c\n" + block("c"), "a@2/1 b@7/2 c@12/3"},
		{"empty documents", "---\n---\n\n---\n" + block("a") + "---\n---\n# nothing\n---\n" + block("b") + "---\n---\n", "a@5/1 b@13/2"},
		{"null documents", "~\n---\nnull\n---\n" + block("a"), "a@5/1"},
		{"Windows line endings", strings.ReplaceAll(block("a")+"---\n"+block("b"), "\n", "\r\n"), "a@1/1 b@6/2"},
		{"a byte order mark", "\ufeff" + block("a") + "---\n" + block("b"), "a@1/1 b@6/2"},
		{"a byte order mark before a separator", "\ufeff---\n" + block("a"), "a@2/1"},
		{"a byte order mark before JSON", "\ufeff" + json("a"), "a@1/1"},
		{"the end of a document", block("a") + "...\n---\n" + block("b") + "...\n# done\n", "a@1/1 b@7/2"},
		{"the end of a document with a comment", block("a") + "... # done\n---\n" + block("b") + "...", "a@1/1 b@7/2"},
		{"a separator in a block scalar", "a: |\n  ---\n  b\n---\n" + block("a"), "a@5/2"},
		{"dashes in a block scalar", "a: |\n  -----BEGIN CERTIFICATE-----\n  ---\n---\n" + block("a"), "a@5/2"},
		{"anchors and merges", "x: &x {spec: {runtime: {spec: {container: {image: 'a:v1'}}}}}\n---\n" + block("a"), "a@3/2"},
		{"JSON", json("a"), "a@1/1"},
		{"JSON with tabs and many lines", strings.ReplaceAll(json("a"), " ", "\n\t"), "a@1/1"},
		{"JSON of many lines with blank ones around", "\n\n" + strings.ReplaceAll(json("a"), " ", "\n") + "\n\n\n\n" + strings.ReplaceAll(json("b"), " ", "\n") + strings.Repeat("\n", 40), "a@3/1 b@19/2"},
		{"JSON objects in a row", json("a") + json("b") + "\n\n" + json("c") + "\n", "a@1/1 b@1/2 c@3/3"},
		{"JSON documents of YAML", json("a") + "\n---\n" + json("b"), "a@1/1 b@3/2"},
		{"JSON and YAML", json("a") + "\n" + json("b") + "\n---\n" + block("c"), "a@1/1 b@2/2 c@4/3"},
		{"a flow mapping of YAML", "---\n" + runtimeOf("a", "{container: {image: 'a:v1'}}"), "a@2/1"},
		{"a list", "apiVersion: v1\nkind: List\nitems:\n- " + json("a") + "\n- " + json("b"), "a@1/1.1 b@1/1.2"},
		{"a list in a list", `{"kind": "List", "items": [{"kind": "List", "items": [` + json("a") + `]}, ` + configMap + `, ` + json("b") + `]}`, "a@1/1.1 b@1/1.3"},
		{"an AgentList whose items omit apiVersion and kind", `{"apiVersion": "agent.flokoa.ai/v1alpha1", "kind": "AgentList", "items": [` +
			strings.Replace(json("a"), `"apiVersion": "agent.flokoa.ai/v1alpha1", "kind": "Agent", `, "", 1) + `]}`, "a@1/1.1"},
		{"an Agent under another kind's items", `{"apiVersion": "v1", "kind": "Template", "items": [` + json("a") + `]}`, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			got := run(t, r.text, "-o", "json", "-")
			if r.want == "" {
				require.Equal(t, 1, reported(t, got).Summary.Skipped)
				return
			}
			require.Equal(t, r.want, where(t, got))
			require.Equal(t, check.ExitMissing, got.code, got.stdout)
		})
	}
}

func TestAnchorsAndMergesAreResolved(t *testing.T) {
	text := `
apiVersion: agent.flokoa.ai/v1alpha1
kind: Agent
metadata: {name: a}
spec:
  runtime:
    spec:
      replicas: 3
      container: {image: 'a:v1', ports: [{containerPort: 80}], resources: {requests: &r {cpu: 1, memory: 1Gi}, limits: *r}}
      sidecars:
        - name: s
          image: s:v1
          resources:
            limits: {<<: *r, cpu: 2}
`
	got := run(t, text, "-")
	require.Equal(t, check.ExitHighlyAvailable, got.code, got.stdout)
}

func TestSyntaxErrorsHaveALocation(t *testing.T) {
	for _, r := range []struct{ name, text, want string }{
		{"invalid YAML", block("a") + "---\nx: 1\na: [\n", ":6, document 2: yaml: line 7: did not find expected node content"},
		{"a tab for a space", "x:\n  y:\n\tz: 1\n", ":1, document 1: yaml: line 3: found character that cannot start any token"},
		{"text after a separator", block("a") + "---\nx: 1\n--- {y: 1}\n" + block("b"), ":7, document 2: invalid Yaml document separator: {y: 1}"},
		{"text after the end of a document", "x: 1\n...\n" + block("a"), `:1, document 1: nothing after the line "..." is read`},
		{"text after a comment at the end of a document", "x: 1\n... # done\n" + block("a"), `:1, document 1: nothing after the line "..." is read`},
		{"a Helm template", "# nothing\n---\nname: {{ .Values.name }}\n", ":3, document 1: yaml: invalid map key: "},
		{"a Helm template", "{{- if .Values.agent }}\nkind: Agent\n{{- end }}\n", "this looks like a Helm template that was not rendered: pipe in the output of helm template with -f -\n"},
		{"truncated JSON", `{"a": {"b": 1`, ":1, document 1: yaml: line 1: did not find expected ',' or '}'"},
		{"truncated JSON after an object", "{}\n\n {\"b\": 1\n", ":3, document 2: unexpected EOF"},
		{"UTF-16", "\xff\xfea\x00", ": this is UTF-16: save it as UTF-8\n"},
		{"binary data", "\x00\x01\x02", ":1, document 1: yaml: control characters are not allowed"},
		{"an unknown anchor", "a: *b\n", ":1, document 1: yaml: unknown anchor 'b' referenced"},
		{"an alias bomb", bomb(), "document contains excessive aliasing"},
		{"a number that JSON does not have", "a: .inf\n", ":1, document 1: json: unsupported value: +Inf"},
	} {
		t.Run(r.name, func(t *testing.T) {
			got := run(t, r.text, "-")
			require.Equal(t, check.ExitError, got.code)
			require.Contains(t, got.stdout, r.want)
			require.Contains(t, got.stdout, "error: standard input")
			require.NotContains(t, strings.TrimSpace(strings.Split(got.stdout, "error: ")[1]), "\n\n\n")
		})
	}
}

// bomb returns a few lines of YAML that expand to gigabytes through aliases.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x]\n")
	for i := range 12 {
		fmt.Fprintf(&b, "a%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d,", i), 9), i)
	}
	return b.String()
}

func TestLargeInputIsReadCompletely(t *testing.T) {
	var b strings.Builder
	const agents = 2000
	for i := range agents {
		b.WriteString(block(fmt.Sprintf("a%d", i)) + "---\n")
	}
	fmt.Fprintf(&b, "kind: ConfigMap\ndata: {line: %s}\n---\n%s", strings.Repeat("x", 8<<20), block("last"))
	started := time.Now()
	got := run(t, b.String(), "-o", "json", "-")
	require.Less(t, time.Since(started), 20*time.Second)
	report := reported(t, got)
	require.Equal(t, check.Summary{Agents: agents + 1, Skipped: 1}, report.Summary)
	require.Equal(t, check.Location{File: "-", Document: agents + 2, Line: 5*agents + 4}, report.Agents[agents].Location)
}
