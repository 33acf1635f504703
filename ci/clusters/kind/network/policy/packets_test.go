package policy

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// service is an address that is translated to web's port 8080, as kube-proxy does.
const service = "10.96.0.1:80"

// segment is a node with pods in network namespaces, connected as the CNI plugin ptp does. db stands for a pod of another node.
type segment struct {
	t      *testing.T
	prefix string
}

func newSegment(t *testing.T) segment {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	s := segment{t: t, prefix: fmt.Sprintf("flokoa-%d-", os.Getpid())}
	if output, err := exec.Command("ip", "netns", "add", s.prefix+"node").CombinedOutput(); err != nil {
		t.Skipf("network namespaces are not usable here (install iproute2): %v %s", err, output)
	}
	t.Cleanup(func() { s.ip("netns del " + s.prefix + "node") })
	accepts(t, "") // skips without nft
	s.ip("netns exec " + s.prefix + "node sysctl -qw net.ipv4.ip_forward=1")
	for name, address := range map[string]string{"web": "10.244.1.2", "cli": "10.244.1.3", "db": "10.244.2.2"} {
		s.addPod(name, address)
	}
	s.load(`table ip service {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    ip daddr 10.96.0.1 tcp dport 80 dnat to 10.244.1.2:8080
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ip saddr 10.244.1.2 ip daddr 10.244.1.2 masquerade
  }
}
`)
	return s
}

func (s segment) addPod(name, address string) {
	s.t.Helper()
	pod, node := s.prefix+name, s.prefix+"node"
	s.ip("netns add " + pod)
	s.t.Cleanup(func() { s.ip("netns del " + pod) })
	s.ip("-n " + node + " link add v-" + name + " type veth peer name eth0 netns " + pod)
	s.ip("-n " + node + " addr add 10.244.0.1/32 dev v-" + name)
	s.ip("-n " + node + " link set v-" + name + " up")
	s.ip("-n " + node + " route add " + address + "/32 dev v-" + name)
	s.ip("-n " + pod + " link set lo up")
	s.ip("-n " + pod + " addr add " + address + "/32 dev eth0")
	s.ip("-n " + pod + " link set eth0 up")
	s.ip("-n " + pod + " route add 10.244.0.1 dev eth0")
	s.ip("-n " + pod + " route add default via 10.244.0.1")
	for _, port := range []string{":8080", ":5432"} {
		s.in(name, func() {
			listener, err := net.Listen("tcp4", port)
			require.NoError(s.t, err)
			s.t.Cleanup(func() { _ = listener.Close() })
			go echo(listener)
		})
	}
}

// echo answers every line with itself.
func echo(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = connection.Close() }()
			for lines := bufio.NewScanner(connection); lines.Scan(); {
				if _, err := fmt.Fprintln(connection, lines.Text()); err != nil {
					return
				}
			}
		}()
	}
}

func (s segment) ip(arguments string) {
	s.t.Helper()
	output, err := exec.Command("ip", strings.Fields(arguments)...).CombinedOutput()
	require.NoError(s.t, err, "ip %s: %s", arguments, output)
}

func (s segment) load(ruleset string) {
	s.t.Helper()
	command := exec.Command("ip", "netns", "exec", s.prefix+"node", "nft", "-f", "-")
	command.Stdin = strings.NewReader(ruleset)
	output, err := command.CombinedOutput()
	require.NoError(s.t, err, "%s\n%s", output, ruleset)
}

// in runs on a thread in a network namespace; sockets made there stay there. The thread ends with its goroutine, because it is
// never unlocked.
func (s segment) in(name string, run func()) {
	s.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		namespace, err := os.Open("/run/netns/" + s.prefix + name)
		if err == nil {
			err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET)
			_ = namespace.Close()
		}
		if err == nil {
			run()
		}
		done <- err
	}()
	require.NoError(s.t, <-done)
}

func (s segment) dial(from, address string) (net.Conn, error) {
	var connection net.Conn
	var err error
	s.in(from, func() { connection, err = net.DialTimeout("tcp4", address, 500*time.Millisecond) })
	return connection, err
}

func TestPacketsFollowNetworkPolicies(t *testing.T) {
	s := newSegment(t)
	const webAddress, cliAddress, dbAddress = "10.244.1.2:8080", "10.244.1.3:8080", "10.244.2.2:8080"
	for name, row := range map[string]struct {
		policy          *networkingv1.NetworkPolicy
		unknown         string // a pod that the view does not know
		allowed, denied [][2]string
	}{
		"no policy": {allowed: [][2]string{{"cli", webAddress}, {"db", webAddress}, {"web", dbAddress}, {"web", service}, {"db", service}}},
		"deny everything": {
			policy:  forWeb(types(in, out)),
			allowed: [][2]string{{"node", webAddress}, {"web", webAddress}, {"web", service}, {"cli", dbAddress}, {"db", cliAddress}},
			denied:  [][2]string{{"cli", webAddress}, {"db", webAddress}, {"db", service}, {"web", cliAddress}, {"web", dbAddress}},
		},
		"ingress from cli at the named port": {
			policy:  forWeb(from(peers(pods("cli")), port("TCP", "http"))),
			allowed: [][2]string{{"cli", webAddress}, {"cli", service}, {"web", dbAddress}},
			denied:  [][2]string{{"cli", "10.244.1.2:5432"}, {"db", webAddress}, {"db", service}},
		},
		"egress to db at one port": {
			policy:  forWeb(to(peers(pods("db")), port("TCP", 8080))),
			allowed: [][2]string{{"web", dbAddress}, {"cli", webAddress}},
			denied:  [][2]string{{"web", "10.244.2.2:5432"}, {"web", cliAddress}},
		},
		"egress to a block but for a part": {
			policy:  forWeb(to(peers(cidr("10.244.0.0/16", "10.244.2.0/24")))),
			allowed: [][2]string{{"web", cliAddress}}, denied: [][2]string{{"web", dbAddress}},
		},
		"egress to every address": {policy: forWeb(to(peers(cidr("0.0.0.0/0")))), allowed: [][2]string{{"web", cliAddress}, {"web", dbAddress}}},
		"a pod that is not known yet": {
			unknown: "cli",
			allowed: [][2]string{{"web", dbAddress}, {"node", cliAddress}},
			denied:  [][2]string{{"cli", dbAddress}, {"cli", webAddress}, {"db", cliAddress}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			s.load(viewOf(t, row.policy, row.unknown))
			for _, flow := range row.allowed {
				connection, err := s.dial(flow[0], flow[1])
				require.NoError(t, err, "from %s", flow[0])
				require.NoError(t, connection.Close())
			}
			for _, flow := range row.denied {
				_, err := s.dial(flow[0], flow[1])
				requireDropped(t, err, "from %s to %s", flow[0], flow[1])
			}
		})
	}
}

func TestAnEstablishedConnectionGoesOnWhenAPolicyDeniesIt(t *testing.T) {
	s := newSegment(t)
	s.load(viewOf(t, nil, ""))
	connection, err := s.dial("cli", "10.244.1.2:8080")
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	roundTrip(t, connection)

	s.load(viewOf(t, forWeb(types(in, out)), ""))
	roundTrip(t, connection)
	_, err = s.dial("cli", "10.244.1.2:8080")
	requireDropped(t, err)
}

// requireDropped requires that a packet is dropped, not rejected or unroutable.
func requireDropped(t *testing.T, err error, about ...any) {
	t.Helper()
	var failure net.Error
	require.ErrorAs(t, err, &failure, about...)
	require.True(t, failure.Timeout(), about...)
}

func roundTrip(t *testing.T, connection net.Conn) {
	t.Helper()
	require.NoError(t, connection.SetDeadline(time.Now().Add(5*time.Second)))
	_, err := fmt.Fprintln(connection, "hello")
	require.NoError(t, err)
	answer, err := bufio.NewReader(connection).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "hello\n", answer)
}

// viewOf is the ruleset of the world with a policy, if any, without a pod of n1, if any.
func viewOf(t *testing.T, policy *networkingv1.NetworkPolicy, unknown string) string {
	t.Helper()
	view := world()
	if policy != nil {
		view.Policies = append(view.Policies, policy)
	}
	var known []*corev1.Pod
	for _, p := range view.Pods {
		if p.Name != unknown || p.Spec.NodeName != view.Node {
			known = append(known, p)
		}
	}
	view.Pods = known
	text, err := Ruleset(view)
	require.NoError(t, err)
	return text
}
