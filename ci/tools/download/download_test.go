package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const version = "v1.2.3"

// A site is a mirror that serves every file of a tool, by its path.
type site map[string][]byte

// publish returns a mirror's files for a tool: each program's content is its name.
func publish(t *testing.T, tool, system, arch string) site {
	t.Helper()
	files := filesOf(tool, version, system, arch)
	require.NotEmpty(t, files)
	s := site{}
	for _, f := range files {
		s.add(t, f)
	}
	return s
}

func (s site) add(t *testing.T, f file) {
	t.Helper()
	content := []byte("program " + f.program)
	if f.entry != "" {
		content = archive(t, f, content)
	}
	s[onMirror(f.address)] = content
	sum := sha256.Sum256(content)
	name, text := path.Base(f.address), hex.EncodeToString(sum[:])
	switch {
	case strings.Contains(f.sums, "api.github.com"):
		asset := fmt.Sprintf(`{"name":%q,"digest":"sha256:%s"}`, name, text)
		before := strings.TrimSuffix(strings.TrimPrefix(string(s[onMirror(f.sums)]), `{"assets":[`), "]}")
		s[onMirror(f.sums)] = []byte(`{"assets":[` + strings.TrimPrefix(before+","+asset, ",") + "]}")
	case strings.HasSuffix(f.sums, "SHA256SUMS"):
		s[onMirror(f.sums)] = []byte(strings.Repeat("0", 64) + "  another-file\n" + text + "  " + name + "\n")
	default:
		s[onMirror(f.sums)] = []byte(text)
	}
}

func onMirror(address string) string { return strings.TrimPrefix(address, "https:/") }

func archive(t *testing.T, f file, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if strings.HasSuffix(f.address, ".zip") {
		z := zip.NewWriter(&out)
		w, err := z.Create(f.entry)
		require.NoError(t, err)
		_, err = w.Write(content)
		require.NoError(t, err)
		require.NoError(t, z.Close())
		return out.Bytes()
	}
	gz := gzip.NewWriter(&out)
	w := tar.NewWriter(gz)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: path.Dir(f.entry) + "/README.md", Mode: 0o600}))
	require.NoError(t, w.WriteHeader(&tar.Header{Name: f.entry, Mode: 0o755, Size: int64(len(content))}))
	_, err := w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, gz.Close())
	return out.Bytes()
}

func (s site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, found := s[r.URL.Path]
	if !found {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(content)
}

// A trial is one run of the program.
type trial struct {
	request
	text *bytes.Buffer
}

func newTrial(t *testing.T, tool, system, mirror string) trial {
	t.Helper()
	text := &bytes.Buffer{}
	folder := filepath.Join(t.TempDir(), "tools", tool+"-"+version)
	require.NoError(t, os.Mkdir(filepath.Dir(folder), 0o700))
	return trial{request{tool: tool, version: version, folder: folder, system: system, arch: "amd64", mirror: mirror, out: text}, text}
}

// requireNothing checks that a failed run left no file.
func (r trial) requireNothing(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(filepath.Dir(r.folder))
	require.NoError(t, err)
	require.Empty(t, left, r.text.String())
}

func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func TestEveryPublishedProgramIsInPlace(t *testing.T) {
	for tool, source := range sources {
		for _, system := range source.systems {
			t.Run(tool+" on "+system, func(t *testing.T) {
				r := newTrial(t, tool, system, serve(t, publish(t, tool, system, "amd64")))
				require.True(t, r.run(), r.text.String())
				for _, f := range source.files {
					content, err := os.ReadFile(filepath.Join(r.folder, f.program))
					require.NoError(t, err)
					require.Equal(t, "program "+f.program, string(content))
				}
				placed, err := os.ReadDir(r.folder)
				require.NoError(t, err)
				require.Len(t, placed, len(source.files), "an archive or another file stays in the folder")
			})
		}
	}
}

func TestDownloadsAreWhatTheModuleBuilds(t *testing.T) {
	for tool, source := range sources {
		text, err := os.ReadFile(filepath.Join("..", tool, "go.mod"))
		require.NoError(t, err)
		var want, got []string
		for _, line := range regexp.MustCompile(`(?m)^(?:tool |\t)([^(\s]+)$`).FindAllStringSubmatch(string(text), -1) {
			want = append(want, strings.Replace(path.Base(line[1]), "v3", "etcd", 1)) // build.sh renames it
		}
		for _, f := range source.files {
			got = append(got, f.program)
		}
		require.ElementsMatch(t, want, got, "ci/tools/%s", tool)
	}
}

func TestAWrongChecksumIsRefusedByName(t *testing.T) {
	s := publish(t, "kubernetes", "linux", "amd64")
	const wrong = "/dl.k8s.io/v1.2.3/bin/linux/amd64/kubectl"
	s[wrong] = []byte("tampered")
	r := newTrial(t, "kubernetes", "linux", serve(t, s))
	require.False(t, r.run())
	require.Contains(t, r.text.String(), wrong+" has SHA-256 ")
	require.Contains(t, r.text.String(), ": refused")
	r.requireNothing(t)
	require.False(t, r.memory().holds(), "one wrong file says nothing about other tools")
}

func TestAMissingFileIsNamed(t *testing.T) {
	for _, missing := range []string{"kubectl", "kubectl.sha256"} {
		s := publish(t, "kubernetes", "linux", "amd64")
		delete(s, "/dl.k8s.io/v1.2.3/bin/linux/amd64/"+missing)
		r := newTrial(t, "kubernetes", "linux", serve(t, s))
		require.False(t, r.run())
		require.Contains(t, r.text.String(), "/"+missing+" answers 404 Not Found")
		r.requireNothing(t)
	}
}

func TestALoginPageIsNoChecksum(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>Log in") })
	for _, tool := range []string{"kubernetes", "kwok", "etcd"} {
		r := newTrial(t, tool, "linux", serve(t, page))
		require.False(t, r.run())
		require.Contains(t, r.text.String(), "has no SHA-256 checksum of ")
		r.requireNothing(t)
	}
}

// hang answers some paths, and leaves other clients waiting.
func hang(s site, waits func(path string) bool, first []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !waits(r.URL.Path) {
			s.ServeHTTP(w, r)
			return
		}
		if first != nil {
			w.Header().Set("Content-Length", "1000000")
			_, _ = w.Write(first)
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	})
}

func TestAServerThatHangsIsGivenUpInTime(t *testing.T) {
	s := publish(t, "kubernetes", "linux", "amd64")
	isSum := func(path string) bool { return strings.HasSuffix(path, ".sha256") }
	const none, slow = " did not answer within 300ms", " sent only 0 kB in 300ms"
	for name, c := range map[string]struct {
		handler http.Handler
		want    string
	}{
		"at the checksums":      {hang(s, isSum, nil), none},
		"at the programs":       {hang(s, func(path string) bool { return !isSum(path) }, nil), none},
		"at one program":        {hang(s, func(path string) bool { return strings.HasSuffix(path, "kubectl") }, nil), slow},
		"after the first bytes": {hang(s, func(path string) bool { return !isSum(path) }, []byte("program")), slow},
	} {
		t.Run(name, func(t *testing.T) {
			shorten(t, 300*time.Millisecond)
			r := newTrial(t, "kubernetes", "linux", serve(t, c.handler))
			started := time.Now()
			require.False(t, r.run())
			require.Less(t, time.Since(started), 3*patience+time.Second)
			require.Contains(t, r.text.String(), c.want)
			r.requireNothing(t)
		})
	}
}

// shorten keeps a test of waiting short.
func shorten(t *testing.T, to time.Duration) {
	t.Helper()
	before := patience
	patience = to
	t.Cleanup(func() { patience = before })
}

func TestServersAreDecidedUponWithinFiveSeconds(t *testing.T) {
	require.Equal(t, 5*time.Second, patience)
	r := newTrial(t, "kubernetes", "linux", serve(t, hang(nil, func(string) bool { return true }, nil)))
	started := time.Now()
	require.False(t, r.run())
	require.Less(t, time.Since(started), 6*time.Second)

	// The next tool does not wait again, another mirror is tried, and the message says how to try again.
	next := newTrial(t, "etcd", "linux", r.mirror)
	next.folder = r.folder
	started = time.Now()
	require.False(t, next.run())
	require.Less(t, time.Since(started), time.Second)
	require.Contains(t, next.text.String(), "To try again, delete "+next.memory().file)
	next.mirror = serve(t, publish(t, "etcd", "linux", "amd64"))
	require.True(t, next.run(), next.text.String())

	old := time.Now().Add(-memoryTTL - time.Minute)
	require.NoError(t, os.Chtimes(r.memory().file, old, old))
	require.False(t, r.memory().holds(), "an old memory is forgotten")
}

func TestAClosedPortFailsAtOnceAndIsNotRemembered(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	r := newTrial(t, "kubernetes", "linux", server.URL)
	require.False(t, r.run())
	require.Contains(t, r.text.String(), "cannot reach 127.0.0.1:")
	require.False(t, r.memory().holds())
}

func TestHTTPSIsNotLeftForHTTP(t *testing.T) {
	plain := serve(t, publish(t, "kind", "linux", "amd64"))
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain+r.URL.Path, http.StatusFound)
	}))
	t.Cleanup(server.Close)
	client := newClient()
	client.Transport = server.Client().Transport
	tr := &transfer{client: client}
	_, err := tr.save(t.Context(), server.URL+"/file", filepath.Join(t.TempDir(), "file"))
	require.ErrorIs(t, err, errDowngrade)
}

func TestAMirrorThatIsNoAddressIsNamed(t *testing.T) {
	r := newTrial(t, "kind", "linux", "mirror.example.com")
	require.False(t, r.run())
	require.Contains(t, r.text.String(), "FLOKOA_DOWNLOADS=mirror.example.com is neither")
}

// An unset variable in the value must not become the official servers without TLS.
func TestAMirrorWithoutAHostIsRefused(t *testing.T) {
	for _, mirror := range []string{"http://", "https://", "https:///x", "http://:8080", "http:mirror"} {
		r := newTrial(t, "kind", "linux", mirror)
		require.False(t, r.run())
		require.Equal(t, "kind v1.2.3: not downloaded, to be compiled: FLOKOA_DOWNLOADS="+mirror+
			" has no host: set it to a mirror, for example https://mirror.example.com, or to off\n", r.text.String())
	}
}

// withUser puts credentials into the address of a mirror.
func withUser(mirror string) string { return strings.Replace(mirror, "://", "://token:s3cret@", 1) }

func TestAMirrorReceivesItsCredentials(t *testing.T) {
	s := publish(t, "etcd", "linux", "amd64")
	r := newTrial(t, "etcd", "linux", withUser(serve(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		user, password, _ := q.BasicAuth()
		if user != "token" || password != "s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.ServeHTTP(w, q)
	}))))
	require.True(t, r.run(), r.text.String())
	require.NotContains(t, r.text.String(), "s3cret")
}

func TestNoMessageShowsTheCredentialsOfAMirror(t *testing.T) {
	tampered, link := publish(t, "kind", "linux", "amd64"), publish(t, "etcd", "linux", "amd64")
	for path := range tampered {
		if !strings.HasSuffix(path, ".sha256sum") {
			tampered[path] = []byte("tampered")
		}
	}
	for path := range link {
		if strings.HasSuffix(path, ".tar.gz") {
			link.publishArchive(t, path, []byte("no archive"))
		}
	}
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, c := range map[string]struct{ tool, mirror, want string }{
		"nothing there":     {"kind", withUser(serve(t, http.NotFoundHandler())), " answers 404"},
		"a wrong checksum":  {"kind", withUser(serve(t, tampered)), ": refused"},
		"no checksum":       {"kind", withUser(serve(t, site{onMirror(filesOf("kind", version, "linux", "amd64")[0].sums): nil})), "has no SHA-256"},
		"no archive":        {"etcd", withUser(serve(t, link)), "unpack http://127.0.0.1:"},
		"a closed port":     {"kind", withUser(closed.URL), "cannot reach 127.0.0.1:"},
		"another scheme":    {"kind", "ftp://token:s3cret@mirror.example.com", "=...@mirror.example.com is neither"},
		"no scheme":         {"kind", "token:s3cret@mirror.example.com", "=...@mirror.example.com is neither"},
		"no host":           {"kind", "https://token:s3cret@", "=...@ has no host"},
		"a slash, as a URL": {"kind", "https://token:s3/s3cret@mirror.example.com", "=...@mirror.example.com is neither"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTrial(t, c.tool, "linux", c.mirror)
			require.False(t, r.run())
			require.Contains(t, r.text.String(), c.want)
			require.NotContains(t, r.text.String(), "s3")
			require.NotContains(t, r.text.String(), "token")
		})
	}
}

func TestAServerThatHangsIsRememberedWithoutCredentials(t *testing.T) {
	shorten(t, 1100*time.Millisecond)
	r := newTrial(t, "kind", "linux", withUser(serve(t, hang(nil, func(string) bool { return true }, nil))))
	require.False(t, r.run())
	text, err := os.ReadFile(r.memory().file)
	require.NoError(t, err)
	require.Equal(t, strings.Replace(r.mirror, "token:s3cret@", "", 1), string(text))
	r.text.Reset()
	require.False(t, r.run())
	require.Contains(t, r.text.String(), "servers did not answer recently")
}

// publishArchive replaces an archive of etcd, with its checksum.
func (s site) publishArchive(t *testing.T, where string, content []byte) {
	t.Helper()
	s[where] = content
	sum := sha256.Sum256(content)
	s[path.Dir(where)+"/SHA256SUMS"] = []byte(hex.EncodeToString(sum[:]) + "  " + path.Base(where) + "\n")
}

func tarOf(t *testing.T, header tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	gz := gzip.NewWriter(&out)
	w := tar.NewWriter(gz)
	require.NoError(t, w.WriteHeader(&header))
	require.NoError(t, w.Close())
	require.NoError(t, gz.Close())
	return out.Bytes()
}

func zipOf(t *testing.T, name string, mode os.FileMode, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	header := &zip.FileHeader{Name: name}
	header.SetMode(mode)
	w, err := z.CreateHeader(header)
	require.NoError(t, err)
	_, err = io.WriteString(w, content)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return out.Bytes()
}

func TestOnlyAFileWithContentIsAProgram(t *testing.T) {
	on := map[string]string{"linux": "etcd-v1.2.3-linux-amd64/etcd", "darwin": "etcd-v1.2.3-darwin-amd64/etcd"}
	const noFile, empty = "/etcd is not a regular file", "the file is empty"
	for name, c := range map[string]struct {
		system  string
		content []byte
		want    string
	}{
		"a symbolic link in a tar": {"linux", tarOf(t, tar.Header{Name: on["linux"], Typeflag: tar.TypeSymlink, Linkname: "/bin/true"}), noFile},
		"a hard link in a tar":     {"linux", tarOf(t, tar.Header{Name: on["linux"], Typeflag: tar.TypeLink, Linkname: "/bin/true"}), noFile},
		"an empty file in a tar":   {"linux", tarOf(t, tar.Header{Name: on["linux"], Typeflag: tar.TypeReg}), empty},
		"a symbolic link in a zip": {"darwin", zipOf(t, on["darwin"], os.ModeSymlink|0o777, "/bin/true"), noFile},
		"an empty file in a zip":   {"darwin", zipOf(t, on["darwin"], 0o755, ""), empty},
	} {
		t.Run(name, func(t *testing.T) {
			s := publish(t, "etcd", c.system, "amd64")
			s.publishArchive(t, onMirror(filesOf("etcd", version, c.system, "amd64")[0].address), c.content)
			r := newTrial(t, "etcd", c.system, serve(t, s))
			require.False(t, r.run())
			require.Contains(t, r.text.String(), c.want)
			require.Contains(t, r.text.String(), "unpack http://127.0.0.1:")
			r.requireNothing(t)
		})
	}
}

// endless answers the paths with a suffix without an end.
func endless(s site, suffix string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, suffix) {
			s.ServeHTTP(w, r)
			return
		}
		for line := []byte(strings.Repeat("0", 64) + "  another-file\n"); ; {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	})
}

func TestAnEndlessFileIsGivenUp(t *testing.T) {
	require.Equal(t, int64(1<<30), maxProgram)
	before := maxProgram
	maxProgram = 1 << 20
	t.Cleanup(func() { maxProgram = before })
	s := publish(t, "kubernetes", "linux", "amd64")
	for suffix, want := range map[string]string{
		"/kubectl":        "/kubectl: the file is larger than 1048576 bytes",
		"/kubectl.sha256": "/kubectl.sha256 is larger than 4194304 bytes",
	} {
		r := newTrial(t, "kubernetes", "linux", serve(t, endless(s, suffix)))
		require.False(t, r.run())
		require.Contains(t, r.text.String(), want)
		r.requireNothing(t)
	}
}

func TestAnUnpackedProgramIsLimited(t *testing.T) {
	before := maxProgram
	maxProgram = 1 << 20
	t.Cleanup(func() { maxProgram = before })
	s := publish(t, "etcd", "linux", "amd64")
	f := filesOf("etcd", version, "linux", "amd64")[0]
	s.publishArchive(t, onMirror(f.address), archive(t, f, make([]byte, 2<<20)))
	r := newTrial(t, "etcd", "linux", serve(t, s))
	require.False(t, r.run())
	require.Contains(t, r.text.String(), "the file is larger than 1048576 bytes")
	r.requireNothing(t)
}

func TestUnpublishedToolsAreCompiledSilently(t *testing.T) {
	for tool, system := range map[string]string{"golangci-lint": "linux", "kubernetes": "darwin", "helm": "plan9"} {
		r := newTrial(t, tool, system, "http://192.0.2.1")
		require.False(t, r.run())
		require.Empty(t, r.text.String())
	}
}
