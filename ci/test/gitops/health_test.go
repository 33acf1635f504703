package gitops_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// agentState is a state that an Agent can be in.
type agentState struct {
	name string
	// replacements make the guide's Agent this one.
	replacements []string
	// reasons are those of which Ready has one.
	reasons []string
	// ready is whether the tool calls the stage ready.
	ready bool
}

const podMetadata = "type: standard\n    spec:\n      podMetadata: {annotations: {simulation/%s}}"

// agentStates are all, except those that a test of its own makes: new, rolling, and invalid.
var agentStates = []agentState{
	{name: "suspended", replacements: []string{"framework: pydantic-ai", "framework: pydantic-ai\n  suspend: true"},
		reasons: []string{v1alpha1.ReasonSuspended}, ready: true},
	{name: "too-large", replacements: []string{"replicas: 3", "replicas: 400"}, reasons: []string{v1alpha1.ReasonQuotaExceeded}},
	{name: "broken", replacements: []string{"type: standard\n    spec:", fmt.Sprintf(podMetadata, `never-ready: "true"`), "replicas: 3", "replicas: 3\n      progressDeadlineSeconds: 10"},
		reasons: []string{v1alpha1.ReasonProgressDeadlineExceeded, v1alpha1.ReasonProbeFailing}},
	{name: "impossible", replacements: []string{"containerPort: 8080", "containerPort: 808080"}, reasons: []string{v1alpha1.ReasonInvalidSpec}},
	{name: "taken", reasons: []string{v1alpha1.ReasonNameConflict}},
}

// requireHealth has Git hold an Agent in each state, one after another. What the tool says about its stage follows the Agent.
func (e *inEnvironment) requireHealth() {
	e.Helper()
	e.takeName("taken")
	for _, state := range agentStates {
		e.requireHealthOf(state)
	}
	e.requireRolloutFollowed()
	e.requireInvalidTold()
	table.record(e.tool, e.environment, "health", fmt.Sprintf("%d states", len(agentStates)+3))
}

func (e *inEnvironment) requireHealthOf(h agentState) {
	e.Helper()
	file := h.name + ".yaml"
	commit := e.pushAgents(e.environment, map[string][]byte{file: e.named(h.name, h.replacements...)})
	if h.ready {
		e.awaitReady(e.tool, e.agents(), teamRepository, commit)
	} else {
		e.awaitState(e.tool, e.agents(), "is not ready: "+h.name, func(s state) bool { return !s.ready && e.hasReason(h) })
	}
	e.eventually(h.name+" says why", func() error {
		if !e.hasReason(h) {
			return fmt.Errorf("Ready is not %v", h.reasons)
		}
		return nil
	})
	e.tool.requireHealth(e, h)
	e.pushAndWait(map[string][]byte{file: nil})
}

func (e *inEnvironment) ready(name string) metav1.Condition {
	agent := e.agent(name)
	if err := e.api.Get(e.Context(), client.ObjectKeyFromObject(agent), agent); err != nil {
		return metav1.Condition{}
	}
	return ptr.Deref(meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionReady), metav1.Condition{})
}

func (e *inEnvironment) hasReason(h agentState) bool {
	return slices.Contains(h.reasons, e.ready(h.name).Reason)
}

// takeName creates a Deployment that is not the operator's.
func (e *inEnvironment) takeName(name string) {
	e.Helper()
	labels := map[string]string{"app": name}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
			},
		},
	}
	require.NoError(e, e.api.Create(e.Context(), deployment))
}

// requireRolloutFollowed has Git hold a new version: the stage is not ready until it has rolled out.
func (e *inEnvironment) requireRolloutFollowed() {
	e.Helper()
	slow := fmt.Sprintf(podMetadata, `ready-after: "6s"`)
	files := map[string][]byte{"rolling.yaml": e.named("rolling", "type: standard\n    spec:", slow)}
	e.pushAgents(e.environment, files)
	e.awaitState(e.tool, e.agents(), "waits for a new Agent", func(s state) bool { return !s.ready && e.exists(e.agent("rolling")) })
	e.awaitReady(e.tool, e.agents(), teamRepository, "")
	require.Equal(e, metav1.ConditionTrue, e.ready("rolling").Status)

	files["rolling.yaml"] = []byte(strings.ReplaceAll(string(files["rolling.yaml"]), "v2.0.0", "v2.0.1"))
	commit := e.pushAgents(e.environment, files)
	e.awaitState(e.tool, e.agents(), "waits for the rollout", func(s state) bool { return !s.ready && e.ready("rolling").Reason == v1alpha1.ReasonRolloutInProgress })
	e.awaitReady(e.tool, e.agents(), teamRepository, commit)
	require.Equal(e, metav1.ConditionTrue, e.ready("rolling").Status)
	e.pushAndWait(map[string][]byte{"rolling.yaml": nil})
}

// requireInvalidTold has Git hold an Agent that the CRD refuses.
func (e *inEnvironment) requireInvalidTold() {
	e.Helper()
	e.pushAgents(e.environment, map[string][]byte{"invalid.yaml": e.named("invalid", "replicas: 3", "replicas: -3")})
	e.awaitRefused(e.tool, e.agents(), "spec.runtime.spec.replicas", "invalid")
	e.pushAndWait(map[string][]byte{"invalid.yaml": nil})
}
