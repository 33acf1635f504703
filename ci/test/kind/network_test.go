package kind_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/ci/cmd/traffic/probe"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// flow is a connection attempt from one pod to a target.
type flow struct {
	from, to, protocol string
	port               int
	allowed            bool
}

// name is the name of the flow's subtest.
func (f flow) name() string { return fmt.Sprintf("%s to %s %s %d", f.from, f.to, f.protocol, f.port) }

const (
	yes = true
	no  = false
)

// flows are those that the network policies of the environments allow or deny. A denied target exists and answers:
// requireTargetsReachable connects to it from a pod without policies.
var flows = []flow{
	// Agents reach each other inside an environment, and none in another.
	{"dev", "dev's agent", "tcp", 8080, yes},
	{"staging", "staging's agent", "tcp", 8080, yes},
	{"production", "production's agent", "tcp", 8080, yes},
	{"production", "production's agent", "tcp", 9090, yes},
	{"dev", "staging's agent", "tcp", 8080, no},
	{"dev", "production's agent", "tcp", 8080, no},
	{"dev", "production's agent", "tcp", 9090, no},
	// Tools: those of the same environment, by address and by Service, and no proxy of another namespace.
	{"dev", "dev's tool", "tcp", 8080, yes},
	{"dev", "dev's tool Service", "tcp", 8080, yes},
	{"dev", "production's tool", "tcp", 8080, no},
	{"dev", "production's tool Service", "tcp", 8080, no},
	{"production", "production's tool", "tcp", 8080, yes},
	{"production", "production's tool Service", "tcp", 8080, yes},
	{"production", "dev's tool Service", "tcp", 8080, no},
	{"dev", "gateway", "tcp", 8080, no},
	{"staging", "production's agent", "tcp", 8080, no},
	{"production", "dev's agent", "tcp", 8080, no},
	{"production", "staging's agent", "tcp", 8080, no},
	// Models.
	{"production", "provider", "tcp", providerPort, yes},
	{"staging", "provider", "tcp", providerPort, yes},
	{"dev", "provider", "tcp", providerPort, no},
	{"dev", "provider Service", "tcp", providerPort, no},
	{"production", "provider Service", "tcp", providerPort, yes},
	{"dev", "dev's provider", "tcp", providerPort, yes},
	{"dev", "dev's provider Service", "tcp", providerPort, yes},
	{"production", "dev's provider", "tcp", providerPort, no},
	{"production", "dev's provider Service", "tcp", providerPort, no},
	{"production", "gateway", "tcp", 8080, no},
	{"production", "unrelated", "tcp", 8080, no},
	// Who calls in.
	{"gateway", "production's agent", "tcp", 8080, yes},
	{"gateway", "dev's agent", "tcp", 8080, yes},
	{"gateway", "production's agent", "tcp", 9090, no},
	{"console", "production's agent", "tcp", 8080, no},
	{"unrelated", "production's agent", "tcp", 8080, no},
	{"unrelated", "dev's agent", "tcp", 8080, no},
	{"prometheus", "production's agent", "tcp", 9090, yes},
	{"prometheus", "dev's agent", "tcp", 9090, yes},
	{"prometheus", "production's agent", "tcp", 8080, no},
	{"grafana", "production's agent", "tcp", 9090, no},
	{"unrelated", "production's agent", "tcp", 9090, no},
	// All Agents reach DNS.
	{"dev", "DNS", "udp", 53, yes},
	{"dev", "DNS", "tcp", 53, yes},
	{"production", "DNS", "udp", 53, yes},
	{"production", "DNS", "tcp", 53, yes},
	{"production", "API server", "tcp", 443, no},
	{"dev", "API server", "tcp", 443, no},
	{"staging", "API server", "tcp", 443, no},
}

// outsideFlows need addresses that are not the cluster's.
var outsideFlows = []flow{
	{"dev", "public address", "tcp", 443, yes},
	{"dev", "public address", "tcp", 80, no},
	{"staging", "public address", "tcp", 443, no},
	{"production", "public address", "tcp", 443, no},
	{"dev", "metadata address", "tcp", 80, no},
	{"dev", "metadata address", "tcp", 443, no},
	{"staging", "metadata address", "tcp", 80, no},
	{"production", "metadata address", "tcp", 80, no},
	{"dev", "node", "tcp", 443, no},
	{"production", "node", "tcp", 443, no},
}

// Real packets, from one pod to another: each flow that a policy allows, and each that it must not.
func TestNetworkPoliciesWithRealPackets(t *testing.T) {
	n := newNetwork(t)
	tried := flows
	if cluster.kind == "" {
		t.Log("skipped: public and metadata addresses, which are set up on the nodes of a kind cluster")
	} else {
		n.addOutside()
		tried = append(tried, outsideFlows...)
	}
	n.requireTargetsReachable(tried)
	for _, f := range n.probe(tried) {
		t.Run(f.name(), func(t *testing.T) {
			require.Equal(t, f.allowed, f.verdict.Verdict == probe.Allowed, "it was %s", f.verdict)
			if !f.allowed {
				require.Equal(t, probe.Denied, f.verdict.Verdict, "nothing may come back, not even a refusal: %s", f.verdict)
			}
		})
	}
	met := !t.Failed()
	results.add(row{disturbance: fmt.Sprintf("%d connections are tried, from pod to pod and to the outside", len(tried)), criterion: "each allowed or denied as the network policies specify", met: met})
}

// network is the set of clients and targets: pods by name, and the address of each target.
type network struct {
	*testing.T
	pods      map[string]corev1.Pod
	addresses map[string]string
}

// newNetwork creates an echo Agent in each environment, a tool beside those of dev and production, and the pods outside.
func newNetwork(t *testing.T) *network {
	t.Helper()
	newFixture(t, "production") // for its report at the end
	n := &network{T: t, pods: map[string]corev1.Pod{}, addresses: map[string]string{}}
	var others []*corev1.Pod
	for who, where := range map[string]string{"gateway": "live-gateway", "console": "live-gateway", "prometheus": "live-monitoring", "grafana": "live-monitoring", "unrelated": "live-unrelated"} {
		others = append(others, trafficPod(where, who, who, []string{"serve", "--tcp", "8080", "--udp", "8080"}))
	}
	tools := map[string]*corev1.Pod{}
	for _, environment := range []string{"dev", "production"} {
		tools[environment] = n.tool(environment)
		others = append(others, tools[environment])
	}
	t.Cleanup(func() {
		for _, pod := range others {
			_ = api.Delete(context.Background(), pod)
		}
	})
	require.NoError(t, startPods(t.Context(), others...))
	for _, pod := range others {
		n.add(pod.Name, *pod)
	}
	for environment, tool := range tools {
		n.addresses[environment+"'s tool"] = tool.Status.PodIP
	}
	for _, environment := range []string{"dev", "staging", "production"} {
		s := &fixture{T: t, namespace: "flokoa-" + environment}
		s.create("echo", 3, echoServer)
		pods := s.pods("echo")
		n.pods[environment] = pods[0]
		n.addresses[environment+"'s agent"] = pods[1].Status.PodIP
	}
	n.addresses["provider"], n.addresses["dev's provider"] = providerAddress, devProviderAddress
	n.addresses["provider Service"], n.addresses["dev's provider Service"] = "provider.live-provider.svc", "provider."+devProvider+".svc"
	n.addresses["DNS"] = "" // the pod's own
	n.addresses["API server"] = "kubernetes.default.svc"
	return n
}

// tool is a tool server of an environment, and has a Service. It is a pod here, because the pods of an Agent are targets already.
func (n *network) tool(environment string) *corev1.Pod {
	n.Helper()
	namespace := "flokoa-" + environment
	service := serviceOf(namespace, "tool", 8080)
	require.NoError(n, api.Create(n.Context(), service))
	n.Cleanup(func() { _ = api.Delete(context.Background(), service) })
	n.addresses[environment+"'s tool Service"] = "tool." + namespace + ".svc"
	return trafficPod(namespace, "tool", "tool", []string{"serve", "--tcp", "8080"})
}

func (n *network) add(name string, pod corev1.Pod) {
	n.pods[name], n.addresses[name] = pod, pod.Status.PodIP
}

// echoServer makes an Agent of the program of these tests, which answers whoever reaches it, with a port for metrics.
func echoServer(a *v1alpha1.Agent) {
	container := &a.Spec.Runtime.Spec.Container
	container.Image, container.Args = image("traffic", "v1"), []string{"serve", "--tcp", "8080,9090"}
	container.Ports = append(container.Ports, corev1.ContainerPort{Name: "metrics", ContainerPort: 9090})
}

// Addresses that no host here has: one reserved for documentation, which dev treats as public, and the cloud metadata address.
const (
	publicAddress   = "203.0.113.10"
	metadataAddress = "169.254.169.254"
)

// addOutside has the node of the callers answer at addresses that are not the cluster's, as the internet and a cloud would.
func (n *network) addOutside() {
	n.Helper()
	callerNode := &corev1.Node{}
	require.NoError(n, api.Get(n.Context(), keyOf(cluster.callerNode), callerNode))
	address := callerNode.Status.Addresses[0].Address
	for _, there := range []string{publicAddress, metadataAddress} {
		_, err := onNode(n.Context(), cluster.callerNode, "ip", "address", "replace", there+"/32", "dev", "lo")
		require.NoError(n, err)
		for _, node := range cluster.nodes {
			_, err := onNode(n.Context(), node.Name, "ip", "route", "replace", there, "via", address)
			require.NoError(n, err)
		}
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: outsideNamespace, Labels: testLabels}} // where the node's network may be used
	require.NoError(n, api.Create(n.Context(), namespace))
	n.Cleanup(func() { _ = api.Delete(context.Background(), namespace) })
	listener := trafficPod(namespace.Name, "outside", "outside", []string{"serve", "--tcp", "80,443"}, onCallerNode, func(pod *corev1.Pod) {
		pod.Spec.HostNetwork = true
		pod.Spec.SecurityContext = nil
		pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: ptr.To[int64](0)}
	})
	require.NoError(n, startPods(n.Context(), listener))
	n.addresses["public address"], n.addresses["metadata address"], n.addresses["node"] = publicAddress, metadataAddress, address
}

// flowResult is a flow and what became of it.
type flowResult struct {
	flow
	verdict probe.Verdict
}

// probe tries flows, all those from one pod by one command in it.
func (n *network) probe(flows []flow) []flowResult {
	n.Helper()
	requests := map[string][]string{}
	for i, f := range flows {
		requests[f.from] = append(requests[f.from], n.request(i, f))
	}
	results := make([]flowResult, len(flows))
	for who, lines := range requests {
		pod, there := n.pods[who]
		require.True(n, there, "there is no %s", who)
		out, err := traffic(n.Context(), pod.Namespace, pod.Name, strings.Join(lines, "\n"), "probe")
		require.NoError(n, err)
		verdicts := json.NewDecoder(strings.NewReader(out))
		for range lines {
			var verdict probe.Verdict
			require.NoError(n, verdicts.Decode(&verdict))
			var i int
			_, err := fmt.Sscan(verdict.ID, &i)
			require.NoError(n, err)
			results[i] = flowResult{flows[i], verdict}
		}
	}
	return results
}

// request is a flow as a probe. The API server and DNS do not echo: a handshake, or a name's address, is their answer.
func (n *network) request(i int, f flow) string {
	n.Helper()
	host, there := n.addresses[f.to]
	require.True(n, there, "there is no %s", f.to)
	request := probe.Request{ID: fmt.Sprint(i), Kind: probe.Connect, Protocol: f.protocol, Host: host, Port: f.port, NoEcho: f.to == "API server" || strings.Contains(f.to, "provider")}
	if f.to == "DNS" {
		request = probe.Request{ID: fmt.Sprint(i), Kind: probe.Resolve, Protocol: f.protocol, Host: "kubernetes.default.svc.cluster.local"}
	}
	text, err := json.Marshal(request)
	require.NoError(n, err)
	return string(text)
}

// requireTargetsReachable waits until every target of a denied flow answers a pod without policies. After a restart of the API server
// that takes a moment. A protected target answers the clients that it allows, which are among the flows.
func (n *network) requireTargetsReachable(tried []flow) {
	n.Helper()
	answers := map[string]bool{}
	var open []flow
	for _, f := range tried {
		target := fmt.Sprint(f.to, f.protocol, f.port)
		if f.allowed {
			answers[target] = true
		} else if !strings.Contains(f.to, "'s ") && !answers[target] {
			open = append(open, flow{"unrelated", f.to, f.protocol, f.port, yes})
		}
	}
	for began := time.Now(); ; {
		silent := slices.DeleteFunc(n.probe(open), func(f flowResult) bool { return f.verdict.Verdict == probe.Allowed })
		if len(silent) == 0 {
			return
		}
		f := silent[0]
		n.Logf("after %.1f s: %s, where no policy is: %s", time.Since(began).Seconds(), f.name(), f.verdict)
		require.Less(n, time.Since(began), waitTimeout, "%s, where no policy is: %s", f.name(), f.verdict)
	}
}
