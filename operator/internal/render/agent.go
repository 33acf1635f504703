// Package render turns an Agent into the objects it should consist of. It is pure: no client, no context, no logger, no
// clock, no globals; the same Agent always renders to the same bytes.
//
// What it decides about the pod template is frozen for v1alpha1, so that an operator upgrade never restarts a fleet: the
// goldens under testdata are that contract. The template is a function of the spec without the replica count, so scaling
// restarts nothing either.
package render

import (
	"fmt"
	"regexp"

	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	autoscalingv2ac "k8s.io/client-go/applyconfigurations/autoscaling/v2"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// Children are the objects an Agent should consist of, ready for Server-Side Apply: with owner reference, labels and digest.
type Children struct {
	Deployment *appsv1ac.DeploymentApplyConfiguration
	// The others are nil where none should exist: a Service without ports, a PodDisruptionBudget for a single replica, an
	// autoscaler that nobody asked for, a ConfigMap without a card.
	Service    *corev1ac.ServiceApplyConfiguration
	Disruption *policyv1ac.PodDisruptionBudgetApplyConfiguration
	Autoscaler *autoscalingv2ac.HorizontalPodAutoscalerApplyConfiguration
	Card       *corev1ac.ConfigMapApplyConfiguration
}

// Agent renders an Agent's children. An error means that this spec cannot be rendered, and says which field to change.
func Agent(agent *v1alpha1.Agent, live Live) (Children, error) {
	if err := validate(agent); err != nil {
		return Children{}, err
	}
	template, err := podTemplate(agent)
	if err != nil {
		return Children{}, err
	}
	scaler, err := autoscaler(agent, live)
	if err != nil {
		return Children{}, err
	}
	configMap, err := card(agent)
	if err != nil {
		return Children{}, err
	}
	children := Children{
		Deployment: deployment(agent, live, template),
		Service:    service(agent),
		Disruption: disruptionBudget(agent),
		Autoscaler: scaler,
		Card:       configMap,
	}
	children.addDigests()
	return children, nil
}

func (c Children) addDigests() {
	c.Deployment.WithAnnotations(digest(c.Deployment))
	if c.Service != nil {
		c.Service.WithAnnotations(digest(c.Service))
	}
	if c.Disruption != nil {
		c.Disruption.WithAnnotations(digest(c.Disruption))
	}
	if c.Autoscaler != nil {
		c.Autoscaler.WithAnnotations(digest(c.Autoscaler))
	}
	if c.Card != nil {
		c.Card.WithAnnotations(digest(c.Card))
	}
}

var dns1035 = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)

// validate refuses what would render to nonsense. The CRD's rules refuse it first; this is for an Agent that was stored
// under rules that knew less.
func validate(agent *v1alpha1.Agent) error {
	if !dns1035.MatchString(agent.Name) {
		return fmt.Errorf("metadata.name %q names a Service: it must be a DNS-1035 label of at most 63 characters", agent.Name)
	}
	container := agent.Spec.Runtime.Spec.Container
	if container.Image == "" {
		return fmt.Errorf("spec.runtime.spec.container.image is empty: name the agent's image")
	}
	names := map[string]bool{}
	for _, port := range container.Ports {
		name := portName(port)
		if names[name] {
			return fmt.Errorf("spec.runtime.spec.container.ports: two ports are named %q: give each a name of its own", name)
		}
		names[name] = true
	}
	drain, grace := drainSeconds(agent), gracePeriodSeconds(agent)
	if !hasPreStop(container) && drain > 0 && drain >= grace {
		return fmt.Errorf("spec.runtime.spec.terminationGracePeriodSeconds is %d: it must be greater than spec.availability.drainSeconds, which is %d", grace, drain)
	}
	return nil
}

// Labels are the labels of every child of an Agent.
func labels(agent *v1alpha1.Agent) map[string]string {
	all := podLabels(agent)
	if agent.Spec.Framework != "" {
		all[v1alpha1.LabelFramework] = agent.Spec.Framework
	}
	return all
}

// podLabels are the labels the operator puts on pods. Frozen: one more would restart every agent.
func podLabels(agent *v1alpha1.Agent) map[string]string {
	return map[string]string{
		v1alpha1.LabelAgent:            agent.Name,
		"app.kubernetes.io/name":       agent.Name,
		"app.kubernetes.io/instance":   agent.Name,
		"app.kubernetes.io/component":  "agent",
		"app.kubernetes.io/part-of":    "flokoa",
		"app.kubernetes.io/managed-by": "flokoa-operator",
	}
}

// Selector is the label selector of an Agent's Deployment and Service. A Deployment's selector cannot be changed, so it
// holds the one label that never will.
func Selector(agent *v1alpha1.Agent) map[string]string {
	return map[string]string{v1alpha1.LabelAgent: agent.Name}
}

func owner(agent *v1alpha1.Agent) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().
		WithAPIVersion(v1alpha1.GroupVersion.String()).
		WithKind(v1alpha1.AgentKind).
		WithName(agent.Name).
		WithUID(agent.UID).
		WithController(true).
		WithBlockOwnerDeletion(true)
}
