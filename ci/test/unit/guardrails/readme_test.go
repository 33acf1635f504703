package guardrails_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// The tables of the README match the values files. A column is an environment.
func TestReadmeHasTheNumbers(t *testing.T) {
	readme, err := os.ReadFile(environmentChart + "/README.md")
	require.NoError(t, err)
	type row struct {
		head string
		cell func(hard, demand corev1.ResourceList, limits corev1.LimitRangeItem) string
	}
	rows := []row{
		{"requests cpu / memory / ephemeral-storage", func(hard, _ corev1.ResourceList, _ corev1.LimitRangeItem) string {
			return text(hard, "requests.cpu") + " / " + text(hard, "requests.memory") + " / " + text(hard, "requests.ephemeral-storage")
		}},
		{"limits cpu / memory / ephemeral-storage", func(hard, _ corev1.ResourceList, _ corev1.LimitRangeItem) string {
			return text(hard, "limits.cpu") + " / " + text(hard, "limits.memory") + " / " + text(hard, "limits.ephemeral-storage")
		}},
		{"pods", func(hard, _ corev1.ResourceList, _ corev1.LimitRangeItem) string { return text(hard, "pods") }},
		{"Agents", func(hard, _ corev1.ResourceList, _ corev1.LimitRangeItem) string { return text(hard, countAgents) }},
		{"Deployments, Services, HorizontalPodAutoscalers, PodDisruptionBudgets: each", func(hard, _ corev1.ResourceList, _ corev1.LimitRangeItem) string {
			for _, name := range []corev1.ResourceName{"count/deployments.apps", "count/horizontalpodautoscalers.autoscaling", "count/poddisruptionbudgets.policy"} {
				require.Equal(t, text(hard, name), text(hard, "services"), name)
			}
			return text(hard, "services")
		}},
		{"ReplicaSets: 20 x Agents", func(hard, _ corev1.ResourceList, _ corev1.LimitRangeItem) string {
			return text(hard, "count/replicasets.apps")
		}},
		{"Secrets, ConfigMaps", func(hard, _ corev1.ResourceList, _ corev1.LimitRangeItem) string {
			return text(hard, "secrets") + ", " + text(hard, "configmaps")
		}},
		{"container: default request", func(_, _ corev1.ResourceList, limits corev1.LimitRangeItem) string {
			return text(limits.DefaultRequest, "cpu") + " / " + text(limits.DefaultRequest, "memory") + " / " + text(limits.DefaultRequest, "ephemeral-storage")
		}},
		{"container: default limit", func(_, _ corev1.ResourceList, limits corev1.LimitRangeItem) string {
			return text(limits.Default, "cpu") + " / " + text(limits.Default, "memory") + " / " + text(limits.Default, "ephemeral-storage")
		}},
		{"container: maximum limit", func(_, _ corev1.ResourceList, limits corev1.LimitRangeItem) string {
			return text(limits.Max, "cpu") + " / " + text(limits.Max, "memory") + " / " + text(limits.Max, "ephemeral-storage")
		}},
		{"container: minimum request and limit", func(_, _ corev1.ResourceList, limits corev1.LimitRangeItem) string {
			return text(limits.Min, "cpu") + " / " + text(limits.Min, "memory") + " / " + text(limits.Min, "ephemeral-storage")
		}},
	}
	for _, name := range []corev1.ResourceName{
		"requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
	} {
		rows = append(rows, row{string(name), func(hard, demand corev1.ResourceList, _ corev1.LimitRangeItem) string {
			return text(demand, name) + " of " + text(hard, name)
		}})
	}
	for _, row := range rows {
		line := "| " + row.head
		for _, environment := range manifests.Environments {
			hard, demand := rollingUpdate(t, environment)
			line += " | " + row.cell(hard, demand, limitRange(t, environment))
		}
		require.Contains(t, string(readme), line+" |\n")
	}
}

func text(list corev1.ResourceList, name corev1.ResourceName) string {
	quantity := list[name]
	return quantity.String()
}

// Whoever reads the README learns the name of every network policy that there may be.
func TestReadmeNamesEveryNetworkPolicy(t *testing.T) {
	readme, err := os.ReadFile(environmentChart + "/README.md")
	require.NoError(t, err)
	_, row, found := strings.Cut(string(readme), "| NetworkPolicies ")
	require.True(t, found)
	row, _, _ = strings.Cut(row, "|")
	names := map[string]bool{}
	for _, environment := range manifests.Environments {
		for _, policy := range all[networkingv1.NetworkPolicy](t, render(t, environment, everyDoor), "NetworkPolicy") {
			names[policy.Name] = true
		}
	}
	require.Len(t, names, 10)
	for name := range names {
		require.Contains(t, row, "`"+name+"`")
	}
}

// A reader pastes the values of the README into a file.
func TestChartTakesTheExamplesOfTheReadme(t *testing.T) {
	readme, err := os.ReadFile(environmentChart + "/README.md")
	require.NoError(t, err)
	examples := strings.Split(string(readme), "```yaml\n")[1:]
	require.Len(t, examples, 8)
	for _, example := range examples {
		text, _, _ := strings.Cut(example, "```")
		values := map[string]any{}
		require.NoError(t, yaml.UnmarshalStrict([]byte(text), &values))
		_, err := tryRender(t, "production", values)
		require.NoError(t, err, text)
	}
}
