package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/flokoa/flokoa/ci/clusters/kind/network/policy"
)

const (
	// coalesce is how long a change waits for others that come with it.
	coalesce = 25 * time.Millisecond
	// refresh is how often rules and routes are set though nothing changed, in case another program removed them.
	refresh = time.Minute
	// firstRetry is the wait after a failure; it doubles up to lastRetry.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// host is what the daemon changes on its node.
type host interface {
	setRoutes(wanted []route) error
	loadRules(ctx context.Context, ruleset string) error
	mtu() int
	writeCNI(config []byte) error
}

// daemon configures the node from the API server and the CNI cache.
type daemon struct {
	node      string
	podSubnet netip.Prefix
	log       *slog.Logger
	changes   changeSignal
	watched   watched
	attached  attachments
	host      host

	rules       string // as last loaded
	cni         []byte // as last written
	waitsForOwn bool   // it was logged that the node has no range yet
}

// run goes on until the context ends.
func (d *daemon) run(ctx context.Context) {
	retry := time.Duration(0)
	for {
		if err := d.sync(ctx); err != nil {
			retry = min(max(2*retry, firstRetry), lastRetry)
			d.log.Error("cannot set up the network, trying again", "in", retry, "error", err)
			if !pause(ctx, retry) {
				return
			}
			continue
		}
		retry = 0
		select {
		case <-ctx.Done():
			return
		case <-d.changes:
			if !pause(ctx, coalesce) {
				return
			}
		case <-time.After(refresh):
			d.rules, d.cni = "", nil
		}
	}
}

// pause waits; it is false if the context ended.
func pause(ctx context.Context, wait time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}

// sync sets routes and rules, and then the CNI configuration: pods may start once the rest is in place.
func (d *daemon) sync(ctx context.Context) error {
	nodes := all(d.watched.nodes.List)
	own := ownSubnet(nodes, d.node)
	if err := errors.Join(d.host.setRoutes(routes(nodes, d.node)), d.syncRules(ctx, own)); err != nil {
		return err
	}
	return d.syncCNI(own)
}

func (d *daemon) syncRules(ctx context.Context, own netip.Prefix) error {
	attached, err := d.attached.read()
	if err != nil {
		d.log.Warn("addresses of new pods are learnt late", "error", err)
	}
	rules, err := policy.Ruleset(policy.View{
		Node: d.node, PodSubnet: d.podSubnet, NodeSubnet: own,
		Pods:       withAttachments(all(d.watched.pods.List), d.node, attached),
		Namespaces: all(d.watched.namespaces.List),
		Policies:   all(d.watched.policies.List),
	})
	if err != nil {
		return err
	}
	if rules == d.rules {
		return nil
	}
	started := time.Now()
	if err := d.host.loadRules(ctx, rules); err != nil {
		return fmt.Errorf("load rules: %w", err)
	}
	d.rules = rules
	d.log.Info("loaded rules", "bytes", len(rules), "took", time.Since(started))
	return nil
}

// syncCNI awaits the node's range: the controller manager gives it soon after the node registers, and a change follows.
func (d *daemon) syncCNI(own netip.Prefix) error {
	if !own.IsValid() {
		if !d.waitsForOwn {
			d.log.Info("waiting for the controller manager to give this node a podCIDR")
			d.waitsForOwn = true
		}
		return nil
	}
	config, err := cniConfig(own, d.host.mtu())
	if err != nil || bytes.Equal(config, d.cni) {
		return err
	}
	if err := d.host.writeCNI(config); err != nil {
		return err
	}
	d.cni = config
	d.log.Info("wrote the CNI configuration", "subnet", own)
	return nil
}

// ownSubnet is the range of a node's pods. Not valid: not known yet.
func ownSubnet(nodes []*corev1.Node, self string) netip.Prefix {
	for _, node := range nodes {
		if node.Name == self {
			return nodeSubnet(node)
		}
	}
	return netip.Prefix{}
}
