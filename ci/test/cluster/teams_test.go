package cluster_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// A team is its environments: dev, staging, and production.
type team []*environment

// TestNoTeamCanReachAnother installs the two teams of examples/teams, one by each way, and has each try everything in the namespaces
// of the other.
func TestNoTeamCanReachAnother(t *testing.T) {
	t.Parallel()
	awaitAgentsCounted(t, api, "default")
	payments, search := teamByKustomize(t, "payments"), teamByHelm(t, "search")
	for _, e := range slices.Concat(payments, search) {
		e.waitQuotas()
	}
	for _, pair := range [][2]team{{payments, search}, {search, payments}} {
		ours, other := pair[0], pair[1]
		ours.requireNoAccess(other)
		for i := range ours {
			ours[i].requireNoReference(other[i])
		}
	}
	requireSeparateAgents(payments[0], search[0])
}

func teamByKustomize(t *testing.T, name string) team {
	t.Helper()
	environments := newTeam(t, name)
	// Without a namespace of the command, because the objects are in three.
	environments[0].kubectl("--namespace=", "apply", "--server-side", "--kustomize", "examples/teams/kustomize/"+name)
	return environments.labelled()
}

func teamByHelm(t *testing.T, name string) team {
	t.Helper()
	environments := newTeam(t, name)
	for _, e := range environments {
		e.helm("install", e.namespace, "charts/flokoa-environment", "--values", "examples/teams/helm/"+name+".yaml",
			"--set", "environment="+e.kind, "--set", "namespace.name="+e.namespace)
		t.Cleanup(func() { _, _ = e.helmCommand(context.Background(), "uninstall", e.namespace).CombinedOutput() })
	}
	return environments.labelled()
}

func newTeam(t *testing.T, name string) team {
	t.Helper()
	var environments team
	for _, kind := range []string{"dev", "staging", "production"} {
		environments = append(environments, &environment{kind: kind, fixture: fixtureIn(t, name+"-"+kind)})
	}
	return environments
}

// labelled marks the namespaces as those of tests, for which the operator of the tests works.
func (team team) labelled() team {
	for _, e := range team {
		e.kubectl("label", "namespace", e.namespace, "made-by=e2e")
	}
	return team
}

// groups are all groups of all members and accounts of the team. Permissions add up: what one who is in all of them may not do, no
// viewer, editor, secret-manager, secret-user, or model-manager may do.
func (team team) groups() []string {
	all := []string{"system:authenticated", "system:serviceaccounts"}
	for _, e := range team {
		for _, role := range []string{"viewers", "editors", "secret-managers", "secret-users", "model-managers"} {
			all = append(all, e.group(role))
		}
		all = append(all, "system:serviceaccounts:"+e.namespace)
	}
	return all
}

// requireNoAccess reviews and tries every verb on every resource in the namespaces of another team, as all members of the team at
// once and as each of its deployers.
func (team team) requireNoAccess(other team) {
	first := team[0]
	first.Helper()
	questions := 0
	for i, e := range other {
		deployer := "system:serviceaccount:" + team[i].namespace + ":agent-deployer"
		for _, user := range []string{"everybody", deployer} {
			may, err := e.probeAccess(user, team.groups())
			require.NoError(e, err)
			require.Empty(e, may.allowed, "what %s of %s may do in %s", user, team[i].namespace, e.namespace)
			questions += may.reviews
		}
	}
	// The same questions have answers at home, and none for all namespaces at once.
	for _, verb := range slices.Concat(readVerbs, writeVerbs) {
		for _, resource := range probedResources {
			require.False(first, team.may("", verb, resource), "%s %s in all namespaces", verb, resource)
		}
	}
	require.True(first, team.may(first.namespace, "create", "agent.flokoa.ai/agents"))
	require.True(first, team.may(first.namespace, "get", "/secrets"))
	first.note("%d permissions of others reviewed and tried", questions)
}

// may is what the API server says to all members of the team at once; an empty namespace is every namespace.
func (team team) may(namespace, verb, resource string) bool {
	first := team[0]
	first.Helper()
	config := rest.CopyConfig(cluster.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "everybody", Groups: team.groups()}
	reviewer, err := harness.NewClient(config)
	require.NoError(first, err)
	may, err := (&fixture{T: first.T, namespace: namespace}).accessReview(reviewer, verb, resource)
	require.NoError(first, err)
	return may
}

// requireNoReference has someone who may use everything of another team, and edits Agents of this one, name it in an Agent of this one.
func (e *environment) requireNoReference(other *environment) {
	e.Helper()
	user, key, account := "friend-of-"+other.namespace, other.namespace+"-key", other.namespace+"-account"
	other.kubectl("create", "secret", "generic", key, "--from-literal=api-key=x")
	other.kubectl("create", "serviceaccount", account)
	require.NoError(other, api.Create(other.Context(), &rbacv1.Role{ // kubectl create role knows no such verb
		ObjectMeta: metav1.ObjectMeta{Namespace: other.namespace, Name: "uses-theirs"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets", "serviceaccounts"}, ResourceNames: []string{key, account}, Verbs: []string{"use"}}},
	}))
	other.kubectl("create", "rolebinding", "uses-theirs", "--role=uses-theirs", "--user="+user)
	other.eventually("the Role is in force", waitTimeout, func() error {
		return other.command(other.Context(), append([]string{"auth", "can-i", "use", "secrets/" + key}, as(user)...)...).Run()
	})
	friend := as(user, e.group("editors"), other.group("editors"), other.group("secret-users"), other.group("secret-managers"))
	for _, attempt := range []struct {
		what, refusal string
		agent         *v1alpha1.Agent
	}{
		{"a Secret", `you may not reference secrets "` + key + `" in an Agent without the verb use on it`, e.newSecretReader("reader", key)},
		{"a ServiceAccount", `you may not reference serviceaccounts "` + account + `" in an Agent without the verb use on it`, e.newBorrower(onRuntime(
			func(spec *v1alpha1.RuntimeSpec) { spec.ServiceAccountName = account }))},
		{"their pods", "spec.runtime.spec.affinity may not have namespaces", e.newBorrower(antiAffinity(
			func(term *corev1.PodAffinityTerm) { term.Namespaces = []string{other.namespace} }))},
	} {
		out, err := e.kubectlApplyAgent(attempt.agent, friend...)
		require.Error(e, err, "%s of %s in %s", attempt.what, other.namespace, e.namespace)
		require.Contains(e, out, attempt.refusal, attempt.what)
	}
}

// newBorrower is an Agent that is good in every environment, but for what the changes add.
func (e *environment) newBorrower(changes ...change) *v1alpha1.Agent {
	agent := e.newSecretReader("borrower", "unused")
	onContainer(func(c *corev1.Container) { c.Env, c.EnvFrom = nil, nil })(agent)
	for _, change := range changes {
		change(agent)
	}
	return agent
}

// requireSeparateAgents runs Agents of one name in both teams, and deletes one.
func requireSeparateAgents(ours, other *environment) {
	ours.Helper()
	for _, e := range []*environment{ours, other} {
		require.NoError(e, api.Create(e.Context(), e.newAgent("same", replicas(1))))
	}
	ours.waitReady("same")
	before := other.waitReady("same")
	ours.kubectl("delete", "agent", "same", "--cascade=foreground")
	after := other.waitReady("same")
	require.Equal(other, before.UID, after.UID)
	require.Len(other, other.list(&corev1.PodList{}), 1)
}
