// Package crds embeds the generated CustomResourceDefinitions, so that the operator, its tests, and the tools use the same bytes.
// The chart flokoa-crds is generated from the same source.
package crds

import _ "embed"

// Agents is the CustomResourceDefinition of the Agent, as YAML.
//
//go:embed agent.flokoa.ai_agents.yaml
var Agents []byte

// Models is the CustomResourceDefinition of the Model, as YAML.
//
//go:embed agent.flokoa.ai_models.yaml
var Models []byte
