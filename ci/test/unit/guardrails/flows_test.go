package guardrails_test

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// What a platform would decide: who calls, who measures, where the models are. Production's provider is an address range, its
// models in the cluster are behind a proxy; dev is the public internet without what production serves from.
var decided = map[string]map[string]any{
	"dev": {"network": map[string]any{
		"egress": map[string]any{"except": []any{"198.51.100.0/24", "2600:1f00::/40"}},
	}},
	"staging": {},
	"production": {"network": map[string]any{
		"gateways":   []any{map[string]any{"namespace": "gateway-system", "podLabels": map[string]any{"app": "gateway"}}},
		"monitoring": []any{map[string]any{"namespace": "monitoring", "podLabels": map[string]any{"app": "prometheus"}}},
		"dns":        map[string]any{"nodeLocal": []any{"169.254.20.10"}},
		"egress": map[string]any{
			"cidrs": []any{"203.0.113.0/24", "2001:db8:1::/48"},
			"pods":  []any{map[string]any{"namespace": "egress", "podLabels": map[string]any{"app": "proxy"}, "port": int64(3128)}},
		},
	}},
}

// cluster is one on which all three environments are.
func cluster(t *testing.T, decided map[string]map[string]any) network {
	t.Helper()
	var policies network
	for _, environment := range manifests.Environments {
		policies = append(policies, all[networkingv1.NetworkPolicy](t, render(t, environment, decided[environment]), "NetworkPolicy")...)
	}
	return policies
}

// Tools name their ports as Agents do, so that only their labels distinguish them.
var portNames = map[string]int32{"http": 8080, "metrics": 9090}

func agentPod(environment, name, address string) end {
	agent := pod("flokoa-"+environment, address, labels.Set{"flokoa.ai/agent": name})
	agent.ports = portNames
	return agent
}

func toolPod(namespace, address string) end {
	tool := pod(namespace, address, labels.Set{"app": "tool"})
	tool.ports = portNames
	return tool
}

var ends = map[string]end{
	"dev":                agentPod("dev", "a", "10.244.1.1"),
	"dev's neighbor":     agentPod("dev", "b", "10.244.1.2"),
	"dev's other pod":    pod("flokoa-dev", "10.244.1.3", labels.Set{"app": "shell"}),
	"staging":            agentPod("staging", "a", "10.244.2.1"),
	"staging's neighbor": agentPod("staging", "b", "10.244.2.2"),
	"production":         agentPod("production", "a", "10.244.3.1"),
	"production's peer":  agentPod("production", "b", "10.244.3.2"),
	"production's tool":  toolPod("flokoa-production", "10.244.3.3"),
	"gateway":            pod("gateway-system", "10.244.4.1", labels.Set{"app": "gateway"}),
	"gateway's neighbor": pod("gateway-system", "10.244.4.2", labels.Set{"app": "console"}),
	"false gateway":      pod("team-b", "10.244.4.3", labels.Set{"app": "gateway"}),
	"prometheus":         pod("monitoring", "10.244.5.1", labels.Set{"app": "prometheus"}),
	"grafana":            pod("monitoring", "10.244.5.2", labels.Set{"app": "grafana"}),
	"proxy":              pod("egress", "10.244.6.1", labels.Set{"app": "proxy"}),
	"false proxy":        pod("egress", "10.244.6.2", labels.Set{"app": "other"}),
	"kube-dns":           pod("kube-system", "10.244.7.1", labels.Set{"k8s-app": "kube-dns"}),
	"kube-system's rest": pod("kube-system", "10.244.7.2", labels.Set{"k8s-app": "metrics-server"}),
	"false DNS":          pod("team-b", "10.244.7.3", labels.Set{"k8s-app": "kube-dns"}),

	"node-local DNS":           outside("169.254.20.10"),
	"API server":               outside("10.96.0.1"),
	"node":                     outside("192.168.1.10"),
	"node in 172.16/12":        outside("172.20.0.5"),
	"pod of a carrier range":   outside("100.64.3.4"),
	"metadata":                 outside("169.254.169.254"),
	"metadata of EC2, IPv6":    outside("fd00:ec2::254"),
	"metadata of GCE, IPv6":    outside("fd20:ce::254"),
	"metadata of Alibaba":      outside("100.100.100.200"),
	"metadata of Oracle":       outside("192.0.0.192"),
	"wire server of Azure":     outside("168.63.129.16"),
	"mesh's benchmark range":   outside("198.18.0.1"),
	"multicast":                outside("224.0.0.251"),
	"reserved":                 outside("240.0.0.1"),
	"loopback":                 outside("127.0.0.1"),
	"public site":              outside("1.1.1.1"),
	"public site, IPv6":        outside("2606:4700::1111"),
	"provider":                 outside("203.0.113.7"),
	"provider, IPv6":           outside("2001:db8:1::7"),
	"provider's neighbor":      outside("203.0.112.7"),
	"production's front":       outside("198.51.100.10"),
	"production's front, IPv6": outside("2600:1f00::10"),
	"internet client":          outside("192.88.0.1"),
}

func TestFlows(t *testing.T) {
	const (
		yes = true
		no  = false
	)
	policies := cluster(t, decided)
	for _, row := range []struct {
		from, to string
		protocol corev1.Protocol
		port     int32
		want     bool
	}{
		// Agents reach each other inside an environment, and none in another.
		{"dev", "dev's neighbor", "TCP", 8080, yes},
		{"staging", "staging's neighbor", "TCP", 8080, yes},
		{"production", "production's peer", "TCP", 8080, yes},
		{"production", "production's tool", "TCP", 5432, yes},
		{"dev", "staging", "TCP", 8080, no},
		{"dev", "production", "TCP", 8080, no},
		{"dev", "production", "TCP", 443, no},
		{"dev", "production's tool", "TCP", 443, no},
		{"dev's other pod", "production", "TCP", 443, no},
		{"staging", "production", "TCP", 8080, no},
		{"staging", "production", "TCP", 443, no},
		{"production", "dev", "TCP", 8080, no},
		{"production", "staging", "TCP", 8080, no},

		// DNS, of the cluster and of the node.
		{"dev", "kube-dns", "UDP", 53, yes},
		{"dev", "kube-dns", "TCP", 53, yes},
		{"dev's other pod", "kube-dns", "UDP", 53, yes},
		{"staging", "kube-dns", "UDP", 53, yes},
		{"production", "kube-dns", "UDP", 53, yes},
		{"production", "kube-dns", "TCP", 53, yes},
		{"production", "kube-dns", "SCTP", 53, no},
		{"production", "kube-dns", "TCP", 9153, no},
		{"production", "kube-system's rest", "UDP", 53, no},
		{"production", "false DNS", "UDP", 53, no},
		{"production", "node-local DNS", "UDP", 53, yes},
		{"production", "node-local DNS", "TCP", 53, yes},
		{"production", "node-local DNS", "TCP", 80, no},
		{"staging", "node-local DNS", "UDP", 53, no},
		{"production", "public site", "UDP", 53, no},

		// Who calls in.
		{"gateway", "production", "TCP", 8080, yes},
		{"gateway", "production", "TCP", 9090, no},
		{"gateway", "production", "UDP", 8080, no},
		{"gateway", "production's tool", "TCP", 8080, no},
		{"prometheus", "production's tool", "TCP", 9090, no},
		{"gateway's neighbor", "production", "TCP", 8080, no},
		{"false gateway", "production", "TCP", 8080, no},
		{"gateway", "dev", "TCP", 8080, no},
		{"internet client", "production", "TCP", 8080, no},
		{"node", "production", "TCP", 8080, no},
		{"prometheus", "production", "TCP", 9090, yes},
		{"prometheus", "production", "TCP", 8080, no},
		{"grafana", "production", "TCP", 9090, no},
		{"prometheus", "dev", "TCP", 9090, no},

		// Where models are.
		{"production", "provider", "TCP", 443, yes},
		{"production", "provider, IPv6", "TCP", 443, yes},
		{"production", "provider", "UDP", 443, no},
		{"production", "provider", "TCP", 80, no},
		{"production", "provider's neighbor", "TCP", 443, no},
		{"production", "public site", "TCP", 443, no},
		{"production", "public site, IPv6", "TCP", 443, no},
		{"production", "production's front", "TCP", 443, no},
		{"production's tool", "provider", "TCP", 443, no},
		{"production", "proxy", "TCP", 3128, yes},
		{"production", "proxy", "TCP", 443, no},
		{"production", "false proxy", "TCP", 3128, no},
		{"production's tool", "proxy", "TCP", 3128, no},
		{"staging", "provider", "TCP", 443, no},
		{"staging", "proxy", "TCP", 3128, no},
		{"dev", "proxy", "TCP", 3128, no},
		{"dev", "public site", "TCP", 443, yes},
		{"dev", "public site, IPv6", "TCP", 443, yes},
		{"dev", "public site", "TCP", 80, no},
		{"dev", "public site", "TCP", 22, no},
		{"dev", "public site", "UDP", 443, no},
		{"dev's other pod", "public site", "TCP", 443, no},
		{"dev", "production's front", "TCP", 443, no},
		{"dev", "production's front, IPv6", "TCP", 443, no},
	} {
		name := fmt.Sprintf("%s to %s %s %d", row.from, row.to, row.protocol, row.port)
		t.Run(name, func(t *testing.T) {
			require.Contains(t, ends, row.from)
			require.Contains(t, ends, row.to)
			require.Equal(t, row.want, policies.allows(t, flow{ends[row.from], ends[row.to], row.protocol, row.port}))
		})
	}
}

// No environment reaches what a cluster, its nodes, its cloud or a neighbor has.
func TestNoAgentReachesWhatIsNotPublic(t *testing.T) {
	policies := cluster(t, decided)
	for _, target := range []string{
		"API server", "node", "node in 172.16/12", "pod of a carrier range", "metadata", "metadata of EC2, IPv6", "metadata of GCE, IPv6",
		"metadata of Alibaba", "metadata of Oracle", "wire server of Azure", "mesh's benchmark range", "multicast", "reserved",
		"loopback",
	} {
		for _, environment := range manifests.Environments {
			for _, port := range []int32{80, 443, 6443, 10250} {
				t.Run(fmt.Sprintf("%s to %s %d", environment, target, port), func(t *testing.T) {
					require.Contains(t, ends, target)
					require.False(t, policies.allows(t, flow{ends[environment], ends[target], corev1.ProtocolTCP, port}))
				})
			}
		}
	}
}

// Flows are denied by default: without values, an Agent reaches its neighbors and DNS, and in dev the public internet.
func TestFlowsWithDefaultValues(t *testing.T) {
	policies := cluster(t, nil)
	for name, to := range ends {
		for _, port := range []int32{53, 80, 443, 3128, 8080} {
			own := to.namespace == "flokoa-production"
			got := policies.allows(t, flow{ends["production"], to, corev1.ProtocolTCP, port})
			require.Equal(t, own || name == "kube-dns" && port == 53, got, "production to %s %d", name, port)
			require.Equal(t, own, policies.allows(t, flow{to, ends["production"], corev1.ProtocolTCP, port}), "%s to production %d", name, port)
		}
	}
}

// everyDoor has a value for each NetworkPolicy that the chart may render.
var everyDoor = map[string]any{"network": map[string]any{
	"mesh": "ambient",
	"gateways": []any{
		map[string]any{"namespace": "gateway-system", "podLabels": map[string]any{"app": "gateway"}},
		map[string]any{"cidr": "0.0.0.0/0", "except": []any{"10.0.0.0/8", "192.168.0.0/16"}},
	},
	"monitoring": []any{map[string]any{"namespace": "monitoring", "podLabels": map[string]any{"app": "prometheus"}}},
	"ingress": map[string]any{"rules": []any{map[string]any{
		"from":  []any{map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"kubernetes.io/metadata.name": "flokoa-staging"}}}},
		"ports": []any{map[string]any{"protocol": "TCP", "port": "http"}},
	}}},
	"egress": map[string]any{
		"identity": "eks",
		"pods":     []any{map[string]any{"namespace": "egress", "podLabels": map[string]any{"app": "proxy"}, "port": int64(3128)}},
		"rules": []any{map[string]any{
			"to":    []any{map[string]any{"ipBlock": map[string]any{"cidr": "203.0.113.0/24"}}},
			"ports": []any{map[string]any{"protocol": "TCP", "port": int64(5000), "endPort": int64(5010)}},
		}},
	},
}}

// What each value of network opens, and what stays closed beside it.
func TestFlowsThatValuesOpen(t *testing.T) {
	const (
		yes = true
		no  = false
	)
	with := func(network map[string]any) map[string]any { return map[string]any{"network": network} }
	gke := with(map[string]any{"egress": map[string]any{"identity": "gke"}})
	peers := map[string]end{
		"kubelet's probe in the mesh":     outside("169.254.7.127"),
		"kubelet's probe in the mesh, v6": outside("fd16:9254:7127:1337:ffff:ffff:ffff:ffff"),
		"Pod Identity Agent":              outside("169.254.170.23"),
		"Pod Identity Agent, IPv6":        outside("fd00:ec2::23"),
		"GKE metadata server":             outside("169.254.169.252"),
	}
	maps.Copy(peers, ends)
	for _, row := range []struct {
		values   map[string]any
		from, to string
		port     int32
		want     bool
	}{
		{everyDoor, "gateway", "production", 15008, yes},
		{everyDoor, "gateway", "production", 8080, yes},
		{everyDoor, "gateway", "production", 15009, no},
		{everyDoor, "gateway's neighbor", "production", 15008, no},
		{everyDoor, "prometheus", "production", 15008, yes},
		{everyDoor, "grafana", "production", 15008, no},
		{everyDoor, "production", "proxy", 15008, yes},
		{everyDoor, "production", "false proxy", 15008, no},
		{everyDoor, "production", "provider", 15008, no},
		{everyDoor, "kubelet's probe in the mesh", "production", 8080, yes},
		{everyDoor, "kubelet's probe in the mesh, v6", "production", 8080, yes},
		{everyDoor, "kubelet's probe in the mesh", "production's tool", 5432, yes},
		{nil, "kubelet's probe in the mesh", "production", 8080, no},
		{everyDoor, "internet client", "production", 8080, yes},
		{everyDoor, "internet client", "production", 15008, no},
		{everyDoor, "internet client", "production's tool", 8080, no},
		{everyDoor, "dev", "production", 8080, no},
		{everyDoor, "node", "production", 8080, no},
		{everyDoor, "staging", "production", 8080, no}, // staging's own egress denies it
		{everyDoor, "production", "provider", 5010, yes},
		{everyDoor, "production", "provider", 5011, no},
		{everyDoor, "production", "Pod Identity Agent", 80, yes},
		{everyDoor, "production", "Pod Identity Agent, IPv6", 80, yes},
		{everyDoor, "production", "Pod Identity Agent", 443, no},
		{everyDoor, "production's tool", "Pod Identity Agent", 80, no},
		{everyDoor, "production", "metadata", 80, no},
		{everyDoor, "production", "GKE metadata server", 988, no},
		{nil, "production", "Pod Identity Agent", 80, no},
		{gke, "production", "GKE metadata server", 988, yes},
		{gke, "production", "GKE metadata server", 987, yes},
		{gke, "production", "GKE metadata server", 80, no},
		{gke, "production", "metadata", 80, yes},
		{gke, "production", "metadata", 443, no},
		{gke, "production's tool", "metadata", 80, no},
		{gke, "production", "Pod Identity Agent", 80, no},
	} {
		t.Run(fmt.Sprintf("%s to %s %d", row.from, row.to, row.port), func(t *testing.T) {
			require.Contains(t, peers, row.from)
			require.Contains(t, peers, row.to)
			policies := cluster(t, map[string]map[string]any{"production": row.values})
			require.Equal(t, row.want, policies.allows(t, flow{peers[row.from], peers[row.to], corev1.ProtocolTCP, row.port}))
		})
	}
}

// OpenShift's DNS has another namespace, other labels and another port, and then Kubernetes' own is not allowed.
func TestFlowsOnOpenShift(t *testing.T) {
	values, err := manifests.Values(environmentChart + "/values-openshift.yaml")
	require.NoError(t, err)
	policies := network(all[networkingv1.NetworkPolicy](t, render(t, "production", values), "NetworkPolicy"))
	dns := pod("openshift-dns", "10.244.7.9", labels.Set{"dns.operator.openshift.io/daemonset-dns": "default"})
	for _, protocol := range []corev1.Protocol{corev1.ProtocolUDP, corev1.ProtocolTCP} {
		require.True(t, policies.allows(t, flow{ends["production"], dns, protocol, 5353}), protocol)
		require.False(t, policies.allows(t, flow{ends["production"], dns, protocol, 53}), protocol)
		require.False(t, policies.allows(t, flow{ends["production"], ends["kube-dns"], protocol, 53}), protocol)
	}
	router := pod("openshift-ingress", "10.244.7.10", labels.Set{"ingresscontroller.operator.openshift.io/deployment-ingresscontroller": "default"})
	prometheus := pod("openshift-user-workload-monitoring", "10.244.7.11", labels.Set{"app.kubernetes.io/name": "prometheus"})
	require.True(t, policies.allows(t, flow{router, ends["production"], corev1.ProtocolTCP, 8080}))
	require.True(t, policies.allows(t, flow{prometheus, ends["production"], corev1.ProtocolTCP, 9090}))
	require.False(t, policies.allows(t, flow{prometheus, ends["production"], corev1.ProtocolTCP, 8080}))
}

// twins are, for each range of IPv4 that dev does not reach, addresses of IPv6 that serve for the same.
var twins = map[string][]string{
	"0.0.0.0/8":        {"::"},
	"10.0.0.0/8":       {"fc00::1", "fd12:3456:789a::1"},
	"100.64.0.0/10":    {"fd00::1"},
	"127.0.0.0/8":      {"::1"},
	"168.63.129.16/32": {"fe80::1234:5678:9abc"},
	"169.254.0.0/16":   {"fe80::1", "fe80::a9fe:a9fe", "fd00:ec2::254", "fd20:ce::254"},
	"172.16.0.0/12":    {"fdff:ffff::1", "fec0::1"},
	"192.0.0.0/24":     {"2001:1::1", "2001::1"},
	"192.168.0.0/16":   {"fd00:192:168::1"},
	"198.18.0.0/15":    {"2001:2::1"},
	"198.51.100.0/24":  {"2600:1f00::1", "2001:db8::1"},
	"224.0.0.0/4":      {"ff02::fb", "ff05::2", "ff0e::1"},
	"240.0.0.0/4":      {"4000::1", "8000::1", "100::1", "5f00::1"},
}

// An address of IPv4 that is closed must not be open by another name: mapped into IPv6, translated, or through a tunnel.
func TestDevReachesNoMoreOverIPv6ThanOverIPv4(t *testing.T) {
	policies := cluster(t, decided)
	var excepted []string
	for _, policy := range policies {
		if policy.Namespace == "flokoa-dev" && policy.Name == "allow-public" {
			block := policy.Spec.Egress[0].To[0].IPBlock
			require.Equal(t, "0.0.0.0/0", block.CIDR)
			excepted = block.Except
		}
	}
	known := maps.Clone(twins)
	for _, cidr := range excepted {
		t.Run(cidr, func(t *testing.T) {
			require.Contains(t, known, cidr, "add the equivalent IPv6 addresses to twins")
			for _, address := range append(disguises(t, cidr), twins[cidr]...) {
				reaches := policies.allows(t, flow{ends["dev"], outside(address), corev1.ProtocolTCP, 443})
				require.False(t, reaches, "%s, for %s", address, cidr)
			}
		})
		delete(known, cidr)
	}
	require.Empty(t, known, "ranges that dev reaches now")
}

// disguises are the first address of a range as addresses of IPv6 that stand for it: mapped, compatible, translated (NAT64, public
// and private), by 6to4 and by Teredo, which turns the bits over.
func disguises(t *testing.T, cidr string) []string {
	t.Helper()
	prefix, err := netip.ParsePrefix(cidr)
	require.NoError(t, err)
	b := prefix.Addr().As4()
	high, low := uint16(b[0])<<8|uint16(b[1]), uint16(b[2])<<8|uint16(b[3])
	return []string{
		fmt.Sprintf("::ffff:%x:%x", high, low),
		fmt.Sprintf("::%x:%x", high, low),
		fmt.Sprintf("64:ff9b::%x:%x", high, low),
		fmt.Sprintf("64:ff9b:1::%x:%x", high, low),
		fmt.Sprintf("2002:%x:%x::1", high, low),
		fmt.Sprintf("2001:0:4136:e378:8000:63bf:%x:%x", ^high, ^low),
	}
}
