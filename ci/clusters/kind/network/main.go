// Command network is the pod network of a test cluster whose nodes share one layer-2 segment, as kind's do: routes to the other
// nodes' pods, the CNI configuration, masquerading, and NetworkPolicy by nftables. IPv4 only. It runs on every node as the
// DaemonSet of network.yaml.
//
// It reads three variables: NODE_NAME, the node that it runs on; POD_SUBNET, the addresses of the cluster's pods; and
// CONTROL_PLANE_ENDPOINT (host:port; kind adds it), the API server without the Service in front of it, because kube-proxy may
// not be up yet. It logs to stderr, ends with 0 on SIGTERM and with 1 if it cannot start, and leaves routes and rules in place
// when it ends. While the API server is away, nothing changes but what is learnt from the node itself.
//
// # When a policy applies to a new pod
//
// A pod of this node without rules has no traffic either: the ruleset drops what comes from or goes to an address of the node's
// range that belongs to no known pod. The address is learnt from the CNI library's own cache as soon as it is given out, before
// the pod's containers start, or else from the pod's status, about a second later. What remains:
//
//   - Other nodes learn a pod's address from its status, which the kubelet writes up to about a second after the address was
//     given out. Until then a policy that names the pod as a peer does not allow it yet; its first packets are dropped, and TCP
//     sends them again after a second.
//   - A change of a policy, of labels or of an address takes effect some 50 ms after the API server announces it.
//   - Connections that are established go on when a later policy denies them.
//   - A node that restarts has no rules until this program runs again, although its pods may start before.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	cniConfigFolder = "/etc/cni/net.d"
	cniCacheFolder  = "/var/lib/cni/results"
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, log, os.Getenv); err != nil {
		log.Error("cannot start", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, log *slog.Logger, env func(string) string) error {
	node := env("NODE_NAME")
	if node == "" {
		return errors.New("NODE_NAME is not set: set it to the pod's spec.nodeName")
	}
	podSubnet, err := firstIPv4(env("POD_SUBNET"))
	if err != nil {
		return fmt.Errorf("POD_SUBNET: %w", err)
	}
	client, err := newClient(env("CONTROL_PLANE_ENDPOINT"))
	if err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	log = log.With("node", node)

	changes := newSignal()
	watched, err := watch(ctx, log, client, changes)
	if err != nil {
		return err
	}
	attached, err := watchAttachments(ctx, log, cniCacheFolder, changes)
	if err != nil {
		return err
	}
	if !watched.synced(ctx) {
		return nil // terminated by a signal
	}
	(&daemon{
		node: node, podSubnet: podSubnet, log: log, changes: changes,
		watched: watched, attached: attached, host: &linuxHost{log: log, cniFolder: cniConfigFolder},
	}).run(ctx)
	return nil
}

// newClient is a client of the API server with the pod's own service account.
func newClient(endpoint string) (kubernetes.Interface, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, err
	}
	if endpoint != "" {
		config.Host = "https://" + endpoint
	}
	config.UserAgent = "flokoa-network"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	return kubernetes.NewForConfig(config)
}

// firstIPv4 is the IPv4 subnet in a comma-separated list.
func firstIPv4(list string) (netip.Prefix, error) {
	for text := range strings.SplitSeq(list, ",") {
		if prefix, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil && prefix.Addr().Is4() {
			return prefix.Masked(), nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("%q holds no IPv4 subnet: set it to the cluster's pod subnet, such as 10.244.0.0/16", list)
}
