// Command agentchart writes the values schema of the chart flokoa-agent, of the repository in the working directory. The values are those
// of values.schema.json beside this file; the schemas of spec and of each of models are those of the CRDs, so that they cannot drift apart.
//
// Each value that values.yaml sets is required: Helm removes a key that is set to null, and its default would be lost silently.
package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/generate/jsonschema"
	"github.com/flokoa/flokoa/operator/api/crds"
)

const chart = "charts/flokoa-agent/"

// outer is the schema of all values but spec and models.
//
//go:embed values.schema.json
var outer []byte

type node = map[string]any

func main() {
	if err := run(chart); err != nil {
		fmt.Fprintln(os.Stderr, "agentchart:", err)
		os.Exit(1)
	}
}

func run(chart string) error {
	text, err := os.ReadFile(chart + "values.yaml")
	if err != nil {
		return err
	}
	defaults := node{}
	if err := yaml.UnmarshalStrict(text, &defaults); err != nil {
		return fmt.Errorf("%svalues.yaml: %w", chart, err)
	}
	schema, err := valuesSchema(crds.Agents, crds.Models, defaults)
	if err != nil {
		return err
	}
	out, err := json.MarshalIndent(schema, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(chart+"values.schema.json", append(out, '\n'), 0o644)
}

// valuesSchema is the schema of the chart's values for the CRDs of Agents and Models, and the defaults of values.yaml.
func valuesSchema(agents, models []byte, defaults node) (node, error) {
	spec, err := specOf(agents)
	if err != nil {
		return nil, err
	}
	model, err := specOf(models)
	if err != nil {
		return nil, err
	}
	model["description"] = "Spec of a Model. Every field of the Model API is allowed."
	spec["description"] = "Spec of the Agent. Every field of the Agent API is allowed, and overrides the preset of the environment."
	schema := node{}
	if err := json.Unmarshal(outer, &schema); err != nil {
		return nil, fmt.Errorf("values.schema.json: %w", err)
	}
	schema["properties"].(node)["spec"] = spec
	schema["properties"].(node)["models"].(node)["additionalProperties"] = model
	return schema, requireDefaults(schema, defaults, "")
}

// specOf is the schema of spec in the only version of the CRD.
func specOf(crd []byte) (node, error) {
	versions, err := jsonschema.FromCRD(crd)
	if err != nil {
		return nil, err
	}
	if len(versions) != 1 {
		return nil, fmt.Errorf("the CRD has %d versions, want 1: choose the one that the chart renders", len(versions))
	}
	return versions[0].Content["properties"].(node)["spec"].(node), nil
}

// requireDefaults makes each key of values required. An empty default is one that the user must set: a template says so, in better words
// than those of a minimum length.
func requireDefaults(schema, values node, path string) error {
	properties, _ := schema["properties"].(node)
	required := slices.Collect(maps.Keys(values))
	list, _ := schema["required"].([]any)
	for _, key := range list {
		required = append(required, key.(string))
	}
	slices.Sort(required)
	schema["required"] = slices.Compact(required)
	for key, value := range values {
		property, ok := properties[key].(node)
		if !ok {
			return fmt.Errorf("values.yaml sets %s, which is not in the schema: remove it, or add it to ci/generate/agentchart/values.schema.json", path+key)
		}
		if value == "" {
			delete(property, "minLength")
		}
		if below, ok := value.(node); ok && property["properties"] != nil {
			if err := requireDefaults(property, below, path+key+"."); err != nil {
				return err
			}
		}
	}
	return nil
}
