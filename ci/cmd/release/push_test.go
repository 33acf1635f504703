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
	"slices"
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

// The message would be in the log of continuous integration.
func TestCredentialsInARegistryAreNotShown(t *testing.T) {
	for address, want := range map[string]string{
		"oci://me:s3cret@ghcr.io/flokoa/charts":  "REGISTRY has credentials: remove them, and log in with helm registry login ghcr.io",
		"oci://s3cret@ghcr.io:5000":              "REGISTRY has credentials: remove them, and log in with helm registry login ghcr.io:5000",
		"https://me:s3cret@ghcr.io/flokoa":       "REGISTRY has credentials: remove them, and log in with helm registry login ghcr.io",
		"me:s3cret@ghcr.io/flokoa":               `"...@ghcr.io/flokoa" is not a registry: set REGISTRY to`,
		"oci://me:s3/s3cret@ghcr.io/flokoa":      `"...@ghcr.io/flokoa" is not a registry: set REGISTRY to`,
		"oci://ghcr.io/flokoa/charts@sha256:abc": `"oci://ghcr.io/flokoa/charts@sha256:abc" has no path, or a tag: set REGISTRY to`,
	} {
		for _, command := range []string{"push", "push-overlays"} {
			err := run(root, []string{command, t.TempDir(), address}, &bytes.Buffer{})
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "s3")
		}
	}
}

// dryRun returns what make would run, with these additions to an environment that sets none of make's own variables.
func dryRun(t *testing.T, environment []string, args ...string) (out string, err error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "make", append([]string{"--no-print-directory", "--dry-run"}, args...)...)
	command.Dir = root
	own := regexp.MustCompile(`^(MAKEFLAGS|MAKELEVEL|REGISTRY|DIGEST|IMAGE|AGENT_IMAGE)=`)
	command.Env = append(slices.DeleteFunc(os.Environ(), own.MatchString), environment...)
	text, err := command.CombinedOutput()
	return string(text), err
}

func TestMakePushesWhatItPackages(t *testing.T) {
	for _, row := range []struct {
		target, variable string
		want             []string
	}{
		{"charts", "OTHER=", []string{"package dist"}},
		{"charts", "DIGEST=" + digest, []string{`package dist "` + digest + `"`}},
		{"charts", "REGISTRY=oci://ghcr.io/flokoa/charts", []string{"package dist", `push dist "oci://ghcr.io/flokoa/charts"`}},
		{"charts", "REGISTRY=", []string{"package dist", `push dist ""`}},
		{"overlays", "REGISTRY=oci://ghcr.io/flokoa", []string{"overlays dist", `push-overlays dist "oci://ghcr.io/flokoa"`}},
		{"overlays", "REGISTRY=", []string{"overlays dist", `push-overlays dist ""`}},
	} {
		argument, err := dryRun(t, nil, row.target, row.variable)
		require.NoError(t, err)
		require.Equal(t, row.want, releases(argument), "make %s %s", row.target, row.variable)
		environment, err := dryRun(t, []string{row.variable}, row.target)
		require.NoError(t, err)
		require.Equal(t, row.want, releases(environment), "%s make %s", row.variable, row.target)
	}
	out, err := dryRun(t, []string{"REGISTRY=ghcr.io/flokoa"}, "charts", "REGISTRY=oci://ghcr.io/flokoa/charts")
	require.NoError(t, err)
	require.Equal(t, []string{"package dist", `push dist "oci://ghcr.io/flokoa/charts"`}, releases(out), "the argument wins")
}

// releases are the arguments of the runs of this program in what make prints.
func releases(out string) []string {
	var runs []string
	for _, line := range regexp.MustCompile(`(?m)^go run ./ci/cmd/release (.*?)\s*$`).FindAllStringSubmatch(out, -1) {
		runs = append(runs, line[1])
	}
	return runs
}

func TestMakeRefusesAnImageWithAScheme(t *testing.T) {
	for _, target := range []string{"image", "push"} {
		out, err := dryRun(t, nil, target, "IMAGE=oci://me:s3cret@ghcr.io/flokoa/flokoa-operator:v1")
		require.Error(t, err, target)
		require.Contains(t, out, "IMAGE and AGENT_IMAGE have no scheme")
		require.NotContains(t, out, "go build", "it is refused before the programs are compiled")
		require.NotContains(t, out, "s3cret")
		out, err = dryRun(t, nil, target, "IMAGE=localhost:5000/flokoa-operator:v1")
		require.NoError(t, err, target)
		require.Contains(t, out, "--tag localhost:5000/flokoa-operator:v1")
	}
	_, err := dryRun(t, []string{"AGENT_IMAGE=https://ghcr.io/flokoa/example-agent"}, "image")
	require.Error(t, err)
}
