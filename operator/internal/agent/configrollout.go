package agent

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/configrollout"
	"github.com/flokoa/flokoa/operator/internal/configwatch"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// reasonConfigChanged is the reason of the Event about a changed configuration that rolls the pods.
const reasonConfigChanged = "ConfigChanged"

// maxProgress is how long a rollout may make no progress before it counts as failed, if its own progress deadline is later. Until then it
// holds a slot, and whoever sets a deadline of years must not block the waves of others.
const maxProgress = time.Hour

// afterRollout is for how long the failure of pods is one of the rollout that brought them, the default of a progress deadline.
const afterRollout = 10 * time.Minute

// ConfigRollouts configure what a changed ConfigMap, Secret, or Model does.
type ConfigRollouts struct {
	// Limits are how many Agents roll at a time. With a total of 0, no change rolls an Agent, and only Models are observed.
	Limits configrollout.Limits
	// Settle is how long a change waits for further changes. The first Agent that takes one must be available for as long as the change was
	// quiet before others take it.
	Settle configwatch.Settle
	// Secrets are those that the operator may read.
	Secrets []configwatch.Key
}

// configs is what config rollouts need besides the state of each Agent.
type configs struct {
	store *configwatch.Store
	waves *waves
	// soak is for how long an Agent with a change must be available before it proves anything.
	soak time.Duration
	// off is true if no change rolls an Agent.
	off bool
}

// RollConfigs has the controller roll Agents when their configuration changes. agents lists the Agents that this operator reconciles, and
// wake enqueues some. The returned store must watch what is followed.
func (c *Controller) RollConfigs(settings ConfigRollouts, agents func() []types.NamespacedName, wake func([]types.NamespacedName, time.Duration)) *configwatch.Store {
	store := configwatch.NewStore(settings.Settle, c.readConfig, settings.Secrets, wake)
	c.configs = configs{store, newWaves(settings.Limits, settings.Settle.Quiet/10, agents, wake), settings.Settle.Quiet, settings.Limits.Total == 0}
	return store
}

// readConfig reads a Model, or a ConfigMap or a Secret from the API server. Nothing of their values is kept but a digest.
func (c *Controller) readConfig(ctx context.Context, key configwatch.Key, before configrollout.Content) (configrollout.Content, error) {
	name := types.NamespacedName{Namespace: key.Namespace, Name: key.Name}
	if key.Kind == configrollout.Model {
		return c.readModel(ctx, name)
	}
	if key.Kind == configrollout.Secret {
		secret := &corev1.Secret{}
		if err := c.live.Get(ctx, name, secret); err != nil {
			return configrollout.AbsentContent(before), client.IgnoreNotFound(err)
		}
		return configrollout.SecretContent(configwatch.Version(secret), secret.Data, keyedSum, before), nil
	}
	configMap := &corev1.ConfigMap{}
	if err := c.live.Get(ctx, name, configMap); err != nil {
		return configrollout.AbsentContent(before), client.IgnoreNotFound(err)
	}
	return configrollout.ConfigMapContent(configwatch.Version(configMap), configMap.Data, configMap.BinaryData), nil
}

// keyedSum is a hash with the seed of this process. It is compared in memory, and never written.
func keyedSum(value []byte) string {
	sum := maphash.Bytes(seed, value)
	return hex.EncodeToString([]byte{byte(sum >> 56), byte(sum >> 48), byte(sum >> 40), byte(sum >> 32), byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

// configState is what the controller remembers of an Agent's configuration between passes.
type configState struct {
	// baseline is that of an Agent without the annotation, as this process saw it first. An operator of an earlier version made the
	// Deployment, and an upgrade writes nothing.
	baseline *configrollout.Baseline
	// annotation is the last one of the Deployment that holds a baseline. It is put back if somebody removes or damages it.
	annotation string
	// newSpec is true if the spec had changed since the last status when this process first needed that baseline: perhaps the Agent has just
	// named a Model.
	newSpec bool
	// modelMissing is when a Model that the pods never took was first found missing, zero if it was not.
	modelMissing time.Time
	// phase is how far the rollout of this revision was when the Deployment controller had last observed the Deployment.
	revision string
	phase    configrollout.Phase
	// started is when this process first saw that revision.
	started time.Time
	// available is since when all replicas have been available, zero if they are not, and lost is true if they once were not.
	available time.Time
	lost      bool
	// failed is the last config rollout that failed, as long as its objects have the same content, and it did not complete later. It outlasts
	// the pods: whoever suspends the Agent, rolls it back, or deletes its Deployment has not fixed the change.
	failed *configrollout.Rollout
	// annotated is the generation of the Deployment after a write that changed its annotations only, 0 if there was none.
	annotated int64
	// rolled are the changes that rolled the pods and that no Event has reported yet. They outlast a pass that cannot write the status.
	rolled []configrollout.Change
	// haltReported is the revision whose failure an Event reported.
	haltReported string
}

// noteAnnotated notes a write of the Deployment that changed its annotations only.
func (s *configState) noteAnnotated(before, after *appsv1.Deployment) {
	if after.Generation == before.Generation+1 && equality.Semantic.DeepEqual(before.Spec, after.Spec) {
		s.annotated = after.Generation
	}
}

// excuseAnnotated has a Deployment count as observed after such a write. The API server counts it as another generation, but no pod
// depends on it: the Agent must not become unready until the Deployment controller says so.
func (s *configState) excuseAnnotated(live *child) {
	deployment := live.object.(*appsv1.Deployment)
	if live.exists && deployment.Generation == s.annotated && deployment.Status.ObservedGeneration == s.annotated-1 {
		deployment.Status.ObservedGeneration = s.annotated
	}
}

// config is what a pass knows of the configuration of an Agent.
type config struct {
	// model is the Model that the Agent names, empty if none.
	model      configrollout.Object
	references configrollout.References
	contents   configrollout.Contents
	baseline   configrollout.Baseline
	// recorded is true if the Deployment has the annotation with the baseline, or had it.
	recorded   bool
	difference configrollout.Difference
	member     configrollout.Member
	decision   configrollout.Decision
	// off is true if no change rolls an Agent.
	off bool
	// unobserved are the Secrets that the operator may not read.
	unobserved []status.UnobservedSecret
	// recheck is when to ask again, 0 for never.
	recheck time.Duration
}

// observeConfig compares the current configuration of an Agent with the one that its pods took, and decides whether they roll.
func (c *Controller) observeConfig(ctx context.Context, agent *v1alpha1.Agent, deployment *appsv1.Deployment, state *state) config {
	of := config{model: modelOf(agent), off: c.configs.off}
	of.findRecorded(deployment, &state.config)
	var err error
	if of.recheck, err = c.readContents(ctx, agent, &of, c.configs.store.Contents); err != nil {
		log.FromContext(ctx).Error(err, "cannot read what the Agent references: its changes are not observed until then")
	}
	of.findBaseline(agent, deployment, &state.config)
	of.difference = of.baseline.Compare(of.references, of.contents)
	of.member = of.asMember(agent, deployment, &state.config, moment{c.now(), c.configs.soak})
	of.member.Unsettled = slices.ContainsFunc(of.member.Changes, func(change configrollout.Change) bool {
		return c.configs.store.Moving(configwatch.Key{Namespace: agent.Namespace, Object: change.Object})
	})
	of.decision = c.configs.waves.decide(client.ObjectKeyFromObject(agent), of.member)
	if len(of.member.Changes) > 0 && !of.member.Unsettled && !of.decision.Verdict.Lasts() {
		of.recheck = soonest(of.recheck, recheckStart)
	}
	return of
}

// readFunc reads the objects that an Agent follows, and returns when to ask again, 0 for never.
type readFunc func(ctx context.Context, agent types.NamespacedName) (configrollout.Contents, time.Duration, error)

// readContents reads what an Agent references. The Model decides which Secret the pods read, so it is read first.
func (c *Controller) readContents(ctx context.Context, agent *v1alpha1.Agent, of *config, read readFunc) (recheck time.Duration, err error) {
	key, store := client.ObjectKeyFromObject(agent), c.configs.store
	of.references, of.unobserved = configrollout.References{}, nil
	if !of.off {
		of.references = configrollout.ReferencesOf(&agent.Spec.Runtime.Spec)
	}
	if of.model.Name != "" {
		store.FollowAlso(key, of.model)
		of.contents, _, _ = read(ctx, key) // an error comes again below
		of.addModel(agent)
	}
	objects := of.references.Objects()
	store.Follow(key, objects)
	for _, object := range objects {
		key := configwatch.Key{Namespace: agent.Namespace, Object: object}
		if listed := store.Observes(key); !listed || store.Denied(key) {
			of.unobserved = append(of.unobserved, status.UnobservedSecret{Name: object.Name, Listed: listed})
		}
	}
	of.contents, recheck, err = read(ctx, key)
	return recheck, err
}

// forgetConfig drops what is known of an Agent that is gone.
func (c *Controller) forgetConfig(agent types.NamespacedName) {
	c.configs.store.Follow(agent, nil)
	c.configs.waves.forget(agent)
}

// findRecorded reads the baseline from the Deployment.
func (of *config) findRecorded(deployment *appsv1.Deployment, state *configState) {
	if deployment == nil {
		return
	}
	for _, annotation := range []string{deployment.Annotations[v1alpha1.AnnotationConfigBaseline], state.annotation} {
		if of.baseline, of.recorded = configrollout.Decode(annotation); of.recorded {
			state.annotation = annotation
			return
		}
	}
}

// findBaseline has the baseline be what this process saw first, if the Deployment has none.
func (of *config) findBaseline(agent *v1alpha1.Agent, deployment *appsv1.Deployment, state *configState) {
	if deployment == nil || len(of.references) == 0 {
		state.baseline, state.annotation = nil, ""
		of.baseline, of.recorded = configrollout.Baseline{}, false
		return
	}
	if of.recorded {
		state.baseline = nil
		return
	}
	if state.baseline == nil {
		state.baseline, state.newSpec = &configrollout.Baseline{}, agent.Generation != agent.Status.ObservedGeneration
	}
	*state.baseline = state.baseline.Move(of.references, of.contents) // what could not be read before
	of.baseline = *state.baseline
}

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

// sum is a hash of everything about the configuration that decides what is applied, except what is an annotation of the Deployment.
func (of *config) sum() uint64 {
	if len(of.difference.Changes) == 0 && !of.difference.Moved {
		return 0
	}
	raw, err := json.Marshal([]any{of.difference.Changes, of.difference.Moved, of.rolls()})
	if err != nil {
		return 0
	}
	return maphash.Bytes(seed, raw)
}

// rolls reports whether the pods roll now because of their configuration.
func (of *config) rolls() bool {
	return of.decision.Verdict == configrollout.Roll && len(of.member.Changes) > 0
}

// configured is how the configuration changes what is applied.
type configured struct {
	// annotation is the baseline for the Deployment, empty for none.
	annotation string
	// environment are the variables of the Model that the pods get, and revision is that of the pod template, empty for none.
	environment []corev1.EnvVar
	revision    string
	// taken is true if the pods take the current configuration with a new template, and rolled are the changes that are the reason.
	taken  bool
	rolled []configrollout.Change
}

// configure decides what configuration the rendered pods get, and the baseline that goes with it. Pods that roll anyway, because of another
// template than that of the baseline, take every change along. The rendered template has no variables of a Model yet.
func (c *Controller) configure(ctx context.Context, agent *v1alpha1.Agent, desired render.Children, live *appsv1.Deployment, of *config, state *configState) configured {
	template := configrollout.Template(desired.TemplateDigest(), foreignAnnotations(desired, live), of.model.Name)
	recorded, revision := "", ""
	if live != nil {
		recorded = cmp.Or(state.annotation, live.Annotations[v1alpha1.AnnotationConfigBaseline])
		revision = revisionOf(live)
	}
	same := live != nil && live.Annotations[v1alpha1.AnnotationDigest] == desired.Deployment.Annotations[v1alpha1.AnnotationDigest]
	namesNew := state.newSpec && of.model.Name != ""
	if state.baseline != nil && state.baseline.Template == "" && same && !namesNew {
		state.baseline.Template = template
		of.baseline.Template = template
	}
	unchanged := configured{annotation: recorded, environment: of.baseline.Environment, revision: revision}
	switch {
	case len(of.references) == 0 && c.configs.off:
		unchanged.annotation = configrollout.ForgetModel(recorded, template)
		return unchanged
	case len(of.references) == 0:
		return configured{revision: revision}
	case of.baseline.Template != template && of.replacesPods(agent, desired, live, template):
		c.readCurrent(ctx, agent, of)
		next := of.baseline.Take(template, of.references, of.contents)
		if of.member.Phase == configrollout.Rolling || of.member.Phase == configrollout.Failed {
			next.Rollout = of.member.Rollout.Retake(of.references, of.contents) // a restart is no proof that the change works
		}
		return configured{annotation: next.Encode(), environment: next.Environment, revision: revision, taken: true}
	case of.rolls() && ptr.Deref(live.Spec.Replicas, 1) == 0: // its next pods take everything
		next := of.baseline.Take(template, of.references, of.contents)
		return configured{annotation: next.Encode(), environment: next.Environment, revision: revision, taken: true}
	case of.rolls():
		next := of.baseline.Take(template, of.references, of.contents)
		next.Rollout = of.member.NextRollout()
		return configured{next.Encode(), next.Environment, configrollout.Revision(of.references, of.contents), true, of.difference.Changes}
	case of.baseline.Template != template:
		next := of.baseline.Move(of.references, of.contents)
		next.Template = template
		unchanged.annotation = next.Encode()
		return unchanged
	case of.recorded && !of.difference.Moved:
		return unchanged
	case of.recorded, !same, len(of.difference.Changes) > 0, recorded != "": // the last is no baseline, and this process knows none
		unchanged.annotation = of.baseline.Move(of.references, of.contents).Encode()
		return unchanged
	default:
		return configured{revision: revision}
	}
}

// replacesPods reports whether another rendered template rolls the pods. It does not if it only spells out a default, or an operator of
// another version renders the same differently: then the pods stay, and keep the configuration that they took. While pods roll because of
// another template than the rendered one, they are replaced already. Once they have been, they may be older than the configuration.
func (of *config) replacesPods(agent *v1alpha1.Agent, desired render.Children, live *appsv1.Deployment, template string) bool {
	if live == nil || of.namesOtherModel() || of.baseline.Restarted(template) && !status.Completed(live) {
		return true
	}
	kept, err := desired.WithModel(agent, render.Live{}, of.baseline.Environment)
	if err != nil {
		return true
	}
	setRevision(kept, revisionOf(live))
	found, err := findDrift(live, kept.Deployment)
	return err != nil || slices.ContainsFunc(found, func(d drift) bool { return hasPrefix(d.path, "spec", "template") })
}

// readCurrent reads what has changed and not settled yet: pods that roll for another reason take it along. Otherwise an Agent that is
// applied together with its ConfigMap would roll twice.
func (c *Controller) readCurrent(ctx context.Context, agent *v1alpha1.Agent, of *config) {
	current := func(ctx context.Context, key types.NamespacedName) (configrollout.Contents, time.Duration, error) {
		contents, err := c.configs.store.Current(ctx, key)
		return contents, 0, err
	}
	if _, err := c.readContents(ctx, agent, of, current); err != nil {
		log.FromContext(ctx).Error(err, "cannot read what the Agent references: the pods may roll once more when it can be read")
	}
}

// setRevision sets the revision of the pod template, if there is one.
func setRevision(desired render.Children, revision string) {
	if revision != "" {
		desired.Deployment.Spec.Template.WithAnnotations(map[string]string{v1alpha1.AnnotationConfigRevision: revision})
	}
}

// foreignAnnotations are the annotations of the live pod template that others put there, as kubectl rollout restart does.
func foreignAnnotations(desired render.Children, live *appsv1.Deployment) map[string]string {
	if live == nil {
		return nil
	}
	foreign := maps.Clone(live.Spec.Template.Annotations)
	maps.DeleteFunc(foreign, func(key, _ string) bool {
		_, rendered := desired.Deployment.Spec.Template.Annotations[key]
		return rendered || strings.HasPrefix(key, v1alpha1.ReservedPrefix)
	})
	return foreign
}

// report returns what the status says about the configuration after a pass that took it, or did not.
func (of *config) report(taken bool) status.Config {
	report := status.Config{Decision: of.decision, Missing: of.difference.Missing, Unobserved: of.unobserved, Off: of.off, Model: of.modelReport()}
	if !taken {
		report.Changes = of.difference.Changes
	}
	return report
}

// recordConfigRollout records an Event about changes that rolled the pods, or on which the Agent failed, so that others wait.
func (c *Controller) recordConfigRollout(agent *v1alpha1.Agent, of config, state *configState) {
	if len(state.rolled) > 0 {
		c.record(agent, corev1.EventTypeNormal, reasonConfigChanged, "%s: rolling the pods", configrollout.Describe(state.rolled))
		state.rolled = nil
	}
	if of.off || of.member.Phase != configrollout.Failed || state.haltReported == state.revision {
		return
	}
	if waiting := c.configs.waves.halts(client.ObjectKeyFromObject(agent)); waiting > 0 {
		state.haltReported = state.revision
		c.record(agent, corev1.EventTypeWarning, v1alpha1.ReasonConfigRolloutHalted,
			"this Agent did not become ready with the changed %s, so other Agents that read it do not roll (%d): fix this Agent, or revert the change",
			of.member.Rollout.Causes(), waiting)
	}
}
