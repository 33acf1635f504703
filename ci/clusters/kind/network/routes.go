package main

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// route leads to the pods of another node.
type route struct {
	pods netip.Prefix
	via  netip.Addr
}

// routes lead to the pods of every other node that has both a range for its pods and an address, in the order of the ranges.
func routes(nodes []*corev1.Node, self string) []route {
	var list []route
	for _, node := range nodes {
		pods, via := nodeSubnet(node), nodeAddress(node)
		if node.Name != self && pods.IsValid() && via.IsValid() {
			list = append(list, route{pods: pods, via: via})
		}
	}
	slices.SortFunc(list, func(a, b route) int { return a.pods.Compare(b.pods) })
	return list
}

// nodeSubnet is the IPv4 range of a node's pods. Not valid: the controller manager gave it none yet.
func nodeSubnet(node *corev1.Node) netip.Prefix {
	for _, text := range append([]string{node.Spec.PodCIDR}, node.Spec.PodCIDRs...) {
		if prefix, err := netip.ParsePrefix(text); err == nil && prefix.Addr().Is4() {
			return prefix.Masked()
		}
	}
	return netip.Prefix{}
}

// nodeAddress is a node's first internal IPv4 address. Not valid: it has none.
func nodeAddress(node *corev1.Node) netip.Addr {
	for _, address := range node.Status.Addresses {
		if address.Type != corev1.NodeInternalIP {
			continue
		}
		if parsed, err := netip.ParseAddr(address.Address); err == nil && parsed.Is4() {
			return parsed
		}
	}
	return netip.Addr{}
}
