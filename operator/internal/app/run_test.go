package app

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// kubeconfig writes a kubeconfig file for a server. Without a context, the file only defines the cluster.
func kubeconfig(t *testing.T, folder, server string, context bool) string {
	t.Helper()
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: " + server + ", cluster: {server: 'https://" + server + "'}}]\n"
	if context {
		text += "contexts: [{name: it, context: {cluster: " + server + "}}]\ncurrent-context: it\n"
	}
	path := filepath.Join(folder, server)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestKubeconfigFlagOverridesVariableAndPod(t *testing.T) {
	folder := t.TempDir()
	flagged, first, second := kubeconfig(t, folder, "flagged", true), kubeconfig(t, folder, "first", true), kubeconfig(t, folder, "second", true)
	partial, missing := kubeconfig(t, folder, "partial", false), filepath.Join(folder, "missing")
	home := filepath.Join(folder, ".kube")
	require.NoError(t, os.Mkdir(home, 0o700))
	require.NoError(t, os.Rename(kubeconfig(t, folder, "home", true), filepath.Join(home, "config")))
	t.Setenv("HOME", folder)
	for name, r := range map[string]struct {
		flag     string
		variable []string
		host     string // of the API server
		wantErr  string
	}{
		"the flag":                           {flagged, nil, "https://flagged", ""},
		"the flag before the variable":       {flagged, []string{first}, "https://flagged", ""},
		"the variable":                       {"", []string{first}, "https://first", ""},
		"the first of several files":         {"", []string{second, first}, "https://second", ""},
		"several files, merged":              {"", []string{partial, first}, "https://first", ""},
		"several files, some missing":        {"", []string{missing, "", second}, "https://second", ""},
		"a missing file on the command line": {missing, []string{first}, "", missing + ": no such file"},
		"a missing file in the variable":     {"", []string{missing}, "", missing + ": no such file"},
		"only missing files in the variable": {"", []string{missing, missing + "2"}, "", "no configuration has been provided"},
		"neither, outside a pod":             {"", nil, "", "unable to load in-cluster configuration"},
		"an empty list in the variable":      {"", []string{"", ""}, "", "unable to load in-cluster configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", strings.Join(r.variable, string(os.PathListSeparator)))
			options, err := ParseOptions([]string{"--kubeconfig=" + r.flag, "--leader-election-namespace=ns"}, io.Discard)
			require.NoError(t, err)
			config, err := restConfig(options, "v1")
			if r.wantErr != "" {
				require.ErrorContains(t, err, "cannot reach the API server (set --kubeconfig or KUBECONFIG, or run in a pod with a ServiceAccount): ")
				require.ErrorContains(t, err, r.wantErr)
				return
			}
			require.NoError(t, err)
			require.Equal(t, r.host, config.Host)
			require.Equal(t, "flokoa-operator/v1", config.UserAgent)
		})
	}
}

func TestKubeconfigVariableNeedsALeaseNamespace(t *testing.T) {
	t.Setenv("KUBECONFIG", "/k")
	_, err := ParseOptions(nil, io.Discard)
	require.ErrorContains(t, err, "--leader-election-namespace is required with --kubeconfig or KUBECONFIG")
}
