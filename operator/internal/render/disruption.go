package render

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// disruptionBudget lets voluntary disruptions evict one pod at a time. An Agent that cannot have two replicas gets none, because
// it would only block node drains. The maximum counts, so that autoscaling does not create and delete the budget. Unready pods
// serve nothing and may always be evicted.
func disruptionBudget(agent *v1alpha1.Agent) *policyv1ac.PodDisruptionBudgetApplyConfiguration {
	user := ptr.Deref(availability(agent).PodDisruptionBudget, v1alpha1.DisruptionBudget{})
	if user.Mode == v1alpha1.DisruptionBudgetNone || maxReplicas(agent) < 2 {
		return nil
	}
	spec := policyv1ac.PodDisruptionBudgetSpec().
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(Selector(agent))).
		WithUnhealthyPodEvictionPolicy(policyv1.AlwaysAllow)
	if user.MinAvailable != nil {
		spec.WithMinAvailable(*user.MinAvailable)
	} else {
		spec.WithMaxUnavailable(ptr.Deref(user.MaxUnavailable, intstr.FromInt32(1)))
	}
	return policyv1ac.PodDisruptionBudget(agent.Name, agent.Namespace).
		WithLabels(labels(agent)).
		WithOwnerReferences(owner(agent)).
		WithSpec(spec)
}

// HasDisruptionBudget reports whether an Agent renders to a PodDisruptionBudget.
func HasDisruptionBudget(agent *v1alpha1.Agent) bool { return disruptionBudget(agent) != nil }

// maxReplicas is the highest replica count that an Agent can have under its spec.
func maxReplicas(agent *v1alpha1.Agent) int32 {
	highest := ptr.Deref(agent.Spec.Runtime.Spec.Replicas, defaultReplicas)
	if agent.Spec.Autoscaling != nil {
		highest = max(highest, agent.Spec.Autoscaling.MaxReplicas)
	}
	return highest
}
