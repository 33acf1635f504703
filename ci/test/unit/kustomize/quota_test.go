package kustomize_test

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// minReplicas is the label by which an environment says how many replicas an Agent has at least.
const minReplicas = "flokoa.ai/min-replicas"

// An environment is what a namespace may hold.
type environment struct {
	name     string
	replicas int64
	hard     corev1.ResourceList
	limits   corev1.LimitRangeItem
}

// environments are the namespaces among the objects that have a quota of Agents.
func environments(t *testing.T, objects []unstructured.Unstructured) []environment {
	t.Helper()
	var all []environment
	for _, namespace := range objects {
		if namespace.GetKind() != "Namespace" || namespace.GetLabels()["flokoa.ai/environment"] == "" {
			continue
		}
		replicas, err := strconv.ParseInt(namespace.GetLabels()[minReplicas], 10, 64)
		require.NoError(t, err, "label %s of %s", minReplicas, namespace.GetName())
		quota, limits := &corev1.ResourceQuota{}, &corev1.LimitRange{}
		require.NoError(t, find(objects, "ResourceQuota", namespace.GetName(), quota))
		require.NoError(t, find(objects, "LimitRange", namespace.GetName(), limits))
		require.Len(t, limits.Spec.Limits, 1)
		all = append(all, environment{namespace.GetName(), replicas, quota.Spec.Hard, limits.Spec.Limits[0]})
	}
	return all
}

// find reads the object flokoa of a kind in a namespace.
func find(objects []unstructured.Unstructured, kind, namespace string, into any) error {
	for _, object := range objects {
		if object.GetKind() == kind && object.GetName() == "flokoa" && object.GetNamespace() == namespace {
			return runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into)
		}
	}
	return fmt.Errorf("there is no %s flokoa in %s", kind, namespace)
}

// shortages are what a rolling update of every Agent needs beyond the quota. It starts the new pods first, and terminating pods still
// count: an Agent of R replicas needs 2 x R pods. The chart checks the same sum, but a patch of an overlay does not pass by the chart.
func (e environment) shortages() []string {
	agents := e.hard["count/agents.agent.flokoa.ai"]
	pods := 2 * agents.Value() * e.replicas
	needs := corev1.ResourceList{corev1.ResourcePods: *resource.NewQuantity(pods, resource.DecimalSI)}
	for what, each := range map[string]corev1.ResourceList{"requests.": e.limits.DefaultRequest, "limits.": e.limits.Default} {
		for name, quantity := range each {
			quantity.Mul(pods)
			needs[corev1.ResourceName(what)+name] = quantity
		}
	}
	var short []string
	for name, need := range needs {
		have := e.hard[name]
		if have.Cmp(need) < 0 {
			short = append(short, fmt.Sprintf("%s: quota %s is %s, but %d Agents of %d replicas need %s while they roll", e.name, name, have.String(), agents.Value(), e.replicas, need.String()))
		}
	}
	slices.SortFunc(short, cmp.Compare)
	return short
}

func TestEveryKustomizationHoldsARollingUpdate(t *testing.T) {
	seen := map[string]bool{}
	for _, folder := range kustomizations(t) {
		objects, err := manifests.Overlay(folder)
		require.NoError(t, err)
		for _, each := range environments(t, objects) {
			require.Empty(t, each.shortages(), folder)
			seen[each.name] = true
		}
	}
	for _, name := range []string{"flokoa-dev", "flokoa-production", "payments-staging", "search-production", "${team}-dev"} {
		require.Contains(t, seen, name)
	}
}

// A team that allows itself more Agents and forgets the rest would never finish a rollout of all of them.
func TestAQuotaOfATeamThatIsTooSmallIsFound(t *testing.T) {
	objects := inCopy(t, "team", map[string]string{"team/kustomization.yaml": teamFile + "patches:\n" +
		"  - target: {kind: ResourceQuota, name: flokoa}\n" +
		"    patch: '[{\"op\": \"replace\", \"path\": \"/spec/hard/count~1agents.agent.flokoa.ai\", \"value\": \"16\"}]'\n"})
	found := environments(t, objects)
	require.Len(t, found, 1)
	require.Equal(t, []string{"data-science-dev: quota pods is 30, but 16 Agents of 1 replicas need 32 while they roll"}, found[0].shortages())
	found[0].hard["count/agents.agent.flokoa.ai"] = resource.MustParse("10")
	require.Empty(t, found[0].shortages())
	found[0].replicas = 2
	require.NotEmpty(t, found[0].shortages(), "the label counts")
}

func TestEveryNumberOfATeamsQuotaIsSeen(t *testing.T) {
	objects, err := manifests.Overlay(root + "/examples/teams/kustomize/payments")
	require.NoError(t, err)
	for _, each := range environments(t, objects) {
		whole := each.hard.DeepCopy()
		for _, name := range []corev1.ResourceName{
			"pods", "requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
		} {
			each.hard = whole.DeepCopy()
			each.hard[name] = resource.MustParse("0")
			require.Len(t, each.shortages(), 1, "%s: %s", each.name, name)
		}
	}
}
