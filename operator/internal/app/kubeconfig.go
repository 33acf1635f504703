package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// loadKubeconfig returns the client configuration of the file on the command line, or else of the files in KUBECONFIG, as kubectl
// reads it; nil if neither names a file. It reads each file once, because one may be the pipe of a shell's <(command).
func loadKubeconfig(path string) (*rest.Config, error) {
	source, paths := "--kubeconfig", []string{path}
	if path == "" {
		source, paths = clientcmd.RecommendedConfigPathEnvVar, filepath.SplitList(os.Getenv(clientcmd.RecommendedConfigPathEnvVar))
		paths = slices.DeleteFunc(paths, func(path string) bool { return path == "" })
	}
	if len(paths) == 0 {
		return nil, nil
	}
	config, err := mergeKubeconfigs(paths)
	if err != nil {
		// An error of the YAML reader may have several lines.
		return nil, fmt.Errorf("%s: %s", source, strings.Join(strings.Fields(err.Error()), " "))
	}
	return config, nil
}

// mergeKubeconfigs merges files as kubectl does: the first to set a value wins, and some of several files may be missing.
func mergeKubeconfigs(paths []string) (*rest.Config, error) {
	if err := findKubeconfigs(paths); err != nil {
		return nil, err
	}
	merged, err := (&clientcmd.ClientConfigLoadingRules{Precedence: paths}).Load()
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.NewDefaultClientConfig(*merged, &clientcmd.ConfigOverrides{}).ClientConfig()
	files := strings.Join(paths, string(os.PathListSeparator))
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, fmt.Errorf("%s: no cluster: set current-context to a context that names one", files)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", files, err)
	}
	return config, nil
}

// findKubeconfigs returns an error for a directory, or if no file exists.
func findKubeconfigs(paths []string) error {
	var missing []string
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			missing = append(missing, path+": no such file or directory")
		case err == nil && info.IsDir():
			return fmt.Errorf("%s: is a directory", path)
		}
	}
	if len(missing) == len(paths) {
		return errors.New(strings.Join(missing, "; "))
	}
	return nil
}
