// Package status turns what was seen of an Agent into its whole status. It is pure: no client, no context, no logger, no
// clock, no globals; what time it is belongs to what was seen.
package status

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
)

// Seen is what was observed of an Agent's children, and when.
type Seen struct {
	Now time.Time
	// Deployment is nil while there is none that this Agent controls.
	Deployment *appsv1.Deployment
	// Pods are those of the Deployment; order does not matter.
	Pods []corev1.Pod
}

// Of is the status of an Agent, whole: nothing of the status it had survives but the times of conditions that did not
// change. err is why this pass could not put every child in place, nil when it could; Failures inside it are named in Ready.
func Of(agent *v1alpha1.Agent, seen Seen, err error) v1alpha1.AgentStatus {
	status := v1alpha1.AgentStatus{
		ObservedGeneration: agent.Generation,
		Selector:           labels.Set(render.Selector(agent)).String(),
		URL:                render.URL(agent),
		Placement:          placement(seen.Pods),
	}
	if seen.Deployment != nil {
		status.Replicas = seen.Deployment.Status.Replicas
		status.UpdatedReplicas = seen.Deployment.Status.UpdatedReplicas
		status.ReadyReplicas = seen.Deployment.Status.ReadyReplicas
		status.AvailableReplicas = seen.Deployment.Status.AvailableReplicas
		status.Image = image(agent, seen.Deployment)
	}
	status.Conditions = conditions(agent, seen, err)
	return status
}

// conditions are the current ones in a fixed order; one that did not change keeps its time.
func conditions(agent *v1alpha1.Agent, seen Seen, err error) []metav1.Condition {
	ready := readiness(agent, seen, err)
	current := []metav1.Condition{
		available(agent, seen).condition(v1alpha1.ConditionAvailable),
		ready.condition(v1alpha1.ConditionReady),
	}
	if agent.Spec.Model != nil {
		current = append(current, modelResolved.condition(v1alpha1.ConditionModelResolved))
	}
	if kind := progress(ready); kind != "" {
		current = append(current, verdict{metav1.ConditionTrue, ready.reason, ready.message}.condition(kind))
	}
	for i := range current {
		current[i].ObservedGeneration = agent.Generation
		current[i].LastTransitionTime = metav1.NewTime(seen.Now)
		before := meta.FindStatusCondition(agent.Status.Conditions, current[i].Type)
		if before != nil && before.Status == current[i].Status {
			current[i].LastTransitionTime = before.LastTransitionTime
		}
	}
	return current
}

// image is that of the agent's container in the Deployment's template.
func image(agent *v1alpha1.Agent, deployment *appsv1.Deployment) string {
	name := render.ContainerName(agent)
	for _, container := range deployment.Spec.Template.Spec.Containers {
		if container.Name == name {
			return container.Image
		}
	}
	return ""
}

// placement counts the distinct nodes and zones of the pods that run. The zone is the one the API server puts on a pod
// when it is bound to a node.
func placement(pods []corev1.Pod) *v1alpha1.Placement {
	nodes, zones := map[string]bool{}, map[string]bool{}
	for _, pod := range pods {
		if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
			continue
		}
		nodes[pod.Spec.NodeName] = true
		if zone := pod.Labels[corev1.LabelTopologyZone]; zone != "" {
			zones[zone] = true
		}
	}
	return &v1alpha1.Placement{Nodes: int32(len(nodes)), Zones: int32(len(zones))}
}
