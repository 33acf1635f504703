package status

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/configrollout"
)

// Config is what is known of the ConfigMaps, Secrets, and the Model that an Agent references.
type Config struct {
	// Changes are those that the running pods do not have, and Decision is when they roll.
	Changes  []configrollout.Change
	Decision configrollout.Decision
	// Missing is what keeps a new pod from starting.
	Missing []string
	// Unobserved are the Secrets that the operator may not read.
	Unobserved []UnobservedSecret
	// Model is about spec.model.
	Model Model
	// Off is true if no change rolls an Agent.
	Off bool
}

// UnobservedSecret is a Secret that the operator may not read, because it is not listed, or without the permission to.
type UnobservedSecret struct {
	Name   string
	Listed bool
}

// configOutdated reports whether the pods run with another configuration than the current one. It returns false if there is nothing to
// report.
func configOutdated(agent *v1alpha1.Agent, config Config) (conditionResult, bool) {
	what := configrollout.Describe(config.Changes)
	before := meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionConfigOutdated)
	reported := before != nil
	switch {
	case len(config.Missing) > 0:
		return conditionTrue(v1alpha1.ReasonConfigMissing, "%s does not exist: running pods keep what they have, and a new pod does not start: create it",
			strings.Join(config.Missing, ", ")), true
	case len(config.Changes) == 0:
		return secretsNotObserved(agent, config.Unobserved, reported)
	case agent.Spec.ConfigRollout == v1alpha1.ConfigRolloutOnNextRollout:
		return conditionTrue(v1alpha1.ReasonOnNextRollout, "%s: the pods take it with their next rollout, because spec.configRollout is %s: to roll them now, set it to %s",
			what, agent.Spec.ConfigRollout, v1alpha1.ConfigRolloutAutomatic), true
	case config.Off:
		return conditionTrue(v1alpha1.ReasonOnNextRollout, "%s: the pods take it with their next rollout, because this operator rolls no Agent when its configuration changes: "+
			"to roll them now, change an annotation in spec.runtime.spec.podMetadata", what), true
	case !config.Decision.Verdict.Lasts() && reported: // there is more to say soon
		return conditionResult{before.Status, before.Reason, before.Message}, true
	case !config.Decision.Verdict.Lasts():
		return secretsNotObserved(agent, config.Unobserved, false)
	case config.Decision.Verdict == configrollout.Halted && config.Decision.Agent == agent.Name: // someone rolled its pods back
		return conditionTrue(v1alpha1.ReasonConfigRolloutHalted, "%s: the pods do not roll, because they rolled before and did not become ready: fix this Agent, or revert the change",
			what), true
	case config.Decision.Verdict == configrollout.Halted:
		return conditionTrue(v1alpha1.ReasonConfigRolloutHalted, "%s: the pods do not roll, because Agent %q rolled and did not become ready: fix that Agent, or revert the change",
			what, config.Decision.Agent), true
	default:
		return conditionTrue(v1alpha1.ReasonConfigRolloutPending, "%s: the pods roll when %s", what, waitsFor(config.Decision)), true
	}
}

// waitsFor says when the pods roll.
func waitsFor(decision configrollout.Decision) string {
	switch decision.Verdict {
	case configrollout.WaitForFirst:
		return fmt.Sprintf("Agent %q, which rolls first, is ready", decision.Agent)
	case configrollout.WaitForSlot:
		return "fewer other Agents roll"
	case configrollout.WaitForRollout:
		return "the rollout in progress is complete"
	default:
		return "the operator can apply it: see the condition Ready"
	}
}

// secretsNotObserved says that a Secret may change without a rollout. An Agent of an earlier version has no such condition, and gets it with
// its next generation: an upgrade of the operator writes no status. A missing permission is a mistake, and told at once.
func secretsNotObserved(agent *v1alpha1.Agent, secrets []UnobservedSecret, reported bool) (conditionResult, bool) {
	var listed, unlisted []string
	for _, secret := range secrets {
		switch {
		case secret.Listed:
			listed = append(listed, secret.Name)
		case reported || agent.Status.ObservedGeneration != agent.Generation:
			unlisted = append(unlisted, secret.Name)
		}
	}
	var messages []string
	if len(listed) > 0 {
		messages = append(messages, fmt.Sprintf("a change of Secret %s does not roll the pods: configRollouts.secrets of the chart flokoa-operator lists it, "+
			"but the operator has no permission to get, list, and watch it: run helm upgrade for flokoa-operator to create the missing Role, or grant the permission",
			strings.Join(listed, ", ")))
	}
	if len(unlisted) > 0 {
		messages = append(messages, fmt.Sprintf("a change of Secret %s does not roll the pods, because the operator may not read it: "+
			"change an annotation in spec.runtime.spec.podMetadata to roll them, or list it in configRollouts.secrets of the chart flokoa-operator",
			strings.Join(unlisted, ", ")))
	}
	return conditionResult{metav1.ConditionUnknown, v1alpha1.ReasonSecretsNotObserved, strings.Join(messages, "; ")}, len(messages) > 0
}
