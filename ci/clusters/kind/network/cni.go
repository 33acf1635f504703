package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
)

// cniName is the name of the CNI network. The CNI library's cache and the addresses given out are kept under it.
const cniName = "flokoa-network"

// cniFile is the configuration's file: containerd takes the first by name.
const cniFile = "10-" + cniName + ".conflist"

// cniConfig is the CNI configuration list of a node: a pair of virtual Ethernet devices per pod, of this MTU in bytes, an
// address of the node's range, and host ports. Addresses are kept where a restart of the node forgets them with its pods.
func cniConfig(nodeSubnet netip.Prefix, mtu int) ([]byte, error) {
	type object = map[string]any
	config, err := json.MarshalIndent(object{
		"cniVersion": "1.0.0",
		"name":       cniName,
		"plugins": []object{
			{
				"type": "ptp", "ipMasq": false, "mtu": mtu,
				"ipam": object{
					"type": "host-local", "dataDir": "/run/cni-ipam-state",
					"ranges": [][]object{{{"subnet": nodeSubnet.Masked().String()}}},
					"routes": []object{{"dst": "0.0.0.0/0"}},
				},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("CNI configuration: %w", err)
	}
	return append(config, '\n'), nil
}
