// Package status computes the whole status of an Agent from what was observed of its children. It is pure: no client, no context,
// no logger, no clock, no globals; the time is part of what was observed.
package status

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
)

// Observed is what one reconcile pass saw of an Agent's children, and when.
type Observed struct {
	Now time.Time
	// Deployment and Autoscaler are nil while the Agent controls none.
	Deployment *appsv1.Deployment
	Autoscaler *autoscalingv2.HorizontalPodAutoscaler
	// Pods are the Deployment's, in any order.
	Pods []corev1.Pod
	// Missing is the result of Requirements for the spec.
	Missing []Requirement
	// Rewritten are the fields of the children that admission gives another value at every write.
	Rewritten []string
	// TemplateDue is when the pod template of the spec will be applied, zero if it is applied.
	TemplateDue time.Time
	// Config is about the ConfigMaps, Secrets, and the Model that the Agent references.
	Config Config
	// Nodes are known only for an Agent that NeedsNodes.
	Nodes Nodes
	// ForeignBudgets are the PodDisruptionBudgets of others that select the Agent's pods.
	ForeignBudgets []policyv1.PodDisruptionBudget
	// UnreadBudgets are the names of those whose selector is too large for the cache: they may select the pods, too.
	UnreadBudgets []string
	// HeldFailure is a pod creation failure that HoldFailure still reports although the Deployment no longer does.
	HeldFailure string
	// PodEvents are Events about pods. QueriedPod names the pod that they were listed for; it is empty when there was no query, or
	// its answer is out of date.
	PodEvents  []PodEvent
	QueriedPod string
}

// TemplateDelay returns how long the pod template of the spec still waits, 0 if it is applied.
func (o Observed) TemplateDelay() time.Duration {
	if o.TemplateDue.IsZero() {
		return 0
	}
	return max(o.TemplateDue.Sub(o.Now), time.Millisecond)
}

// Live is the live state that rendering depends on.
func (o Observed) Live() render.Live {
	live := render.Live{}
	if o.Deployment != nil {
		live.Replicas = ptr.Deref(o.Deployment.Spec.Replicas, 0)
	}
	if o.Autoscaler != nil {
		live.MinReplicas = ptr.Deref(o.Autoscaler.Spec.MinReplicas, 0)
	}
	return live
}

// Of returns the whole status of an Agent and the ids of the requirements of high availability that it does not meet, each once.
// Of the status that the Agent has, only the transition times of unchanged conditions survive. err is why this pass could not
// apply every child, nil if it could; Ready names the worst of the Failures inside it.
func Of(agent *v1alpha1.Agent, observed Observed, err error) (v1alpha1.AgentStatus, []string) {
	status := v1alpha1.AgentStatus{
		ObservedGeneration: agent.Generation,
		Selector:           labels.Set(render.Selector(agent)).String(),
		URL:                render.URL(agent),
		Placement:          placement(observed),
	}
	if observed.Deployment != nil {
		status.Replicas = observed.Deployment.Status.Replicas
		status.UpdatedReplicas = observed.Deployment.Status.UpdatedReplicas
		status.ReadyReplicas = observed.Deployment.Status.ReadyReplicas
		status.AvailableReplicas = observed.Deployment.Status.AvailableReplicas
		status.Image = image(agent, observed.Deployment)
	}
	missing, notEvaluated := missingRequirements(agent, observed, err)
	status.Conditions = conditions(agent, observed, err, highlyAvailable(observed, missing, notEvaluated))
	return status, requirementIDs(missing)
}

// conditions returns the current conditions in a fixed order. A condition whose status did not change keeps its transition time.
func conditions(agent *v1alpha1.Agent, observed Observed, err error, ha conditionResult) []metav1.Condition {
	ready, progress := readiness(agent, observed, err)
	current := []metav1.Condition{
		available(agent, observed).condition(v1alpha1.ConditionAvailable),
		ready.condition(v1alpha1.ConditionReady),
		ha.condition(v1alpha1.ConditionHighlyAvailable),
	}
	if agent.Spec.Model != nil {
		current = append(current, modelResolved(agent, observed.Config.Model).condition(v1alpha1.ConditionModelResolved))
	}
	if config, any := configOutdated(agent, observed.Config); any {
		current = append(current, config.condition(v1alpha1.ConditionConfigOutdated))
	}
	if kind := progressCondition(progress); kind != "" {
		current = append(current, conditionTrue(progress.reason, "%s", progress.message).condition(kind))
	}
	for i := range current {
		current[i].ObservedGeneration = agent.Generation
		current[i].LastTransitionTime = metav1.NewTime(observed.Now)
		old := meta.FindStatusCondition(agent.Status.Conditions, current[i].Type)
		if old != nil && old.Status == current[i].Status {
			current[i].LastTransitionTime = old.LastTransitionTime
		}
	}
	return current
}

// image returns the image of the agent container in the Deployment's template. The API server accepts line breaks in it.
func image(agent *v1alpha1.Agent, deployment *appsv1.Deployment) string {
	name := render.ContainerName(agent)
	for _, container := range deployment.Spec.Template.Spec.Containers {
		if container.Name == name {
			return oneLine(container.Image)
		}
	}
	return ""
}

// placement counts the distinct nodes and zones of the running pods.
func placement(observed Observed) *v1alpha1.Placement {
	running := filterPods(observed.Pods, func(pod *corev1.Pod) bool {
		return pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil
	})
	nodes, zones := countDomains(running, observed.Nodes)
	return &v1alpha1.Placement{Nodes: int32(nodes), Zones: int32(zones)}
}
