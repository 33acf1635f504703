package api_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/strvals"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// Argo CD's default diff replaces some lists whole. If the API server adds a field to an item of such a list, an Application is
// OutOfSync forever. So what is rendered has every such field.
func TestTheAPIServerAddsNothingInsideAListItem(t *testing.T) {
	t.Run("with every value set", func(t *testing.T) {
		for _, chart := range []string{"flokoa-crds", "flokoa-policies", "flokoa-operator", "flokoa-environment"} {
			values := everyValue(t, chart)
			namespaces := values["watchNamespaces"]
			for _, excluded := range []string{ // by the other values
				"watchNamespaces", "podSecurityContext", "podSecurity", "network.egress.public", "network.egress.except", "namespace.create",
				"monitoring.podMonitor",
			} {
				unstructured.RemoveNestedField(values, strings.Split(excluded, ".")...)
			}
			objects, err := manifests.Chart(filepath.Join(root, "charts", chart), values, chart, manifests.Platform)
			require.NoError(t, err)
			requireCompleteItems(t, objects)
			if namespaces != nil {
				objects, err := manifests.Chart(filepath.Join(root, "charts", chart), map[string]any{"watchNamespaces": namespaces}, chart, manifests.Platform)
				require.NoError(t, err)
				requireCompleteItems(t, objects)
			}
		}
	})
	for _, name := range manifests.Environments {
		for _, with := range []string{"helm", "kustomize"} {
			t.Run(name+" by "+with, func(t *testing.T) {
				halves, err := manifests.Environment(root, name, with)
				require.NoError(t, err)
				for _, half := range halves {
					requireCompleteItems(t, half.Objects)
				}
			})
		}
		t.Run("agents of "+name, func(t *testing.T) {
			agents, err := manifests.Overlay(filepath.Join(root, "overlays", name, "agents"))
			require.NoError(t, err)
			requireCompleteItems(t, agents)
		})
	}
	t.Run("agents of the examples", func(t *testing.T) {
		files, err := filepath.Glob(filepath.Join(root, "examples/agents/*.yaml"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range append(files, filepath.Join(root, "examples/agent/agent.yaml")) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, document := range strings.Split(string(text), "\n---\n") {
				object := unstructured.Unstructured{}
				require.NoError(t, yaml.Unmarshal([]byte(document), &object.Object))
				object.SetNamespace("default")
				requireCompleteItems(t, []unstructured.Unstructured{object})
			}
		}
	})
}

// everyValue sets each value of a chart to the one by which the chart's unit tests vary it.
func everyValue(t *testing.T, chart string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "ci/test/unit/charts/testdata", chart+".yaml"))
	require.NoError(t, err)
	var samples []struct {
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	require.NoError(t, yaml.Unmarshal(text, &samples))
	require.NotEmpty(t, samples)
	values := map[string]any{}
	for _, sample := range samples {
		value, err := json.Marshal(sample.Value)
		require.NoError(t, err)
		require.NoError(t, strvals.ParseJSON(sample.Path+"="+string(value), values))
	}
	return values
}

func requireCompleteItems(t *testing.T, objects []unstructured.Unstructured) {
	t.Helper()
	require.NotEmpty(t, objects)
	for _, object := range objects {
		if object.GetNamespace() != "" {
			object.SetNamespace("default") // other tests create the namespaces of overlays, each in its own way
		}
		if object.GetKind() != "CustomResourceDefinition" {
			object.SetName(object.GetName() + "-new") // an apply would merge with the policies that are installed
		}
		live := object.DeepCopy()
		err := admin.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(live), client.FieldOwner("gitops"), client.ForceOwnership, client.DryRunAll)
		if meta.IsNoMatchError(err) { // nor would this API server add anything
			require.Contains(t, []string{"ServiceMonitor", "PrometheusRule"}, object.GetKind())
			continue
		}
		require.NoError(t, err, manifests.Identity(object))
		require.Empty(t, addedToItems(normalized(t, object.Object), normalized(t, live.Object), "", false), manifests.Identity(object))
	}
}

// normalized is an object with all numbers of one type.
func normalized(t *testing.T, object map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(object)
	require.NoError(t, err)
	same := map[string]any{}
	require.NoError(t, json.Unmarshal(text, &same))
	return same
}

// addedToItems are the fields inside list items that the live object has and the rendered one lacks, or has with another value.
func addedToItems(rendered, live any, path string, inside bool) []string {
	var all []string
	switch live := live.(type) {
	case map[string]any:
		fields, ok := rendered.(map[string]any)
		for name, value := range live {
			if ours, has := fields[name]; has || inside || !ok {
				all = append(all, addedToItems(ours, value, path+"."+name, inside)...)
			}
		}
	case []any:
		items, _ := rendered.([]any)
		for i, item := range live {
			var ours any
			if i < len(items) {
				ours = items[i]
			}
			all = append(all, addedToItems(ours, item, fmt.Sprintf("%s[%d]", path, i), true)...)
		}
	default:
		if inside && !reflect.DeepEqual(rendered, live) {
			all = append(all, fmt.Sprintf("%s: %v", path, live))
		}
	}
	return all
}
