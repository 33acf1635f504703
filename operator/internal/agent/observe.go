package agent

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// podsByAgent is the name of the cache index that IndexPods makes.
const podsByAgent = "agent"

// observe reads everything from the caches that the status of an Agent is made of.
func (c *Controller) observe(ctx context.Context, agent *v1alpha1.Agent) (status.Seen, error) {
	seen, err := c.observeChildren(ctx, agent)
	if err != nil || seen.Deployment == nil {
		return seen, err
	}
	if err := c.observePods(ctx, agent, &seen); err != nil {
		return seen, err
	}
	if c.readsNodes && status.NeedsNodes(agent, seen) {
		nodes := &corev1.NodeList{}
		if err := c.client.List(ctx, nodes, client.UnsafeDisableDeepCopy); err != nil {
			return seen, fmt.Errorf("listing nodes: %w", err)
		}
		seen.Nodes = status.Nodes{Known: true, Items: nodes.Items}
	}
	return seen, nil
}

// observeChildren reads the children that this Agent controls.
func (c *Controller) observeChildren(ctx context.Context, agent *v1alpha1.Agent) (status.Seen, error) {
	seen := status.Seen{Now: c.now()}
	deployment, autoscaler := &appsv1.Deployment{}, &autoscalingv2.HorizontalPodAutoscaler{}
	exists, err := c.own(ctx, agent, child{"Deployment", agent.Name, deployment})
	if err != nil {
		return seen, err
	}
	if exists {
		seen.Deployment = deployment
	}
	exists, err = c.own(ctx, agent, child{"HorizontalPodAutoscaler", agent.Name, autoscaler})
	if err != nil {
		return seen, err
	}
	if exists {
		seen.Autoscaler = autoscaler
	}
	return seen, nil
}

// cached reads a child from the cache, whole.
func (c *Controller) cached(ctx context.Context, key client.ObjectKey, into client.Object) error {
	if err := c.client.Get(ctx, key, into); err != nil {
		return err
	}
	return unpack(into)
}

// own reads a child from the cache, and tells whether there is one that this Agent controls.
func (c *Controller) own(ctx context.Context, agent *v1alpha1.Agent, live child) (bool, error) {
	err := c.cached(ctx, client.ObjectKey{Namespace: agent.Namespace, Name: live.name}, live.object)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("reading %s %q: %w", live.kind, live.name, err)
	}
	return err == nil && judge(agent, live.object) == ours, nil
}

// observePods reads the pods of the Deployment that was seen.
func (c *Controller) observePods(ctx context.Context, agent *v1alpha1.Agent, seen *status.Seen) error {
	pods := &corev1.PodList{}
	if err := c.client.List(ctx, pods, client.InNamespace(agent.Namespace), client.MatchingFields{podsByAgent: agent.Name}); err != nil {
		return fmt.Errorf("listing pods of %q: %w", agent.Name, err)
	}
	seen.Pods = slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool { return !isOf(&pod, seen.Deployment) })
	return nil
}

// isOf tells whether a pod is the Deployment's: it is controlled by a ReplicaSet, which the Deployment controller names
// after the Deployment and the hash that the pod carries too. Anybody may put an Agent's label on a pod.
func isOf(pod *corev1.Pod, deployment *appsv1.Deployment) bool {
	controller := metav1.GetControllerOf(pod)
	return controller != nil && controller.Kind == "ReplicaSet" &&
		controller.Name == deployment.Name+"-"+pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
}
