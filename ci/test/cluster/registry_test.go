package cluster_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chartutil"

	"github.com/flokoa/flokoa/ci/testkit/registry"
)

// registryFixture is an empty cluster beside a registry that has the charts of the last freeze below /frozen, and those of the working
// tree below /charts.
type registryFixture struct {
	*installFixture
	address string
	// helm3 and helm4 are the programs.
	helm3, helm4 string
}

// registryReleases are in the order of the documentation: what others need comes first.
var registryReleases = []struct {
	name, chart string
	values      []string
}{
	{"flokoa-crds", "flokoa-crds", nil},
	{"flokoa-policies", "flokoa-policies", nil},
	{"flokoa-operator", "flokoa-operator", nil},
	{"flokoa-production", "flokoa-environment", []string{"--set", "environment=production"}},
}

func newRegistryFixture(t *testing.T) *registryFixture {
	t.Helper()
	s := &registryFixture{helm3: cluster.Helm, helm4: filepath.Join(output(t, "ci/tools/build.sh", "helm4"), "helm")}
	address, stop, err := registry.Start(t.Context(), root, t.TempDir())
	require.NoError(t, err)
	t.Cleanup(stop)
	s.address = address
	s.installFixture = newInstallFixture(t, "flokoa-test-registry")

	packages := t.TempDir()
	output(t, "go", "run", "./ci/cmd/release", "package", packages)
	output(t, "go", "run", "./ci/cmd/release", "push", packages, "oci://"+address+"/charts")
	for _, file := range s.frozen() {
		s.run(s.helm3, "push", file, "oci://"+address+"/frozen", "--plain-http")
	}
	return s
}

// output runs a program in the folder of the repository, and returns what it printed.
func output(t *testing.T, program string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, args...)
	command.Dir, command.Stderr = root, os.Stderr
	out, err := command.Output()
	require.NoError(t, err, "%s %s", program, strings.Join(args, " "))
	return strings.TrimSpace(string(out))
}

// frozen are the packages of the newest version that is frozen, by paths from the folder of the repository.
func (s *registryFixture) frozen() []string {
	s.Helper()
	folders, err := filepath.Glob(filepath.Join(root, "ci/cmd/release/testdata/v*"))
	require.NoError(s, err)
	require.NotEmpty(s, folders)
	newest := slices.MaxFunc(folders, func(a, b string) int { return strings.Compare(a, b) })
	files, err := filepath.Glob(filepath.Join(newest, "*.tgz"))
	require.NoError(s, err)
	for i, file := range files {
		files[i], err = filepath.Rel(root, file)
		require.NoError(s, err)
	}
	return files
}

// version is the version of a chart below /charts or /frozen.
func (s *registryFixture) version(from, chart string) string {
	s.Helper()
	if from == "charts" {
		metadata, err := chartutil.LoadChartfile(filepath.Join(root, "charts", chart, "Chart.yaml"))
		require.NoError(s, err)
		return metadata.Version
	}
	for _, file := range s.frozen() {
		if version, ok := strings.CutPrefix(filepath.Base(file), chart+"-"); ok {
			return strings.TrimSuffix(version, ".tgz")
		}
	}
	require.Fail(s, "not frozen", chart)
	return ""
}

func (s *registryFixture) run(program string, args ...string) string {
	s.Helper()
	out, err := s.runProgram(program, args...)
	require.NoError(s, err, "%s %s\n%s", program, strings.Join(args, " "), out)
	return out
}

// installAll installs or upgrades every release to what the registry has.
func (s *registryFixture) installAll(helm, from string, flags ...string) {
	s.Helper()
	for _, r := range registryReleases {
		if r.chart == "flokoa-environment" {
			awaitAgentsCounted(s.T, s.api, system)
		}
		args := append([]string{
			"upgrade", "--install", r.name, "oci://" + s.address + "/" + from + "/" + r.chart, "--version", s.version(from, r.chart),
			"--namespace", system, "--create-namespace", "--plain-http",
		}, r.values...)
		s.run(helm, append(args, flags...)...)
	}
}

// installAgent installs a team's Agent from the registry.
func (s *registryFixture) installAgent(helm, namespace string) {
	s.Helper()
	s.run(helm, "install", "my-agent", "oci://"+s.address+"/charts/flokoa-agent", "--version", s.version("charts", "flokoa-agent"),
		"--namespace", namespace, "--plain-http", "--set", "environment=production",
		"--set", "spec.runtime.spec.container.image=ghcr.io/example/my-agent:v2.0.0")
	s.kubectl("wait", "--for=condition=Ready", "agent/my-agent", "--timeout=90s", "--namespace", namespace)
}

// uninstallAll uninstalls in the reverse order. The CRD, the policies, and the namespace stay: their charts keep them.
func (s *registryFixture) uninstallAll(helm string) {
	s.Helper()
	for _, r := range slices.Backward(registryReleases) {
		s.run(helm, "uninstall", r.name, "--namespace", system)
	}
}

func (s *registryFixture) rollBackAll(helm string) {
	s.Helper()
	for _, r := range slices.Backward(registryReleases) {
		s.run(helm, "rollback", r.name, "--namespace", system)
	}
}

// installOneFile installs without Helm, and runs an Agent in a namespace that is no environment, as a newcomer does. It takes over what
// the charts keep, which Helm still manages.
func (s *registryFixture) installOneFile() {
	s.Helper()
	dir := s.TempDir()
	output(s.T, "go", "run", "./ci/cmd/release", "install-yaml", dir)
	s.kubectl("apply", "--server-side", "--force-conflicts", "--filename", filepath.Join(dir, "install.yaml"))
	running := s.startOperator()
	s.kubectl("apply", "--filename", "examples/agents/first-agent.yaml", "--namespace", "default")
	s.kubectl("wait", "--for=condition=Ready", "agent/first-agent", "--timeout=60s", "--namespace", "default")
	require.NoError(s, running.Stop())
}

func TestHelm3And4InstallFromARegistry(t *testing.T) {
	t.Parallel()
	s, began := newRegistryFixture(t), time.Now()
	const home = "flokoa-production"
	s.installAll(s.helm3, "frozen")
	running := s.startOperator()
	s.deployAgent(home)
	pods := s.pods(home)
	require.Len(t, pods, 3)

	s.installAll(s.helm3, "charts")
	s.requireUndisturbed(home, pods)
	s.rollBackAll(s.helm3)
	s.requireUndisturbed(home, pods)
	s.installAll(s.helm4, "charts")
	s.requireUndisturbed(home, pods)
	s.rollBackAll(s.helm4)
	s.requireUndisturbed(home, pods)
	require.NoError(t, running.Stop())
	s.uninstallAll(s.helm4)

	// What the charts kept is that of the frozen version, applied by a client.
	s.installAll(s.helm4, "charts", "--force-conflicts")
	again := s.startOperator()
	s.kubectl("wait", "--for=condition=Ready", "agent/"+guideAgent, "--timeout=90s", "--namespace", home)
	s.requireUndisturbed(home, pods)
	s.installAgent(s.helm4, home)
	require.NoError(t, again.Stop())
	s.uninstallAll(s.helm4)
	s.installOneFile()
	logf("ok     %6.1fs  %s", time.Since(began).Seconds(), t.Name())
}
