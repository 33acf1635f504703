package status

import (
	corev1 "k8s.io/api/core/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// Nodes are the nodes of the cluster, if they are known.
type Nodes struct {
	// Known is false when the operator may not read nodes, or when nothing depends on them (NeedsNodes).
	Known bool
	Items []corev1.Node
}

// schedulable returns the nodes that a pod can be scheduled to: Ready, not cordoned, without an untolerated taint, and matched by the
// pod's node selector and required node affinity. It ignores free capacity.
func (n Nodes) schedulable(pod *corev1.PodSpec) []*corev1.Node {
	affinity := nodeaffinity.NewRequiredNodeAffinity(pod.NodeSelector, pod.Affinity)
	var fitting []*corev1.Node
	for i := range n.Items {
		node := &n.Items[i]
		matches, err := affinity.Match(node)
		if err == nil && matches && !node.Spec.Unschedulable && isReady(node) && tolerates(pod, node) {
			fitting = append(fitting, node)
		}
	}
	return fitting
}

// topologyDomains counts the distinct values of a topology key among nodes.
func topologyDomains(nodes []*corev1.Node, key string) int {
	values := map[string]bool{}
	for _, node := range nodes {
		if value, ok := node.Labels[key]; ok {
			values[value] = true
		}
	}
	return len(values)
}

// zone returns a node's zone, empty if the node is unknown or has none.
func (n Nodes) zone(name string) string {
	for i := range n.Items {
		if n.Items[i].Name == name {
			return n.Items[i].Labels[corev1.LabelTopologyZone]
		}
	}
	return ""
}

func isReady(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func tolerates(pod *corev1.PodSpec, node *corev1.Node) bool {
	blocksScheduling := func(taint *corev1.Taint) bool { return taint.Effect != corev1.TaintEffectPreferNoSchedule }
	_, untolerated := corev1helpers.FindMatchingUntoleratedTaint(klog.Logger{}, node.Spec.Taints, pod.Tolerations, blocksScheduling, true)
	return !untolerated
}
