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
	}{
		"the flag":                     {flagged, nil, "https://flagged"},
		"the flag before the variable": {flagged, []string{first}, "https://flagged"},
		"the variable":                 {"", []string{first}, "https://first"},
		"the first of several files":   {"", []string{second, first}, "https://second"},
		"several files, merged":        {"", []string{partial, first}, "https://first"},
		"several files, some missing":  {"", []string{missing, "", second}, "https://second"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", strings.Join(r.variable, string(os.PathListSeparator)))
			options, err := ParseOptions([]string{"--kubeconfig=" + r.flag, "--leader-election-namespace=ns"}, io.Discard)
			require.NoError(t, err)
			config, err := restConfig(options, "v1")
			require.NoError(t, err)
			require.Equal(t, r.host, config.Host)
			require.Equal(t, "flokoa-operator/v1", config.UserAgent)
		})
	}
}

func TestWithoutKubeconfigOrPodTheOperatorSaysWhatToSet(t *testing.T) {
	for _, variable := range []string{"", string(os.PathListSeparator)} {
		t.Setenv("KUBECONFIG", variable)
		options, err := ParseOptions(nil, io.Discard)
		require.NoError(t, err)
		_, err = restConfig(options, "v1")
		require.ErrorContains(t, err, "cannot reach the API server (set --kubeconfig or KUBECONFIG, or run in a pod with a ServiceAccount): ")
		require.ErrorContains(t, err, "unable to load in-cluster configuration")
	}
}

// No row has --leader-election-namespace: its absence would hide the cause.
func TestUnusableKubeconfigIsNamedFirst(t *testing.T) {
	folder := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	first, partial := kubeconfig(t, folder, "first", true), kubeconfig(t, folder, "partial", false)
	empty, invalid, secret := write("empty", ""), write("invalid", "no: [yaml"), write("json", `{"kind": "Secret", "apiVersion": "v1"}`)
	dangling := write("dangling", "apiVersion: v1\nkind: Config\ncurrent-context: gone\n")
	missing, other := filepath.Join(folder, "missing"), filepath.Join(folder, "other")
	const noCluster = ": no cluster: set current-context to a context that names one"
	for name, r := range map[string]struct {
		files []string
		want  string
	}{
		"a missing file":         {[]string{missing}, missing + ": no such file or directory"},
		"a directory":            {[]string{folder}, folder + ": is a directory"},
		"an empty file":          {[]string{empty}, empty + noCluster},
		"an invalid file":        {[]string{invalid}, `error loading config file "` + invalid + `": `},
		"another kind":           {[]string{secret}, `error loading config file "` + secret + `": `},
		"no context":             {[]string{partial}, partial + noCluster},
		"a missing context":      {[]string{dangling}, dangling + ": invalid configuration: [context was not found for specified context: gone"},
		"only missing files":     {[]string{missing, other}, missing + ": no such file or directory; " + other + ": no such file or directory"},
		"only empty files":       {[]string{empty, missing}, empty + ":" + missing + noCluster},
		"a directory among them": {[]string{first, folder}, folder + ": is a directory"},
		"an invalid one of them": {[]string{first, invalid}, `error loading config file "` + invalid + `": `},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", strings.Join(r.files, ":"))
			_, err := ParseOptions(nil, io.Discard)
			require.ErrorContains(t, err, "KUBECONFIG: "+r.want)
			require.NotContains(t, err.Error(), "\n")
			if len(r.files) == 1 {
				t.Setenv("KUBECONFIG", first)
				_, err := ParseOptions([]string{"--kubeconfig", r.files[0]}, io.Discard)
				require.ErrorContains(t, err, "--kubeconfig: "+r.want)
			}
		})
	}
}
