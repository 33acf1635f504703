package render_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/render"
)

func TestRolloutKeepsTheDesiredCountByDefault(t *testing.T) {
	strategy := func(surge, unavailable string) string {
		return `strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: ` + surge + `, maxUnavailable: ` + unavailable + `}}`
	}
	check(t, inDeployment("strategy"), []row{
		{name: "by default", want: strategy("1", "0")},
		{name: "an empty one", runtime: `strategy: {}`, want: strategy("1", "0")},
		{name: "at 10 replicas too", runtime: `replicas: 10`, want: strategy("1", "0")},
		{name: "own maxSurge", runtime: `strategy: {maxSurge: 50%}`, want: strategy("50%", "0")},
		{name: "own maxUnavailable", runtime: `strategy: {maxUnavailable: 25%}`, want: strategy("1", "25%")},
		{name: "own maxUnavailable and no surge", runtime: `strategy: {maxSurge: 0, maxUnavailable: 1}`, want: strategy("0", "1")},
	})
}

func TestDeploymentNumbersHaveDefaults(t *testing.T) {
	check(t, inDeployment("replicas", "minReadySeconds", "progressDeadlineSeconds", "revisionHistoryLimit"), []row{
		{name: "by default", want: `{replicas: 1, progressDeadlineSeconds: 600, revisionHistoryLimit: 3}`},
		{
			name:    "own",
			runtime: `{replicas: 7, minReadySeconds: 1, progressDeadlineSeconds: 60, revisionHistoryLimit: 2}`,
			want:    `{replicas: 7, minReadySeconds: 1, progressDeadlineSeconds: 60, revisionHistoryLimit: 2}`,
		},
		{
			name:    "own 0; a 0 that the API server omits is not claimed, or it would be drift on every pass",
			runtime: `{replicas: 0, minReadySeconds: 0, progressDeadlineSeconds: 1, revisionHistoryLimit: 0}`,
			want:    `{replicas: 0, progressDeadlineSeconds: 1, revisionHistoryLimit: 0}`,
		},
	})
}

// A Deployment's selector is immutable, so it must not hold anything that a later version may change.
func TestSelectorIsOnlyTheAgentLabel(t *testing.T) {
	check(t, inDeployment("selector"), []row{
		{name: "by default", want: `selector: {matchLabels: {flokoa.ai/agent: a}}`},
		{name: "with labels of the user's", runtime: `podMetadata: {labels: {team: x}}`, want: `selector: {matchLabels: {flokoa.ai/agent: a}}`},
	})
}

func TestChildrenDoNotInheritTheAgentsMetadata(t *testing.T) {
	agent := agenttest.New("a", agenttest.In("team"))
	agent.Labels = map[string]string{"tracked-by": "gitops"}
	agent.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}"}
	agent.Spec.Framework = "google-adk"
	children := rendered(t, agent)
	const want = `
name: a
namespace: team
labels: {flokoa.ai/agent: a, flokoa.ai/framework: google-adk, app.kubernetes.io/name: a, app.kubernetes.io/instance: a,
  app.kubernetes.io/component: agent, app.kubernetes.io/part-of: flokoa, app.kubernetes.io/managed-by: flokoa-operator}
ownerReferences: [{apiVersion: agent.flokoa.ai/v1alpha1, kind: Agent, name: a, uid: uid-of-a, controller: true, blockOwnerDeletion: true}]
`
	for _, child := range []any{children.Deployment.ObjectMetaApplyConfiguration, children.Service.ObjectMetaApplyConfiguration} {
		require.Equal(t, canonical(t, want), asYAML(t, pick(t, child, "name", "namespace", "labels", "ownerReferences")))
		require.Equal(t, []string{v1alpha1.AnnotationDigest}, keys(pick(t, child, "annotations")["annotations"]))
	}
}

func TestDigestDistinguishesConfigurations(t *testing.T) {
	digest := func(options ...agenttest.Option) string {
		return rendered(t, agenttest.New("a", options...)).Deployment.Annotations[v1alpha1.AnnotationDigest]
	}
	first := digest()
	require.Len(t, first, 16)
	require.Equal(t, first, digest())
	require.NotEqual(t, first, digest(agenttest.Image("registry.example/agent:v2")))
	require.NotEqual(t, first, digest(agenttest.Replicas(2)))
}

func TestContainerNameIsThatOfTheSpec(t *testing.T) {
	require.Equal(t, "agent", render.ContainerName(agentOf(t, "", "")))
	require.Equal(t, "main", render.ContainerName(agentOf(t, "", `container: {name: main}`)))
}

func keys(object any) []string {
	var all []string
	for key := range object.(map[string]any) {
		all = append(all, key)
	}
	return all
}
