package agent

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// podsByAgent is the name of the cache index that IndexPods makes.
const podsByAgent = "agent"

// observe reads an Agent's children from the caches.
func (c *Controller) observe(ctx context.Context, agent *v1alpha1.Agent) (status.Seen, error) {
	seen := status.Seen{Now: c.now()}
	deployment := &appsv1.Deployment{}
	err := c.client.Get(ctx, client.ObjectKeyFromObject(agent), deployment)
	if apierrors.IsNotFound(err) || err == nil && judge(agent, deployment) != ours {
		return seen, nil
	}
	if err != nil {
		return seen, fmt.Errorf("reading Deployment %q: %w", agent.Name, err)
	}
	seen.Deployment = deployment
	pods := &corev1.PodList{}
	if err := c.client.List(ctx, pods, client.InNamespace(agent.Namespace), client.MatchingFields{podsByAgent: agent.Name}); err != nil {
		return seen, fmt.Errorf("listing pods of %q: %w", agent.Name, err)
	}
	seen.Pods = slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool { return !isOf(&pod, deployment) })
	return seen, nil
}

// isOf tells whether a pod is the Deployment's: it is controlled by a ReplicaSet, which the Deployment controller names
// after the Deployment and the hash that the pod carries too. Anybody may put an Agent's label on a pod.
func isOf(pod *corev1.Pod, deployment *appsv1.Deployment) bool {
	controller := metav1.GetControllerOf(pod)
	return controller != nil && controller.Kind == "ReplicaSet" &&
		controller.Name == deployment.Name+"-"+pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
}
