package guardrails_test

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const countAgents = corev1.ResourceName("count/agents.agent.flokoa.ai")

// The promise of the quota: whatever it lets in can also be rolled. An Agent of R replicas takes 2 R pods when all its old ones
// are on their way out and all its new ones are there. Its containers have the LimitRange defaults.
func TestQuotaHoldsARollingUpdateOfEveryAgent(t *testing.T) {
	for _, environment := range manifests.Environments {
		t.Run(environment, func(t *testing.T) {
			hard, demand := rollingUpdate(t, environment)
			require.Empty(t, shortOf(hard, demand))
		})
	}
}

// As many Agents of the guide's size as the quota counts, at the least replicas, and two pods of slack, so that rollouts, which
// are not all at the same time, go on.
func TestQuotaHoldsAgentsOfTheGuidesSize(t *testing.T) {
	guide := guideContainer(t)
	for _, environment := range manifests.Environments {
		t.Run(environment, func(t *testing.T) {
			hard := quota(t, environment)
			pods := agents(hard)*leastReplicas[environment] + 2
			limits := limitRange(t, environment)
			resources := admitted(guide.Resources, limits)
			require.Contains(t, resources.Limits, corev1.ResourceEphemeralStorage)
			require.Empty(t, shortOf(hard, taking(pods, resources)))

			for name, limit := range resources.Limits {
				most := limits.Max[name]
				require.LessOrEqual(t, limit.Cmp(most), 0, "limit of %s: %s, at most %s", name, limit.String(), most.String())
			}
		})
	}
}

// Each Agent has a Deployment and a Service, and may have a ConfigMap for its card; Kubernetes puts one more into each namespace.
func TestQuotaHoldsTheChildrenOfEveryAgent(t *testing.T) {
	for _, environment := range manifests.Environments {
		t.Run(environment, func(t *testing.T) {
			hard := quota(t, environment)
			count := agents(hard)
			require.Empty(t, shortOf(hard, corev1.ResourceList{
				"count/deployments.apps":                     *resource.NewQuantity(count, resource.DecimalSI),
				"count/horizontalpodautoscalers.autoscaling": *resource.NewQuantity(count, resource.DecimalSI),
				"count/poddisruptionbudgets.policy":          *resource.NewQuantity(count, resource.DecimalSI),
				"count/replicasets.apps":                     *resource.NewQuantity(count*mostReplicaSets(t), resource.DecimalSI),
				corev1.ResourceServices:                      *resource.NewQuantity(count, resource.DecimalSI),
				corev1.ResourceConfigMaps:                    *resource.NewQuantity(count+1, resource.DecimalSI),
				corev1.ResourceSecrets:                       *resource.NewQuantity(count, resource.DecimalSI),
			}))
		})
	}
}

// The sum above would see it, were any one number of a quota too small by the least that there is.
func TestSumDetectsEveryNumberThatIsTooSmall(t *testing.T) {
	for _, environment := range manifests.Environments {
		hard, demand := rollingUpdate(t, environment)
		require.Len(t, demand, 7)
		for name, need := range demand {
			t.Run(environment+" "+string(name), func(t *testing.T) {
				flipped := maps.Clone(hard)
				flipped[name] = need
				require.Empty(t, shortOf(flipped, demand), "just enough")
				flipped[name] = less(name, need)
				require.Equal(t, []corev1.ResourceName{name}, shortOf(flipped, demand), "just too little")
			})
		}
	}
}

// The chart does the same sum in its templates, and refuses what it refuses: not one pod, thousandth or mebibyte more.
func TestChartRefusesWhatTheSumRefuses(t *testing.T) {
	for _, environment := range manifests.Environments {
		_, demand := rollingUpdate(t, environment)
		for name, need := range demand {
			t.Run(environment+" "+string(name), func(t *testing.T) {
				enough, tooLittle := need, less(name, need)
				_, err := tryRender(t, environment, quotaValue(name, enough))
				require.NoError(t, err)
				_, err = tryRender(t, environment, quotaValue(name, tooLittle))
				require.ErrorContains(t, err, "quota."+string(name)+" is "+tooLittle.String()+", but a rolling update of")
				require.ErrorContains(t, err, "Raise quota."+string(name)+" to "+enough.String()+" or more")
			})
		}
	}
}

// A quantity that the API server would write in another way is a difference that never ends, to whoever compares.
func TestEveryQuantityIsCanonical(t *testing.T) {
	for _, environment := range manifests.Environments {
		t.Run(environment, func(t *testing.T) {
			texts := 0
			for _, object := range render(t, environment, nil) {
				for _, text := range quantities(t, object) {
					texts++
					parsed, err := resource.ParseQuantity(text)
					require.NoError(t, err)
					require.Equal(t, parsed.String(), text, "%s %s", object.GetKind(), object.GetName())
				}
			}
			require.Equal(t, 33+4+12, texts, "the quota's, one of each other quota, and the LimitRange's")
		})
	}
}

// A container without resources gets requests below its limits, and limits within the maximum.
func TestLimitRangeLetsInWhatItGives(t *testing.T) {
	for _, environment := range manifests.Environments {
		limits := limitRange(t, environment)
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
			least, request, limit, most := limits.Min[name], limits.DefaultRequest[name], limits.Default[name], limits.Max[name]
			require.Positive(t, least.Sign(), "%s %s: a limit of 0 means no limit", environment, name)
			require.LessOrEqual(t, least.Cmp(request), 0, "%s %s: at least %s, not %s", environment, name, least.String(), request.String())
			require.LessOrEqual(t, request.Cmp(limit), 0, "%s %s: %s of %s", environment, name, request.String(), limit.String())
			require.LessOrEqual(t, limit.Cmp(most), 0, "%s %s: %s of %s", environment, name, limit.String(), most.String())
		}
	}
}

// What one environment may take is more than what the one before it may.
func TestQuotasGrowFromDevToProduction(t *testing.T) {
	for i, environment := range manifests.Environments[1:] {
		smaller, larger := quota(t, manifests.Environments[i]), quota(t, environment)
		require.ElementsMatch(t, slices.Collect(maps.Keys(smaller)), slices.Collect(maps.Keys(larger)))
		require.Empty(t, shortOf(larger, smaller), environment)
	}
}

// rollingUpdate is the quota of an environment, and what every Agent that it counts takes while all of them roll.
func rollingUpdate(t *testing.T, environment string) (hard, demand corev1.ResourceList) {
	t.Helper()
	hard = quota(t, environment)
	limits := limitRange(t, environment)
	pods := 2 * agents(hard) * leastReplicas[environment]
	return hard, taking(pods, corev1.ResourceRequirements{Requests: limits.DefaultRequest, Limits: limits.Default})
}

// mostReplicaSets is how many ReplicaSets an Agent has whose rollouts complete: those that revisionHistoryLimit keeps, the current one,
// and the next one.
func mostReplicaSets(t *testing.T) int64 {
	t.Helper()
	crd, err := os.ReadFile("../../../../operator/api/crds/agent.flokoa.ai_agents.yaml")
	require.NoError(t, err)
	_, field, found := strings.Cut(string(crd), "revisionHistoryLimit:\n")
	require.True(t, found)
	_, bound, found := strings.Cut(field, "maximum: ")
	require.True(t, found)
	bound, _, _ = strings.Cut(bound, "\n")
	most, err := strconv.ParseInt(bound, 10, 64)
	require.NoError(t, err)
	return most + 2
}

// admitted are the resources of a container after admission: the LimitRange sets what is missing.
func admitted(own corev1.ResourceRequirements, limits corev1.LimitRangeItem) corev1.ResourceRequirements {
	resources := corev1.ResourceRequirements{Requests: maps.Clone(limits.DefaultRequest), Limits: maps.Clone(limits.Default)}
	maps.Copy(resources.Requests, own.Requests)
	maps.Copy(resources.Limits, own.Limits)
	return resources
}

// taking is what a quota counts of so many pods of one such container.
func taking(pods int64, each corev1.ResourceRequirements) corev1.ResourceList {
	demand := corev1.ResourceList{corev1.ResourcePods: *resource.NewQuantity(pods, resource.DecimalSI)}
	for prefix, list := range map[string]corev1.ResourceList{"requests.": each.Requests, "limits.": each.Limits} {
		for name, quantity := range list {
			quantity = quantity.DeepCopy()
			quantity.Mul(pods)
			demand[corev1.ResourceName(prefix)+name] = quantity
		}
	}
	return demand
}

// shortOf is what of the demand the quota does not hold. A resource that the quota does not count is unbounded, and so counts as short.
func shortOf(hard, demand corev1.ResourceList) []corev1.ResourceName {
	var short []corev1.ResourceName
	for name, need := range demand {
		if have, counted := hard[name]; !counted || have.Cmp(need) < 0 {
			short = append(short, name)
		}
	}
	slices.Sort(short)
	return short
}

// less is the least that a quantity can be lowered by.
func less(name corev1.ResourceName, quantity resource.Quantity) resource.Quantity {
	step := "1"
	switch {
	case strings.HasSuffix(string(name), ".cpu"):
		step = "1m"
	case strings.HasSuffix(string(name), ".memory"), strings.HasSuffix(string(name), ".ephemeral-storage"):
		step = "1Mi"
	}
	lower := quantity.DeepCopy()
	lower.Sub(resource.MustParse(step))
	return lower
}

// quotaValue sets one number of the quota in the chart's values.
func quotaValue(name corev1.ResourceName, quantity resource.Quantity) map[string]any {
	if name == corev1.ResourcePods {
		return map[string]any{"quota": map[string]any{"pods": quantity.Value()}}
	}
	what, which, _ := strings.Cut(string(name), ".")
	return map[string]any{"quota": map[string]any{what: map[string]any{which: quantity.String()}}}
}

func quota(t *testing.T, environment string) corev1.ResourceList {
	t.Helper()
	for _, quota := range all[corev1.ResourceQuota](t, render(t, environment, nil), "ResourceQuota") {
		if quota.Name == "flokoa" {
			return quota.Spec.Hard
		}
	}
	require.Fail(t, "no ResourceQuota flokoa")
	return nil
}

func agents(hard corev1.ResourceList) int64 {
	count := hard[countAgents]
	return count.Value()
}

func limitRange(t *testing.T, environment string) corev1.LimitRangeItem {
	t.Helper()
	limits := all[corev1.LimitRange](t, render(t, environment, nil), "LimitRange")[0].Spec.Limits
	require.Len(t, limits, 1)
	require.Equal(t, corev1.LimitTypeContainer, limits[0].Type)
	return limits[0]
}

// guideContainer is the container of the guide's Agent.
func guideContainer(t *testing.T) corev1.Container {
	t.Helper()
	text, err := os.ReadFile("../../../../examples/agents/production-agent.yaml")
	require.NoError(t, err)
	var agent v1alpha1.Agent
	require.NoError(t, yaml.UnmarshalStrict(text, &agent))
	return agent.Spec.Runtime.Spec.Container
}

// quantities are the quantities of a ResourceQuota or LimitRange as they are written.
func quantities(t *testing.T, object unstructured.Unstructured) []string {
	t.Helper()
	var lists []map[string]string
	switch object.GetKind() {
	case "ResourceQuota":
		hard, _, err := unstructured.NestedStringMap(object.Object, "spec", "hard")
		require.NoError(t, err)
		lists = append(lists, hard)
	case "LimitRange":
		items, _, err := unstructured.NestedSlice(object.Object, "spec", "limits")
		require.NoError(t, err)
		for _, kind := range []string{"defaultRequest", "default", "max", "min"} {
			list, _, err := unstructured.NestedStringMap(items[0].(map[string]any), kind)
			require.NoError(t, err)
			lists = append(lists, list)
		}
	}
	var texts []string
	for _, list := range lists {
		texts = slices.AppendSeq(texts, maps.Values(list))
	}
	return texts
}
