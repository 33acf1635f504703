package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

const (
	// routeOwner marks our routes in the kernel (`ip route show proto 70`), so that no other is removed. A free number.
	routeOwner netlink.RouteProtocol = 70
	// usualMTU is taken where the node has no default route, in bytes.
	usualMTU   = 1500
	nftTimeout = 10 * time.Second
)

// linuxHost is the node itself.
type linuxHost struct {
	log       *slog.Logger
	cniFolder string
}

// loadRules has nft replace the ruleset, all of it or nothing.
func (h *linuxHost) loadRules(ctx context.Context, ruleset string) error {
	ctx, cancel := context.WithTimeout(ctx, nftTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "nft", "-f", "-")
	command.Stdin = strings.NewReader(ruleset)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("nft -f -: %w: %s", err, bytes.TrimSpace(output))
	}
	return nil
}

// setRoutes adds or corrects what is wanted, and removes routes of ours that no longer are.
func (h *linuxHost) setRoutes(wanted []route) error {
	var failed []error
	keep := map[string]bool{}
	for _, route := range wanted {
		keep[route.pods.String()] = true
		if err := netlink.RouteReplace(&netlink.Route{Dst: ipNet(route.pods), Gw: route.via.AsSlice(), Protocol: routeOwner}); err != nil {
			failed = append(failed, fmt.Errorf("route to %s via %s: %w", route.pods, route.via, err))
		}
	}
	present, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeOwner}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		failed = append(failed, fmt.Errorf("list routes: %w", err))
	}
	for _, route := range present {
		if route.Dst == nil || keep[route.Dst.String()] {
			continue
		}
		if err := netlink.RouteDel(&route); err != nil {
			failed = append(failed, fmt.Errorf("remove the route to %s: %w", route.Dst, err))
			continue
		}
		h.log.Info("removed a route", "pods", route.Dst.String())
	}
	return errors.Join(failed...)
}

// mtu is that of the interface of the default route, in bytes.
func (h *linuxHost) mtu() int {
	list, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		h.log.Warn("list routes to find the MTU", "error", err)
		return usualMTU
	}
	for _, route := range list {
		if route.Dst != nil && !route.Dst.IP.IsUnspecified() {
			continue
		}
		if link, err := netlink.LinkByIndex(route.LinkIndex); err == nil && link.Attrs().MTU > 0 {
			return link.Attrs().MTU
		}
	}
	return usualMTU
}

// writeCNI puts the configuration where the container runtime looks for it, in one step: it may read at any moment.
func (h *linuxHost) writeCNI(config []byte) error {
	path := filepath.Join(h.cniFolder, cniFile)
	unfinished := path + ".new"
	if err := os.WriteFile(unfinished, config, 0o644); err != nil {
		return fmt.Errorf("write the CNI configuration: %w", err)
	}
	if err := os.Rename(unfinished, path); err != nil {
		return fmt.Errorf("write the CNI configuration: %w", err)
	}
	return nil
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
}
