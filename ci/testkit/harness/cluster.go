// Package harness is what stands around the product when it is used from outside: a local control plane, the operator as a process
// with the permissions of the chart's ServiceAccount and no others, what the API server's audit log has on it, and a proxy that
// stands in its way. Tests of tier 3 and the benchmark are built on it.
package harness

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// script is what brings control planes up and down, from the folder of the repository.
const script = "ci/clusters/local/cluster.sh"

// Cluster is a control plane as `ci/clusters/local/cluster.sh env` describes it.
type Cluster struct {
	Kubeconfig, Kubectl, Helm string
	// Folder is where cluster.sh keeps everything of it; it has the cluster's name.
	Folder string
	// Assets is the folder of kube-apiserver and etcd, for tests that start their own API server.
	Assets string
	// Audit is what the API server writes down about every request.
	Audit AuditLog
	// Config is how its administrator reaches it, without a limit to requests.
	Config *rest.Config
}

// variables are those that cluster.sh assigns.
var variables = []string{"KUBECONFIG", "KUBECTL", "HELM", "FLOKOA_CLUSTER", "KUBEBUILDER_ASSETS", "FLOKOA_AUDIT_LOG"}

// ClusterByName is the control plane of that name, which must be up; root is the folder of the repository.
func ClusterByName(ctx context.Context, root, name string) (Cluster, error) {
	return loadCluster(ctx, root, `eval "$(`+script+` env `+name+`)"; `)
}

// ClusterFromEnvironment is the control plane that the environment names by the variables that cluster.sh assigns.
func ClusterFromEnvironment(ctx context.Context, root string) (Cluster, error) {
	return loadCluster(ctx, root, "")
}

func loadCluster(ctx context.Context, root, assign string) (Cluster, error) {
	shell := exec.CommandContext(ctx, "bash", "-euc", assign+`printf '%s\n' "$`+strings.Join(variables, `" "$`)+`"`)
	shell.Dir, shell.Stderr = root, os.Stderr
	out, err := shell.Output()
	if err != nil {
		return Cluster{}, fmt.Errorf("reading %s: %w", strings.Join(variables, ", "), err)
	}
	values := strings.Split(string(out), "\n")
	c := Cluster{Kubeconfig: values[0], Kubectl: values[1], Helm: values[2], Folder: values[3], Assets: values[4], Audit: AuditLog(values[5])}
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		return c, err
	}
	c.Config.QPS = -1
	return c, nil
}

// Up brings a control plane up, or back, and returns the output of the script, which is also copied to show unless that is nil.
func Up(ctx context.Context, root, name string, show io.Writer) (output string, err error) {
	return run(ctx, root, show, "up", name)
}

// Down removes a control plane, also one that is half up; that there is none is no error.
func Down(ctx context.Context, root, name string) error {
	output, err := run(ctx, root, nil, "down", name)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	return nil
}

func run(ctx context.Context, root string, show io.Writer, args ...string) (output string, err error) {
	var text strings.Builder
	command := exec.CommandContext(ctx, script, args...)
	command.Dir, command.Stderr = root, &text // by a pipe: what it starts must not hold ours open
	if show != nil {
		command.Stderr = io.MultiWriter(show, &text)
	}
	command.WaitDelay = time.Second
	if err := command.Run(); err != nil {
		return text.String(), fmt.Errorf("%s %s: %w", script, strings.Join(args, " "), err)
	}
	return text.String(), nil
}

// Lock locks a file until this process ends or closes the returned file. It calls wait before it waits for another process. Keep a
// reference to the file: the garbage collector closes it.
func Lock(path string, wait func()) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		return file, nil
	}
	wait()
	return file, syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
}

// NewScheme knows the kinds of Kubernetes and Flokoa's own.
func NewScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return scheme, nil
}

// NewClient is a client without a cache.
func NewClient(config *rest.Config) (client.WithWatch, error) {
	scheme, err := NewScheme()
	if err != nil {
		return nil, err
	}
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}
