package gitops_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// guideAgent is the Agent of the guide's manifest.
const guideAgent = "production-agent"

// inEnvironment is what a tool has installed, in one environment, in a test of its own.
type inEnvironment struct {
	*gitops
	environment, namespace string
}

func (g *gitops) in(t *testing.T, environment string) *inEnvironment {
	t.Helper()
	w, copied := *g.world, *g
	w.T, copied.world = t, &w
	w.name += " " + environment
	return &inEnvironment{&copied, environment, "flokoa-" + environment}
}

// stages of the environment.
func (e *inEnvironment) agents() stage     { return e.tool.stage(agents, e.environment) }
func (e *inEnvironment) guardrails() stage { return e.tool.stage(guardrails, e.environment) }

// push changes the environment's folder of the team's repository, and waits until the tool has applied it.
func (e *inEnvironment) pushAndWait(files map[string][]byte) {
	e.Helper()
	e.awaitReady(e.tool, e.agents(), teamRepository, e.pushAgents(e.environment, files))
}

// named is the guide's Agent under another name, changed by replacements: pairs of what the manifest has, and what it gets.
func (e *inEnvironment) named(name string, replacements ...string) []byte {
	e.Helper()
	manifest := strings.ReplaceAll(string(e.guideManifest()), guideAgent, name)
	for i := 0; i < len(replacements); i += 2 {
		require.Contains(e, manifest, replacements[i])
		manifest = strings.ReplaceAll(manifest, replacements[i], replacements[i+1])
	}
	return []byte(manifest)
}

func (e *inEnvironment) agent(name string) *v1alpha1.Agent {
	return &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: name}}
}

// requireCorrections changes what the tool has applied, by hand and in Git, and has it refused what it may not do.
func (e *inEnvironment) requireCorrections() {
	e.Helper()
	e.requireEditsReverted()
	e.requireRefusalTold()
	e.requirePruned()
	e.requireDenied()
}

// requireEditsReverted edits an Agent and the guardrails by hand. The tool puts back each once.
func (e *inEnvironment) requireEditsReverted() {
	e.Helper()
	edited := e.agent(guideAgent)
	require.NoError(e, e.api.Get(e.Context(), client.ObjectKeyFromObject(edited), edited))
	before := edited.Generation
	e.edit(edited, func() { edited.Spec.Runtime.Spec.Replicas = ptr.To[int32](4) })
	e.awaitState(e.tool, e.agents(), "put the replicas back", func(state) bool {
		return e.exists(edited) && *edited.Spec.Runtime.Spec.Replicas == 3
	})
	e.awaitReady(e.tool, e.agents(), teamRepository, "")

	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "flokoa"}}
	require.True(e, e.exists(quota))
	pods := quota.Spec.Hard[corev1.ResourcePods]
	e.edit(quota, func() { quota.Spec.Hard[corev1.ResourcePods] = resource.MustParse("1000") })
	policies := &networkingv1.NetworkPolicyList{}
	require.NoError(e, e.api.List(e.Context(), policies, client.InNamespace(e.namespace)))
	require.NotEmpty(e, policies.Items)
	deleted := policies.Items[0]
	require.NoError(e, e.api.Delete(e.Context(), &deleted))
	e.awaitState(e.tool, e.guardrails(), "put the quota and the network policy back", func(state) bool {
		return e.exists(quota) && pods.Equal(quota.Spec.Hard[corev1.ResourcePods]) && e.exists(deleted.DeepCopy())
	})
	e.awaitReady(e.tool, e.guardrails(), platformRepository, "")

	require.NoError(e, e.tool.refresh(e.world, e.agents()))
	e.holds("the Agent is put back once", func() error {
		require.True(e, e.exists(edited))
		if edited.Generation != before+2 {
			return fmt.Errorf("generation %d after an edit and a correction of %d", edited.Generation, before)
		}
		return nil
	})
}

// edit changes an object as kubectl edit does, which sends only what changed: others write the status meanwhile.
func (e *inEnvironment) edit(object client.Object, change func()) {
	e.Helper()
	before := object.DeepCopyObject().(client.Object)
	change()
	require.NoError(e, e.api.Patch(e.Context(), object, client.MergeFrom(before)))
}

// holds checks that something stays true for some seconds, in which the tool reconciles.
func (e *inEnvironment) holds(what string, check func() error) {
	e.Helper()
	e.every(200*time.Millisecond, 5*time.Second, func() { require.NoError(e, check(), what) })
}

// requireRefusalTold has Git hold an Agent that a policy refuses, beside one that it does not. The tool quotes the policy, and goes on
// once Git is right.
func (e *inEnvironment) requireRefusalTold() {
	e.Helper()
	e.pushAgents(e.environment, map[string][]byte{
		"refused.yaml": e.named("refused", "name: agent-secrets", "name: secrets-of-another"),
		"other.yaml":   e.named("other"),
	})
	e.awaitRefused(e.tool, e.agents(), "secrets-of-another", "flokoa-secret-use", "refused")
	require.False(e, e.exists(e.agent("refused")))
	e.eventually("the other Agent is held back, or not", func() error {
		if held := !e.exists(e.agent("other")); held != e.tool.holdsBack() {
			return fmt.Errorf("held back: %t", held)
		}
		return nil
	})
	e.pushAndWait(map[string][]byte{"refused.yaml": nil, "other.yaml": e.named("other")})
	require.True(e, e.exists(e.agent("other")), "the other Agent is applied")
}

// requirePruned adds an Agent to Git, and removes it.
func (e *inEnvironment) requirePruned() {
	e.Helper()
	e.pushAndWait(map[string][]byte{"other.yaml": e.named("other")})
	require.True(e, e.exists(e.agent("other")))
	e.pushAndWait(map[string][]byte{"other.yaml": nil})
	e.eventually("the Agent and its Deployment are gone", func() error {
		deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "other"}}
		if e.exists(e.agent("other")) || e.exists(deployment) {
			return fmt.Errorf("one of them is there")
		}
		return nil
	})
}

// requireDenied has Git hold what the account of the Agents may not apply.
func (e *inEnvironment) requireDenied() {
	e.Helper()
	manifest, words := e.tool.beyond(e.environment)
	e.pushAgents(e.environment, map[string][]byte{"beyond.yaml": []byte(manifest)})
	e.awaitRefused(e.tool, e.agents(), words...)
	e.pushAndWait(map[string][]byte{"beyond.yaml": nil})
}

// requireKept deletes the stage of an environment, and then that of the platform. What the tools prune is the guardrails and the operator:
// a Namespace, a CRD, or a policy would take with it what people rely on.
func (g *gitops) requireKept() {
	g.Helper()
	if g.Failed() {
		return // what an environment has not shown must not be in the table
	}
	const environment = "dev"
	namespace := "flokoa-" + environment
	g.tool.remove(g, g.tool.stage(guardrails, environment))
	g.eventually("the guardrails are gone", func() error {
		return absent(g, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "flokoa"}})
	})
	require.True(g, g.exists(namespaceOf(namespace)))
	agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: guideAgent}}
	require.True(g, g.exists(agent))

	g.tool.remove(g, g.tool.stage(platform, ""))
	g.eventually("the operator is gone", func() error {
		return absent(g, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: harness.System, Name: "flokoa-operator"}})
	})
	require.True(g, g.exists(agent))
	require.True(g, g.exists(namespaceOf(harness.System)))
	for _, kept := range []string{"customresourcedefinition/agents.agent.flokoa.ai", "validatingadmissionpolicy/flokoa-secret-use", "validatingadmissionpolicybinding/flokoa-secret-use-dev"} {
		g.kubectl("get", kept)
	}
	for _, environment := range environments {
		table.record(g.tool, environment, "corrected", "yes")
	}
}

func namespaceOf(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func absent(g *gitops, object client.Object) error {
	if g.exists(object) {
		return fmt.Errorf("%s is there", object.GetName())
	}
	return nil
}
