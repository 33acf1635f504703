package check_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/operator/internal/check"
)

// reported decodes a report that was printed as JSON.
func reported(t *testing.T, o outcome) check.Report {
	t.Helper()
	var report check.Report
	require.NoError(t, json.Unmarshal([]byte(o.stdout), &report), o.stdout+o.stderr)
	return report
}

// names returns the names of the Agents that were evaluated.
func names(t *testing.T, o outcome) []string {
	t.Helper()
	var all []string
	for _, agent := range reported(t, o).Agents {
		all = append(all, agent.Name)
	}
	return all
}

func TestDirectoriesAreReadRecursivelyInOrder(t *testing.T) {
	files(t, map[string]string{
		"dir/b.yaml": good("b"), "dir/a.yml": good("a"), "dir/c.json": `{"apiVersion": "v1", "kind": "ConfigMap"}`, "dir/d.YAML": good("d"),
		"dir/sub/sub/e.yaml": good("e"), "dir/text.txt": "a: [", "dir/yaml": "a: [",
		"dir/.hidden.yaml": "a: [", "dir/.git/f.yaml": "a: [", "dir/sub/.g/h.yaml": "a: [",
	})
	for _, directory := range []string{"dir", "dir/", "./dir", "."} {
		got := run(t, "", "-f", directory, "-o", "json")
		require.Equal(t, []string{"a", "b", "d", "e"}, names(t, got), directory)
		require.Equal(t, check.Summary{Agents: 4, HighlyAvailable: 4, Skipped: 1}, reported(t, got).Summary, "nothing else is read")
		require.Equal(t, filepath.Join(directory, map[bool]string{true: "dir"}[directory == "."], "a.yml"), reported(t, got).Agents[0].File)
	}
}

func TestNamedFileIsReadWhateverItsExtension(t *testing.T) {
	files(t, map[string]string{".hidden": good("a"), "agent.txt": good("b")})
	require.Equal(t, []string{"a", "b"}, names(t, run(t, "", "-o", "json", ".hidden", "agent.txt")))
}

func TestFileIsEvaluatedOnceUnderAllItsNames(t *testing.T) {
	files(t, map[string]string{"dir/a.yaml": good("a")})
	absolute, err := filepath.Abs("dir/a.yaml")
	require.NoError(t, err)
	require.NoError(t, os.Symlink("a.yaml", "dir/link.yaml"))
	require.Equal(t, []string{"a"}, names(t, run(t, "", "-o", "json", "dir/a.yaml", "-f", "dir/a.yaml", "./dir/../dir/a.yaml", absolute, "dir", "dir/link.yaml", "dir")))
	require.Equal(t, []string{"stdin"}, names(t, run(t, good("stdin"), "-o", "json", "-", "-f", "-")))
}

func TestSymbolicLinksAreFollowedWithoutLoops(t *testing.T) {
	// The kubelet mounts a ConfigMap this way: the files are links into a hidden directory, which is a link itself.
	files(t, map[string]string{"dir/..v1/a.yaml": good("a"), "elsewhere/b.yaml": good("b")})
	for from, to := range map[string]string{
		"dir/..data": "..v1", "dir/a.yaml": "..data/a.yaml", "dir/loop": ".", "dir/up": "..", "dir/more": "../elsewhere", "top": "dir",
	} {
		require.NoError(t, os.Symlink(to, from))
	}
	got := run(t, "", "-o", "json", "-f", "top")
	require.Equal(t, []string{"a", "b"}, names(t, got), got.stdout)
	require.Equal(t, check.ExitHighlyAvailable, got.code)
}

func TestEachUnreadablePathIsAnError(t *testing.T) {
	files(t, map[string]string{"good.yaml": good("good"), "empty/readme.txt": "", "dangling/a.yaml": good("a")})
	require.NoError(t, os.Symlink("nowhere", "dangling/b.yaml"))
	require.NoError(t, os.Symlink("nowhere", "dangling/c.txt"))
	require.NoError(t, os.Symlink("self.yaml", "self.yaml"))
	require.NoError(t, syscall.Mkfifo("empty/pipe.yaml", 0o600))
	for _, r := range []struct{ file, want string }{
		{"absent.yaml", "error: absent.yaml: no such file or directory\n"},
		{"empty", "error: empty: no *.yaml, *.yml, or *.json in this directory\n"},
		{"dangling", "error: dangling/b.yaml: no such file or directory\n"},
		{"self.yaml", "error: self.yaml: too many levels of symbolic links\n"},
		{"http://example.com/agent.yaml", "error: http://example.com/agent.yaml: check downloads nothing: save the file, or pipe it in with -f -\n"},
		{"https://example.com/agent.yaml", "error: https://example.com/agent.yaml: check downloads nothing: save the file, or pipe it in with -f -\n"},
	} {
		t.Run(r.file, func(t *testing.T) {
			got := run(t, "", "-f", r.file, "-f", "good.yaml")
			require.Equal(t, check.ExitError, got.code)
			require.Contains(t, got.stdout, r.want)
			require.Contains(t, got.stdout, "good (good.yaml:1, document 1): highly available\n")
			require.Contains(t, got.stdout, "; 1 error\n")
		})
	}
}

func TestInputWithoutAnAgentIsAnError(t *testing.T) {
	files(t, map[string]string{
		"kustomization.yaml": "resources: [agent]\n", "values.yaml": "replicas: 3\n",
		"list.json": "[]", "text.yaml": "just text\n", "comment.yaml": "# nothing\n---\n---\n",
	})
	got := run(t, "", ".")
	require.Equal(t, check.ExitError, got.code)
	require.Equal(t, "error: no Agent found, only other objects. check renders no chart and no kustomization: "+
		"pipe in the output of helm template or kubectl kustomize with -f -\n\nno Agent checked; 1 error; 4 other objects skipped\n", got.stdout)

	got = run(t, "", "-f", "-")
	require.Equal(t, check.ExitError, got.code)
	require.Equal(t, "error: no Agent found: the input is empty\n\nno Agent checked; 1 error\n", got.stdout)
}
