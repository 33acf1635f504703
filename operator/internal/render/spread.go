package render

import (
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// spreadConstraints spread the pods of one revision over hosts and zones. The user's own rule for a topology key replaces the
// default one, if it selects these pods and is at least as strict. Key and action identify a constraint in the list, so a constraint
// of the user with both leaves no room for the default one, even if it selects other pods.
func spreadConstraints(agent *v1alpha1.Agent) []corev1ac.TopologySpreadConstraintApplyConfiguration {
	hosts := corev1.ScheduleAnyway
	switch availability(agent).Spread {
	case v1alpha1.SpreadNone:
		return nil
	case v1alpha1.SpreadRequired:
		hosts = corev1.DoNotSchedule
	}
	var constraints []corev1ac.TopologySpreadConstraintApplyConfiguration
	add := func(key string, when corev1.UnsatisfiableConstraintAction) {
		if !userSpreads(agent, key, when) && !hasConstraint(agent, key, when) {
			constraints = append(constraints, *spreadConstraint(agent, key, when))
		}
	}
	add(corev1.LabelHostname, hosts)
	add(corev1.LabelTopologyZone, corev1.ScheduleAnyway)
	return constraints
}

// spreadConstraint counts only pods of one revision (matchLabelKeys), so that old pods do not distort the spread during a
// rollout, and only nodes that the pods can run on.
func spreadConstraint(agent *v1alpha1.Agent, key string, when corev1.UnsatisfiableConstraintAction) *corev1ac.TopologySpreadConstraintApplyConfiguration {
	return corev1ac.TopologySpreadConstraint().
		WithMaxSkew(1).
		WithTopologyKey(key).
		WithWhenUnsatisfiable(when).
		WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(Selector(agent))).
		WithMatchLabelKeys("pod-template-hash").
		WithNodeAffinityPolicy(corev1.NodeInclusionPolicyHonor).
		WithNodeTaintsPolicy(corev1.NodeInclusionPolicyHonor)
}

// Spread returns the smallest maxSkew with which a constraint spreads an Agent's pods over a topology: 1 for the default one and for
// an anti-affinity term, 0 if nothing spreads them. otherPods is true if a constraint of the user over it selects no pod of the Agent.
func Spread(agent *v1alpha1.Agent, key string) (maxSkew int32, otherPods bool) {
	added := slices.ContainsFunc(spreadConstraints(agent), func(c corev1ac.TopologySpreadConstraintApplyConfiguration) bool {
		return *c.TopologyKey == key
	})
	if added || hasAntiAffinity(agent, key, false) {
		return 1, false
	}
	for _, c := range agent.Spec.Runtime.Spec.TopologySpreadConstraints {
		switch {
		case c.TopologyKey != key:
		case !selectsPods(agent, c.LabelSelector):
			otherPods = true
		case maxSkew == 0 || c.MaxSkew < maxSkew:
			maxSkew = c.MaxSkew
		}
	}
	return maxSkew, otherPods
}

// RequiredAntiAffinity are the user's required anti-affinity terms between an Agent's own pods.
func RequiredAntiAffinity(agent *v1alpha1.Agent) []corev1.PodAffinityTerm {
	var terms []corev1.PodAffinityTerm
	for _, term := range userAntiAffinity(agent).RequiredDuringSchedulingIgnoredDuringExecution {
		if selectsItself(agent, term) {
			terms = append(terms, term)
		}
	}
	return terms
}

// MinDomains are the user's hard constraints on the Agent's pods that have minDomains.
func MinDomains(agent *v1alpha1.Agent) []corev1.TopologySpreadConstraint {
	var constraints []corev1.TopologySpreadConstraint
	for _, c := range agent.Spec.Runtime.Spec.TopologySpreadConstraints {
		if c.MinDomains != nil && c.WhenUnsatisfiable == corev1.DoNotSchedule && selectsPods(agent, c.LabelSelector) {
			constraints = append(constraints, c)
		}
	}
	return constraints
}

// HostPorts are the ports of a node that each of an Agent's pods occupies. The scheduler ignores those of init containers that end before
// the agent starts.
func HostPorts(agent *v1alpha1.Agent) []string {
	user := agent.Spec.Runtime.Spec
	containers := append([]corev1.Container{user.Container}, user.Sidecars...)
	for _, container := range user.InitContainers {
		if ptr.Deref(container.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, container)
		}
	}
	var ports []string
	for _, container := range containers {
		for _, port := range container.Ports {
			if port.HostPort > 0 {
				ports = append(ports, strconv.Itoa(int(port.HostPort)))
			}
		}
	}
	return ports
}

func userAntiAffinity(agent *v1alpha1.Agent) corev1.PodAntiAffinity {
	affinity := ptr.Deref(agent.Spec.Runtime.Spec.Affinity, corev1.Affinity{})
	return ptr.Deref(affinity.PodAntiAffinity, corev1.PodAntiAffinity{})
}

// hasConstraint reports whether the user has a constraint with a key and an action, whatever it selects.
func hasConstraint(agent *v1alpha1.Agent, key string, when corev1.UnsatisfiableConstraintAction) bool {
	return slices.ContainsFunc(agent.Spec.Runtime.Spec.TopologySpreadConstraints, func(c corev1.TopologySpreadConstraint) bool {
		return c.TopologyKey == key && c.WhenUnsatisfiable == when
	})
}

// userSpreads reports whether the user's own rules spread the Agent's pods over a topology, at least as strictly as the given
// action: with a constraint or a pod anti-affinity term of that key that selects these pods. Node affinity does not spread.
func userSpreads(agent *v1alpha1.Agent, key string, when corev1.UnsatisfiableConstraintAction) bool {
	constrains := func(c corev1.TopologySpreadConstraint) bool {
		return c.TopologyKey == key && (c.WhenUnsatisfiable == when || c.WhenUnsatisfiable == corev1.DoNotSchedule) && selectsPods(agent, c.LabelSelector)
	}
	return slices.ContainsFunc(agent.Spec.Runtime.Spec.TopologySpreadConstraints, constrains) ||
		hasAntiAffinity(agent, key, when == corev1.DoNotSchedule)
}

// hasAntiAffinity reports whether an anti-affinity term of the user keeps the Agent's own pods apart over a topology.
func hasAntiAffinity(agent *v1alpha1.Agent, key string, required bool) bool {
	if slices.ContainsFunc(RequiredAntiAffinity(agent), func(term corev1.PodAffinityTerm) bool { return term.TopologyKey == key }) {
		return true
	}
	return !required && slices.ContainsFunc(userAntiAffinity(agent).PreferredDuringSchedulingIgnoredDuringExecution,
		func(term corev1.WeightedPodAffinityTerm) bool {
			return term.PodAffinityTerm.TopologyKey == key && selectsItself(agent, term.PodAffinityTerm)
		})
}

// selectsItself reports whether an anti-affinity term of an Agent's pod selects the Agent's pods. A matchLabelKeys entry always matches
// them. A mismatchLabelKeys entry never does, unless they lack the label: Kubernetes then ignores the entry.
func selectsItself(agent *v1alpha1.Agent, term corev1.PodAffinityTerm) bool {
	return selectsPods(agent, term.LabelSelector) && appliesTo(term, agent.Namespace) &&
		!slices.ContainsFunc(term.MismatchLabelKeys, LivePodLabels(agent).Has)
}

// appliesTo reports whether an affinity term selects pods in a namespace. The default is the pod's own namespace. Of a namespace's
// labels, only the one with its name is known.
func appliesTo(term corev1.PodAffinityTerm, namespace string) bool {
	if term.NamespaceSelector == nil {
		return len(term.Namespaces) == 0 || slices.Contains(term.Namespaces, namespace)
	}
	selector, err := metav1.LabelSelectorAsSelector(term.NamespaceSelector)
	if err != nil {
		return false
	}
	requirements, _ := selector.Requirements()
	otherLabels := slices.ContainsFunc(requirements, func(r k8slabels.Requirement) bool { return r.Key() != corev1.LabelMetadataName })
	return !otherLabels && selector.Matches(k8slabels.Set{corev1.LabelMetadataName: namespace}) || slices.Contains(term.Namespaces, namespace)
}

// selectsPods reports whether a selector selects an Agent's pods.
func selectsPods(agent *v1alpha1.Agent, selector *metav1.LabelSelector) bool {
	return Selects(selector, LivePodLabels(agent))
}

// Selects reports whether a selector selects a pod by its labels. It does not if it is invalid, or nil, which selects nothing.
func Selects(selector *metav1.LabelSelector, pod k8slabels.Set) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(pod)
}

// LivePodLabels are the labels of an Agent's pods: those of the pod template, and the one that the Deployment controller adds. Its value
// differs between revisions.
func LivePodLabels(agent *v1alpha1.Agent) k8slabels.Set {
	all := k8slabels.Set(template(agent).Labels)
	all[appsv1.DefaultDeploymentUniqueLabelKey] = "unknown"
	return all
}
