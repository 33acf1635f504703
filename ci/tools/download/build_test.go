package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A workshop is a copy of build.sh, with a tool that compiles in a second in place of kind, and an empty cache.
type workshop struct{ root, cache string }

func newWorkshop(t *testing.T) workshop {
	t.Helper()
	w := workshop{root: t.TempDir(), cache: t.TempDir()}
	files, err := filepath.Glob("../*.sh")
	require.NoError(t, err)
	sources, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range append(files, sources...) {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		w.write(t, filepath.Join("ci/tools/download", file), string(content))
	}
	w.write(t, "go.mod", "module example.com/root\n\ngo 1.26.0\n")
	w.write(t, "ci/tools/kind/go.mod", `module example.com/tools

go 1.26.0

tool sigs.k8s.io/kind

require (
	sigs.k8s.io/kind v1.2.3 // indirect
)

replace sigs.k8s.io/kind => ./source
`)
	w.write(t, "ci/tools/kind/go.sum", "")
	w.write(t, "ci/tools/kind/source/go.mod", "module sigs.k8s.io/kind\n\ngo 1.26.0\n")
	w.write(t, "ci/tools/kind/source/main.go", "package main\n\nfunc main() { println(\"compiled\") }\n")
	return w
}

func (w workshop) write(t *testing.T, name, content string) {
	t.Helper()
	file := filepath.Join(w.root, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte(content), 0o755))
}

// build runs build.sh, and returns the program's content (the first bytes), and what build.sh said.
func (w workshop) build(t *testing.T, downloads string) (program, said string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(w.root, "ci/tools/build.sh"), "kind")
	command.Env = append(os.Environ(), "XDG_CACHE_HOME="+w.cache, "GOCACHE="+goCache(t), "FLOKOA_DOWNLOADS="+downloads)
	var text strings.Builder
	command.Stderr = &text
	folder, err := command.Output()
	require.NoError(t, err, text.String())
	content, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(folder)), "kind"))
	require.NoError(t, err)
	return string(content[:min(len(content), 12)]), text.String()
}

// goCache is Go's own cache, which XDG_CACHE_HOME would move as well.
func goCache(t *testing.T) string {
	t.Helper()
	folder, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(folder))
}

const downloaded = "program kind"

func TestBuildDownloadsFromAMirror(t *testing.T) {
	w := newWorkshop(t)
	mirror := serve(t, publish(t, "kind", runtime.GOOS, runtime.GOARCH))
	program, said := w.build(t, mirror)
	require.Equal(t, downloaded, program, said)
	require.Contains(t, said, "compiling what downloads tools: done in ")
	require.Contains(t, said, "kind v1.2.3: downloaded in ")

	for _, downloads := range []string{"off", mirror + "/moved"} {
		program, said = w.build(t, downloads)
		require.Equal(t, downloaded, program, "what was downloaded serves")
		require.Empty(t, said)
	}
}

func TestBuildCompilesWhatIsRefused(t *testing.T) {
	w := newWorkshop(t)
	files := publish(t, "kind", runtime.GOOS, runtime.GOARCH)
	for path := range files {
		if !strings.HasSuffix(path, ".sha256sum") {
			files[path] = []byte(downloaded + ", tampered")
		}
	}
	program, said := w.build(t, serve(t, files))
	require.NotEqual(t, downloaded, program)
	require.Contains(t, said, ": refused")
	require.Contains(t, said, "kind v1.2.3: built in ")

	program, said = w.build(t, serve(t, publish(t, "kind", runtime.GOOS, runtime.GOARCH)))
	require.NotEqual(t, downloaded, program, "what was built serves when it could be downloaded")
	require.Empty(t, said)
}

func TestBuildDoesNotAskWhenDownloadsAreOff(t *testing.T) {
	asked := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a server was asked") })
	t.Setenv("HTTPS_PROXY", serve(t, asked))
	program, said := newWorkshop(t).build(t, "off")
	require.NotEqual(t, downloaded, program)
	require.NotContains(t, said, "download")
}
