package policy

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// web is the pod that policies of the tests select: in namespace a on node n1, at 10.244.1.2, with the ports http (TCP 8080), dns (UDP
// 53) and, in a sidecar, metrics (TCP 9090).
func web(changes ...func(*corev1.Pod)) *corev1.Pod {
	always := corev1.ContainerRestartPolicyAlways
	p := peer("a", "web", "10.244.1.2", "n1")
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{
		{Name: "http", ContainerPort: 8080},
		{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
	}}}
	p.Spec.InitContainers = []corev1.Container{
		{Ports: []corev1.ContainerPort{{Name: "setup", ContainerPort: 7070}}},
		{RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: 9090}}},
	}
	for _, change := range changes {
		change(p)
	}
	return p
}

// peer is a running pod whose label app is its name.
func peer(namespace, name, address, node string, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address},
	}
	for _, change := range changes {
		change(p)
	}
	return p
}

func onHostNetwork(p *corev1.Pod) { p.Spec.HostNetwork = true }
func finished(p *corev1.Pod)      { p.Status.Phase = corev1.PodSucceeded }
func failed(p *corev1.Pod)        { p.Status.Phase = corev1.PodFailed }
func terminating(p *corev1.Pod)   { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1000, 0)} }
func younger(p *corev1.Pod)       { p.CreationTimestamp = metav1.Unix(2000, 0) }
func listening(name string, number int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: name, ContainerPort: number}}}}
	}
}

// world is seen from node n1, which runs web and cli; db and gateway run on n2.
func world(policies ...*networkingv1.NetworkPolicy) View {
	return View{
		Node: "n1", PodSubnet: netip.MustParsePrefix("10.244.0.0/16"), NodeSubnet: netip.MustParsePrefix("10.244.1.0/24"),
		Pods: []*corev1.Pod{
			web(),
			peer("a", "cli", "10.244.1.3", "n1"),
			peer("a", "db", "10.244.2.2", "n2", listening("http", 5432)),
			peer("b", "gateway", "10.244.2.3", "n2", listening("http", 80)),
			peer("b", "cli", "10.244.2.4", "n2"),
		},
		Namespaces: []*corev1.Namespace{
			{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"team": "a"}}},
			{ObjectMeta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{"team": "b"}}},
		},
		Policies: policies,
	}
}

// forWeb is a policy that selects web.
func forWeb(changes ...func(*networkingv1.NetworkPolicySpec)) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"},
		Spec:       networkingv1.NetworkPolicySpec{PodSelector: *labelled("app", "web")},
	}
	for _, change := range changes {
		change(&p.Spec)
	}
	return p
}

func types(list ...networkingv1.PolicyType) func(*networkingv1.NetworkPolicySpec) {
	return func(spec *networkingv1.NetworkPolicySpec) { spec.PolicyTypes = list }
}

func from(peers []networkingv1.NetworkPolicyPeer, ports ...networkingv1.NetworkPolicyPort) func(*networkingv1.NetworkPolicySpec) {
	return func(spec *networkingv1.NetworkPolicySpec) {
		spec.Ingress = append(spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: peers, Ports: ports})
	}
}

func to(peers []networkingv1.NetworkPolicyPeer, ports ...networkingv1.NetworkPolicyPort) func(*networkingv1.NetworkPolicySpec) {
	return func(spec *networkingv1.NetworkPolicySpec) {
		spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
		spec.Egress = append(spec.Egress, networkingv1.NetworkPolicyEgressRule{To: peers, Ports: ports})
	}
}

func peers(list ...networkingv1.NetworkPolicyPeer) []networkingv1.NetworkPolicyPeer { return list }

func labelled(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func pods(app string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{PodSelector: labelled("app", app)}
}

func cidr(block string, except ...string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: block, Except: except}}
}

func port(protocol corev1.Protocol, value any, end ...int32) networkingv1.NetworkPolicyPort {
	p := networkingv1.NetworkPolicyPort{}
	if protocol != "" {
		p.Protocol = &protocol
	}
	switch of := value.(type) {
	case int:
		number := intstr.FromInt32(int32(of))
		p.Port = &number
	case string:
		name := intstr.FromString(of)
		p.Port = &name
	}
	if len(end) > 0 {
		p.EndPort = &end[0]
	}
	return p
}
