// Package v1alpha1 holds the Agent API of the group agent.flokoa.ai.
//
// The types carry the whole contract: field names and meaning, defaults, bounds and CEL rules. The CRD is
// generated from them (make generate). Defaults that reach the pod template are applied when rendering and
// are frozen for this version: an operator upgrade never restarts a fleet.
//
// +kubebuilder:object:generate=true
// +groupName=agent.flokoa.ai
package v1alpha1
