// Package guardrails_test checks the namespaces of the chart flokoa-environment without a cluster: quota arithmetic, network flows, Pod
// Security and RBAC.
package guardrails_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

const environmentChart = "../../../../charts/flokoa-environment"

// leastReplicas is how many replicas of each Agent the policy flokoa-replicas requires; dev has no such policy, so an Agent has one.
var leastReplicas = map[string]int64{"dev": 1, "staging": 2, "production": 3}

// render renders an environment with its values file and more values laid over it.
func render(t *testing.T, environment string, more map[string]any) []unstructured.Unstructured {
	t.Helper()
	objects, err := tryRender(t, environment, more)
	require.NoError(t, err)
	return objects
}

var rendered = manifests.Cache{}

func tryRender(t *testing.T, environment string, more map[string]any) ([]unstructured.Unstructured, error) {
	t.Helper()
	values, err := manifests.Values(environmentChart + "/values-" + environment + ".yaml")
	require.NoError(t, err)
	return rendered.Get([]any{environment, more}, func() ([]unstructured.Unstructured, error) {
		return manifests.Chart(environmentChart, overlaid(values, more), "flokoa-"+environment, manifests.Platform)
	})
}

// overlaid lays values over others, map by map, as Helm does with several values files.
func overlaid(under, over map[string]any) map[string]any {
	merged := maps.Clone(under)
	for key, value := range over {
		above, isMap := value.(map[string]any)
		if below, wasMap := merged[key].(map[string]any); isMap && wasMap {
			merged[key] = overlaid(below, above)
			continue
		}
		merged[key] = value
	}
	return merged
}

// all are the objects of one kind, typed.
func all[T any](t *testing.T, objects []unstructured.Unstructured, kind string) []T {
	t.Helper()
	var found []T
	for _, object := range objects {
		if object.GetKind() == kind {
			var typed T
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &typed))
			found = append(found, typed)
		}
	}
	require.NotEmpty(t, found, "no %s is rendered", kind)
	return found
}

// Every object of an environment, as they are named in the README, in other teams' patches and in kubectl.
func TestEveryEnvironmentHasTheseObjects(t *testing.T) {
	for _, environment := range manifests.Environments {
		t.Run(environment, func(t *testing.T) {
			want := []string{
				"Namespace flokoa-" + environment,
				"NetworkPolicy default-deny",
				"NetworkPolicy allow-dns",
				"NetworkPolicy allow-within",
				"ResourceQuota flokoa",
				"ResourceQuota flokoa-best-effort",
				"ResourceQuota flokoa-cross-namespace-affinity",
				"ResourceQuota flokoa-system-priority",
				"ResourceQuota flokoa-priority-classes",
				"LimitRange flokoa",
				"ServiceAccount agent-deployer",
				"Role agent-viewer",
				"Role agent-editor",
				"Role agent-deployer",
				"Role secret-manager",
				"Role secret-user",
				"Role model-manager",
				"RoleBinding agent-viewer",
				"RoleBinding agent-editor",
				"RoleBinding agent-deployer",
				"RoleBinding secret-manager",
				"RoleBinding secret-user",
				"RoleBinding model-manager",
				"RoleBinding flokoa-operator-writer",
			}
			if environment == "dev" {
				want = append(want, "NetworkPolicy allow-public")
			}
			var have []string
			for _, object := range render(t, environment, nil) {
				have = append(have, object.GetKind()+" "+object.GetName())
			}
			require.ElementsMatch(t, want, have)
		})
	}
}

// Helm makes the Namespace first, so that one release can hold it and what is in it.
func TestNamespaceIsInstalledFirst(t *testing.T) {
	for _, environment := range manifests.Environments {
		require.Equal(t, "Namespace", render(t, environment, nil)[0].GetKind(), environment)
	}
}

// All three may be releases on one cluster: none has an object that another has too, in its own namespace or in none.
func TestEnvironmentsShareNoObject(t *testing.T) {
	owner := map[string]string{}
	for _, environment := range manifests.Environments {
		for _, object := range render(t, environment, nil) {
			id := fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName())
			require.Empty(t, owner[id], "%s is also made by %s", id, environment)
			owner[id] = environment
		}
	}
}

// Where somebody else creates the Namespace, everything else is the same.
func TestEnvironmentWithoutItsNamespaceIsTheSame(t *testing.T) {
	without := render(t, "staging", map[string]any{"namespace": map[string]any{"create": false}})
	require.Equal(t, render(t, "staging", nil)[1:], without)
}
