// Package v1alpha1 holds the API of the group agent.flokoa.ai.
//
// The types are the whole contract: field names and meanings, defaults, limits, and CEL rules. `make generate` makes the
// CRD from them. Defaults of the pod template are set by rendering and frozen for this version, because an operator upgrade
// must never restart a fleet.
//
// +kubebuilder:object:generate=true
// +groupName=agent.flokoa.ai
package v1alpha1
