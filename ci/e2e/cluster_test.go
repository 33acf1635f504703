package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/manifests"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// clusterName is the control plane that is brought up for tests; people work on another.
const clusterName = "flokoa-test"

// ours is the label of namespaces that tests make.
var ours = client.MatchingLabels{"made-by": "e2e"}

// controlPlane is what `ci/cluster/cluster.sh env` tells.
type controlPlane struct {
	kubeconfig, kubectl, helm, auditLog string
	// folder is where cluster.sh keeps everything of it; it has the cluster's name.
	folder string
	// assets is the folder of kube-apiserver and etcd, for a test that needs an API server of its own.
	assets string
	config *rest.Config
}

// bringUp returns the control plane that the environment names, or brings one up. A KUBECONFIG that did not come from
// cluster.sh, which sets FLOKOA_AUDIT_LOG beside it, is somebody's own cluster, and is left alone.
func bringUp(ctx context.Context) (controlPlane, error) {
	names := []string{"KUBECONFIG", "KUBECTL", "FLOKOA_AUDIT_LOG", "KUBEBUILDER_ASSETS", "FLOKOA_CLUSTER", "HELM"}
	script := `printf '%s\n' "$` + strings.Join(names, `" "$`) + `"`
	if os.Getenv("KUBECONFIG") == "" || os.Getenv("FLOKOA_AUDIT_LOG") == "" {
		if _, err := up(ctx, clusterName); err != nil {
			return controlPlane{}, err
		}
		script = `eval "$(ci/cluster/cluster.sh env ` + clusterName + `)"; ` + script
	}
	shell := exec.CommandContext(ctx, "bash", "-euc", script)
	shell.Dir, shell.Stderr = root, os.Stderr
	out, err := shell.Output()
	if err != nil {
		return controlPlane{}, fmt.Errorf("asking for %s: %w", strings.Join(names, ", "), err)
	}
	values := strings.Split(string(out), "\n")
	plane := controlPlane{kubeconfig: values[0], kubectl: values[1], auditLog: values[2], assets: values[3], folder: values[4], helm: values[5]}
	if plane.config, err = clientcmd.BuildConfigFromFlags("", plane.kubeconfig); err != nil {
		return plane, err
	}
	plane.config.QPS = -1
	api, err = newClient(plane.config)
	return plane, err
}

// up brings a control plane up, or back, and returns what the script said, which is shown as it goes.
func up(ctx context.Context, name string) (said string, err error) {
	var text strings.Builder
	script := exec.CommandContext(ctx, "ci/cluster/cluster.sh", "up", name)
	script.Dir, script.Stderr = root, io.MultiWriter(os.Stderr, &text) // by a pipe: what it starts must not hold ours open
	script.WaitDelay = time.Second
	if err := script.Run(); err != nil {
		return text.String(), fmt.Errorf("ci/cluster/cluster.sh up %s: %w", name, err)
	}
	return text.String(), nil
}

func newClient(config *rest.Config) (client.WithWatch, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}

// install puts the charts onto the cluster, and clears what an earlier run that was killed left there.
func install(ctx context.Context) error {
	if err := lock(); err != nil {
		return err
	}
	if err := evict(ctx); err != nil {
		return err
	}
	if err := manifests.Install(ctx, cluster.kubeconfig, fromRoot("charts/flokoa-crds"), "flokoa-crds", system, nil); err != nil {
		return err
	}
	if err := manifests.Install(ctx, cluster.kubeconfig, fromRoot("charts/flokoa-policies"), "flokoa-policies", system, nil); err != nil {
		return err
	}
	// Simulated nodes run no containers: the operator of the chart would be ready without ever working.
	values := map[string]any{"replicas": 0}
	return manifests.Install(ctx, cluster.kubeconfig, fromRoot("charts/flokoa-operator"), "flokoa-operator", system, values)
}

// held is the file whose lock keeps a second run away from this run's cluster, until this process ends. Go closes a file that
// nothing refers to any more.
var held *os.File

func lock() (err error) {
	if held, err = os.OpenFile(cluster.kubeconfig+".e2e", os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	if syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		return nil
	}
	say("waiting for another run of these tests on this cluster")
	return syscall.Flock(int(held.Fd()), syscall.LOCK_EX)
}

// evict removes the namespaces of earlier tests, and the ServiceAccount: with it, the tokens of an operator that nobody
// stopped are worth nothing. Without a lease in the way, the first operator leads at once.
func evict(ctx context.Context) error {
	for _, stale := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "flokoa-operator"}},
		&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "flokoa-operator"}},
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "flokoa-operator"}},
	} {
		if err := client.IgnoreNotFound(api.Delete(ctx, stale)); err != nil {
			return err
		}
	}
	return wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		left := 0
		for _, stale := range []client.ListOption{ours, client.HasLabels{"flokoa.ai/environment"}} {
			namespaces := &corev1.NamespaceList{}
			if err := api.List(ctx, namespaces, stale); err != nil {
				return false, err
			}
			left += len(namespaces.Items)
			for i := range namespaces.Items {
				if namespaces.Items[i].DeletionTimestamp == nil {
					if err := client.IgnoreNotFound(api.Delete(ctx, &namespaces.Items[i])); err != nil {
						return false, err
					}
				}
			}
		}
		return left == 0, nil
	})
}
