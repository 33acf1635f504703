package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
)

func node(name, podCIDR, address string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.NodeSpec{PodCIDR: podCIDR},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: address}}},
	}
}

func pod(name, node, address string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: "uid-of-pod", Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{PodIP: address},
	}
}

func TestRoutesLeadToTheOtherNodesThatAreReady(t *testing.T) {
	require.Equal(t, []route{
		{pods: netip.MustParsePrefix("10.244.2.0/24"), via: netip.MustParseAddr("172.18.0.4")},
		{pods: netip.MustParsePrefix("10.244.3.0/24"), via: netip.MustParseAddr("172.18.0.3")},
	}, routes([]*corev1.Node{
		node("c", "10.244.3.0/24", "172.18.0.3"), node("b", "10.244.2.0/24", "172.18.0.4"), node("self", "10.244.1.0/24", "172.18.0.2"),
		node("no-range", "", "172.18.0.5"), node("no-address", "10.244.4.0/24", ""), node("six", "fd00::/64", "172.18.0.6"),
	}, "self"))
}

func TestTheCNIConfigurationGivesOutAddressesOfTheNodesRange(t *testing.T) {
	config, err := cniConfig(netip.MustParsePrefix("10.244.1.0/24"), 1450)
	require.NoError(t, err)
	require.True(t, json.Valid(config))
	require.JSONEq(t, `{"cniVersion": "1.0.0", "name": "flokoa-network", "plugins": [
		{"type": "ptp", "ipMasq": false, "mtu": 1450, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam-state",
			"ranges": [[{"subnet": "10.244.1.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
		{"type": "portmap", "capabilities": {"portMappings": true}}]}`, string(config))
}

func TestThePodSubnetIsTheIPv4OneOfTheList(t *testing.T) {
	subnet, err := firstIPv4("fd00::/56, 10.244.0.0/16")
	require.NoError(t, err)
	require.Equal(t, "10.244.0.0/16", subnet.String())
	_, err = firstIPv4("")
	require.ErrorContains(t, err, "such as 10.244.0.0/16")
}

// cached is a file of the CNI library's cache.
func cached(network, pod, uid, address string) string {
	return `{"kind": "cniCacheV1", "containerId": "c", "ifName": "eth0", "networkName": "` + network + `",
		"cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", "a"], ["K8S_POD_NAME", "` + pod + `"], ["K8S_POD_UID", "` + uid + `"]],
		"result": {"cniVersion": "1.0.0", "ips": [{"address": "` + address + `", "gateway": "10.244.1.1", "interface": 2}]}}`
}

func TestAttachmentsAreReadFromTheCNICache(t *testing.T) {
	found, ok := parseAttachment([]byte(cached("flokoa-network", "web", "u", "10.244.1.2/24")))
	require.True(t, ok)
	require.Equal(t, attachment{namespace: "a", name: "web", uid: "u", address: netip.MustParseAddr("10.244.1.2")}, found)
	for _, other := range []string{cached("cni-loopback", "web", "u", "127.0.0.1/8"), `{"kind": "cniCa`, "", `{"kind": "cniCacheV1", "networkName": "flokoa-network"}`} {
		_, ok := parseAttachment([]byte(other))
		require.False(t, ok, other)
	}
}

func TestAnAddressThatIsGivenOutRaisesAChange(t *testing.T) {
	folder, changes := t.TempDir(), newSignal()
	_, err := watchAttachments(t.Context(), slog.New(slog.DiscardHandler), folder, changes)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "flokoa-network-c-eth0"), nil, 0o600))
	select {
	case <-changes:
	case <-time.After(10 * time.Second):
		require.Fail(t, "no change was raised")
	}
}

func TestAnAttachmentHasAPodsAddressBeforeItsStatus(t *testing.T) {
	address := netip.MustParseAddr("10.244.1.9")
	attached := func(change func(*attachment)) attachment {
		a := attachment{namespace: "a", name: "web", uid: "uid-of-pod", address: address, since: time.Unix(10, 0)}
		change(&a)
		return a
	}
	same := func(*attachment) {}
	for name, row := range map[string]struct {
		pod  *corev1.Pod
		list []attachment
		want string
	}{
		"no status yet":                 {pod: pod("web", "self", ""), list: []attachment{attached(same)}, want: "10.244.1.9"},
		"a sandbox made anew":           {pod: pod("web", "self", "10.244.1.2"), list: []attachment{attached(same)}, want: "10.244.1.9"},
		"the runtime has no UID":        {pod: pod("web", "self", ""), list: []attachment{attached(func(a *attachment) { a.uid = "" })}, want: "10.244.1.9"},
		"of an earlier pod of the name": {pod: pod("web", "self", ""), list: []attachment{attached(func(a *attachment) { a.uid = "old" })}, want: ""},
		"of another namespace":          {pod: pod("web", "self", ""), list: []attachment{attached(func(a *attachment) { a.namespace = "b" })}, want: ""},
		"on another node":               {pod: pod("web", "other", "10.244.2.2"), list: []attachment{attached(same)}, want: "10.244.2.2"},
		"none":                          {pod: pod("web", "self", "10.244.1.2"), want: "10.244.1.2"},
		"the latest of two": {
			pod:  pod("web", "self", ""),
			list: []attachment{attached(same), attached(func(a *attachment) { a.address, a.since = netip.MustParseAddr("10.244.1.8"), time.Unix(9, 0) })},
			want: "10.244.1.9",
		},
	} {
		t.Run(name, func(t *testing.T) {
			was := row.pod.DeepCopy()
			require.Equal(t, row.want, withAttachments([]*corev1.Pod{row.pod}, "self", row.list)[0].Status.PodIP)
			require.Equal(t, was, row.pod, "what an informer holds must not change")
		})
	}
}

func TestPodsAreTrimmedToWhatRulesNeed(t *testing.T) {
	whole := pod("web", "self", "10.244.1.2")
	whole.Annotations = map[string]string{"large": "text"}
	whole.Spec.Containers = []corev1.Container{{Name: "c", Image: "i", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}}, {Name: "d"}}
	whole.Status.Message = "text"
	kept, err := strip(whole)
	require.NoError(t, err)
	want := pod("web", "self", "10.244.1.2")
	want.Spec.Containers = []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}}}
	require.Equal(t, want, kept)
}

// recorder is a host that remembers.
type recorder struct {
	sync.Mutex
	failures int // of loadRules, before it works
	rules    string
	cni      string
	routes   []route
}

func (r *recorder) setRoutes(wanted []route) error {
	r.Lock()
	defer r.Unlock()
	r.routes = wanted
	return nil
}

func (r *recorder) loadRules(_ context.Context, ruleset string) error {
	r.Lock()
	defer r.Unlock()
	if r.failures > 0 {
		r.failures--
		return errors.New("busy")
	}
	r.rules = ruleset
	return nil
}

func (r *recorder) mtu() int { return 1500 }

func (r *recorder) writeCNI(config []byte) error {
	r.Lock()
	defer r.Unlock()
	r.cni = string(config)
	return nil
}

// start runs the daemon on node self against a fake API server and a CNI cache in a folder.
func start(t *testing.T, to *recorder, objects ...runtime.Object) (client *fake.Clientset, cniCache string) {
	t.Helper()
	log, changes, client, cniCache := slog.New(slog.DiscardHandler), newSignal(), fake.NewClientset(objects...), t.TempDir()
	seen, err := watch(t.Context(), log, client, changes)
	require.NoError(t, err)
	attached, err := watchAttachments(t.Context(), log, cniCache, changes)
	require.NoError(t, err)
	require.True(t, seen.synced(t.Context()))
	go (&daemon{
		node: "self", podSubnet: netip.MustParsePrefix("10.244.0.0/16"), log: log, changes: changes,
		watched: seen, attached: attached, host: to,
	}).run(t.Context())
	return client, cniCache
}

func (r *recorder) eventually(t *testing.T, what string, met func() bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		r.Lock()
		defer r.Unlock()
		return met()
	}, 10*time.Second, 5*time.Millisecond, what)
}

func TestTheCNIConfigurationWaitsForPodCIDRAndRuleset(t *testing.T) {
	host := &recorder{failures: 2}
	client, _ := start(t, host, node("self", "", "172.18.0.2"))
	host.eventually(t, "rules are loaded after failures", func() bool { return host.rules != "" })
	require.Empty(t, host.cni)

	_, err := client.CoreV1().Nodes().Update(t.Context(), node("self", "10.244.1.0/24", "172.18.0.2"), metav1.UpdateOptions{})
	require.NoError(t, err)
	host.eventually(t, "the configuration is written", func() bool { return host.cni != "" })
	require.Contains(t, host.rules, "ip saddr 10.244.1.0/24 counter drop", "rules come first")
}

func TestANewPodsRulesFollowItsAttachment(t *testing.T) {
	host := &recorder{}
	denied := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "deny"}}
	_, cniCache := start(t, host, node("self", "10.244.1.0/24", "172.18.0.2"), pod("web", "self", ""), denied)
	host.eventually(t, "the daemon runs", func() bool { return host.rules != "" })
	require.NotContains(t, host.rules, "jump")

	file := filepath.Join(cniCache, "flokoa-network-c-eth0")
	require.NoError(t, os.WriteFile(file, []byte(cached("flokoa-network", "web", "uid-of-pod", "10.244.1.9/24")), 0o600))
	host.eventually(t, "the new address is isolated", func() bool { return strings.Contains(host.rules, "chain ingress-of-10.244.1.9") })
}

func TestMissingVariablesAreNamed(t *testing.T) {
	err := run(t.Context(), slog.New(slog.DiscardHandler), func(string) string { return "" })
	require.ErrorContains(t, err, "NODE_NAME is not set")
}
