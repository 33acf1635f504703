// Command download places the official programs of a pinned tool in a folder, after checking them against their published SHA-256
// checksums. ci/tools/build.sh runs it, and compiles the tool if there is no such folder then.
//
//	download TOOL VERSION FOLDER
//
// It decides within five seconds whether the servers can be used, and it leaves either the complete folder or none. The environment
// variable FLOKOA_DOWNLOADS names a mirror. sources.go has the addresses, and the layout of a mirror. The program uses only the
// standard library: on a new machine it runs before anything else is downloaded.
package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: download TOOL VERSION FOLDER")
		os.Exit(2)
	}
	r := request{
		tool: os.Args[1], version: os.Args[2], folder: os.Args[3],
		system: runtime.GOOS, arch: runtime.GOARCH,
		mirror: os.Getenv("FLOKOA_DOWNLOADS"),
		out:    os.Stderr,
	}
	r.run()
}

// A request is for one tool.
type request struct {
	tool, version, folder string
	system, arch          string
	// mirror is the address of a mirror, or empty.
	mirror string
	// user are the credentials of the mirror, which run takes out of its address.
	user *url.Userinfo
	// out receives progress and reasons.
	out io.Writer
}

// run reports whether the folder is in place. If it is not, it has said why, unless the project publishes nothing for this machine.
func (r request) run() bool {
	files := filesOf(r.tool, r.version, r.system, r.arch)
	if len(files) == 0 {
		return false
	}
	var err error
	if r.mirror, r.user, err = parseMirror(r.mirror); err != nil {
		r.say("not downloaded, to be compiled: %v", err)
		return false
	}
	memory := r.memory()
	if memory.holds() {
		r.say("not downloaded, to be compiled: servers did not answer recently. To try again, delete %s", memory.file)
		return false
	}
	started := time.Now()
	if err = r.download(files); err == nil {
		r.say("downloaded in %s", time.Since(started).Round(time.Second))
		return true
	}
	r.say("not downloaded, to be compiled: %v", err)
	// What fails at once may be tried again for each tool. Waiting five seconds for each would add up.
	var unreachable unreachableError
	if errors.As(err, &unreachable) && time.Since(started) > time.Second {
		memory.keep()
	}
	return false
}

// parseMirror separates the credentials of a mirror from its address, so that no message and no file shows them.
func parseMirror(mirror string) (address string, user *url.Userinfo, err error) {
	if mirror == "" {
		return "", nil, nil
	}
	shown := mirror
	if end := strings.LastIndex(mirror, "@"); end >= 0 {
		shown = "..." + mirror[end:]
	}
	parsed, err := url.Parse(mirror)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" {
		// The cause is left out: it can quote a part of the password.
		return "", nil, fmt.Errorf("FLOKOA_DOWNLOADS=%s is neither an http:// or https:// address nor off", shown)
	}
	// Without a host, the address of a file would be that of the official server, without TLS.
	if parsed.Hostname() == "" {
		return "", nil, fmt.Errorf("FLOKOA_DOWNLOADS=%s has no host: set it to a mirror, for example https://mirror.example.com, or to off", shown)
	}
	user, parsed.User = parsed.User, nil
	return parsed.String(), user, nil
}

func (r request) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.out, "%s %s: %s\n", r.tool, r.version, fmt.Sprintf(format, args...))
}

func (r request) memory() memory {
	// The folder is in the cache's folder tools, which continuous integration stores. What cannot be reached is not stored.
	file := filepath.Join(filepath.Dir(filepath.Dir(r.folder)), "downloads-unreachable")
	return memory{file: file, mirror: r.mirror}
}

// memory is what one run tells the next: these servers do not answer. So a machine without a network waits once, not for each tool.
type memory struct{ file, mirror string }

const memoryTTL = 12 * time.Hour

func (m memory) holds() bool {
	info, err := os.Stat(m.file)
	if err != nil || time.Since(info.ModTime()) > memoryTTL {
		return false
	}
	mirror, err := os.ReadFile(m.file)
	return err == nil && string(mirror) == m.mirror
}

// keep ignores errors: without the memory, the next tool waits once more.
func (m memory) keep() { _ = os.WriteFile(m.file, []byte(m.mirror), 0o600) }
