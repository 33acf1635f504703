package kind_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// countAgents is what a quota counts Agents by.
const countAgents = corev1.ResourceName("count/agents.agent.flokoa.ai")

// waitAgentsCounted waits until the controller-manager has found out about Agents. A quota that is made earlier is looked at
// again only after five minutes, and until then the API server refuses what it should count.
func waitAgentsCounted(ctx context.Context) error {
	return waitFor(ctx, "Kubernetes counts Agents", waitTimeout, func(ctx context.Context) error {
		quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: system, GenerateName: "probe-"},
			Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{countAgents: resource.MustParse("1")}}}
		if err := api.Create(ctx, quota); err != nil {
			return err
		}
		defer func() { _ = api.Delete(ctx, quota) }()
		return waitFor(ctx, "the quota counts", 2*time.Second, func(ctx context.Context) error { return checkQuotaCounted(ctx, quota) })
	})
}

// checkQuotaCounted reports which resources a quota does not count yet.
func checkQuotaCounted(ctx context.Context, quota *corev1.ResourceQuota) error {
	if err := api.Get(ctx, client.ObjectKeyFromObject(quota), quota); err != nil {
		return err
	}
	if used, hard := len(quota.Status.Used), len(quota.Spec.Hard); used != hard {
		return fmt.Errorf("%s counts %d of %d", quota.Name, used, hard)
	}
	return nil
}

// waitQuotas waits until every quota of the environments counts all that it is for.
func waitQuotas(ctx context.Context) error {
	return waitFor(ctx, "every quota counts", waitTimeout, func(ctx context.Context) error {
		for _, namespace := range environmentNamespaces() {
			quotas := &corev1.ResourceQuotaList{}
			if err := api.List(ctx, quotas, client.InNamespace(namespace)); err != nil {
				return err
			}
			if len(quotas.Items) == 0 {
				return fmt.Errorf("%s has none", namespace)
			}
			for i := range quotas.Items {
				if err := checkQuotaCounted(ctx, &quotas.Items[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// waitOperatorReady waits until every replica of the operator is ready.
func waitOperatorReady(ctx context.Context) error {
	return waitFor(ctx, "the operator is ready", waitTimeout, func(ctx context.Context) error {
		operator := &appsv1.Deployment{}
		if err := api.Get(ctx, client.ObjectKey{Namespace: system, Name: "flokoa-operator"}, operator); err != nil {
			return err
		}
		status := operator.Status
		if status.ObservedGeneration != operator.Generation || status.UpdatedReplicas != *operator.Spec.Replicas ||
			status.AvailableReplicas != *operator.Spec.Replicas || status.Replicas != *operator.Spec.Replicas {
			return fmt.Errorf("%d of %d replicas are available, %d of them new", status.AvailableReplicas, *operator.Spec.Replicas, status.UpdatedReplicas)
		}
		return nil
	})
}

// installCPUMetrics installs metrics-server on kind if its image is loaded and no metrics API exists.
func installCPUMetrics(ctx context.Context) error {
	if hasCPUMetrics(ctx) || cluster.kind == "" {
		return nil
	}
	manifest, err := os.ReadFile("metrics-server.yaml")
	if err != nil {
		return err
	}
	apply := kubectl(ctx, "apply", "--filename", "-")
	apply.Stdin = strings.NewReader(strings.ReplaceAll(string(manifest), "@IMAGE@", image("metrics-server", "test")))
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return waitFor(ctx, "CPU is measured", waitTimeout, func(ctx context.Context) error {
		if !hasCPUMetrics(ctx) {
			return errors.New("no metrics.k8s.io API")
		}
		return nil
	})
}

// hasCPUMetrics reports whether the cluster has a metrics API for pods.
func hasCPUMetrics(ctx context.Context) bool {
	return kubectl(ctx, "get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes").Run() == nil
}
