package cluster_test

import (
	"context"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// clusterName is the control plane that is brought up for tests; people work on another.
const clusterName = "flokoa-test"

// testNamespaces is the label of namespaces that tests make.
var testNamespaces = client.MatchingLabels{"made-by": "e2e"}

// connect returns the control plane that the environment names, or brings one up. A KUBECONFIG that did not come from
// cluster.sh, which sets FLOKOA_AUDIT_LOG beside it, is a user's own cluster, and is left alone.
func connect(ctx context.Context) (plane harness.Cluster, err error) {
	if os.Getenv("KUBECONFIG") != "" && os.Getenv("FLOKOA_AUDIT_LOG") != "" {
		plane, err = harness.ClusterFromEnvironment(ctx, root)
	} else {
		if _, err := harness.Up(ctx, root, clusterName, os.Stderr); err != nil {
			return plane, err
		}
		plane, err = harness.ClusterByName(ctx, root, clusterName)
	}
	if err != nil {
		return plane, err
	}
	api, err = harness.NewClient(plane.Config)
	return plane, err
}

// install puts the charts onto the cluster, and clears what an earlier run that was killed left there.
func install(ctx context.Context) error {
	if err := lockCluster(); err != nil {
		return err
	}
	if err := removeLeftovers(ctx); err != nil {
		return err
	}
	if err := manifests.Install(ctx, cluster.Kubeconfig, fromRoot("charts/flokoa-crds"), "flokoa-crds", system, nil); err != nil {
		return err
	}
	if err := manifests.Install(ctx, cluster.Kubeconfig, fromRoot("charts/flokoa-policies"), "flokoa-policies", system, policyValues()); err != nil {
		return err
	}
	// Simulated nodes run no containers: the operator of the chart would be ready without ever working.
	values := map[string]any{"replicas": 0}
	return manifests.Install(ctx, cluster.Kubeconfig, fromRoot("charts/flokoa-operator"), "flokoa-operator", system, values)
}

// policyValues list every operator that tests install: only those may claim a namespace.
func policyValues() map[string]any {
	var operators []any
	for _, name := range []string{"flokoa-operator", "blue", "red", "reader"} {
		operators = append(operators, map[string]any{"namespace": system, "name": name})
	}
	return map[string]any{"operators": operators}
}

// clusterLock is the file whose lock keeps a second run away from this run's cluster, until this process ends. Go closes a file that
// nothing refers to any more.
var clusterLock *os.File

func lockCluster() (err error) {
	clusterLock, err = harness.Lock(cluster.Kubeconfig+".e2e", func() { logf("waiting for another run of these tests on this cluster") })
	return err
}

// removeLeftovers removes the namespaces of earlier tests, and the ServiceAccount: with it, the tokens of an operator that no run
// stopped are worth nothing. Without a lease in the way, the first operator leads at once.
func removeLeftovers(ctx context.Context) error {
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
		for _, stale := range []client.ListOption{testNamespaces, client.HasLabels{"flokoa.ai/environment"}} {
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
