package status

import (
	corev1 "k8s.io/api/core/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// Nodes are the nodes of the cluster, as far as they are known.
type Nodes struct {
	// Known is false when the operator may not read nodes, or nothing depends on them (NeedsNodes).
	Known bool
	Items []corev1.Node
}

// fitting are the nodes that a pod can be scheduled to as far as the node itself decides: ready, not cordoned, no taint that the
// pod does not tolerate, node selector and required node affinity match. Free capacity is not looked at.
func (n Nodes) fitting(pod *corev1.PodSpec) []*corev1.Node {
	affinity := nodeaffinity.NewRequiredNodeAffinity(pod.NodeSelector, pod.Affinity)
	var fit []*corev1.Node
	for i := range n.Items {
		node := &n.Items[i]
		matches, err := affinity.Match(node)
		if err == nil && matches && !node.Spec.Unschedulable && isReady(node) && tolerates(pod, node) {
			fit = append(fit, node)
		}
	}
	return fit
}

// domains counts the distinct values that nodes have for a topology key.
func domains(nodes []*corev1.Node, key string) int {
	values := map[string]bool{}
	for _, node := range nodes {
		if value, ok := node.Labels[key]; ok {
			values[value] = true
		}
	}
	return len(values)
}

// zone is that of a node, empty when the node is not known or has none.
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
	keepsAway := func(taint *corev1.Taint) bool { return taint.Effect != corev1.TaintEffectPreferNoSchedule }
	_, untolerated := corev1helpers.FindMatchingUntoleratedTaint(klog.Logger{}, node.Spec.Taints, pod.Tolerations, keepsAway, true)
	return !untolerated
}
