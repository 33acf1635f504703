// Package render turns an Agent into its desired child objects. It is pure: no client, no context, no logger, no clock, no
// globals. The same Agent always renders to the same bytes.
//
// The pod template is frozen for v1alpha1, because an operator upgrade must never restart a fleet: the goldens under testdata
// are that contract. The template does not depend on the replica count, so scaling does not restart pods either.
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

// Children are the desired child objects of an Agent, ready for Server-Side Apply: with owner reference, labels, and digest.
type Children struct {
	Deployment *appsv1ac.DeploymentApplyConfiguration
	// The others are nil if they should not exist: the Service without container ports, the PodDisruptionBudget with a single
	// replica, the autoscaler without spec.autoscaling, the ConfigMap without spec.card.
	Service    *corev1ac.ServiceApplyConfiguration
	Disruption *policyv1ac.PodDisruptionBudgetApplyConfiguration
	Autoscaler *autoscalingv2ac.HorizontalPodAutoscalerApplyConfiguration
	Card       *corev1ac.ConfigMapApplyConfiguration
}

// Agent renders an Agent's children. An error means that the spec cannot be rendered, and names the field to change.
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
		Disruption: disruptionBudget(agent),
		Autoscaler: scaler,
		Card:       configMap,
	}
	if err := children.addDeploymentDigest(); err != nil {
		return Children{}, err
	}
	children.Service = service(agent, servicePorts(agent, live, children.Deployment.Annotations[v1alpha1.AnnotationDigest]))
	children.addDigests()
	return children, nil
}

// addDeploymentDigest adds the digest of the Deployment. An error means that its pod template is too large, which takes another encoding to
// tell if the Deployment is large.
func (c Children) addDeploymentDigest() error {
	raw := encode(c.Deployment)
	c.Deployment.WithAnnotations(digestOf(raw))
	if len(raw) <= maxTemplate {
		return nil
	}
	return validateSize(c.Deployment.Spec.Template)
}

// ReplaceTemplate gives the Deployment another pod template than the Agent's.
func (c Children) ReplaceTemplate(template *corev1ac.PodTemplateSpecApplyConfiguration) {
	c.Deployment.Spec.Template = template
	delete(c.Deployment.Annotations, v1alpha1.AnnotationDigest) // it covers everything but itself
	c.Deployment.WithAnnotations(digest(c.Deployment))
}

// TemplateDigest is the digest of the pod template.
func (c Children) TemplateDigest() string {
	return digest(c.Deployment.Spec.Template)[v1alpha1.AnnotationDigest]
}

// addDigests is for all children but the Deployment.
func (c Children) addDigests() {
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

// validate rejects a spec that would render to invalid objects. The CRD's rules reject it first, but an Agent may have been
// stored under an older CRD with fewer rules.
func validate(agent *v1alpha1.Agent) error {
	if !dns1035.MatchString(agent.Name) {
		return fmt.Errorf("metadata.name %q must be a DNS-1035 label of at most 63 characters, because it names a Service", agent.Name)
	}
	container := agent.Spec.Runtime.Spec.Container
	if container.Image == "" {
		return fmt.Errorf("spec.runtime.spec.container.image is empty: name the agent's image")
	}
	if err := validateContainers(agent.Spec.Runtime.Spec); err != nil {
		return err
	}
	if err := validatePorts(agent.Spec.Runtime.Spec); err != nil {
		return err
	}
	if err := validateMetadata(agent.Spec.Runtime.Spec); err != nil {
		return err
	}
	drain, grace := drainSeconds(agent), gracePeriodSeconds(agent)
	if !hasPreStop(container) && drain > 0 && drain >= grace {
		return fmt.Errorf("spec.runtime.spec.terminationGracePeriodSeconds is %d: it must be greater than spec.availability.drainSeconds, which is %d", grace, drain)
	}
	return nil
}

// labels are the labels of every child of an Agent.
func labels(agent *v1alpha1.Agent) map[string]string {
	all := podLabels(agent)
	if agent.Spec.Framework != "" {
		all[v1alpha1.LabelFramework] = agent.Spec.Framework
	}
	return all
}

// podLabels are the labels that the operator sets on pods. They are frozen: one more would restart every agent.
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

// Selector is the label selector of an Agent's Deployment and Service. A Deployment's selector is immutable, so it holds only
// the label that never changes.
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
