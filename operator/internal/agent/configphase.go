package agent

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/configrollout"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// maxProgress is how long a rollout may make no progress before it counts as failed, if its own progress deadline is later. Until then it
// holds a slot, and whoever sets a deadline of years must not block the waves of others.
const maxProgress = time.Hour

// afterRollout is for how long the failure of pods is one of the rollout that brought them, the default of a progress deadline.
const afterRollout = 10 * time.Minute

// moment is when an Agent is observed, and for how long it must have been available then to prove anything.
type moment struct {
	time.Time
	soak time.Duration
}

// asMember returns the Agent as the decision about all of them needs it.
func (of *config) asMember(agent *v1alpha1.Agent, deployment *appsv1.Deployment, state *configState, now moment) configrollout.Member {
	member := configrollout.Member{
		Name: configrollout.Name{Namespace: agent.Namespace, Name: agent.Name}, Created: agent.CreationTimestamp.Time, Rollout: of.baseline.Rollout,
		Idle: deployment == nil || ptr.Deref(deployment.Spec.Replicas, 1) == 0,
	}
	if !agent.DeletionTimestamp.IsZero() {
		return member
	}
	// A pod that does not start would replace one that runs.
	if deployment != nil && len(of.difference.Missing) == 0 && agent.Spec.ConfigRollout != v1alpha1.ConfigRolloutOnNextRollout {
		member.Changes = of.difference.Changes
	}
	if !member.Idle {
		of.recheck = soonest(of.recheck, state.observeRollout(&member, agent, deployment, now))
	}
	of.rememberFailure(&member, state)
	return member
}

// observeRollout notes how far the rollout of an Agent is, and returns when to look again, 0 for when something happens.
func (s *configState) observeRollout(member *configrollout.Member, agent *v1alpha1.Agent, deployment *appsv1.Deployment, now moment) (recheck time.Duration) {
	pods := podState{available: s.observeAvailable(deployment, now.Time), left: progressLeft(deployment, now.Time)}
	reason := notReady(agent)
	pods.crash = !pods.available && (slices.Contains(crashReasons, reason) && now.Sub(lastProgress(deployment)) < afterRollout || s.failedAt(deployment))
	if member.Rollout != nil {
		recheck = s.observePhase(member, deployment, pods, now)
	}
	// The status is that of the pass before: it does not know yet that the deadline has passed. It may also be about an object that no pod
	// needs.
	failing := status.DeadlineExceeded(deployment) || pods.left == 0 || reason != "" && reason != v1alpha1.ReasonRolloutInProgress && !pods.available
	member.Busy = deployment.Spec.Paused || !status.Completed(deployment) && !failing && !s.flaps(member, deployment, now.Time)
	member.Unready = failing && !member.Busy
	member.Down = member.Unready && deployment.Status.AvailableReplicas == 0
	return recheck
}

// podState is how the pods of a Deployment are.
type podState struct {
	// available is true if all replicas are available, and crash if they fail although the rollout was complete.
	available, crash bool
	// left is for how long a rollout may make no progress.
	left time.Duration
}

// observePhase notes how far the last config rollout is.
func (s *configState) observePhase(member *configrollout.Member, deployment *appsv1.Deployment, pods podState, now moment) (recheck time.Duration) {
	if s.started.IsZero() || s.revision != revisionOf(deployment) {
		s.started = now.Time
	}
	switch member.Phase = s.phaseOf(deployment, pods.left == 0, pods.crash); member.Phase {
	case configrollout.Rolling:
		return pods.left
	case configrollout.Complete:
		soaks := now.soak - now.Sub(s.available)
		member.Soaking = !pods.available || soaks > 0
		return max(soaks, 0)
	default:
		return 0
	}
}

// failedAt reports whether the rollout of a Deployment failed before.
func (s *configState) failedAt(deployment *appsv1.Deployment) bool {
	return s.phase == configrollout.Failed && s.revision == revisionOf(deployment)
}

// flaps reports whether a fix need not wait for the rollout under way. Pods that become ready and unready by turns are progress for the
// Deployment controller, each time, and such a rollout neither ends nor fails.
func (s *configState) flaps(member *configrollout.Member, deployment *appsv1.Deployment, now time.Time) bool {
	deadline := time.Duration(ptr.Deref(deployment.Spec.ProgressDeadlineSeconds, 600)) * time.Second
	return member.Fixes() && now.Sub(s.started) >= min(deadline, maxProgress)
}

// revisionOf returns the config revision of a pod template, empty if it has none.
func revisionOf(deployment *appsv1.Deployment) string {
	return deployment.Spec.Template.Annotations[v1alpha1.AnnotationConfigRevision]
}

// crashReasons are the reasons for which pods that run their configuration are not ready.
var crashReasons = []string{v1alpha1.ReasonContainerConfigError, v1alpha1.ReasonOOMKilled, v1alpha1.ReasonCrashLooping, v1alpha1.ReasonProbeFailing}

// notReady returns why an Agent is not ready, empty if it is.
func notReady(agent *v1alpha1.Agent) string {
	if ready := meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionReady); ready != nil && ready.Status == metav1.ConditionFalse {
		return ready.Reason
	}
	return ""
}

// observeAvailable reports whether all replicas are available, after a rollout that is complete, and notes since when.
func (s *configState) observeAvailable(deployment *appsv1.Deployment, now time.Time) bool {
	available := status.Completed(deployment) && deployment.Status.AvailableReplicas >= ptr.Deref(deployment.Spec.Replicas, 1)
	switch {
	case !available:
		s.available, s.lost = time.Time{}, true
	case s.available.IsZero() && s.lost:
		s.available = now
	case s.available.IsZero(): // before this process started
		s.available = lastProgress(deployment)
	}
	return available
}

// lastProgress is when the Deployment controller last noted progress of a rollout, zero if it is not known.
func lastProgress(deployment *appsv1.Deployment) time.Time {
	for _, condition := range deployment.Status.Conditions {
		if condition.Type == appsv1.DeploymentProgressing {
			return condition.LastUpdateTime.Time
		}
	}
	return time.Time{}
}

// progressLeft is for how long a rollout may make no progress, 0 if it should have made some by now. The Deployment controller notes when
// it last did.
func progressLeft(deployment *appsv1.Deployment, now time.Time) time.Duration {
	if status.Completed(deployment) || deployment.Generation > deployment.Status.ObservedGeneration {
		return maxProgress
	}
	if last := lastProgress(deployment); !last.IsZero() {
		return max(last.Add(maxProgress).Sub(now), 0)
	}
	return maxProgress
}

// rememberFailure has an Agent count as failed as long as what it failed with is neither changed nor complete.
func (of *config) rememberFailure(member *configrollout.Member, state *configState) {
	switch {
	case member.Phase == configrollout.Failed, member.Phase == configrollout.Rolling && member.Unready: // and somebody may end it before its deadline
		state.failed = member.Rollout
	case state.failed == nil:
		return
	case member.Phase == configrollout.Complete && member.Rollout.Includes(state.failed):
		state.failed = nil
		return
	}
	state.failed = state.failed.Remaining(of.baseline, of.references, of.contents, of.difference.Changes)
	switch {
	case member.Phase == configrollout.Rolling, member.Phase == configrollout.Failed && len(member.Changes) > 0: // it may take the fix itself
	case state.failed != nil:
		member.Phase, member.Rollout = configrollout.Failed, state.failed
	case member.Phase == configrollout.Failed:
		member.Phase = configrollout.None // it has a fix that it does not take by itself
	}
}

// phaseOf returns how far the rollout of the Deployment's pod template is. While the Deployment controller has not observed the
// Deployment, that is what it was for the same revision: a scaled Deployment is not a new rollout. A rollout without replicas completes at
// once, and proves nothing before a pod is available.
func (s *configState) phaseOf(deployment *appsv1.Deployment, overdue, crashes bool) configrollout.Phase {
	revision := revisionOf(deployment)
	switch {
	case deployment.Generation > deployment.Status.ObservedGeneration:
		if s.revision != revision {
			return configrollout.Rolling
		}
		return s.phase
	case status.DeadlineExceeded(deployment), overdue, status.Completed(deployment) && crashes:
		s.phase = configrollout.Failed
	case status.Completed(deployment) && (deployment.Status.AvailableReplicas > 0 || s.revision == revision && s.phase == configrollout.Complete):
		s.phase = configrollout.Complete
	case status.Completed(deployment):
		s.phase = configrollout.None
	default:
		s.phase = configrollout.Rolling
	}
	s.revision = revision
	return s.phase
}
