package guardrails_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// An end of a flow: a pod, or an address outside of the cluster, which has no namespace.
type end struct {
	address   string
	namespace string
	labels    labels.Set
	ports     map[string]int32 // those that a pod names
}

func pod(namespace, address string, set labels.Set) end {
	return end{namespace: namespace, address: address, labels: set}
}

func outside(address string) end { return end{address: address} }

func (e end) isPod() bool { return e.namespace != "" }

// A flow is a first packet; answers to it always pass.
type flow struct {
	from, to end
	protocol corev1.Protocol
	port     int32
}

// A network is the policies of all namespaces of a cluster, and evaluates flows as the API specifies: policies only allow, a pod that one
// selects is denied what none allows, and both ends must agree. A namespace has the label that Kubernetes gives it.
type network []networkingv1.NetworkPolicy

func (n network) allows(t *testing.T, f flow) bool {
	t.Helper()
	return n.agrees(t, f, networkingv1.PolicyTypeEgress, f.from, f.to) && n.agrees(t, f, networkingv1.PolicyTypeIngress, f.to, f.from)
}

// agrees reports whether the policies of one end allow the flow in its direction.
func (n network) agrees(t *testing.T, f flow, direction networkingv1.PolicyType, own, other end) bool {
	t.Helper()
	isolated := false
	for _, policy := range n {
		if !own.isPod() || policy.Namespace != own.namespace || !selects(t, &policy.Spec.PodSelector, own.labels) {
			continue
		}
		for _, rule := range rules(policy.Spec, direction) {
			if matchesPeer(t, policy.Namespace, rule.peers, other) && matchesPort(rule.ports, f) {
				return true
			}
		}
		isolated = isolated || applies(policy.Spec, direction)
	}
	return !isolated
}

// A rule of either direction: without peers it matches all peers, without ports all ports.
type rule struct {
	peers []networkingv1.NetworkPolicyPeer
	ports []networkingv1.NetworkPolicyPort
}

func rules(spec networkingv1.NetworkPolicySpec, direction networkingv1.PolicyType) []rule {
	var found []rule
	if !applies(spec, direction) {
		return nil
	}
	if direction == networkingv1.PolicyTypeEgress {
		for _, egress := range spec.Egress {
			found = append(found, rule{egress.To, egress.Ports})
		}
		return found
	}
	for _, ingress := range spec.Ingress {
		found = append(found, rule{ingress.From, ingress.Ports})
	}
	return found
}

// applies reports whether a policy has a direction: its policyTypes, or by default ingress, and egress if it has egress rules.
func applies(spec networkingv1.NetworkPolicySpec, direction networkingv1.PolicyType) bool {
	for _, policyType := range spec.PolicyTypes {
		if policyType == direction {
			return true
		}
	}
	return len(spec.PolicyTypes) == 0 && (direction == networkingv1.PolicyTypeIngress || len(spec.Egress) > 0)
}

func matchesPeer(t *testing.T, namespace string, peers []networkingv1.NetworkPolicyPeer, other end) bool {
	t.Helper()
	for _, peer := range peers {
		switch {
		case peer.IPBlock != nil:
			if contains(t, peer.IPBlock, other.address) {
				return true
			}
		case !other.isPod():
		case peer.NamespaceSelector == nil && other.namespace != namespace:
		case peer.NamespaceSelector != nil && !selects(t, peer.NamespaceSelector, namespaceLabels(other.namespace)):
		case peer.PodSelector != nil && !selects(t, peer.PodSelector, other.labels):
		default:
			return true
		}
	}
	return len(peers) == 0
}

func namespaceLabels(name string) labels.Set { return labels.Set{corev1.LabelMetadataName: name} }

// contains matches pods by address too: an IP block that covers the pod range would match them.
func contains(t *testing.T, block *networkingv1.IPBlock, address string) bool {
	t.Helper()
	parsed, err := netip.ParseAddr(address)
	require.NoError(t, err)
	within := func(cidr string) bool {
		prefix, err := netip.ParsePrefix(cidr)
		require.NoError(t, err)
		require.Equal(t, prefix.Masked(), prefix, "the API server warns of addresses inside of a range")
		return prefix.Contains(parsed)
	}
	for _, except := range block.Except {
		if within(except) {
			return false
		}
	}
	return within(block.CIDR)
}

func matchesPort(ports []networkingv1.NetworkPolicyPort, f flow) bool {
	for _, port := range ports {
		protocol := corev1.ProtocolTCP
		if port.Protocol != nil {
			protocol = *port.Protocol
		}
		if protocol != f.protocol {
			continue
		}
		switch {
		case port.Port == nil:
			return true
		case port.Port.Type == intstr.String:
			if number, named := f.to.ports[port.Port.StrVal]; named && number == f.port {
				return true
			}
		case port.EndPort != nil:
			if port.Port.IntVal <= f.port && f.port <= *port.EndPort {
				return true
			}
		case port.Port.IntVal == f.port:
			return true
		}
	}
	return len(ports) == 0
}

func selects(t *testing.T, selector *metav1.LabelSelector, set labels.Set) bool {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	require.NoError(t, err)
	return parsed.Matches(set)
}

// The evaluation itself is tested: each row is a rule of the NetworkPolicy API.
func TestNetworkFollowsTheNetworkPolicyAPI(t *testing.T) {
	client := pod("a", "10.0.0.1", labels.Set{"app": "client"})
	server := pod("b", "10.0.0.2", labels.Set{"app": "server"})
	server.ports = map[string]int32{"http": 8080}
	for name, row := range map[string]struct {
		policies string // one spec each, of the namespace that is its key
		want     bool
	}{
		"no pod isolated":                      {`{}`, true},
		"another namespace isolated":           {`{c: {podSelector: {}}}`, true},
		"isolated for ingress":                 {`{b: {podSelector: {}}}`, false},
		"other pods isolated":                  {`{b: {podSelector: {matchLabels: {app: other}}}}`, true},
		"isolated for egress":                  {`{a: {podSelector: {}, policyTypes: [Egress]}}`, false},
		"only egress of the server isolated":   {`{b: {podSelector: {}, policyTypes: [Egress]}}`, true},
		"egress implied by its rules":          {`{a: {podSelector: {}, egress: [{ports: [{port: 1}]}]}}`, false},
		"no egress implied":                    {`{a: {podSelector: {}}}`, true},
		"rule for all peers":                   {`{b: {podSelector: {}, ingress: [{}]}}`, true},
		"pods of the same namespace only":      {`{b: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}}`, false},
		"pods of every namespace":              {`{b: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}}`, true},
		"pods of that namespace":               {`{b: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: a}}}]}]}}`, true},
		"pods of a third namespace":            {`{b: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: c}}}]}]}}`, false},
		"both selectors in one peer":           {`{b: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: other}}}]}]}}`, false},
		"either selector in two peers":         {`{b: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}, {podSelector: {matchLabels: {app: other}}}]}]}}`, true},
		"address":                              {`{b: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}}`, true},
		"address that is excepted":             {`{b: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/24]}}]}]}}`, false},
		"port":                                 {`{b: {podSelector: {}, ingress: [{ports: [{port: 8080}]}]}}`, true},
		"other port":                           {`{b: {podSelector: {}, ingress: [{ports: [{port: 8081}]}]}}`, false},
		"other protocol":                       {`{b: {podSelector: {}, ingress: [{ports: [{port: 8080, protocol: UDP}]}]}}`, false},
		"every port of a protocol":             {`{b: {podSelector: {}, ingress: [{ports: [{protocol: TCP}]}]}}`, true},
		"range of ports":                       {`{b: {podSelector: {}, ingress: [{ports: [{port: 8000, endPort: 8080}]}]}}`, true},
		"range of ports that ends before":      {`{b: {podSelector: {}, ingress: [{ports: [{port: 8000, endPort: 8079}]}]}}`, false},
		"name of a port of the server":         {`{b: {podSelector: {}, ingress: [{ports: [{port: http}]}]}}`, true},
		"name of a port that it does not have": {`{b: {podSelector: {}, ingress: [{ports: [{port: grpc}]}]}}`, false},
		"name of a port in egress":             {`{a: {podSelector: {}, egress: [{ports: [{port: http}]}]}}`, true},
		"one end agrees and the other not":     {`{a: {podSelector: {}, egress: [{}]}, b: {podSelector: {}}}`, false},
		"both ends agree":                      {`{a: {podSelector: {}, egress: [{}]}, b: {podSelector: {}, ingress: [{}]}}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			specs := map[string]networkingv1.NetworkPolicySpec{}
			require.NoError(t, yaml.UnmarshalStrict([]byte(row.policies), &specs))
			var policies network
			for namespace, spec := range specs {
				policies = append(policies, networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace}, Spec: spec})
			}
			require.Equal(t, row.want, policies.allows(t, flow{client, server, corev1.ProtocolTCP, 8080}))
		})
	}
}
