package kind_test

import (
	"context"
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

// awaitAgentsCounted waits until the controller-manager has found out about Agents. A quota that is made earlier is looked at
// again only after five minutes, and until then the API server refuses what it should count.
func awaitAgentsCounted(ctx context.Context) error {
	return await(ctx, "Kubernetes counts Agents", patience, func(ctx context.Context) error {
		quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: system, GenerateName: "probe-"},
			Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{countAgents: resource.MustParse("1")}}}
		if err := api.Create(ctx, quota); err != nil {
			return err
		}
		defer func() { _ = api.Delete(ctx, quota) }()
		return await(ctx, "the quota counts", 2*time.Second, func(ctx context.Context) error { return counts(ctx, quota) })
	})
}

// counts says what a quota does not count yet.
func counts(ctx context.Context, quota *corev1.ResourceQuota) error {
	if err := api.Get(ctx, client.ObjectKeyFromObject(quota), quota); err != nil {
		return err
	}
	if used, hard := len(quota.Status.Used), len(quota.Spec.Hard); used != hard {
		return fmt.Errorf("%s counts %d of %d", quota.Name, used, hard)
	}
	return nil
}

// awaitQuotas waits until every quota of the environments counts all that it is for.
func awaitQuotas(ctx context.Context) error {
	return await(ctx, "every quota counts", patience, func(ctx context.Context) error {
		for _, namespace := range environmentNamespaces() {
			quotas := &corev1.ResourceQuotaList{}
			if err := api.List(ctx, quotas, client.InNamespace(namespace)); err != nil {
				return err
			}
			if len(quotas.Items) == 0 {
				return fmt.Errorf("%s has none", namespace)
			}
			for i := range quotas.Items {
				if err := counts(ctx, &quotas.Items[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// operatorReady waits until every replica of the operator is ready.
func operatorReady(ctx context.Context) error {
	return await(ctx, "the operator is ready", patience, func(ctx context.Context) error {
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

// measureCPU installs metrics-server where nobody serves CPU metrics and the image of it was loaded, on kind.
func measureCPU(ctx context.Context) error {
	if cpuIsMeasured(ctx) || cluster.kind == "" {
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
	return await(ctx, "CPU is measured", patience, func(ctx context.Context) error {
		if !cpuIsMeasured(ctx) {
			return fmt.Errorf("nobody serves metrics.k8s.io")
		}
		return nil
	})
}

// cpuIsMeasured tells whether anybody serves what pods use.
func cpuIsMeasured(ctx context.Context) bool {
	return kubectl(ctx, "get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes").Run() == nil
}
