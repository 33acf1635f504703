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

// extensions are those of the files that are read in a folder, in lower case.
var extensions = []string{".yaml", ".yml", ".json"}

// source is a file that is to be read, by the name it was given, or one that cannot be.
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

// pathSet collects sources, each once however often and under however many names it was given.
type pathSet struct {
	sources []source
	seen    map[string]bool // real paths of files and folders
}

// expandPaths lists what is to be read, in the order it was named, folders by name.
func expandPaths(files []string) []source {
	g := &pathSet{seen: map[string]bool{}}
	for _, file := range files {
		g.add(file)
	}
	return g.sources
}

func (g *pathSet) add(path string) {
	if path == stdinFile {
		g.addFile(path)
		return
	}
	if strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://") {
		g.cannot(path, errors.New("check reads no network: download it, or pipe it in with -f -"))
		return
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		g.cannot(path, err)
	case !info.IsDir():
		g.addFile(path)
	case !g.addFolder(path):
		g.cannot(path, errors.New("no *.yaml, *.yml or *.json in this folder"))
	}
}

func (g *pathSet) addFile(path string) {
	if g.first(path) {
		g.sources = append(g.sources, source{name: path})
	}
}

// addFolder adds the files of a folder and its subfolders, and tells whether there was anything to read, or to complain about.
// Symbolic links are followed, because a folder that is mounted from a ConfigMap has nothing else; a loop of them ends where
// it began.
func (g *pathSet) addFolder(folder string) (found bool) {
	if !g.first(folder) {
		return true
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		g.cannot(folder, err)
		return true
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		path := filepath.Join(folder, entry.Name())
		wanted := slices.Contains(extensions, strings.ToLower(filepath.Ext(path)))
		info, err := os.Stat(path)
		switch {
		case err != nil && wanted:
			g.cannot(path, err)
			found = true
		case err == nil && info.IsDir():
			found = g.addFolder(path) || found
		case err == nil && wanted && info.Mode().IsRegular():
			g.addFile(path)
			found = true
		}
	}
	return found
}

// first tells whether a path was not seen before. What has no real path, such as the pipe of a shell's <(command), is itself.
func (g *pathSet) first(path string) bool {
	key := path
	if absolute, err := filepath.Abs(path); err == nil && path != stdinFile {
		key = absolute
	}
	if real, err := filepath.EvalSymlinks(key); err == nil {
		key = real
	}
	before := g.seen[key]
	g.seen[key] = true
	return !before
}

func (g *pathSet) cannot(path string, err error) {
	g.sources = append(g.sources, source{path, err})
}

// plain is an error's text without the path that is named beside it anyway.
func plain(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
