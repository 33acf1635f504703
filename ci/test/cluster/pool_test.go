package cluster_test

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// poolKey is the label and the taint of the nodes of one test.
const poolKey = "e2e/pool"

// newPool creates simulated nodes for one test, one for each zone, so that disruptions do not affect other tests. It returns their
// names.
func (s *fixture) newPool(zones ...string) []string {
	s.Helper()
	names := make([]string, len(zones))
	for i, zone := range zones {
		names[i] = fmt.Sprintf("%s-%d", s.namespace, i)
		s.addNode(names[i], zone)
	}
	s.eventually("the nodes are ready", waitTimeout, func() error {
		for _, name := range names {
			if err := nodeReady(s, name); err != nil {
				return err
			}
		}
		return nil
	})
	return names
}

// machines numbers the nodes of pools, for addresses of their own.
var machines atomic.Uint32

func (s *fixture) addNode(name, zone string) {
	s.Helper()
	number := machines.Add(1)
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{poolKey: s.namespace, corev1.LabelHostname: name, corev1.LabelTopologyZone: s.namespace + "-" + zone}},
		Spec: corev1.NodeSpec{
			PodCIDR: fmt.Sprintf("10.245.%d.0/24", number%256),
			Taints:  []corev1.Taint{{Key: poolKey, Value: s.namespace, Effect: corev1.TaintEffectNoSchedule}},
		},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("172.21.0.%d", number%256)}}},
	}
	require.NoError(s, api.Create(s.Context(), node))
	s.Cleanup(func() { _ = api.Delete(context.Background(), node) })
}

// nodeReady reports why a node takes no pods of its pool, nil when it does. The taint of a node that is not ready goes a moment
// after it is.
func nodeReady(s *fixture, name string) error {
	node := &corev1.Node{}
	require.NoError(s, api.Get(s.Context(), client.ObjectKey{Name: name}, node))
	if len(node.Spec.Taints) > 1 {
		return fmt.Errorf("%s has the taints %v", name, node.Spec.Taints)
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("%s is not ready", name)
}

// inPool has the pods run on the nodes of the test's pool, and nowhere else.
func (s *fixture) inPool() change {
	return func(a *v1alpha1.Agent) {
		spec := &a.Spec.Runtime.Spec
		spec.NodeSelector = map[string]string{poolKey: s.namespace}
		spec.Tolerations = append(spec.Tolerations, corev1.Toleration{Key: poolKey, Operator: corev1.TolerationOpExists})
	}
}

// hosts are the nodes that an Agent's pods are on, with how many of them, those on their way out left out.
func (s *fixture) hosts(agent string) map[string]int {
	s.Helper()
	counts := map[string]int{}
	for _, object := range s.list(&corev1.PodList{}, client.MatchingLabels{v1alpha1.LabelAgent: agent}) {
		if pod := object.(*corev1.Pod); pod.DeletionTimestamp == nil && pod.Spec.NodeName != "" {
			counts[pod.Spec.NodeName]++
		}
	}
	return counts
}
