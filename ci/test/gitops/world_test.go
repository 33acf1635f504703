package gitops_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/gitserver"
	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/ci/testkit/registry"
)

// world is a control plane of one test, with a Git server beside it. The operator and the tool's controllers are processes.
type world struct {
	*testing.T
	name    string
	cluster harness.Cluster
	api     client.WithWatch
	git     *gitserver.Server
	// registry is the host and port of an OCI registry.
	registry string
	dir      string
	// limit bounds each wait.
	limit time.Duration
}

// worlds bounds how many control planes run at a time: each waits much more than it works.
var worlds = make(chan struct{}, 3)

// newWorld brings up an empty control plane, and removes it after the test.
func newWorld(t *testing.T, name string) *world {
	t.Helper()
	worlds <- struct{}{}
	t.Cleanup(func() { <-worlds })
	return joinWorld(t, name)
}

// joinWorld brings up one more control plane for a test that has one.
func joinWorld(t *testing.T, name string) *world {
	t.Helper()
	w := &world{T: t, name: name, dir: filepath.Join(workDir, name), limit: waitTimeout}
	require.NoError(t, os.MkdirAll(w.dir, 0o750))
	clusterName := "flokoa-gitops-" + name
	require.NoError(t, harness.Down(t.Context(), root, clusterName))
	output, err := harness.Up(t.Context(), root, clusterName, nil)
	require.NoError(t, err, output)
	t.Cleanup(func() { _ = harness.Down(context.Background(), root, clusterName) })
	w.cluster, err = harness.ClusterByName(t.Context(), root, clusterName)
	require.NoError(t, err)
	w.api, err = harness.NewClient(w.cluster.Config)
	require.NoError(t, err)
	w.git, err = gitserver.Start(filepath.Join(w.dir, "git"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.git.Close() })
	address, stop, err := registry.Start(t.Context(), root, w.folder("registry"))
	require.NoError(t, err)
	t.Cleanup(stop)
	w.registry = address
	return w
}

// localized is a file of the repository as the tests use it: with the addresses of their Git server and of their registry. Nothing else
// differs.
func (w *world) localized(content []byte) []byte {
	content = bytes.ReplaceAll(content, []byte("https://git.example.com"), []byte(w.git.URL))
	return bytes.ReplaceAll(content, []byte("ghcr.io/flokoa/charts"), []byte(w.registry+"/charts"))
}

// packageCharts packages the charts of this repository once, and returns the folder.
var packageCharts = sync.OnceValues(func() (string, error) {
	folder := filepath.Join(workDir, "charts")
	return folder, release("package", folder)
})

// pushCharts pushes the charts to the registry.
func (w *world) pushCharts() {
	w.Helper()
	folder, err := packageCharts()
	require.NoError(w, err)
	require.NoError(w, release("push", folder, "oci://"+w.registry+"/charts"))
}

// release runs ci/cmd/release, which `make charts` runs.
func release(args ...string) error {
	command := exec.Command("go", append([]string{"run", "./ci/cmd/release"}, args...)...)
	command.Dir = root
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("release %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// checkout writes files into a folder of the test, and returns its path.
func (w *world) checkout(files map[string][]byte) string {
	w.Helper()
	folder := filepath.Join(w.dir, "checkout")
	for file, content := range files {
		path := filepath.Join(folder, file)
		require.NoError(w, os.MkdirAll(filepath.Dir(path), 0o750))
		require.NoError(w, os.WriteFile(path, content, 0o600))
	}
	return folder
}

// platformFiles are the files of a user's copy of this repository that the tools read.
func (w *world) platformFiles() map[string][]byte {
	w.Helper()
	list := exec.CommandContext(w.Context(), "git", "ls-files", "--cached", "--others", "--exclude-standard", "overlays", "examples")
	list.Dir = root
	out, err := list.Output()
	require.NoError(w, err)
	files := map[string][]byte{}
	for _, file := range strings.Fields(string(out)) {
		content, err := os.ReadFile(filepath.Join(root, file))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and not committed yet
		}
		require.NoError(w, err)
		files[file] = w.localized(content)
	}
	return files
}

// push changes a repository and returns the commit.
func (w *world) push(repository string, change gitserver.Change) string {
	w.Helper()
	if change.Message == "" {
		change.Message = "change"
	}
	commit, err := w.git.Push(w.Context(), repository, change)
	require.NoError(w, err)
	return commit
}

// kubectl runs as the cluster's administrator and must succeed.
func (w *world) kubectl(args ...string) string {
	w.Helper()
	out, err := w.run(args...)
	require.NoError(w, err, "kubectl %s", strings.Join(args, " "))
	return out
}

// apply applies manifests as kubectl does.
func (w *world) apply(manifest string) {
	w.Helper()
	file := filepath.Join(w.folder("applied"), "manifest.yaml")
	require.NoError(w, os.WriteFile(file, []byte(manifest), 0o600))
	w.kubectl("apply", "--filename", file)
}

func (w *world) run(args ...string) (string, error) {
	command := exec.CommandContext(w.Context(), w.cluster.Kubectl, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+w.cluster.Kubeconfig, "KUBERC=off", "KUBECACHEDIR="+filepath.Join(w.dir, "kubectl-cache"))
	var out, warnings bytes.Buffer
	command.Stdout, command.Stderr = &out, &warnings
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, warnings.String())
	}
	return out.String(), nil
}

// start runs a program until the test ends. Its log is shown if the test fails. It returns a function that stops it sooner.
func (w *world) start(name, program string, environment []string, args ...string) (stop func()) {
	w.Helper()
	logFile := filepath.Join(w.dir, name+".log")
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(w, err)
	command := exec.Command(program, args...)
	command.Dir = w.dir
	command.Env = append(os.Environ(), environment...)
	command.Stdout, command.Stderr = log, log
	require.NoError(w, command.Start())
	ended := make(chan struct{})
	go func() { _ = command.Wait(); close(ended) }()
	stop = func() {
		_ = command.Process.Kill()
		<-ended
	}
	w.Cleanup(func() {
		select {
		case <-ended:
			w.Logf("%s had ended: %s", name, command.ProcessState)
		default:
		}
		stop()
		_ = log.Close()
		if w.Failed() {
			w.Logf("the end of the log of %s:\n%s", name, tail(logFile))
		}
	})
	return stop
}

func tail(file string) string {
	text, _ := os.ReadFile(file)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], "\n")
}

// eventually polls until something holds; otherwise it fails with the last error.
func (w *world) eventually(what string, missing func() error) {
	w.Helper()
	began := time.Now()
	var last error
	err := wait.PollUntilContextTimeout(w.Context(), 250*time.Millisecond, w.limit, true, func(context.Context) (bool, error) {
		last = missing()
		return last == nil, nil
	})
	require.NoError(w, err, "%s: waited %s until %s: %v", w.Name(), w.limit, what, last)
	logf("%-28s %6.1fs  %s", w.name, time.Since(began).Seconds(), what)
}

// every does something now and then, for some time.
func (w *world) every(interval, limit time.Duration, do func()) {
	w.Helper()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for end := time.After(limit); ; {
		do()
		select {
		case <-end:
			return
		case <-w.Context().Done():
			require.NoError(w, w.Context().Err())
		case <-ticker.C:
		}
	}
}

// awaitServed waits until the API server serves resources.
func (w *world) awaitServed(resources ...string) {
	w.Helper()
	w.eventually(strings.Join(resources, ", ")+" is served", func() error {
		_, err := w.run("get", strings.Join(resources, ","), "--all-namespaces")
		return err
	})
}

// startOperator runs the operator with the permissions of the account that the tool has installed: the containers of simulated nodes
// run nothing.
func (w *world) startOperator() {
	w.Helper()
	// Before that, it would exit, because it has no permissions yet; the kubelet would start it again.
	w.eventually("the operator's Deployment exists", func() error {
		_, err := w.run("get", "deployment", "flokoa-operator", "--namespace", harness.System)
		return err
	})
	token, err := harness.Token(w.Context(), w.api, "flokoa-operator")
	require.NoError(w, err)
	operator, err := harness.New(programs["operator"], token, w.cluster.Config)
	require.NoError(w, err)
	require.NoError(w, operator.Start())
	w.Cleanup(func() {
		if !operator.Ended() {
			_ = operator.Stop()
		}
		if w.Failed() {
			w.Logf("the end of the operator's log:\n%s", operator.Tail(""))
		}
	})
	require.NoError(w, operator.WaitFor(w.Context(), "it leads", harness.StartTimeout, operator.IsLeader))
}

// createSecret creates the Secret that the guide's Agent names, as its owner does once the namespace exists.
func (w *world) createSecret(namespace string) {
	w.Helper()
	secret := &corev1.Secret{StringData: map[string]string{"api-key": "x"}}
	secret.Namespace, secret.Name = namespace, "agent-secrets"
	w.eventually("there is a Secret in "+namespace, func() error { return ignoreExisting(w.api.Create(w.Context(), secret)) })
}

func ignoreExisting(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// environments are the stages of the promotion.
var environments = manifests.Environments

// guideManifest is the manifest of the guide, byte for byte.
func (w *world) guideManifest() []byte {
	w.Helper()
	content, err := os.ReadFile(filepath.Join(root, "examples/agents/production-agent.yaml"))
	require.NoError(w, err)
	return content
}
