package cluster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const sharedModel = "gpt-4o-model"

// namesModel has an Agent name the Model that all Agents of the namespace share.
func namesModel(a *v1alpha1.Agent) { a.Spec.Model = &v1alpha1.ModelReference{Name: sharedModel} }

// setModel writes the shared Model.
func (s *fixture) setModel(url string) {
	s.Helper()
	model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: sharedModel}, Spec: v1alpha1.ModelSpec{
		Provider: v1alpha1.ProviderOpenAI, Model: "gpt-4o", APIKey: &v1alpha1.ModelAPIKey{Name: "openai-key", Key: "api-key"}}}
	require.NoError(s, client.IgnoreAlreadyExists(api.Create(s.Context(), model.DeepCopy())))
	require.NoError(s, api.Patch(s.Context(), model, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"baseURL":%q}}`, url))))
}

// requireModelRequests requires that an operator lists and watches Models once, reads none, and reads no Secret.
func (s *fixture) requireModelRequests(since harness.Mark) {
	s.Helper()
	requests, err := requestsSince(since)
	require.NoError(s, err)
	for _, r := range requests {
		if !r.SentBy(operator.Credential) {
			continue
		}
		require.NotEqual(s, "secrets", r.ObjectRef.Resource, "%s", r)
		if r.ObjectRef.Resource == "models" {
			require.Contains(s, []string{"list", "watch"}, r.Verb, "%s", r)
			require.Empty(s, r.ObjectRef.Name, "%s", r)
		}
	}
}

// Many Agents name one Model. A change of it is read from the cache, rolls one of them first, and then as many at a time as the limits
// allow, each once. At rest, and after a restart, nothing is sent.
func TestASharedModelRollsItsAgentsInWaves(t *testing.T) {
	const agents, slots = 200, 40
	s := newFixture(t)
	useFlags(t, fmt.Sprint("--config-rollouts=", slots), fmt.Sprint("--config-rollouts-per-namespace=", slots))
	s.setModel("https://one.example/v1")
	createMany(s, agents, namesModel, simulate("ready-after", "500ms"))
	s.eventually("all Agents are ready", 10*time.Minute, func() error { return checkReady(s, agents) })
	s.settledCounts()
	mark, err := auditLogEnd()
	require.NoError(t, err)

	wave := followConfigWave(s)
	s.setModel("https://two.example/v1")
	s.eventually("all Agents have rolled", 15*time.Minute, func() error { return wave.complete(agents) })
	s.eventually("all Agents are ready", waitTimeout, func() error { return checkReady(s, agents) })
	s.requireModelRequests(mark)
	_, most := wave.rolled()
	s.note("%d Agents rolled, at most %d at once", agents, wave.most)
	require.Equal(t, 1, most, "each Agent rolls once")
	require.LessOrEqual(t, wave.most, slots)
	require.Greater(t, wave.most, 1, "after the first one, several roll at a time")
	for _, object := range s.list(&appsv1.DeploymentList{}) {
		url := ""
		for _, variable := range object.(*appsv1.Deployment).Spec.Template.Spec.Containers[0].Env {
			if variable.Name == "OPENAI_BASE_URL" {
				url = variable.Value
			}
		}
		require.Equal(t, "https://two.example/v1", url, object.GetName())
	}
	s.requireSilentRestart(agents, fmt.Sprint("--config-rollouts=", slots), fmt.Sprint("--config-rollouts-per-namespace=", slots))
	require.NoError(t, wave.complete(agents), "nobody rolls again")
}
