// Package gitserver serves real Git repositories over HTTP on loopback, by Git's own program, for tests of what reads from Git.
package gitserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Server serves the repositories that were pushed to it. Anyone can read them, and only Push writes them.
type Server struct {
	// URL is the address of the server; a repository's is URL/<name>.
	URL string

	dir    string
	server *http.Server
	mutex  sync.Mutex // of the checkouts
}

// Start serves repositories that are kept in dir.
func Start(dir string) (*Server, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir}
	if err := os.MkdirAll(s.served(), 0o750); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.URL = "http://" + listener.Addr().String()
	s.server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: &cgi.Handler{
		Path: git, Args: []string{"http-backend"},
		Env: append(isolated(), "GIT_PROJECT_ROOT="+s.served(), "GIT_HTTP_EXPORT_ALL=1"),
	}}
	go func() { _ = s.server.Serve(listener) }()
	return s, nil
}

// Close ends the server. The repositories stay in its folder.
func (s *Server) Close() error { return s.server.Close() }

// Change is what a push does to a repository.
type Change struct {
	// Files are written, by their path in the repository; nil deletes the file, or the folder with everything in it.
	Files map[string][]byte
	// Message is that of the commit.
	Message string
	// Tag names the commit; a tag that exists is moved.
	Tag string
}

// Push commits a change to the branch main of a repository, which it creates if it is absent, and returns the ID of the commit.
func (s *Server) Push(ctx context.Context, name string, change Change) (string, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	tree, err := s.checkout(ctx, name)
	if err != nil {
		return "", err
	}
	for file, content := range change.Files {
		if err := write(filepath.Join(tree, file), content); err != nil {
			return "", err
		}
	}
	steps := [][]string{{"add", "--all", "--force"}, {"commit", "--quiet", "--allow-empty", "--message", change.Message}, {"push", "--quiet", "origin", "HEAD:main"}}
	if change.Tag != "" {
		steps = append(steps, []string{"tag", "--force", change.Tag}, []string{"push", "--quiet", "--force", "origin", change.Tag})
	}
	for _, step := range steps {
		if _, err := git(ctx, tree, step...); err != nil {
			return "", err
		}
	}
	return git(ctx, tree, "rev-parse", "HEAD")
}

// Contains reports whether a commit of a repository is another one, or comes after it.
func (s *Server) Contains(ctx context.Context, name, commit, other string) bool {
	_, err := git(ctx, filepath.Join(s.served(), name), "merge-base", "--is-ancestor", other, commit)
	return err == nil
}

// checkout is the folder in which changes to a repository are made.
func (s *Server) checkout(ctx context.Context, name string) (string, error) {
	bare, tree := filepath.Join(s.served(), name), filepath.Join(s.dir, "checkouts", name)
	if _, err := os.Stat(tree); err == nil {
		return tree, nil
	}
	if err := os.MkdirAll(tree, 0o750); err != nil {
		return "", err
	}
	for _, step := range [][]string{{"init", "--quiet", "--bare", "--initial-branch=main", bare}, {"clone", "--quiet", bare, "."}} {
		if _, err := git(ctx, tree, step...); err != nil {
			return "", err
		}
	}
	return tree, nil
}

func (s *Server) served() string { return filepath.Join(s.dir, "served") }

func write(file string, content []byte) error {
	if content == nil {
		return os.RemoveAll(file)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o600)
}

// git runs it in a folder, and returns what it prints.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "git", args...)
	command.Dir, command.Env = dir, append(os.Environ(), isolated()...)
	out, err := command.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			err = fmt.Errorf("%w: %s", err, failed.Stderr)
		}
		return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// isolated keeps the settings of the machine and of the user out, such as signed commits, and names who commits.
func isolated() []string {
	return []string{
		"GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_SYSTEM=" + os.DevNull,
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.com", "GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@example.com",
	}
}
