// Package policy turns what one node knows of the cluster into the nftables ruleset that this node enforces: NetworkPolicies
// (IPv4), and masquerading of what leaves the pods' subnet. It is pure: objects in, text out.
//
// # Where the rules see a packet
//
// Service addresses are translated in the hooks prerouting and output (kube-proxy, mode nftables, priority dstnat = -100), and
// sources in postrouting. Policies are enforced in the hook forward, between the two: every packet there carries the addresses
// of pods. What a node itself sends to its own pods, or gets from them, passes output and input instead: it is always allowed,
// as the NetworkPolicy API requires for the kubelet's probes.
//
// # How a packet passes
//
//	forward: a reply, or a packet of a connection that was allowed once -> accept
//	         source is a pod of this node with an egress policy          -> egress-of-ADDRESS
//	egress-of-ADDRESS: one of its policies allows the packet             -> into-pods, else drop
//	into-pods: destination is a pod of this node with an ingress policy  -> ingress-of-ADDRESS, else accept
//	ingress-of-ADDRESS: one of its policies allows the packet            -> accept, else drop
//
// Both directions are evaluated separately, each on the node of the pod that a policy selects. A denied packet is dropped, not
// rejected: a client whose address is not known here yet tries again instead of giving up.
package policy

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// Table is the name of the one nftables table, of family ip, that this package defines.
const Table = "flokoa-network"

// View is what a node knows of the cluster. The order of its lists means nothing.
type View struct {
	// Node is the name of the node that the rules are for.
	Node string
	// PodSubnet holds the addresses of all pods of the cluster. What leaves it is masqueraded.
	PodSubnet netip.Prefix
	// NodeSubnet holds the addresses of this node's pods. An address in it that belongs to no known pod may neither connect nor
	// be connected to, so that a new pod never runs without its rules. Not valid: not known yet, and no such rule.
	NodeSubnet netip.Prefix

	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
	Policies   []*networkingv1.NetworkPolicy
}

// Ruleset is the input of `nft -f -` that replaces the table in one transaction. Equal views give equal text. It fails for a
// selector that cannot be read; an API server accepts none such.
func Ruleset(view View) (string, error) {
	cluster := newCluster(view)
	enforced, err := cluster.enforced(view.Policies)
	if err != nil {
		return "", err
	}

	var text strings.Builder
	fmt.Fprintf(&text, "table ip %[1]s\ndelete table ip %[1]s\ntable ip %[1]s {\n", Table)
	for _, rules := range enforced {
		rules.writePolicyChains(&text)
	}
	for _, rules := range enforced {
		rules.writePodChains(&text)
	}
	writeForward(&text, enforced[egress], unknownAddresses(view.NodeSubnet, cluster.local))
	writeIngress(&text, enforced[ingress])
	writeMasquerade(&text, view.PodSubnet)
	text.WriteString("}\n")
	return text.String(), nil
}

// direction is the side of a selected pod that a rule is about.
type direction int

const (
	ingress direction = iota
	egress
)

// directionRules are the policies of one direction that select pods of this node.
type directionRules struct {
	direction direction
	policies  []policyRules
	selected  []selectedPod // in the order of their addresses
}

// policyRules is one policy's chain: what it allows.
type policyRules struct {
	chain   string
	matches []string // each an expression of nftables; empty: everything
}

// selectedPod is a pod of this node and the chains of the policies that select it.
type selectedPod struct {
	pod    pod
	chains []string
}

func (d direction) String() string {
	return [...]string{ingress: "ingress", egress: "egress"}[d]
}

// self is the field that holds the selected pod's own address, peer the one of its peer's.
func (d direction) self() string { return [...]string{ingress: "daddr", egress: "saddr"}[d] }
func (d direction) peer() string { return [...]string{ingress: "saddr", egress: "daddr"}[d] }

// allowed is what happens to a packet that a policy of this direction allows.
func (d direction) allowed() string {
	return [...]string{ingress: "accept", egress: "goto into-pods"}[d]
}

// policyChain is the name of a policy's chain. Chain names hold at most 255 bytes: a hash makes a longer one unique.
func (d direction) policyChain(policy *networkingv1.NetworkPolicy) string {
	const longest = 200
	name := policy.Namespace + "/" + policy.Name
	if len(name) > longest {
		hash := fnv.New64a()
		_, _ = hash.Write([]byte(name)) // never fails
		name = fmt.Sprintf("%s-%x", name[:longest], hash.Sum64())
	}
	return d.String() + "-" + name
}

func (d direction) podChain(p pod) string {
	return d.String() + "-of-" + p.address.String()
}

func (r directionRules) writePolicyChains(text *strings.Builder) {
	for _, policy := range r.policies {
		fmt.Fprintf(text, "  chain %s {\n", policy.chain)
		for _, match := range policy.matches {
			fmt.Fprintf(text, "    %s\n", strings.TrimSpace(match+" "+r.direction.allowed()))
		}
		text.WriteString("  }\n")
	}
}

// writePodChains writes a chain per selected pod. A pod cannot block access to itself: through a Service it may reach its own
// address.
func (r directionRules) writePodChains(text *strings.Builder) {
	for _, selected := range r.selected {
		fmt.Fprintf(text, "  chain %s { # %s/%s\n", r.direction.podChain(selected.pod), selected.pod.Namespace, selected.pod.Name)
		fmt.Fprintf(text, "    ip %s %s accept\n", r.direction.peer(), selected.pod.address)
		for _, chain := range selected.chains {
			fmt.Fprintf(text, "    jump %s\n", chain)
		}
		text.WriteString("    counter drop\n  }\n")
	}
}

// writeDispatch sends each selected pod's packets to its chain.
func (r directionRules) writeDispatch(text *strings.Builder) {
	if len(r.selected) == 0 {
		return
	}
	elements := make([]string, len(r.selected))
	for i, selected := range r.selected {
		elements[i] = fmt.Sprintf("%s : goto %s", selected.pod.address, r.direction.podChain(selected.pod))
	}
	fmt.Fprintf(text, "    ip %s vmap { %s }\n", r.direction.self(), strings.Join(elements, ", "))
}

func writeForward(text *strings.Builder, rules directionRules, unknownAddresses []string) {
	text.WriteString("  chain forward {\n    type filter hook forward priority filter; policy accept;\n")
	text.WriteString("    ct state established,related accept\n")
	for _, match := range unknownAddresses {
		fmt.Fprintf(text, "    %s counter drop\n", match)
	}
	rules.writeDispatch(text)
	text.WriteString("    goto into-pods\n  }\n")
}

func writeIngress(text *strings.Builder, rules directionRules) {
	text.WriteString("  chain into-pods {\n")
	rules.writeDispatch(text)
	text.WriteString("    accept\n  }\n")
}

func writeMasquerade(text *strings.Builder, podSubnet netip.Prefix) {
	fmt.Fprintf(text, `  chain masquerading {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr %[1]s ip daddr != %[1]s masquerade fully-random
  }
`, podSubnet.Masked())
}

// unknownAddresses match the packets from and to addresses of this node's subnet that belong to no known pod.
func unknownAddresses(nodeSubnet netip.Prefix, known []pod) []string {
	if !nodeSubnet.IsValid() {
		return nil
	}
	var matches []string
	for _, field := range []string{"ip saddr", "ip daddr"} {
		match := fmt.Sprintf("%s %s", field, nodeSubnet.Masked())
		if len(known) > 0 {
			match += fmt.Sprintf(" %s != %s", field, set(addresses(known)))
		}
		matches = append(matches, match)
	}
	return matches
}

// set is an anonymous set of nftables.
func set[T fmt.Stringer](elements []T) string {
	texts := make([]string, len(elements))
	for i, element := range elements {
		texts[i] = element.String()
	}
	return "{ " + strings.Join(texts, ", ") + " }"
}

func addresses(pods []pod) []netip.Addr {
	list := make([]netip.Addr, len(pods))
	for i, p := range pods {
		list[i] = p.address
	}
	return slices.Compact(list)
}
