package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// pod is a pod that policies can speak of: it has an IPv4 address of its own, and it has not finished. One that terminates
// counts until its containers have ended, because what it still answers must reach its clients.
type pod struct {
	*corev1.Pod
	address netip.Addr
}

// cluster is a View, ready for questions.
type cluster struct {
	pods       []pod // in the order of their addresses, no two of one address
	local      []pod // those of this node
	namespaces map[string]labels.Set
}

func newCluster(view View) cluster {
	c := cluster{pods: livePods(view.Pods), namespaces: map[string]labels.Set{}}
	for _, p := range c.pods {
		if p.Spec.NodeName == view.Node {
			c.local = append(c.local, p)
		}
	}
	for _, namespace := range view.Namespaces {
		c.namespaces[namespace.Name] = namespace.Labels
	}
	return c
}

func livePods(all []*corev1.Pod) []pod {
	var live []pod
	for _, p := range all {
		address, err := netip.ParseAddr(p.Status.PodIP)
		finished := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if err == nil && address.Is4() && !finished && !p.Spec.HostNetwork {
			live = append(live, pod{Pod: p, address: address})
		}
	}
	slices.SortFunc(live, func(a, b pod) int { return cmp.Or(a.address.Compare(b.address), heirFirst(a, b)) })
	return slices.CompactFunc(live, func(a, b pod) bool { return a.address == b.address })
}

// heirFirst orders pods of one address. An address is given out anew as soon as a pod's sandbox is gone, which may be before the
// pod is: it belongs to the pod that does not terminate, else to the younger one.
func heirFirst(a, b pod) int {
	switch aEnds, bEnds := a.DeletionTimestamp != nil, b.DeletionTimestamp != nil; {
	case aEnds && !bEnds:
		return 1
	case bEnds && !aEnds:
		return -1
	}
	return cmp.Or(
		b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
		cmp.Compare(a.Namespace, b.Namespace),
		cmp.Compare(a.Name, b.Name),
	)
}

// enforced are the rules of this node, by direction.
func (c cluster) enforced(policies []*networkingv1.NetworkPolicy) ([2]directionRules, error) {
	enforced := [2]directionRules{ingress: {direction: ingress}, egress: {direction: egress}}
	policies = slices.SortedFunc(slices.Values(policies), func(a, b *networkingv1.NetworkPolicy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	chains := [2]map[netip.Addr][]string{{}, {}}
	for _, policy := range policies {
		selected, err := c.selected(policy)
		if err != nil {
			return enforced, fmt.Errorf("network policy %s/%s: %w", policy.Namespace, policy.Name, err)
		}
		if len(selected) == 0 {
			continue
		}
		for _, direction := range directions(policy) {
			matches, err := c.allowed(policy, direction, selected)
			if err != nil {
				return enforced, fmt.Errorf("network policy %s/%s: %w", policy.Namespace, policy.Name, err)
			}
			chain := direction.policyChain(policy)
			enforced[direction].policies = append(enforced[direction].policies, policyRules{chain: chain, matches: matches})
			for _, p := range selected {
				chains[direction][p.address] = append(chains[direction][p.address], chain)
			}
		}
	}
	for _, p := range c.local {
		for direction := range enforced {
			if names := chains[direction][p.address]; len(names) > 0 {
				enforced[direction].selected = append(enforced[direction].selected, selectedPod{pod: p, chains: names})
			}
		}
	}
	return enforced, nil
}

// selected are the pods of this node that a policy is about.
func (c cluster) selected(policy *networkingv1.NetworkPolicy) ([]pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
	if err != nil {
		return nil, fmt.Errorf("podSelector: %w", err)
	}
	var selected []pod
	for _, p := range c.local {
		if p.Namespace == policy.Namespace && selector.Matches(labels.Set(p.Labels)) {
			selected = append(selected, p)
		}
	}
	return selected, nil
}

// directions are those that a policy isolates its pods in. Without policyTypes: ingress always, egress if it has a rule.
func directions(policy *networkingv1.NetworkPolicy) []direction {
	types := policy.Spec.PolicyTypes
	if len(types) == 0 {
		types = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(policy.Spec.Egress) > 0 {
			types = append(types, networkingv1.PolicyTypeEgress)
		}
	}
	var list []direction
	if slices.Contains(types, networkingv1.PolicyTypeIngress) {
		list = append(list, ingress)
	}
	if slices.Contains(types, networkingv1.PolicyTypeEgress) {
		list = append(list, egress)
	}
	return list
}
