package status_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/configrollout"
	"github.com/flokoa/flokoa/operator/internal/status"
)

func TestConfigOutdatedSaysWhatChangedAndWhenItRolls(t *testing.T) {
	changes := []configrollout.Change{{Object: configrollout.Object{Kind: configrollout.ConfigMap, Name: "agent-config"}, Keys: []string{"log-level"}}}
	decided := func(verdict configrollout.Verdict, agent string) status.Config {
		return status.Config{Changes: changes, Decision: configrollout.Decision{Verdict: verdict, Agent: agent}, Unobserved: []status.UnobservedSecret{{Name: "s"}}}
	}
	onNextRollout := func(a *v1alpha1.Agent) { a.Spec.ConfigRollout = v1alpha1.ConfigRolloutOnNextRollout }
	reported := threeReplicas()
	reported.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionConfigOutdated, Status: metav1.ConditionUnknown, Reason: "Earlier", Message: "as before"}}
	for name, row := range map[string]struct {
		agent  *v1alpha1.Agent
		config status.Config
		want   string
	}{
		"nothing to report": {threeReplicas(), status.Config{}, ""},
		"the first Agent": {threeReplicas(), decided(configrollout.WaitForFirst, "b"),
			`True ConfigRolloutPending: ConfigMap agent-config changed: log-level: the pods roll when Agent "b", which rolls first, is ready`},
		"the limits": {threeReplicas(), decided(configrollout.WaitForSlot, ""),
			"True ConfigRolloutPending: ConfigMap agent-config changed: log-level: the pods roll when fewer other Agents roll"},
		"a rollout in progress": {threeReplicas(), decided(configrollout.WaitForRollout, ""),
			"True ConfigRolloutPending: ConfigMap agent-config changed: log-level: the pods roll when the rollout in progress is complete"},
		"halted": {threeReplicas(), decided(configrollout.Halted, "b"),
			`True ConfigRolloutHalted: ConfigMap agent-config changed: log-level: the pods do not roll, because Agent "b" rolled and did not become ready: fix that Agent, or revert the change`},
		"halted by itself": {threeReplicas(), decided(configrollout.Halted, threeReplicas().Name),
			`True ConfigRolloutHalted: ConfigMap agent-config changed: log-level: the pods do not roll, because they rolled before and did not become ready: fix this Agent, or revert the change`},
		"on the next rollout, after a start": {threeReplicas(onNextRollout), decided(configrollout.WaitForStart, ""),
			"True OnNextRollout: ConfigMap agent-config changed: log-level: the pods take it with their next rollout, because spec.configRollout is OnNextRollout: to roll them now, set it to Automatic"},
		"on the next rollout": {threeReplicas(onNextRollout), decided(configrollout.Nothing, ""),
			"True OnNextRollout: ConfigMap agent-config changed: log-level: the pods take it with their next rollout, because spec.configRollout is OnNextRollout: to roll them now, set it to Automatic"},
		"new": {threeReplicas(), status.Config{Changes: changes, Decision: configrollout.Decision{Verdict: configrollout.Gathering}}, ""},
		"new again": {reported, status.Config{Changes: changes, Decision: configrollout.Decision{Verdict: configrollout.Gathering}},
			"Unknown Earlier: as before"},
		"after a start": {reported, status.Config{Changes: changes, Decision: configrollout.Decision{Verdict: configrollout.WaitForStart}},
			"Unknown Earlier: as before"},
		"config rollouts are off": {threeReplicas(), status.Config{Changes: changes, Off: true},
			"True OnNextRollout: ConfigMap agent-config changed: log-level: the pods take it with their next rollout, because this operator rolls no Agent when its configuration changes: to roll them now, change an annotation in spec.runtime.spec.podMetadata"},
		"deleted": {threeReplicas(), status.Config{Missing: []string{"ConfigMap agent-config"}, Changes: changes},
			"True ConfigMissing: ConfigMap agent-config does not exist: running pods keep what they have, and a new pod does not start: create it"},
		"a Secret that is not observed": {threeReplicas(), status.Config{Unobserved: []status.UnobservedSecret{{Name: "agent-secrets"}}},
			"Unknown SecretsNotObserved: a change of Secret agent-secrets does not roll the pods, because the operator may not read it: change an annotation in spec.runtime.spec.podMetadata to roll them, or list it in configRollouts.secrets of the chart flokoa-operator"},
		"a Secret without the permission": {threeReplicas(), status.Config{Unobserved: []status.UnobservedSecret{{Name: "unlisted"}, {Name: "tokens", Listed: true}}},
			"Unknown SecretsNotObserved: a change of Secret tokens does not roll the pods: configRollouts.secrets of the chart flokoa-operator lists it, but the operator has no permission to get, list, and watch it: run helm upgrade for flokoa-operator to create the missing Role, or grant the permission; " +
				"a change of Secret unlisted does not roll the pods, because the operator may not read it: change an annotation in spec.runtime.spec.podMetadata to roll them, or list it in configRollouts.secrets of the chart flokoa-operator"},
	} {
		row.agent.Status.ObservedGeneration = -1
		got, _ := status.Of(row.agent, status.Observed{Deployment: deployment(), Config: row.config}, nil)
		require.Equal(t, row.want, conditionText(got, v1alpha1.ConditionConfigOutdated), name)
	}
}

func TestAnUpgradeAddsNoConditionAboutSecrets(t *testing.T) {
	observed := status.Observed{Now: now, Deployment: deployment(), Config: status.Config{Unobserved: []status.UnobservedSecret{{Name: "s"}}}}
	agent := threeReplicas()
	agent.Status, _ = status.Of(agent, status.Observed{Now: now, Deployment: deployment()}, nil)
	got, _ := status.Of(agent, observed, nil)
	require.Equal(t, agent.Status, got, "nothing to write")
	agent.Generation++
	got, _ = status.Of(agent, observed, nil)
	require.Contains(t, conditionText(got, v1alpha1.ConditionConfigOutdated), "SecretsNotObserved")
	agent.Status = got
	got, _ = status.Of(agent, observed, nil)
	require.Equal(t, agent.Status, got, "it stays")
}

func TestAMissingPermissionOnAListedSecretIsToldAtOnce(t *testing.T) {
	agent := threeReplicas()
	agent.Status, _ = status.Of(agent, status.Observed{Now: now, Deployment: deployment()}, nil)
	secrets := []status.UnobservedSecret{{Name: "unlisted"}, {Name: "tokens", Listed: true}}
	got, _ := status.Of(agent, status.Observed{Now: now, Deployment: deployment(), Config: status.Config{Unobserved: secrets}}, nil)
	text := conditionText(got, v1alpha1.ConditionConfigOutdated)
	require.Contains(t, text, "Unknown SecretsNotObserved: a change of Secret tokens does not roll the pods: configRollouts.secrets")
	require.NotContains(t, text, "unlisted")
}

func TestARolloutIsCompletedUntilTheNextOne(t *testing.T) {
	for name, row := range map[string]struct {
		deployment *appsv1.Deployment
		completed  bool
	}{
		"no Deployment":   {nil, false},
		"complete":        {deployment(), true},
		"pods lost later": {deployment(counts(3, 3, 1, 1)), true},
		"in progress":     {deployment(progressing("ReplicaSetUpdated")), false},
		"stuck":           {deployment(progressing("ProgressDeadlineExceeded")), false},
		"not observed":    {deployment(func(d *appsv1.Deployment) { d.Generation++ }), false},
	} {
		require.Equal(t, row.completed, status.Completed(row.deployment), name)
	}
	require.True(t, status.DeadlineExceeded(deployment(progressing("ProgressDeadlineExceeded"))))
	require.False(t, status.DeadlineExceeded(deployment()))
	require.False(t, status.DeadlineExceeded(nil))
}
