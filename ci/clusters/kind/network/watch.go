package main

import (
	"context"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	networkingv1listers "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
)

// watched is the latest state from the API server. It does not change while the API server is unavailable.
type watched struct {
	nodes      corev1listers.NodeLister
	pods       corev1listers.PodLister
	namespaces corev1listers.NamespaceLister
	policies   networkingv1listers.NetworkPolicyLister
	synced     func(context.Context) bool // awaits the first whole answer; false: the context ended before
}

// watch raises changes for everything that the API server announces.
func watch(ctx context.Context, log *slog.Logger, client kubernetes.Interface, changes changeSignal) (watched, error) {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(strip))
	core, networking := factory.Core().V1(), factory.Networking().V1()
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changes.raise() },
		UpdateFunc: func(any, any) { changes.raise() },
		DeleteFunc: func(any) { changes.raise() },
	}
	for _, informer := range []cache.SharedIndexInformer{
		core.Nodes().Informer(), core.Pods().Informer(), core.Namespaces().Informer(), networking.NetworkPolicies().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return watched{}, fmt.Errorf("watch: %w", err)
		}
	}
	factory.StartWithContext(ctx)
	return watched{
		nodes: core.Nodes().Lister(), pods: core.Pods().Lister(), namespaces: core.Namespaces().Lister(),
		policies: networking.NetworkPolicies().Lister(),
		synced: func(ctx context.Context) bool {
			log.Info("waiting for the API server's first answer")
			for _, done := range factory.WaitForCacheSync(ctx.Done()) {
				if !done {
					return false
				}
			}
			return true
		},
	}, nil
}

// all reads the whole of a store; a lister's List for everything never fails.
func all[T any](list func(labels.Selector) ([]T, error)) []T {
	items, _ := list(labels.Everything())
	return items
}

// strip keeps of each object what this program reads, so that a node need not hold every pod of the cluster whole.
func strip(object any) (any, error) {
	switch of := object.(type) {
	case *corev1.Pod:
		return stripPod(of), nil
	case *corev1.Node:
		return &corev1.Node{
			ObjectMeta: stripMeta(of.ObjectMeta),
			Spec:       corev1.NodeSpec{PodCIDR: of.Spec.PodCIDR, PodCIDRs: of.Spec.PodCIDRs},
			Status:     corev1.NodeStatus{Addresses: of.Status.Addresses},
		}, nil
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: stripMeta(of.ObjectMeta)}, nil
	case *networkingv1.NetworkPolicy:
		return &networkingv1.NetworkPolicy{ObjectMeta: stripMeta(of.ObjectMeta), Spec: of.Spec}, nil
	default: // a tombstone
		return object, nil
	}
}

func stripPod(of *corev1.Pod) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: stripMeta(of.ObjectMeta),
		Spec: corev1.PodSpec{
			NodeName: of.Spec.NodeName, HostNetwork: of.Spec.HostNetwork,
			Containers: stripContainers(of.Spec.Containers), InitContainers: stripContainers(of.Spec.InitContainers),
		},
		Status: corev1.PodStatus{Phase: of.Status.Phase, PodIP: of.Status.PodIP},
	}
}

func stripMeta(of metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: of.Namespace, Name: of.Name, UID: of.UID, ResourceVersion: of.ResourceVersion, Labels: of.Labels,
		CreationTimestamp: of.CreationTimestamp, DeletionTimestamp: of.DeletionTimestamp,
	}
}

// stripContainers keeps those with ports.
func stripContainers(of []corev1.Container) []corev1.Container {
	var kept []corev1.Container
	for _, container := range of {
		if len(container.Ports) > 0 {
			kept = append(kept, corev1.Container{Name: container.Name, Ports: container.Ports, RestartPolicy: container.RestartPolicy})
		}
	}
	return kept
}
