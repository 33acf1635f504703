package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

func newModel(namespace, name string, changes ...func(*v1alpha1.ModelSpec)) *v1alpha1.Model {
	of := &v1alpha1.Model{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.ModelSpec{Provider: v1alpha1.ProviderOpenAI, Model: "gpt-4o", BaseURL: "https://llm.example.com/v1"},
	}
	for _, change := range changes {
		change(&of.Spec)
	}
	return of
}

// withKey names the Secret of a Model.
func withKey(secret string) func(*v1alpha1.ModelSpec) {
	return func(s *v1alpha1.ModelSpec) { s.APIKey = &v1alpha1.ModelAPIKey{Name: secret, Key: "api-key"} }
}

func writesModels() rbacv1.PolicyRule {
	return rbacv1.PolicyRule{
		APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"models"},
		Verbs: []string{"get", "list", "create", "update", "patch", "delete"},
	}
}

// modelManager may write Models in every environment, and give them the Secret that is called held.
func modelManager(t *testing.T, name string) *person {
	t.Helper()
	for _, namespace := range environments {
		let(t, namespace, name, writesModels(), uses("", "secrets", held))
	}
	p := as(t, name)
	for _, namespace := range environments {
		require.Eventually(t, func() bool {
			return p.Create(t.Context(), newModel(namespace, "heeded", withKey(held)), client.DryRunAll) == nil
		}, taking, taking/300)
	}
	return p
}

func requireKeyRefused(t *testing.T, err error, secret, namespace string) {
	t.Helper()
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	require.ErrorContains(t, err, "'flokoa-model-keys'")
	require.ErrorContains(t, err, `you may not reference secrets "`+secret+`" in a Model without the verb use on it: ask the platform team to list it in access.modelManagers.secrets of the chart flokoa-environment (check with kubectl auth can-i use secrets/`+
		secret+` --namespace `+namespace+`)`)
}

func TestTheKeyOfAModelNeedsPermissionInEveryEnvironment(t *testing.T) {
	p := modelManager(t, "mia")
	for _, namespace := range environments {
		t.Run(namespace, func(t *testing.T) {
			require.NoError(t, p.Create(t.Context(), newModel(namespace, "m"), client.DryRunAll), "no key")
			requireKeyRefused(t, p.Create(t.Context(), newModel(namespace, "m", withKey(others)), client.DryRunAll), others, namespace)
			require.NoError(t, admin.Create(t.Context(), newModel(namespace, "m", withKey(others)), client.DryRunAll), "a cluster admin holds every verb")
		})
	}
}

// Each row is a way to the key of a Model for somebody who may write Models but not use the Secret.
func TestAModelWithAKeyIsChangedByWhoMayUseTheKey(t *testing.T) {
	p := modelManager(t, "moe")
	theirs := newModel("production", "theirs", withKey(others))
	require.NoError(t, admin.Create(t.Context(), theirs))
	t.Cleanup(func() { _ = admin.Delete(t.Context(), theirs) })
	patched := func(patch string, options ...client.PatchOption) error {
		return p.Patch(t.Context(), theirs.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(patch)), options...)
	}
	for name, patch := range map[string]string{
		"a moved baseURL":             `{"spec":{"baseURL":"https://thief.example.com/v1"}}`,
		"no baseURL":                  `{"spec":{"baseURL":null}}`,
		"another key of the Secret":   `{"spec":{"apiKey":{"key":"password"}}}`,
		"another provider":            `{"spec":{"provider":"Anthropic"}}`,
		"another model":               `{"spec":{"model":"gpt-4o-mini"}}`,
		"a variable that others read": `{"spec":{"provider":"Custom","custom":{"keyEnv":"THIEF_TOKEN","urlEnv":"THIEF_HOST"}}}`,
		"together with a label":       `{"metadata":{"labels":{"a":"b"}},"spec":{"baseURL":"https://thief.example.com/v1"}}`,
	} {
		t.Run(name, func(t *testing.T) { requireKeyRefused(t, patched(patch, client.DryRunAll), others, "production") })
	}
	require.NoError(t, patched(`{"metadata":{"labels":{"a":"b"},"annotations":{"c":"d"}}}`), "metadata says nothing about the key")

	t.Run("away with the key, and back", func(t *testing.T) {
		require.NoError(t, patched(`{"spec":{"apiKey":null,"baseURL":"https://thief.example.com/v1"}}`), "a Model without a key gives none away")
		requireKeyRefused(t, patched(`{"spec":{"apiKey":{"name":"others","key":"api-key"}}}`), others, "production")
	})
	t.Run("deleted, and created again", func(t *testing.T) {
		require.NoError(t, p.Delete(t.Context(), theirs.DeepCopy()))
		requireKeyRefused(t, p.Create(t.Context(), newModel("production", "theirs", withKey(others))), others, "production")
	})
	t.Run("terminating", func(t *testing.T) {
		dying := newModel("production", "dying", withKey(held))
		dying.Finalizers = []string{"example.com/f"}
		require.NoError(t, p.Create(t.Context(), dying))
		require.NoError(t, p.Delete(t.Context(), dying))
		require.NoError(t, p.Get(t.Context(), client.ObjectKeyFromObject(dying), dying))
		changed := dying.DeepCopy()
		changed.Spec.APIKey.Name = others
		requireKeyRefused(t, p.Update(t.Context(), changed), others, "production")
		dying.Finalizers = nil
		require.NoError(t, p.Update(t.Context(), dying), "it can always go")
	})
}

// Whoever may write Agents, ConfigMaps, and Secrets has no way to a Model.
func TestEditorsWriteNoModels(t *testing.T) {
	let(t, "production", "ed", writesAgents(), uses("", "secrets", held), uses("agent.flokoa.ai", "models", held))
	ed := as(t, "ed")
	require.Eventually(t, func() bool {
		return ed.Create(t.Context(), newAgent("production", "a", doors["a Model"].give(held)), client.DryRunAll) == nil
	}, taking, taking/300)
	require.True(t, apierrors.IsForbidden(ed.Create(t.Context(), newModel("production", "m", withKey(held)), client.DryRunAll)))
}

// A name that nobody may use cannot be held in advance, for a Model that is created later.
func TestAModelThatDoesNotExistYetCannotBeNamed(t *testing.T) {
	p := author(t, "nia")
	requireRefused(t, p.Create(t.Context(), newAgent("production", "early", doors["a Model"].give("later")), client.DryRunAll), refusal("models", "later", "production"))
}

// The author of an Agent that has a Model can take its key, so each change of the Agent needs the verb use on the Model.
func TestTheImageOfAnAgentWithAModelIsChangedByWhoMayUseIt(t *testing.T) {
	let(t, "production", "ida", writesAgents())
	ida := as(t, "ida")
	agent := newAgent("production", "has-a-model", doors["a Model"].give(others))
	require.NoError(t, admin.Create(t.Context(), agent))
	t.Cleanup(func() { _ = admin.Delete(t.Context(), agent) })
	require.Eventually(t, func() bool { return ida.Get(t.Context(), client.ObjectKeyFromObject(agent), &v1alpha1.Agent{}) == nil }, taking, taking/300)
	for name, patch := range map[string]string{
		"the image":          `[{"op":"replace","path":"/spec/runtime/spec/container/image","value":"a/thief:v1"}]`,
		"the URL":            `[{"op":"add","path":"/spec/runtime/spec/container/env/-","value":{"name":"OPENAI_BASE_URL","value":"https://thief.example.com"}}]`,
		"a ConfigMap":        `[{"op":"add","path":"/spec/runtime/spec/container/envFrom","value":[{"configMapRef":{"name":"thief"}}]}]`,
		"a sidecar":          `[{"op":"add","path":"/spec/runtime/spec/sidecars","value":[{"name":"thief","image":"a/thief:v1","resources":{"requests":{"cpu":"1","memory":"1Gi"},"limits":{"cpu":"1","memory":"1Gi"}}}]}]`,
		"what takes changes": `[{"op":"add","path":"/spec/configRollout","value":"OnNextRollout"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			err := ida.Patch(t.Context(), agent.DeepCopy(), client.RawPatch(types.JSONPatchType, []byte(patch)), client.DryRunAll)
			requireRefused(t, err, refusal("models", others, "production"))
		})
	}
	require.NoError(t, merge(t, ida, agent, `{"spec":{"suspend":true}}`))
}
