package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	helmregistry "helm.sh/helm/v3/pkg/registry"

	"github.com/flokoa/flokoa/ci/testkit/registry"
)

// startRegistry returns the host and port of an empty registry that ends with the test.
func startRegistry(t *testing.T) string {
	t.Helper()
	address, stop, err := registry.Start(t.Context(), root, t.TempDir())
	require.NoError(t, err)
	t.Cleanup(stop)
	return address
}

func readPushed(t *testing.T, file string) []pushed {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var list []pushed
	require.NoError(t, json.Unmarshal(text, &list))
	return list
}

func TestEveryChartIsPulledAsItWasPushed(t *testing.T) {
	address, dir := startRegistry(t), t.TempDir()
	require.NoError(t, run(root, []string{"package", dir, digest}, &bytes.Buffer{}))
	write(t, dir, map[string]string{"flokoa-crds-0.0.9.tgz": "an older release"})
	var out bytes.Buffer
	require.NoError(t, run(root, []string{"push", dir, "oci://" + address + "/flokoa/charts"}, &out))

	charts, err := current(root)
	require.NoError(t, err)
	list := readPushed(t, filepath.Join(dir, "charts.json"))
	require.Len(t, list, len(charts))
	client, err := helmregistry.NewClient(helmregistry.ClientOptPlainHTTP())
	require.NoError(t, err)
	for i, now := range charts {
		require.Equal(t, address+"/flokoa/charts/"+now.Name()+":"+now.Metadata.Version, list[i].Reference)
		require.Contains(t, out.String(), "pushed: "+list[i].Reference+"@"+list[i].Digest+"\n")
		require.FileExists(t, filepath.Join(dir, list[i].SBOM))
		data, err := os.ReadFile(filepath.Join(dir, list[i].File))
		require.NoError(t, err)
		result, err := client.Pull(list[i].Reference)
		require.NoError(t, err)
		require.Equal(t, list[i].Digest, result.Manifest.Digest)
		sum := sha256.Sum256(data)
		require.Equal(t, "sha256:"+hex.EncodeToString(sum[:]), result.Chart.Digest)
		require.Equal(t, now.Name(), result.Chart.Meta.Name)
	}
}

func TestAMissingPackageIsNotPushed(t *testing.T) {
	err := run(root, []string{"push", t.TempDir(), "oci://127.0.0.1:1/charts"}, &bytes.Buffer{})
	require.ErrorContains(t, err, "read the package of flokoa-")
	require.ErrorContains(t, err, "package the charts first")
}

func TestARegistryNeedsASchemeAndAPath(t *testing.T) {
	for address, want := range map[string]string{
		"oci://ghcr.io/flokoa/charts":   "ghcr.io/flokoa/charts",
		"oci://127.0.0.1:5000/a/":       "127.0.0.1:5000/a",
		"oci://[::1]:5000/a":            "[::1]:5000/a",
		"ghcr.io/flokoa/charts":         "",
		"https://ghcr.io/flokoa/charts": "",
		"oci://ghcr.io":                 "",
		"oci://ghcr.io/":                "",
		"oci://me:secret@ghcr.io/a":     "",
		"oci://ghcr.io/charts:0.1.0":    "",
		"oci://ghcr.io/charts?a=b":      "",
		"":                              "",
	} {
		_, parent, err := parseRegistry(address)
		require.Equal(t, want, parent, address)
		if want == "" {
			require.ErrorIs(t, err, errRegistry, address)
		}
	}
}

func TestPlainHTTPIsForLoopbackAlone(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.8.9.10": true, "::1": true,
		"ghcr.io": false, "10.0.0.1": false, "localhost.example": false, "127.0.0.1.nip.io": false, "": false,
	} {
		require.Equal(t, want, loopback(host), host)
	}
}

func TestMakePushesWhatItPackages(t *testing.T) {
	for _, row := range []struct {
		target, variable string
		want             []string
	}{
		{"charts", "DIGEST=" + digest, []string{`package dist "` + digest + `"`}},
		{"charts", "REGISTRY=oci://ghcr.io/flokoa/charts", []string{"package dist", `push dist "oci://ghcr.io/flokoa/charts"`}},
		{"charts", "REGISTRY=", []string{"package dist", `push dist ""`}},
		{"overlays", "REGISTRY=oci://ghcr.io/flokoa", []string{"overlays dist", `push-overlays dist "oci://ghcr.io/flokoa"`}},
	} {
		command := exec.CommandContext(t.Context(), "make", "--no-print-directory", "--dry-run", row.target, row.variable)
		command.Dir = root
		command.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=0")
		out, err := command.Output()
		require.NoError(t, err)
		lines := regexp.MustCompile(`(?m)^go run ./ci/cmd/release (.*?)\s*$`).FindAllStringSubmatch(string(out), -1)
		var runs []string
		for _, line := range lines {
			runs = append(runs, line[1])
		}
		require.Equal(t, row.want, runs, row.variable)
	}
}
