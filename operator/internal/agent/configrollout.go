package agent

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"hash/maphash"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/configrollout"
	"github.com/flokoa/flokoa/operator/internal/configwatch"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// reasonConfigChanged is the reason of the Event about a changed configuration that rolls the pods.
const reasonConfigChanged = "ConfigChanged"

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

// forget drops what is known of an Agent that is gone, or that another operator reconciles.
func (c *Controller) forget(agent types.NamespacedName) {
	c.states.Delete(agent)
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
