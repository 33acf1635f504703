package render

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// spreadConstraints spread the pods of one revision over hosts and zones. The user's own rule for a topology key replaces the
// default one, if it selects these pods and is at least as strict.
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
		if !userSpreads(agent, key, when) {
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

// Spreads reports whether a rule of the user or a default spreads an Agent's pods over a topology, at least softly.
func Spreads(agent *v1alpha1.Agent, key string) bool {
	return availability(agent).Spread != v1alpha1.SpreadNone || userSpreads(agent, key, corev1.ScheduleAnyway)
}

// RequiredAntiAffinity are the user's required anti-affinity terms between an Agent's own pods.
func RequiredAntiAffinity(agent *v1alpha1.Agent) []corev1.PodAffinityTerm {
	affinity := agent.Spec.Runtime.Spec.Affinity
	if affinity == nil || affinity.PodAntiAffinity == nil {
		return nil
	}
	pod := k8slabels.Set(podLabelSet(agent))
	var terms []corev1.PodAffinityTerm
	for _, term := range affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		if selectsItself(term, pod, agent.Namespace) {
			terms = append(terms, term)
		}
	}
	return terms
}

// selectsItself reports whether an anti-affinity term of a pod selects pods with the same labels.
func selectsItself(term corev1.PodAffinityTerm, pod k8slabels.Set, namespace string) bool {
	return selects(term.LabelSelector, pod) && len(term.MismatchLabelKeys) == 0 && appliesTo(term, namespace)
}

// userSpreads reports whether the user's own rules spread the Agent's pods over a topology, at least as strictly as the given
// action: with a constraint or a pod anti-affinity term of that key that selects these pods. Node affinity does not spread.
func userSpreads(agent *v1alpha1.Agent, key string, when corev1.UnsatisfiableConstraintAction) bool {
	user := agent.Spec.Runtime.Spec
	pod := k8slabels.Set(podLabelSet(agent))
	for _, c := range user.TopologySpreadConstraints {
		if c.TopologyKey != key {
			continue
		}
		// Key and action identify a constraint in the list: the API server rejects a second one with both.
		if c.WhenUnsatisfiable == when || c.WhenUnsatisfiable == corev1.DoNotSchedule && selects(c.LabelSelector, pod) {
			return true
		}
	}
	if user.Affinity == nil || user.Affinity.PodAntiAffinity == nil {
		return false
	}
	hard := when == corev1.DoNotSchedule
	matches := func(term corev1.PodAffinityTerm) bool {
		return term.TopologyKey == key && selectsItself(term, pod, agent.Namespace)
	}
	if slices.ContainsFunc(user.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, matches) {
		return true
	}
	return !hard && slices.ContainsFunc(user.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution,
		func(term corev1.WeightedPodAffinityTerm) bool { return matches(term.PodAffinityTerm) })
}

// appliesTo reports whether an affinity term selects pods in a namespace. The default is the pod's own namespace.
func appliesTo(term corev1.PodAffinityTerm, namespace string) bool {
	everywhere := term.NamespaceSelector != nil &&
		len(term.NamespaceSelector.MatchLabels)+len(term.NamespaceSelector.MatchExpressions) == 0
	own := len(term.Namespaces) == 0 && term.NamespaceSelector == nil
	return own || everywhere || slices.Contains(term.Namespaces, namespace)
}

// selects is false for an invalid selector and for nil, which selects nothing.
func selects(selector *metav1.LabelSelector, pod k8slabels.Set) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(pod)
}
