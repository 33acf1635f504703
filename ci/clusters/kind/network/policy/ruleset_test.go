package policy

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	in  = networkingv1.PolicyTypeIngress
	out = networkingv1.PolicyTypeEgress
)

type row struct {
	policy *networkingv1.NetworkPolicy
	pods   []*corev1.Pod // beside those of the world
	// ingress and egress are the lines of the policy's chains; nil: the policy does not isolate web in that direction.
	ingress, egress []string
}

var rows = map[string]row{
	"nothing but podSelector denies ingress": {policy: forWeb(), ingress: []string{}},
	"without policyTypes an egress rule isolates in both directions": {
		policy:  forWeb(to(peers(pods("db"))), types()),
		ingress: []string{}, egress: []string{"ip daddr { 10.244.2.2 } goto into-pods"},
	},
	"policyTypes Egress alone leaves ingress open":        {policy: forWeb(types(out)), egress: []string{}},
	"an ingress rule counts for nothing without its type": {policy: forWeb(from(nil), types(out)), egress: []string{}},
	"both types without a rule deny everything":           {policy: forWeb(types(in, out)), ingress: []string{}, egress: []string{}},

	"an empty ingress rule allows everything": {policy: forWeb(from(nil)), ingress: []string{"accept"}},
	"an empty list of peers is every peer":    {policy: forWeb(from(peers())), ingress: []string{"accept"}},
	"an empty egress rule allows everything":  {policy: forWeb(to(nil)), egress: []string{"goto into-pods"}},

	"podSelector alone selects in the policy's namespace": {
		policy: forWeb(from(peers(pods("cli")))), ingress: []string{"ip saddr { 10.244.1.3 } accept"},
	},
	"an empty podSelector selects all of the namespace": {
		policy:  forWeb(from(peers(networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}}))),
		ingress: []string{"ip saddr { 10.244.1.2, 10.244.1.3, 10.244.2.2 } accept"},
	},
	"namespaceSelector alone selects every pod there": {
		policy:  forWeb(from(peers(networkingv1.NetworkPolicyPeer{NamespaceSelector: labelled("team", "b")}))),
		ingress: []string{"ip saddr { 10.244.2.3, 10.244.2.4 } accept"},
	},
	"an empty namespaceSelector selects every namespace": {
		policy:  forWeb(from(peers(networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{}, PodSelector: labelled("app", "cli")}))),
		ingress: []string{"ip saddr { 10.244.1.3, 10.244.2.4 } accept"},
	},
	"both selectors in one peer must both select": {
		policy:  forWeb(from(peers(networkingv1.NetworkPolicyPeer{NamespaceSelector: labelled("team", "b"), PodSelector: labelled("app", "cli")}))),
		ingress: []string{"ip saddr { 10.244.2.4 } accept"},
	},
	"several peers are alternatives, and no address is named twice": {
		policy:  forWeb(from(peers(networkingv1.NetworkPolicyPeer{NamespaceSelector: labelled("team", "b")}, pods("cli"), pods("cli")))),
		ingress: []string{"ip saddr { 10.244.1.3, 10.244.2.3, 10.244.2.4 } accept"},
	},
	"a peer that selects no pod allows nothing": {policy: forWeb(from(peers(pods("none")))), ingress: []string{}},

	"a block": {policy: forWeb(to(peers(cidr("192.0.2.7/24")))), egress: []string{"ip daddr 192.0.2.0/24 goto into-pods"}},
	"a block with exceptions that overlap": {
		policy: forWeb(to(peers(cidr("0.0.0.0/0", "10.1.0.0/16", "10.0.0.0/8", "192.168.0.0/16")))),
		egress: []string{"ip daddr 0.0.0.0/0 ip daddr != { 10.0.0.0/8, 192.168.0.0/16 } goto into-pods"},
	},
	"a block of IPv6 allows nothing in IPv4": {policy: forWeb(to(peers(cidr("::/0")))), egress: []string{}},
	"blocks and pods at several ports": {
		policy: forWeb(from(peers(cidr("192.0.2.0/24"), pods("cli")), port("TCP", 80), port("UDP", 53))),
		ingress: []string{
			"ip saddr 192.0.2.0/24 tcp dport 80 accept", "ip saddr 192.0.2.0/24 udp dport 53 accept",
			"ip saddr { 10.244.1.3 } tcp dport 80 accept", "ip saddr { 10.244.1.3 } udp dport 53 accept",
		},
	},

	"a number without protocol is TCP":     {policy: forWeb(from(nil, port("", 80))), ingress: []string{"tcp dport 80 accept"}},
	"a range of ports":                     {policy: forWeb(from(nil, port("TCP", 80, 90))), ingress: []string{"tcp dport 80-90 accept"}},
	"a range of one port":                  {policy: forWeb(from(nil, port("TCP", 80, 80))), ingress: []string{"tcp dport 80 accept"}},
	"a port of SCTP":                       {policy: forWeb(from(nil, port("SCTP", 80))), ingress: []string{"sctp dport 80 accept"}},
	"a protocol alone is its every port":   {policy: forWeb(from(nil, port("UDP", nil))), ingress: []string{"meta l4proto udp accept"}},
	"an empty port is every port of TCP":   {policy: forWeb(from(nil, port("", nil))), ingress: []string{"meta l4proto tcp accept"}},
	"a named port of the selected pod":     {policy: forWeb(from(nil, port("TCP", "http"))), ingress: []string{"ip daddr . tcp dport { 10.244.1.2 . 8080 } accept"}},
	"a named port of UDP":                  {policy: forWeb(from(nil, port("UDP", "dns"))), ingress: []string{"ip daddr . udp dport { 10.244.1.2 . 53 } accept"}},
	"a named port of another protocol":     {policy: forWeb(from(nil, port("TCP", "dns"))), ingress: []string{}},
	"a named port of a sidecar":            {policy: forWeb(from(nil, port("TCP", "metrics"))), ingress: []string{"ip daddr . tcp dport { 10.244.1.2 . 9090 } accept"}},
	"a named port of an init container":    {policy: forWeb(from(nil, port("TCP", "setup"))), ingress: []string{}},
	"a named port that no destination has": {policy: forWeb(to(nil, port("TCP", "none"))), egress: []string{}},
	"a named port of each destination": {
		policy: forWeb(to(nil, port("TCP", "http"))),
		egress: []string{"ip daddr . tcp dport { 10.244.1.2 . 8080, 10.244.2.2 . 5432, 10.244.2.3 . 80 } goto into-pods"},
	},
	"a named port of some destinations": {
		policy: forWeb(to(peers(pods("db")), port("TCP", "http"))),
		egress: []string{"ip daddr { 10.244.2.2 } ip daddr . tcp dport { 10.244.1.2 . 8080, 10.244.2.2 . 5432, 10.244.2.3 . 80 } goto into-pods"},
	},

	"pods on the host's network, finished or without an address are no peers": {
		policy: forWeb(from(peers(pods("x")))),
		pods: []*corev1.Pod{
			peer("a", "x", "172.18.0.2", "n2", onHostNetwork), peer("a", "x", "10.244.2.5", "n2", finished),
			peer("a", "x", "10.244.2.6", "n2", failed), peer("a", "x", "", "n2"), peer("a", "x", "fd00::1", "n2"),
		},
		ingress: []string{},
	},
	"a pod that terminates is a peer until its containers end": {
		policy: forWeb(from(peers(pods("x")))), pods: []*corev1.Pod{peer("a", "x", "10.244.2.5", "n2", terminating)},
		ingress: []string{"ip saddr { 10.244.2.5 } accept"},
	},
	"an address given out anew is its heir's": {
		policy: forWeb(from(peers(pods("x"))), to(peers(pods("y"))), types(in, out)),
		pods: []*corev1.Pod{
			peer("a", "x", "10.244.2.5", "n2", terminating, younger), peer("a", "y", "10.244.2.5", "n2"),
			peer("a", "x", "10.244.2.6", "n2"), peer("a", "y", "10.244.2.6", "n2", younger),
		},
		ingress: []string{}, egress: []string{"ip daddr { 10.244.2.5, 10.244.2.6 } goto into-pods"},
	},
}

func TestAllowedPackets(t *testing.T) {
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			text := row.ruleset(t)
			require.Equal(t, row.ingress, chain(text, "ingress-a/p"))
			require.Equal(t, row.egress, chain(text, "egress-a/p"))
		})
	}
}

func TestTheRulesetIsOneTransactionThatReplacesTheTable(t *testing.T) {
	text, err := Ruleset(world(forWeb(from(peers(pods("cli")), port("TCP", 8080)), types(in, out))))
	require.NoError(t, err)
	require.Equal(t, `table ip flokoa-network
delete table ip flokoa-network
table ip flokoa-network {
  chain ingress-a/p {
    ip saddr { 10.244.1.3 } tcp dport 8080 accept
  }
  chain egress-a/p {
  }
  chain ingress-of-10.244.1.2 { # a/web
    ip saddr 10.244.1.2 accept
    jump ingress-a/p
    counter drop
  }
  chain egress-of-10.244.1.2 { # a/web
    ip daddr 10.244.1.2 accept
    jump egress-a/p
    counter drop
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    ip saddr 10.244.1.0/24 ip saddr != { 10.244.1.2, 10.244.1.3 } counter drop
    ip daddr 10.244.1.0/24 ip daddr != { 10.244.1.2, 10.244.1.3 } counter drop
    ip saddr vmap { 10.244.1.2 : goto egress-of-10.244.1.2 }
    goto into-pods
  }
  chain into-pods {
    ip daddr vmap { 10.244.1.2 : goto ingress-of-10.244.1.2 }
    accept
  }
  chain masquerading {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade fully-random
  }
}
`, text)
}

func TestTheRulesetIgnoresTheOrderOfAView(t *testing.T) {
	second := forWeb(from(nil, port("TCP", 80)))
	second.Name = "q"
	view := world(forWeb(from(peers(pods("cli")))), second)
	want, err := Ruleset(view)
	require.NoError(t, err)

	slices.Reverse(view.Pods)
	slices.Reverse(view.Policies)
	slices.Reverse(view.Namespaces)
	got, err := Ruleset(view)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, []string{"ip saddr 10.244.1.2 accept", "jump ingress-a/p", "jump ingress-a/q", "counter drop"}, chain(got, "ingress-of-10.244.1.2"))
}

func TestOnlyPodsOfTheNodeAndTheNamespaceAreIsolated(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"on another node":        func(p *corev1.Pod) { p.Spec.NodeName = "n2" },
		"in another namespace":   func(p *corev1.Pod) { p.Namespace = "b" },
		"without the label":      func(p *corev1.Pod) { p.Labels = nil },
		"on the host's network":  onHostNetwork,
		"finished":               finished,
		"without an address yet": func(p *corev1.Pod) { p.Status.PodIP = "" },
	} {
		t.Run(name, func(t *testing.T) {
			view := world(forWeb())
			change(view.Pods[0])
			text, err := Ruleset(view)
			require.NoError(t, err)
			require.NotContains(t, text, "jump")
		})
	}
}

func TestAnAddressOfNoKnownPodHasNoTraffic(t *testing.T) {
	view := world()
	view.Pods = nil
	text, err := Ruleset(view)
	require.NoError(t, err)
	require.Contains(t, text, "    ip saddr 10.244.1.0/24 counter drop\n    ip daddr 10.244.1.0/24 counter drop\n")
	accepts(t, text)
}

func TestASelectorThatCannotBeReadIsNamed(t *testing.T) {
	bad := forWeb(from(peers(networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "k", Operator: "Near"}},
	}})))
	_, err := Ruleset(world(bad))
	require.ErrorContains(t, err, "network policy a/p: namespaceSelector:")
}

func TestNftAcceptsEveryRuleset(t *testing.T) {
	for name, row := range rows {
		t.Run(name, func(t *testing.T) { accepts(t, row.ruleset(t)) })
	}
	t.Run("names as long as names may be", func(t *testing.T) {
		long := forWeb()
		long.Name = strings.Repeat("very-long.", 25)
		other := forWeb()
		other.Name = long.Name + "x"
		text, err := Ruleset(world(long, other))
		require.NoError(t, err)
		require.Equal(t, 4, strings.Count(text, "ingress-a/very-long"), "two chains, two jumps")
		accepts(t, text)
	})
}

// accepts has nft check a ruleset without loading it.
func accepts(t *testing.T, ruleset string) {
	t.Helper()
	if output, err := exec.Command("nft", "-c", "add", "table", "ip", Table).CombinedOutput(); err != nil {
		t.Skipf("nft is not usable here (install nftables, and run as root): %v %s", err, output)
	}
	check := exec.Command("nft", "-c", "-f", "-")
	check.Stdin = strings.NewReader(ruleset)
	output, err := check.CombinedOutput()
	require.NoError(t, err, "%s\n%s", output, ruleset)
}

func (r row) ruleset(t *testing.T) string {
	t.Helper()
	view := world(r.policy)
	view.Pods = append(view.Pods, r.pods...)
	text, err := Ruleset(view)
	require.NoError(t, err)
	return text
}

// chain is the lines of a chain; nil: there is none.
func chain(ruleset, name string) []string {
	_, rest, found := strings.Cut(ruleset, "  chain "+name+" {")
	if !found {
		return nil
	}
	body, _, _ := strings.Cut(rest, "\n  }\n")
	lines := []string{}
	for _, line := range strings.Split(body, "\n")[1:] {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}
