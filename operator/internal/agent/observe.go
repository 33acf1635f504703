package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// podsByAgent is the name of the cache index that Index adds.
const podsByAgent = "agent"

// observe collects everything that the status of an Agent is computed from. recheck is when that changes by itself, 0 for never.
func (c *Controller) observe(ctx context.Context, agent *v1alpha1.Agent, live *children, state *state) (observed status.Observed, recheck time.Duration, err error) {
	observed = live.observed(agent)
	observed.Now = c.now()
	if err := c.observePods(ctx, agent, &observed); err != nil {
		return observed, 0, err
	}
	if err := c.observeBudgets(ctx, agent, live, &observed); err != nil {
		return observed, 0, err
	}
	if c.readsNodes && status.NeedsNodes(agent, observed) {
		nodes := &corev1.NodeList{}
		if err := c.client.List(ctx, nodes, client.UnsafeDisableDeepCopy); err != nil {
			return observed, 0, fmt.Errorf("listing nodes: %w", err)
		}
		observed.Nodes = status.Nodes{Known: true, Items: nodes.Items}
	}
	var holdEnds time.Duration
	state.hold, observed.HeldFailure, holdEnds = status.HoldFailure(state.hold, agent.Generation, observed.Deployment, observed.Now)
	nextQuery := c.podEvents(ctx, agent, &observed, state)
	return observed, soonest(holdEnds, nextQuery, status.SchedulerRecheck(observed)), nil
}

// observePods reads the pods of the observed Deployment.
func (c *Controller) observePods(ctx context.Context, agent *v1alpha1.Agent, observed *status.Observed) error {
	if observed.Deployment == nil {
		return nil
	}
	pods := &corev1.PodList{}
	if err := c.client.List(ctx, pods, client.InNamespace(agent.Namespace), client.MatchingFields{podsByAgent: agent.Name}); err != nil {
		return fmt.Errorf("listing pods of %q: %w", agent.Name, err)
	}
	observed.Pods = slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool { return !belongsTo(&pod, observed.Deployment) })
	return nil
}

// belongsTo reports whether a pod is the Deployment's. Its controller is a ReplicaSet, which the Deployment controller names after the
// Deployment and the hash in the pod's labels. The Agent's label proves nothing, because anybody may put it on a pod.
func belongsTo(pod *corev1.Pod, deployment *appsv1.Deployment) bool {
	controller := metav1.GetControllerOf(pod)
	return controller != nil && controller.Kind == "ReplicaSet" &&
		controller.Name == deployment.Name+"-"+pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
}
