package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// attachment is an address that CNI gave to a pod of this node.
type attachment struct {
	namespace, name string
	uid             types.UID // empty if the container runtime does not report it
	address         netip.Addr
	since           time.Time
}

// attachments read the cache in which the CNI library keeps the result of each ADD until the DEL. A container runtime starts a
// pod's containers after the ADD, and the kubelet reports the address later still: no other source knows it as early.
type attachments struct {
	folder string
}

// watchAttachments raises changes when an address is given out or taken back.
func watchAttachments(ctx context.Context, log *slog.Logger, folder string, changes changeSignal) (attachments, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return attachments{}, fmt.Errorf("watch the CNI cache: %w", err)
	}
	if err := watcher.Add(folder); err != nil {
		return attachments{}, errors.Join(fmt.Errorf("watch the CNI cache %s: %w", folder, err), watcher.Close())
	}
	go func() {
		defer func() { _ = watcher.Close() }()
		for {
			select {
			case <-ctx.Done():
				return
			case <-watcher.Events:
				changes.raise()
			case err := <-watcher.Errors: // events were lost
				log.Warn("watching the CNI cache", "error", err)
				changes.raise()
			}
		}
	}()
	return attachments{folder: folder}, nil
}

// read lists the attachments. A file that is half written or gone again is left out: its next event follows.
func (a attachments) read() ([]attachment, error) {
	entries, err := os.ReadDir(a.folder)
	if err != nil {
		return nil, fmt.Errorf("read the CNI cache: %w", err)
	}
	var list []attachment
	for _, entry := range entries {
		path := filepath.Join(a.folder, entry.Name())
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the CNI cache: %w", err)
		}
		if found, ok := parseAttachment(content); ok {
			if info, err := entry.Info(); err == nil {
				found.since = info.ModTime()
			}
			list = append(list, found)
		}
	}
	return list, nil
}

// parseAttachment reads a file of the CNI library's cache (kind cniCacheV1). It is not ok for other networks than ours, such as
// the loopback.
func parseAttachment(content []byte) (found attachment, ok bool) {
	var cached struct {
		Kind        string      `json:"kind"`
		NetworkName string      `json:"networkName"`
		Args        [][2]string `json:"cniArgs"`
		Result      struct {
			IPs []struct {
				Address string `json:"address"`
			} `json:"ips"`
		} `json:"result"`
	}
	if json.Unmarshal(content, &cached) != nil || cached.Kind != "cniCacheV1" || cached.NetworkName != cniName {
		return attachment{}, false
	}
	for _, argument := range cached.Args {
		switch value := argument[1]; argument[0] {
		case "K8S_POD_NAMESPACE":
			found.namespace = value
		case "K8S_POD_NAME":
			found.name = value
		case "K8S_POD_UID":
			found.uid = types.UID(value)
		}
	}
	for _, ip := range cached.Result.IPs {
		if prefix, err := netip.ParsePrefix(ip.Address); err == nil && prefix.Addr().Is4() {
			found.address = prefix.Addr()
		}
	}
	return found, found.name != "" && found.address.IsValid()
}

// withAttachments are the pods with the addresses that CNI gave to them, where it did: it knows them before the pods' statuses
// do. Of several attachments of a pod the latest counts, as when its sandbox is made anew. Pods that change are copies.
func withAttachments(pods []*corev1.Pod, node string, list []attachment) []*corev1.Pod {
	latest := map[types.NamespacedName]attachment{}
	for _, found := range list {
		key := types.NamespacedName{Namespace: found.namespace, Name: found.name}
		if !found.since.Before(latest[key].since) {
			latest[key] = found
		}
	}
	out := make([]*corev1.Pod, len(pods))
	for i, pod := range pods {
		out[i] = pod
		found, known := latest[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}]
		if known && pod.Spec.NodeName == node && cmp.Or(found.uid, pod.UID) == pod.UID && pod.Status.PodIP != found.address.String() {
			out[i] = pod.DeepCopy()
			out[i].Status.PodIP = found.address.String()
		}
	}
	return out
}
