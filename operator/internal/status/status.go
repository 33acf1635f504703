// Package status turns what was seen of an Agent into its whole status. It is pure: no client, no context, no logger, no
// clock, no globals; what time it is belongs to what was seen.
package status

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
)

// Seen is what was observed of an Agent's children, and when.
type Seen struct {
	Now time.Time
	// Deployment and Autoscaler are nil while there is none that this Agent controls.
	Deployment *appsv1.Deployment
	Autoscaler *autoscalingv2.HorizontalPodAutoscaler
	// Pods are those of the Deployment; order does not matter.
	Pods []corev1.Pod
	// Missing is what Requirements has to say of the spec.
	Missing []Requirement
	// Nodes are looked at only for an Agent that NeedsNodes.
	Nodes Nodes
	// Refused is what the API server last said when it refused a pod, where the Deployment does not say so now: it may the next
	// moment.
	Refused string
	// Told are Events about pods; Asked is the name of the pod that they were asked for about, not longer ago than they are good
	// for, and empty when nobody asked.
	Told  []Told
	Asked string
}

// Live is what rendering depends on.
func (s Seen) Live() render.Live {
	live := render.Live{}
	if s.Deployment != nil {
		live.Replicas = ptr.Deref(s.Deployment.Spec.Replicas, 0)
	}
	if s.Autoscaler != nil {
		live.MinReplicas = ptr.Deref(s.Autoscaler.Spec.MinReplicas, 0)
	}
	return live
}

// Of is the status of an Agent, whole: nothing of the status it had survives but the times of conditions that did not
// change. err is why this pass could not put every child in place, nil when it could; Failures inside it are named in Ready.
func Of(agent *v1alpha1.Agent, seen Seen, err error) v1alpha1.AgentStatus {
	status := v1alpha1.AgentStatus{
		ObservedGeneration: agent.Generation,
		Selector:           labels.Set(render.Selector(agent)).String(),
		URL:                render.URL(agent),
		Placement:          placement(seen),
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
	ready, step := readiness(agent, seen, err)
	current := []metav1.Condition{
		available(agent, seen).condition(v1alpha1.ConditionAvailable),
		ready.condition(v1alpha1.ConditionReady),
		highlyAvailable(agent, seen, err).condition(v1alpha1.ConditionHighlyAvailable),
	}
	if agent.Spec.Model != nil {
		current = append(current, modelResolved.condition(v1alpha1.ConditionModelResolved))
	}
	if kind := progress(step); kind != "" {
		current = append(current, yes(step.reason, "%s", step.message).condition(kind))
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

// placement counts the distinct nodes and zones of the pods that run.
func placement(seen Seen) *v1alpha1.Placement {
	running := having(seen.Pods, func(pod *corev1.Pod) bool {
		return pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil
	})
	nodes, zones := spots(running, seen.Nodes)
	return &v1alpha1.Placement{Nodes: int32(nodes), Zones: int32(zones)}
}

// settled tells whether an Agent's status says that it is Ready.
func settled(agent *v1alpha1.Agent) bool {
	return meta.IsStatusConditionTrue(agent.Status.Conditions, v1alpha1.ConditionReady)
}
