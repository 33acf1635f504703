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

// spreadConstraints spread the pods of one template generation over hosts and zones. Ours is left out where the user's
// own rule already spreads these pods over the same topology, at least as strictly.
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

// spreadConstraint counts the pods of one template only (matchLabelKeys), so that a rollout spreads the new pods without
// regard to the old ones, and only nodes the pods can go to.
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

// Spreads tells whether anything, of the user's or ours, spreads an Agent's pods over a topology, be it softly.
func Spreads(agent *v1alpha1.Agent, key string) bool {
	return availability(agent).Spread != v1alpha1.SpreadNone || userSpreads(agent, key, corev1.ScheduleAnyway)
}

// RequiredAntiAffinity are the user's rules that keep an Agent's own pods apart for good.
func RequiredAntiAffinity(agent *v1alpha1.Agent) []corev1.PodAffinityTerm {
	affinity := agent.Spec.Runtime.Spec.Affinity
	if affinity == nil || affinity.PodAntiAffinity == nil {
		return nil
	}
	pod := k8slabels.Set(podLabelSet(agent))
	var terms []corev1.PodAffinityTerm
	for _, term := range affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		if keepsApart(term, pod, agent.Namespace) {
			terms = append(terms, term)
		}
	}
	return terms
}

// keepsApart tells whether an anti-affinity term of a pod speaks of that very pod's like.
func keepsApart(term corev1.PodAffinityTerm, pod k8slabels.Set, namespace string) bool {
	return selects(term.LabelSelector, pod) && len(term.MismatchLabelKeys) == 0 && reaches(term, namespace)
}

// userSpreads tells whether the user's own rules spread the Agent's pods over a topology: a constraint or a pod
// anti-affinity term with that key that selects these pods, and a hard one where a hard one is asked for. Node affinity
// spreads nothing.
func userSpreads(agent *v1alpha1.Agent, key string, when corev1.UnsatisfiableConstraintAction) bool {
	user := agent.Spec.Runtime.Spec
	pod := k8slabels.Set(podLabelSet(agent))
	for _, c := range user.TopologySpreadConstraints {
		if c.TopologyKey != key {
			continue
		}
		// Key and action identify a constraint in the list, so a second one of both is refused by the API server.
		if c.WhenUnsatisfiable == when || c.WhenUnsatisfiable == corev1.DoNotSchedule && selects(c.LabelSelector, pod) {
			return true
		}
	}
	if user.Affinity == nil || user.Affinity.PodAntiAffinity == nil {
		return false
	}
	hard := when == corev1.DoNotSchedule
	matches := func(term corev1.PodAffinityTerm) bool {
		return term.TopologyKey == key && keepsApart(term, pod, agent.Namespace)
	}
	if slices.ContainsFunc(user.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, matches) {
		return true
	}
	return !hard && slices.ContainsFunc(user.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution,
		func(term corev1.WeightedPodAffinityTerm) bool { return matches(term.PodAffinityTerm) })
}

// reaches tells whether an affinity term looks at the pods of a namespace, which is the pod's own when it names none.
func reaches(term corev1.PodAffinityTerm, namespace string) bool {
	everywhere := term.NamespaceSelector != nil &&
		len(term.NamespaceSelector.MatchLabels)+len(term.NamespaceSelector.MatchExpressions) == 0
	own := len(term.Namespaces) == 0 && term.NamespaceSelector == nil
	return own || everywhere || slices.Contains(term.Namespaces, namespace)
}

// selects is false for a selector the API server will refuse, and for none, which selects nothing.
func selects(selector *metav1.LabelSelector, pod k8slabels.Set) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(pod)
}
