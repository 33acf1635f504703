package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const root = "../../.."

// report is an invented vulnerability of a module that the operator uses, in the format of https://ossf.github.io/osv-schema.
const report = `{
  "schema_version": "1.3.1", "id": "GO-2099-0001", "modified": "2099-01-01T00:00:00Z", "published": "2099-01-01T00:00:00Z",
  "summary": "An invented vulnerability in sigs.k8s.io/yaml",
  "affected": [{
    "package": {"name": "sigs.k8s.io/yaml", "ecosystem": "Go"},
    "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}],
    "ecosystem_specific": {"imports": [{"path": "sigs.k8s.io/yaml", "symbols": ["Unmarshal"]}]}
  }],
  "database_specific": {"url": "https://pkg.go.dev/vuln/GO-2099-0001", "review_status": "REVIEWED"}
}`

// vulnerabilities writes a database with that report and returns its URL.
func vulnerabilities(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"index/db.json":        `{"modified": "2099-01-01T00:00:00Z"}`,
		"index/modules.json":   `[{"path": "sigs.k8s.io/yaml", "vulns": [{"id": "GO-2099-0001", "modified": "2099-01-01T00:00:00Z"}]}]`,
		"index/vulns.json":     `[{"id": "GO-2099-0001", "modified": "2099-01-01T00:00:00Z"}]`,
		"ID/GO-2099-0001.json": report,
	})
	return "file://" + dir
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o750))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
}

// module writes a module with the requirements of this repository and one program, so that nothing is downloaded.
func module(t *testing.T, body string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"main.go": "package main\n\nimport \"sigs.k8s.io/yaml\"\n\nfunc main() { " + body + " }\n"}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		files[name] = string(text)
	}
	write(t, dir, files)
	return dir
}

func program(t *testing.T) string {
	t.Helper()
	folder, err := exec.CommandContext(t.Context(), filepath.Join(root, "ci/tools/build.sh"), "govulncheck").Output()
	require.NoError(t, err)
	return filepath.Join(strings.TrimSpace(string(folder)), "govulncheck")
}

func TestAReachableVulnerabilityFailsTheCheck(t *testing.T) {
	database, bin := vulnerabilities(t), program(t)
	vulnerable := module(t, "_ = yaml.Unmarshal(nil, nil)")
	unreachable := module(t, "_, _ = yaml.Marshal(nil)")

	var out bytes.Buffer
	err := check(t.Context(), database, true, bin, []string{vulnerable, unreachable}, &out)
	require.EqualError(t, err, "govulncheck in module "+vulnerable+": exit status 3")
	require.Contains(t, out.String(), "GO-2099-0001")
	require.Contains(t, out.String(), "govulncheck: "+unreachable, "a finding must not hide the next module")
}

func TestADatabaseThatDoesNotAnswerIsSkippedUnlessRequired(t *testing.T) {
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	empty := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(empty.Close)
	for name, database := range map[string]string{
		"a database that accepts and says nothing": "http://" + silent.Addr().String(),
		"a server without a database":              empty.URL,
		"a directory without a database":           "file://" + t.TempDir(),
		"a URL of no protocol":                     "vuln.go.dev",
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), answerTimeout+5*time.Second)
			defer cancel()
			var out bytes.Buffer
			require.NoError(t, check(ctx, database, false, "/nonexistent", []string{"."}, &out))
			require.True(t, strings.HasPrefix(out.String(), "SKIPPED: govulncheck: "), out.String())
			require.Equal(t, 1, strings.Count(out.String(), "\n"))
			require.NoError(t, ctx.Err())
		})
	}
	require.ErrorContains(t, check(t.Context(), empty.URL, true, "/nonexistent", []string{"."}, &bytes.Buffer{}), "the vulnerability database does not answer: GET "+empty.URL)
}
