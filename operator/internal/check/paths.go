package check

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// extensions are those of the files to read in a directory, in lower case.
var extensions = []string{".yaml", ".yml", ".json"}

// source is a file to read, under the name on the command line, or the error for one that cannot be read.
type source struct {
	name string
	err  error
}

func (s source) read(stdin io.Reader) ([]byte, error) {
	switch {
	case s.err != nil:
		return nil, s.err
	case s.name == stdinFile:
		return io.ReadAll(stdin)
	default:
		return os.ReadFile(s.name)
	}
}

// pathSet collects sources, each of them once, however often and under however many names it is given.
type pathSet struct {
	sources []source
	seen    map[string]bool // real paths of files and directories
}

// expandPaths lists the files to read, in the order of the command line, and those of a directory by name.
func expandPaths(files []string) []source {
	set := &pathSet{seen: map[string]bool{}}
	for _, file := range files {
		set.add(file)
	}
	return set.sources
}

func (s *pathSet) add(path string) {
	if path == stdinFile {
		s.addFile(path)
		return
	}
	if strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://") {
		s.addError(path, errors.New("check downloads nothing: save the file, or pipe it in with -f -"))
		return
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		s.addError(path, err)
	case !info.IsDir():
		s.addFile(path)
	case !s.addDirectory(path):
		s.addError(path, errors.New("no *.yaml, *.yml, or *.json in this directory"))
	}
}

func (s *pathSet) addFile(path string) {
	if s.first(path) {
		s.sources = append(s.sources, source{name: path})
	}
}

// addDirectory adds the files of a directory and its subdirectories, and reports whether there was any file or error. It follows symbolic
// links, because a directory that is mounted from a ConfigMap has nothing else. A loop of links ends at the first directory that was
// seen before.
func (s *pathSet) addDirectory(directory string) (found bool) {
	if !s.first(directory) {
		return true
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		s.addError(directory, err)
		return true
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		path := filepath.Join(directory, entry.Name())
		supported := slices.Contains(extensions, strings.ToLower(filepath.Ext(path)))
		info, err := os.Stat(path)
		switch {
		case err != nil && supported:
			s.addError(path, err)
			found = true
		case err == nil && info.IsDir():
			found = s.addDirectory(path) || found
		case err == nil && supported && info.Mode().IsRegular():
			s.addFile(path)
			found = true
		}
	}
	return found
}

// first reports whether a path is new. A path that cannot be resolved, such as the pipe of a shell's <(command), stands for itself.
func (s *pathSet) first(path string) bool {
	key := path
	if absolute, err := filepath.Abs(path); err == nil && path != stdinFile {
		key = absolute
	}
	if real, err := filepath.EvalSymlinks(key); err == nil {
		key = real
	}
	before := s.seen[key]
	s.seen[key] = true
	return !before
}

func (s *pathSet) addError(path string, err error) {
	s.sources = append(s.sources, source{path, err})
}

// plain returns the text of an error without the path, which the report prints anyway.
func plain(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
