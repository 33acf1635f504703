package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/crds"
)

// Running the generator on its own output changes nothing, so this holds the two copies of the CRD against each other.
func TestTheChartHasTheCRDThatIsEmbedded(t *testing.T) {
	folder := t.TempDir()
	in, out, chart := filepath.Join(folder, "in.yaml"), filepath.Join(folder, "out.yaml"), filepath.Join(folder, "chart.yaml")
	for name, embedded := range map[string][]byte{"agents": crds.Agents, "models": crds.Models} {
		require.NoError(t, os.WriteFile(in, embedded, 0o600))
		require.NoError(t, run([]string{in, out, chart}))
		require.Equal(t, string(embedded), read(t, out))
		require.Equal(t, read(t, "../../../charts/flokoa-crds/templates/"+name+".yaml"), read(t, chart))
	}
}

func TestInvalidInputIsRejected(t *testing.T) {
	folder := t.TempDir()
	unknown := filepath.Join(folder, "unknown.yaml")
	require.NoError(t, os.WriteFile(unknown, []byte("spec: {nonsense: 1}"), 0o600))
	out := filepath.Join(folder, "out")
	require.ErrorContains(t, run(nil), "usage: crds")
	require.ErrorContains(t, run([]string{filepath.Join(folder, "absent"), out, out}), "absent")
	require.ErrorContains(t, run([]string{unknown, out, out}), "nonsense")
	require.NoFileExists(t, out)
}

func read(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(raw)
}

// unfinished is a schema as controller-gen writes it, and finished what should become of it.
const unfinished = `
description: root
properties:
  status:
    description: status
    default: {kept: 1}
    properties:
      conditions:
        description: kept
        type: array
        items: {description: core, type: object, properties: {message: {description: core, type: string}, reason: {type: string, maxLength: 9}}}
  spec:
    properties:
      runtime:
        properties:
          spec:
            properties:
              container:
                description: kept
                required: [name]
                properties:
                  name: {description: core, type: string, default: ""}
                  image: {description: core, type: string}
                  ports:
                    type: array
                    x-kubernetes-list-type: map
                    x-kubernetes-list-map-keys: [containerPort, protocol]
                    items: {properties: {protocol: {type: string, default: TCP}, name: {type: string, default: x}, targetPort: {x-kubernetes-int-or-string: true}}}
                  kind: {type: string, enum: [a]}
                  time: {type: string, format: date-time}
              initContainers: {description: kept, type: array, maxItems: 3, items: {description: core, required: [name], properties: {image: {type: string}}}}
              sidecars: {type: array, items: {required: [name], properties: {image: {type: string}}}}
              affinity: {properties: {matchLabels: {type: object, additionalProperties: {type: string}}}}
              nodeSelector: {description: kept, default: {}, type: object, additionalProperties: {type: string, description: kept}}
              service: {properties: {annotations: {type: object, additionalProperties: {type: string}}}}
`

const finished = `
description: root
properties:
  status:
    description: status
    default: {kept: 1}
    properties:
      conditions:
        description: kept
        type: array
        maxItems: 64
        items: {type: object, properties: {message: {type: string, maxLength: 32768}, reason: {type: string, maxLength: 9}}}
  spec:
    properties:
      runtime:
        properties:
          spec:
            properties:
              container:
                description: kept
                required: [image]
                properties:
                  name: {type: string, maxLength: 63}
                  image: {type: string, minLength: 1, maxLength: 1024}
                  ports:
                    type: array
                    maxItems: 32
                    x-kubernetes-list-type: atomic
                    items: {properties: {protocol: {type: string, maxLength: 4}, name: {type: string, maxLength: 15}, targetPort: {x-kubernetes-int-or-string: true, maxLength: 1024, minimum: -2147483648, maximum: 2147483647}}}
                  kind: {type: string, enum: [a]}
                  time: {type: string, format: date-time}
              initContainers: {description: kept, type: array, maxItems: 3, items: {required: [image, name], properties: {image: {type: string, minLength: 1, maxLength: 1024}}}}
              sidecars: {type: array, maxItems: 64, items: {required: [image, name], properties: {image: {type: string, minLength: 1, maxLength: 1024}}}}
              affinity: {properties: {matchLabels: {type: object, maxProperties: 64, additionalProperties: {type: string, maxLength: 63, pattern: '^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'}}}}
              nodeSelector: {description: kept, default: {}, type: object, maxProperties: 64, additionalProperties: {type: string, description: kept, maxLength: 63}}
              service: {properties: {annotations: {type: object, maxProperties: 64, additionalProperties: {type: string, maxLength: 65536}}}}
`

func TestAGeneratedSchemaIsComplete(t *testing.T) {
	got, expected := &schema{}, &schema{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(unfinished), got))
	require.NoError(t, yaml.UnmarshalStrict([]byte(finished), expected))
	settings := expected.Properties["spec"].Properties["runtime"].Properties["spec"].Properties
	addRules(settings["container"].Properties, "ports", uniquePorts...)
	addRules(settings, "nodeSelector", validLabels)
	addRules(settings["service"].Properties, "annotations", validAnnotations)
	finish(got)
	require.Equal(t, asYAML(t, expected.Properties["spec"]), asYAML(t, got.Properties["spec"]))
	require.Equal(t, asYAML(t, expected.Properties["status"]), asYAML(t, got.Properties["status"]))
}

func addRules(properties map[string]schema, name string, rules ...apiextensionsv1.ValidationRule) {
	property := properties[name]
	property.XValidations = rules
	properties[name] = property
}

func TestFieldsThatManifestsLackAreNotWritten(t *testing.T) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, yaml.Unmarshal([]byte(`{metadata: {name: n, annotations: {controller-gen: v1}}, status: {conditions: []}}`), crd))
	out, err := marshal(crd)
	require.NoError(t, err)
	require.NotContains(t, string(out), "status")
	require.NotContains(t, string(out), "controller-gen")
}

func TestTheChartsHelperGoesBelowTheName(t *testing.T) {
	out, err := chartTemplate("n", []byte("metadata:\n  name: n\nspec: {}\n"))
	require.NoError(t, err)
	require.Contains(t, string(out), "metadata:\n  name: n\n  {{- include \"flokoa-crds.metadata\" . | nindent 2 }}\nspec: {}\n")
	for crd, want := range map[string]string{
		"metadata:\n  name: n\ntext: {{ x }}\n":       "which Helm would evaluate",
		"metadata: {name: n}\n":                       `once in the CRD`,
		"metadata:\n  name: n\nspec:\n  name: n\n":    `once in the CRD`,
		"metadata:\n  name: another\nspec:\n  a: n\n": `once in the CRD`,
	} {
		_, err := chartTemplate("n", []byte(crd))
		require.ErrorContains(t, err, want)
	}
}

func TestTheLongestEndOfAPathDecidesItsBound(t *testing.T) {
	bounds := map[string]int64{"": 1, "name": 2, "ports.name": 3}
	for path, want := range map[string]int64{
		"": 1, "other": 1, "name": 2, "container.name": 2, "ports.name": 3, "a.ports.name": 3, "surname": 1, "ports.surname": 1, "exports.name": 2,
	} {
		require.Equal(t, want, pick(bounds, path), path)
	}
}

func asYAML(t *testing.T, value any) string {
	t.Helper()
	raw, err := yaml.Marshal(value)
	require.NoError(t, err)
	return string(raw)
}
