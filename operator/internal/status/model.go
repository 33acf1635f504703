package status

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// Model is what is known of the Model that an Agent names.
type Model struct {
	// Exists is true if there is such a Model, and Environment are the variables that it resolves to.
	Exists      bool
	Environment []corev1.EnvVar
	// Kept is true if the pods have variables of a Model from before.
	Kept bool
	// Awaited is true if nothing is applied yet, because the Model may be about to appear.
	Awaited bool
}

// modelResolved reports whether the Model of an Agent exists.
func modelResolved(agent *v1alpha1.Agent, of Model) conditionResult {
	if of.Exists {
		return conditionTrue(v1alpha1.ReasonResolved, "Model %q is %s of %s", agent.Spec.Model.Name, of.value(v1alpha1.EnvModel), of.value(v1alpha1.EnvModelProvider))
	}
	effect := "the pods run without its environment, and roll when it exists"
	switch {
	case of.Awaited:
		effect = "the Agent is applied when it does, or without its environment after 10 s"
	case of.Kept:
		effect = "the pods keep the environment that they had"
	}
	return conditionFalse(v1alpha1.ReasonModelNotFound, "Model %q does not exist in namespace %q: %s: create it there, or correct spec.model.name", agent.Spec.Model.Name, agent.Namespace, effect)
}

// value returns the value of a variable.
func (m Model) value(name string) string {
	for _, variable := range m.Environment {
		if variable.Name == name {
			return variable.Value
		}
	}
	return ""
}
