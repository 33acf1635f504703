package gitserver_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/testkit/gitserver"
)

func TestACloneHasWhatWasPushed(t *testing.T) {
	server, err := gitserver.Start(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	push := func(change gitserver.Change) string {
		commit, err := server.Push(t.Context(), "team/agents", change)
		require.NoError(t, err)
		return commit
	}
	first := push(gitserver.Change{Files: map[string][]byte{"dev/a.yaml": []byte("a"), "dev/b.yaml": []byte("b")}, Message: "one", Tag: "v1"})
	second := push(gitserver.Change{Files: map[string][]byte{"dev/a.yaml": []byte("A"), "dev/b.yaml": nil}, Message: "two"})
	require.NotEqual(t, first, second)
	require.True(t, server.Contains(t.Context(), "team/agents", second, first))
	require.True(t, server.Contains(t.Context(), "team/agents", second, second))
	require.False(t, server.Contains(t.Context(), "team/agents", first, second))

	clone := filepath.Join(t.TempDir(), "clone")
	git := func(args ...string) {
		out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	git("clone", "--quiet", server.URL+"/team/agents", clone)
	text, err := os.ReadFile(filepath.Join(clone, "dev/a.yaml"))
	require.NoError(t, err)
	require.Equal(t, "A", string(text))
	require.NoFileExists(t, filepath.Join(clone, "dev/b.yaml"))

	git("-C", clone, "checkout", "--quiet", "v1")
	require.FileExists(t, filepath.Join(clone, "dev/b.yaml"))
	push(gitserver.Change{Message: "three", Tag: "v1"})
	git("-C", clone, "fetch", "--quiet", "--tags", "--force")
	git("-C", clone, "checkout", "--quiet", "v1")
	require.NoFileExists(t, filepath.Join(clone, "dev/b.yaml"), "the tag moved")

	out, err := exec.CommandContext(t.Context(), "git", "-C", clone, "push", "origin", "HEAD:refs/heads/other").CombinedOutput()
	require.Error(t, err, "nobody pushes over HTTP: %s", out)
}
