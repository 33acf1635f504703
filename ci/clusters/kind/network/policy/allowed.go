package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// rule is a rule of either direction: any of the peers at any of the ports. No peer named: every peer; no port: every port.
type rule struct {
	peers []networkingv1.NetworkPolicyPeer
	ports []networkingv1.NetworkPolicyPort
}

func rules(policy *networkingv1.NetworkPolicy, direction direction) []rule {
	var list []rule
	if direction == ingress {
		for _, r := range policy.Spec.Ingress {
			list = append(list, rule{peers: r.From, ports: r.Ports})
		}
		return list
	}
	for _, r := range policy.Spec.Egress {
		list = append(list, rule{peers: r.To, ports: r.Ports})
	}
	return list
}

// allowed are the packets that a policy allows to or from the pods that it selects, as matches of nftables.
func (c cluster) allowed(policy *networkingv1.NetworkPolicy, direction direction, selected []pod) ([]string, error) {
	destinations := selected // where a named port is looked up
	if direction == egress {
		destinations = c.pods
	}
	var matches []string
	for _, r := range rules(policy, direction) {
		peers, err := c.peers(policy.Namespace, r.peers, "ip "+direction.peer())
		if err != nil {
			return nil, err
		}
		for _, peer := range peers {
			for _, port := range ports(r.ports, destinations) {
				matches = append(matches, strings.TrimSpace(peer+" "+port))
			}
		}
	}
	return matches, nil
}

// peers are matches of a field of addresses. One that selects no pod adds nothing, so that a rule whose every peer is such
// allows nothing.
func (c cluster) peers(namespace string, peers []networkingv1.NetworkPolicyPeer, field string) ([]string, error) {
	if len(peers) == 0 {
		return []string{""}, nil
	}
	var matches []string
	var found []pod
	for _, peer := range peers {
		if peer.IPBlock != nil {
			if match, ok := block(peer.IPBlock, field); ok {
				matches = append(matches, match)
			}
			continue
		}
		pods, err := c.peerPods(namespace, peer)
		if err != nil {
			return nil, err
		}
		found = append(found, pods...)
	}
	if len(found) > 0 {
		slices.SortFunc(found, func(a, b pod) int { return a.address.Compare(b.address) })
		matches = append(matches, field+" "+set(addresses(found)))
	}
	return matches, nil
}

// peerPods are the pods that a peer's selectors select: without namespaceSelector those of the policy's own namespace, with
// both selectors those that both select.
func (c cluster) peerPods(namespace string, peer networkingv1.NetworkPolicyPeer) ([]pod, error) {
	namespaces, err := selectorOr(peer.NamespaceSelector, labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("namespaceSelector: %w", err)
	}
	pods, err := selectorOr(peer.PodSelector, labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("podSelector: %w", err)
	}
	inNamespace := func(name string) bool {
		if peer.NamespaceSelector == nil {
			return name == namespace
		}
		of, known := c.namespaces[name]
		return known && namespaces.Matches(of)
	}
	var selected []pod
	for _, p := range c.pods {
		if inNamespace(p.Namespace) && pods.Matches(labels.Set(p.Labels)) {
			selected = append(selected, p)
		}
	}
	return selected, nil
}

// selectorOr is a selector that may be absent, which an empty one is not.
func selectorOr(selector *metav1.LabelSelector, absent labels.Selector) (labels.Selector, error) {
	if selector == nil {
		return absent, nil
	}
	return metav1.LabelSelectorAsSelector(selector)
}

// block is the match of a block of addresses without its exceptions. One that cannot be read, or of IPv6, matches no packet of
// IPv4, and nor does one with an exception that cannot be read.
func block(of *networkingv1.IPBlock, field string) (match string, ok bool) {
	from, err := netip.ParsePrefix(of.CIDR)
	if err != nil || !from.Addr().Is4() {
		return "", false
	}
	var except []netip.Prefix
	for _, text := range of.Except {
		prefix, err := netip.ParsePrefix(text)
		if err != nil || !prefix.Addr().Is4() {
			return "", false
		}
		except = append(except, prefix.Masked())
	}
	match = field + " " + from.Masked().String()
	if len(except) > 0 {
		match += " " + field + " != " + set(outermost(except))
	}
	return match, true
}

// outermost are the prefixes that lie in no other: nft refuses a set whose elements overlap.
func outermost(prefixes []netip.Prefix) []netip.Prefix {
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	var kept []netip.Prefix
	for _, prefix := range prefixes {
		if !slices.ContainsFunc(kept, prefix.Overlaps) {
			kept = append(kept, prefix)
		}
	}
	return kept
}

// ports are matches of a destination's port. A named one is looked up in each destination.
func ports(ports []networkingv1.NetworkPolicyPort, destinations []pod) []string {
	if len(ports) == 0 {
		return []string{""}
	}
	var matches []string
	for _, port := range ports {
		protocol := corev1.ProtocolTCP
		if port.Protocol != nil {
			protocol = *port.Protocol
		}
		name := strings.ToLower(string(protocol))
		switch {
		case port.Port == nil:
			matches = append(matches, "meta l4proto "+name)
		case port.Port.Type == intstr.String:
			if found := namedPorts(destinations, port.Port.StrVal, protocol); len(found) > 0 {
				matches = append(matches, fmt.Sprintf("ip daddr . %s dport { %s }", name, strings.Join(found, ", ")))
			}
		case port.EndPort != nil && *port.EndPort > port.Port.IntVal:
			matches = append(matches, fmt.Sprintf("%s dport %d-%d", name, port.Port.IntVal, *port.EndPort))
		default:
			matches = append(matches, fmt.Sprintf("%s dport %d", name, port.Port.IntVal))
		}
	}
	return matches
}

// namedPorts are "ADDRESS . PORT" of each pod that has a port of that name and protocol.
func namedPorts(pods []pod, name string, protocol corev1.Protocol) []string {
	var found []string
	for _, p := range pods {
		if number, ok := namedPort(p, name, protocol); ok {
			found = append(found, fmt.Sprintf("%s . %d", p.address, number))
		}
	}
	return found
}

// namedPort looks a port up in a pod's containers, then in the sidecars among its init containers.
func namedPort(p pod, name string, protocol corev1.Protocol) (int32, bool) {
	containers := slices.Clone(p.Spec.Containers)
	for _, container := range p.Spec.InitContainers {
		if container.RestartPolicy != nil && *container.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, container)
		}
	}
	for _, container := range containers {
		for _, port := range container.Ports {
			if port.Name == name && cmp.Or(port.Protocol, corev1.ProtocolTCP) == protocol {
				return port.ContainerPort, true
			}
		}
	}
	return 0, false
}
