// Package ecosystem_test runs Agents together with the controllers of other projects, built from their own code, on a control plane of
// its own with simulated nodes. Building them takes long, so it belongs to no tier: `make test-ecosystem`, or `make test-keda` for KEDA
// alone.
package ecosystem_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

const (
	root = "../../.." // the folder of the repository
	// clusterName is the control plane of these tests. They remove it at the end: aggregated APIs of other projects stay in it.
	clusterName = "flokoa-ecosystem"
	// setupTimeout bounds everything before the first test, the programs of a control plane included.
	setupTimeout = 25 * time.Minute
	// waitTimeout bounds each wait. An autoscaler evaluates every 15 s, and the machine does other things too.
	waitTimeout = 2 * time.Minute
)

// What all tests share; set before the first one runs.
var (
	cluster harness.Cluster
	// api is a client of the cluster's administrator, without a cache.
	api client.WithWatch
	// operator is the Flokoa operator.
	operator *harness.Operator
	// workDir has programs, certificates, kubeconfigs, and logs.
	workDir string
)

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard()) // libraries must not write between the lines of the tests
	crlog.SetLogger(logr.Discard())
	code := 1
	if err := setUp(); err != nil {
		logf("FAILED to set up: %v", err)
	} else {
		code = m.Run()
	}
	if err := tearDown(); err != nil {
		logf("FAILED: %v", err)
		code = 1
	}
	os.Exit(code)
}

// setUp brings up the control plane with the charts, an operator with the permissions of its ServiceAccount, and the environments dev and
// production.
func setUp() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	if workDir, err = os.MkdirTemp("", "flokoa-ecosystem-"); err != nil {
		return err
	}
	if _, err := harness.Up(ctx, root, clusterName, os.Stderr); err != nil {
		return err
	}
	if cluster, err = harness.ClusterByName(ctx, root, clusterName); err != nil {
		return err
	}
	if api, err = newClient(); err != nil {
		return err
	}
	if err := install(ctx); err != nil {
		return err
	}
	return startOperator(ctx)
}

// newClient is a client for the kinds of Flokoa, and for CustomResourceDefinitions.
func newClient() (client.WithWatch, error) {
	scheme, err := harness.NewScheme()
	if err != nil {
		return nil, err
	}
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return client.NewWithWatch(cluster.Config, client.Options{Scheme: scheme})
}

// install installs the charts. Simulated nodes run no containers, so the operator of the chart has no replica.
func install(ctx context.Context) error {
	for _, chart := range []string{"flokoa-crds", "flokoa-policies", "flokoa-operator"} {
		values := map[string]any{}
		if chart == "flokoa-operator" {
			values["replicas"] = 0
		}
		if err := manifests.Install(ctx, cluster.Kubeconfig, root+"/charts/"+chart, chart, harness.System, values); err != nil {
			return err
		}
	}
	for _, environment := range []string{"dev", "production"} {
		if err := installEnvironment(ctx, environment); err != nil {
			return err
		}
	}
	return nil
}

// installEnvironment installs an environment, and waits until its quota counts Agents. The quota controller looks for new kinds every
// 30 s, and counts a quota that is older than the kind only after minutes; so the quota is created again until it counts.
func installEnvironment(ctx context.Context, environment string) error {
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "flokoa-" + environment, Name: "flokoa"}}
	return wait.PollUntilContextCancel(ctx, 5*time.Second, true, func(ctx context.Context) (bool, error) {
		if err := api.Get(ctx, client.ObjectKeyFromObject(quota), quota); err == nil {
			if _, counts := quota.Status.Used["count/agents.agent.flokoa.ai"]; counts {
				return true, nil
			}
			if err := api.Delete(ctx, quota); err != nil {
				return false, err
			}
		}
		values, err := manifests.Values(root + "/charts/flokoa-environment/values-" + environment + ".yaml")
		if err != nil {
			return false, err
		}
		return false, manifests.Install(ctx, cluster.Kubeconfig, root+"/charts/flokoa-environment", "flokoa-"+environment, harness.System, values)
	})
}

func startOperator(ctx context.Context) error {
	program, err := harness.Build(ctx, root, workDir, "ecosystem")
	if err != nil {
		return err
	}
	token, err := harness.Token(ctx, api, "flokoa-operator")
	if err != nil {
		return err
	}
	if operator, err = harness.New(program, token, cluster.Config); err != nil {
		return err
	}
	if err := operator.Start(); err != nil {
		return err
	}
	return operator.WaitFor(ctx, "it leads", harness.StartTimeout, operator.IsLeader)
}

func tearDown() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defer func() { _ = os.RemoveAll(workDir) }()
	if operator != nil && operator.Started() && !operator.Ended() {
		if err := operator.Stop(); err != nil {
			return err
		}
	}
	return harness.Down(ctx, root, clusterName)
}

func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "ecosystem: "+format+"\n", args...)
}
