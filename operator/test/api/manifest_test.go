package apitest_test

import (
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/crds"
)

// Manifests are sent as users send them: as plain data, so that nothing is added by Go types on the way.

const (
	fullAgent  = "../../internal/render/testdata/full/agent.yaml"
	guideAgent = "../../../examples/agents/production-agent.yaml"
	minimal    = `{apiVersion: agent.flokoa.ai/v1alpha1, kind: Agent, metadata: {name: a}, spec: {runtime: {spec: {container: {image: i}}}}}`
)

// manifest is a minimal Agent with YAML laid over it; a null takes a field away.
func manifest(t *testing.T, overlay string) *unstructured.Unstructured {
	t.Helper()
	base, over := parse(t, minimal), parse(t, overlay)
	merge(base, over)
	return &unstructured.Unstructured{Object: base}
}

func fromFile(t *testing.T, file string) *unstructured.Unstructured {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	return &unstructured.Unstructured{Object: parse(t, string(raw))}
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	object := map[string]any{}
	require.NoError(t, yaml.Unmarshal([]byte(text), &object))
	return object
}

func merge(into, from map[string]any) {
	for key, value := range from {
		below, isMap := value.(map[string]any)
		at, wasMap := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap && wasMap:
			at = maps.Clone(at)
			merge(at, below)
			into[key] = at
		default:
			into[key] = value
		}
	}
}

// dryRun creates a manifest in dry run, with strict field validation, as kubectl does.
func dryRun(t *testing.T, object *unstructured.Unstructured) error {
	t.Helper()
	object.SetNamespace("default")
	return api.Create(t.Context(), object, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
}

// causes are the causes of a rejection, each as "<field>: <message>"; the API server's remarks on what it did not look at
// for that reason are left out.
func causes(t *testing.T, err error) []string {
	t.Helper()
	var refusal apierrors.APIStatus
	require.ErrorAs(t, err, &refusal)
	require.NotNil(t, refusal.Status().Details, "%v", err)
	var all []string
	for _, cause := range refusal.Status().Details.Causes {
		if !strings.Contains(cause.Message, "some validation rules were not checked") {
			all = append(all, cause.Field+": "+cause.Message)
		}
	}
	return all
}

// schema is that of the CRD the tests run with.
func schema(t *testing.T) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	crd, err := readCRD(crds.Agents)
	require.NoError(t, err)
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

func asYAML(t *testing.T, value any) string {
	t.Helper()
	raw, err := yaml.Marshal(value)
	require.NoError(t, err)
	return string(raw)
}
