package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// clusterName is the control plane of the benchmark, which nothing else uses.
const clusterName = "flokoa-bench"

// stage is a fresh control plane with the charts installed, nodes for the pods to come, and the namespaces of a workload. Every
// measurement has one of its own: whatever the one before left behind would cost the next one time.
type stage struct {
	harness.Cluster
	// api is the administrator's client, by which Agents are made and changed.
	api client.WithWatch
	// observer has seen everything that is there.
	observer *observer
	workload workload
}

// setUp brings a stage up. The caller takes it down.
func setUp(ctx context.Context, root string, w workload) (*stage, error) {
	if err := harness.Down(ctx, root, clusterName); err != nil {
		return nil, err
	}
	if err := os.Setenv("FLOKOA_NODE_MONITOR_GRACE_PERIOD", nodeGrace.String()); err != nil {
		return nil, err
	}
	if output, err := harness.Up(ctx, root, clusterName, nil); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, output)
	}
	cluster, err := harness.ClusterByName(ctx, root, clusterName)
	if err != nil {
		return nil, err
	}
	cluster.Config.DisableCompression = true // the operator does, too: what the benchmark watches must not add to the cost of the floor
	s := &stage{Cluster: cluster, workload: w}
	if s.api, err = harness.NewClient(s.Config); err != nil {
		return nil, err
	}
	if err := s.install(ctx, root); err != nil {
		return nil, err
	}
	if err := s.addNodes(ctx); err != nil {
		return nil, fmt.Errorf("adding nodes: %w", err)
	}
	if err := s.addNamespaces(ctx); err != nil {
		return nil, fmt.Errorf("adding namespaces: %w", err)
	}
	s.observer, err = observe(ctx, s.Config)
	return s, err
}

// install puts the charts onto the cluster. Simulated nodes run no containers: the operator is a process of this machine.
func (s *stage) install(ctx context.Context, root string) error {
	charts := filepath.Join(root, "charts")
	if err := manifests.Install(ctx, s.Kubeconfig, filepath.Join(charts, "flokoa-crds"), "flokoa-crds", harness.System, nil); err != nil {
		return err
	}
	values := map[string]any{"replicas": 0}
	return manifests.Install(ctx, s.Kubeconfig, filepath.Join(charts, "flokoa-operator"), "flokoa-operator", harness.System, values)
}

const (
	podsPerNode = 110 // as ci/clusters/local/stages.yaml has it
	// filled is how full the nodes may get, in percent: the scheduler does not fill one after the other.
	filled = 80
	// Hundreds of nodes with the heartbeats of six would load the API server more than the operator does, and one that is kept busy
	// for long would have their pods evicted. A node says that it lives every two to three minutes, and is believed for ten.
	heartbeat = 2 * time.Minute
	nodeGrace = 10 * time.Minute
)

// nodesFor is how many nodes take the pods of a workload, each of whose Agents has one more while it is rolled.
func nodesFor(w workload) int {
	pods := w.agents * (w.replicas + 1)
	return (pods*100/filled + podsPerNode - 1) / podsPerNode
}

// addNodes adds nodes to those that every control plane comes with, and waits until they are ready.
func (s *stage) addNodes(ctx context.Context) error {
	nodes := nodesFor(s.workload)
	err := forEach(ctx, 0, nodes, func(ctx context.Context, i int) error { return s.api.Create(ctx, node(i)) })
	if err != nil {
		return err
	}
	return await(ctx, time.Minute, fmt.Sprintf("%d nodes are ready", nodes), func(ctx context.Context) (bool, error) {
		list := &corev1.NodeList{}
		if err := s.api.List(ctx, list); err != nil {
			return false, err
		}
		for _, n := range list.Items {
			if !n.Status.Allocatable.Pods().Equal(*resource.NewQuantity(podsPerNode, resource.DecimalSI)) {
				return false, nil
			}
		}
		return true, nil
	})
}

func node(i int) *corev1.Node {
	zone := string(rune('a' + i%3))
	name := fmt.Sprintf("bench-%s-%05d", zone, i)
	beat := heartbeat + time.Duration(i%60)*time.Second // not all at once
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{"simulation/heartbeat": beat.String()},
			Labels: map[string]string{
				corev1.LabelHostname:       name,
				corev1.LabelOSStable:       "linux",
				corev1.LabelArchStable:     "amd64",
				corev1.LabelTopologyRegion: "region-1",
				corev1.LabelTopologyZone:   "zone-" + zone,
			},
		},
		Spec: corev1.NodeSpec{PodCIDR: fmt.Sprintf("10.%d.%d.0/24", 128+i/256, i%256)},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("172.21.%d.%d", i/250, i%250+1)},
		}},
	}
}

func (s *stage) addNamespaces(ctx context.Context) error {
	return forEach(ctx, 0, s.workload.namespaces, func(ctx context.Context, i int) error {
		return s.api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.workload.namespace(i)}})
	})
}

// asOperator is a way to the API server with a token of the operator's account, as fast as it answers.
func (s *stage) asOperator(ctx context.Context) (*rest.Config, error) {
	token, err := harness.Token(ctx, s.api, "flokoa-operator")
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(s.Config)
	config.BearerToken, config.QPS, config.UserAgent = token, -1, "flokoa-bench-floor"
	config.DisableCompression = true // as the operator
	return config, nil
}

// await polls until something holds.
func await(ctx context.Context, limit time.Duration, what string, holds func(context.Context) (bool, error)) error {
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, limit, true, holds)
	if err != nil {
		return fmt.Errorf("waiting until %s: %w", what, err)
	}
	return nil
}
