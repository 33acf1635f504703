package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// errTerminating is the cause of a failure to apply a child whose predecessor is still being deleted.
var errTerminating = errors.New("waiting for a deletion")

// applied is the result of applying an Agent's children.
type applied struct {
	// missing is what the spec lacks for high availability.
	missing []status.Requirement
	// conflict is a foreign change of the Deployment's replica count, nil without one.
	conflict *scaleConflict
	// rewritten are the fields that admission gives another value at every write.
	rewritten []string
	// templateDue is when a new pod template will be applied, zero if it is.
	templateDue time.Time
	// config is what the pass knows of the configuration, and taken is true if new pods have it.
	config config
	taken  bool
	// awaitsModel is true if nothing is applied yet, because the Model may be about to appear.
	awaitsModel bool
	err         error
}

// applyChildren applies the children that differ. An Agent that may roll and did not holds no slot of a wave: it may wait for a person.
func (c *Controller) applyChildren(ctx context.Context, agent *v1alpha1.Agent, live *children, state *state) applied {
	outcome := c.renderAndApply(ctx, agent, live, state)
	if outcome.config.rolls() && !live.deployment.applied {
		c.configs.waves.withdraw(outcome.config.member)
	}
	return outcome
}

// renderAndApply renders the children and applies those that differ. It skips all of that while the Agent and its children are as
// they were when it last found every child up to date: most passes are about pods and counts.
func (c *Controller) renderAndApply(ctx context.Context, agent *v1alpha1.Agent, live *children, state *state) applied {
	if err := c.seekDeployment(ctx, agent, live.deployment); err != nil {
		return applied{err: applyFailure(live.deployment, err)}
	}
	observed := live.observed(agent)
	state.templates.observe(observed.Deployment, c.now())
	config := c.observeConfig(ctx, agent, observed.Deployment, state)
	sum := fingerprint(agent, live) + config.sum()
	if state.synced.holds(sum, observed.Deployment) {
		return applied{missing: state.synced.missing, rewritten: state.synced.rewritten, config: config}
	}
	if isPartial(agent) {
		return applied{err: status.InvalidSpec(errTooLarge), config: config}
	}
	desired, err := render.Agent(agent, live.forRendering(agent, observed))
	if err != nil {
		return applied{err: status.InvalidSpec(err), config: config}
	}
	outcome := applied{missing: status.Requirements(agent, desired), config: config}
	if !agent.DeletionTimestamp.IsZero() {
		return outcome // the garbage collector deletes the children, in the foreground or after the last finalizer
	}
	if wait := config.awaitModel(agent, live, &state.config, c.now()); wait > 0 {
		outcome.awaitsModel, outcome.config.recheck = true, soonest(config.recheck, wait)
		return outcome
	}
	next, err := c.prepareTemplate(ctx, agent, &desired, live, &outcome, state)
	if err != nil {
		outcome.err = err
		return outcome
	}
	outcome.conflict = c.findScaleConflict(ctx, observed.Deployment, desired.Deployment, state)
	keepsPorts := render.KeepsPorts(agent, desired) // an apply overwrites what is desired
	outcome.err = c.reconcileChildren(ctx, agent, live, desired)
	if live.deployment.applied {
		outcome.taken = next.taken
		state.config.rolled = append(state.config.rolled, next.rolled...)
	}
	outcome.rewritten = live.rewritten()
	state.synced = lastSynced{}
	if outcome.err == nil && !live.written() && outcome.templateDue.IsZero() {
		state.synced = lastSynced{sum, keepsPorts, outcome.missing, outcome.rewritten}
	}
	return outcome
}

// prepareTemplate gives the desired Deployment the configuration that its pods take, and delays a template that is not due. Pods with a
// delayed template take nothing yet.
func (c *Controller) prepareTemplate(ctx context.Context, agent *v1alpha1.Agent, desired *render.Children, live *children, outcome *applied, state *state) (next configured, err error) {
	observed := live.observed(agent)
	next = c.configure(ctx, agent, *desired, observed.Deployment, &outcome.config, &state.config)
	if *desired, err = desired.WithModel(agent, live.forRendering(agent, observed), next.environment); err != nil {
		return configured{}, err
	}
	setRevision(*desired, next.revision)
	if outcome.templateDue, err = c.delayTemplate(*desired, observed.Deployment, state); err != nil {
		return configured{}, err
	}
	if !outcome.templateDue.IsZero() {
		next = configured{annotation: observed.Deployment.Annotations[v1alpha1.AnnotationConfigBaseline]}
	}
	if next.annotation != "" {
		desired.Deployment.WithAnnotations(map[string]string{v1alpha1.AnnotationConfigBaseline: next.annotation})
	}
	return next, nil
}

// reconcileChildren applies or deletes every child. A child that fails does not keep the others from being applied.
func (c *Controller) reconcileChildren(ctx context.Context, agent *v1alpha1.Agent, live *children, desired render.Children) error {
	return errors.Join(
		reconcileChild(ctx, c, agent, live.card, desired.Card),
		reconcileChild(ctx, c, agent, live.deployment, desired.Deployment),
		c.reconcileService(ctx, agent, live.service, desired.Service),
		reconcileChild(ctx, c, agent, live.budget, desired.Disruption),
		reconcileChild(ctx, c, agent, live.autoscaler, desired.Autoscaler),
	)
}

// reconcileService first makes room for an apply: the API server rejects a Service that gains or loses its cluster IP, and a Service
// with two ports of one name.
func (c *Controller) reconcileService(ctx context.Context, agent *v1alpha1.Agent, live *child, desired *corev1ac.ServiceApplyConfiguration) error {
	if desired == nil || !live.ownedBy(agent) || checkAdoptable(agent, live) != nil {
		return reconcileChild(ctx, c, agent, live, desired)
	}
	service := live.object.(*corev1.Service)
	if isHeadless(service.Spec.ClusterIP) != isHeadless(ptr.Deref(desired.Spec.ClusterIP, "")) {
		if err := c.deleteChild(ctx, live); err != nil {
			return err
		}
	} else if paths := conflictingPorts(service, desired); len(paths) > 0 && metav1.IsControlledBy(service, agent) {
		inConflict := func(path fieldpath.Path) bool { return slices.ContainsFunc(paths, isPrefixOf(path)) }
		if err := c.takeOver(ctx, live, inConflict); err != nil {
			return applyFailure(live, err)
		}
	}
	return reconcileChild(ctx, c, agent, live, desired)
}

func isHeadless(clusterIP string) bool { return clusterIP == corev1.ClusterIPNone }

// configuration is a typed apply configuration of a child.
type configuration[T any] interface {
	comparable
	runtime.ApplyConfiguration
	WithUID(types.UID) T
}

// reconcileChild applies the desired child. If none is desired, it deletes the one that this Agent controls.
func reconcileChild[T configuration[T]](ctx context.Context, c *Controller, agent *v1alpha1.Agent, live *child, desired T) error {
	var none T
	switch {
	case desired != none:
		return applyChild(ctx, c, agent, live, desired)
	case live.ownedBy(agent) && metav1.GetControllerOf(live.object) != nil: // not an object that waits for its adoption
		return c.deleteChild(ctx, live)
	default:
		return nil
	}
}

// deleteChild deletes exactly the object that was read.
func (c *Controller) deleteChild(ctx context.Context, live *child) error {
	object, uid := live.object, live.object.GetUID()
	live.clear()
	live.written = true
	return applyFailure(live, client.IgnoreNotFound(c.client.Delete(ctx, object, client.Preconditions{UID: &uid})))
}

// applyChild applies a child that is absent or differs, and leaves a foreign object alone. It consumes the configuration: the
// response overwrites it.
//
// Server-Side Apply with force silently adopts any object of the same name. So the owner of the live object is checked first, and
// the apply carries the uid that was read: an object that has replaced it is a conflict. An object that is created between a
// read that found none and the first apply is still adopted.
func applyChild[T configuration[T]](ctx context.Context, c *Controller, agent *v1alpha1.Agent, live *child, desired T) error {
	if err := c.readUncached(ctx, agent, live); err != nil {
		return applyFailure(live, err)
	}
	if live.exists {
		switch ownershipOf(live.object, agent) {
		case foreign:
			return nameConflict(agent, live)
		case terminating:
			return waitForDeletion(live)
		}
		if err := checkAdoptable(agent, live); err != nil {
			return err
		}
		if needed, err := c.prepareApply(ctx, agent, live, desired); err != nil || !needed {
			return applyFailure(live, err)
		}
		desired.WithUID(live.object.GetUID())
	}
	live.written = true
	err := c.client.Apply(ctx, desired, FieldOwner, client.ForceOwnership)
	live.applied = err == nil
	return applyFailure(live, err)
}

// seekDeployment looks for the Deployment of an Agent that had one. Whoever removes its label hides it from the cache, and its pods took a
// configuration all the same.
func (c *Controller) seekDeployment(ctx context.Context, agent *v1alpha1.Agent, live *child) error {
	if c.configs.off && agent.Spec.Model == nil || agent.Status.ObservedGeneration == 0 || !agent.DeletionTimestamp.IsZero() {
		return nil
	}
	return c.readUncached(ctx, agent, live)
}

// readUncached reads a child that the cache does not hold from the API server: the cache has whole objects only with the label.
func (c *Controller) readUncached(ctx context.Context, agent *v1alpha1.Agent, live *child) error {
	if live.exists || live.sought {
		return nil
	}
	live.sought = true
	err := c.live.Get(ctx, client.ObjectKey{Namespace: agent.Namespace, Name: live.name}, live.object)
	live.exists = err == nil
	return client.IgnoreNotFound(err)
}

// applyFailure is the failure behind an error of the API server, nil without one. A namespace that is being deleted admits no new
// objects and needs none.
func applyFailure(live *child, err error) error {
	if err == nil || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return status.ApplyFailure(live.kind, err)
}

func nameConflict(agent *v1alpha1.Agent, live *child) error {
	return &status.Failure{Reason: v1alpha1.ReasonNameConflict, Message: fmt.Sprintf(
		"a %s named %q exists that this Agent does not control: rename the Agent, delete the %s, or annotate it with %s=%s to let the Agent adopt it",
		live.kind, live.name, live.kind, v1alpha1.AnnotationAdopt, agent.Name)}
}

func waitForDeletion(live *child) error {
	return &status.Failure{Reason: v1alpha1.ReasonRolloutInProgress, Cause: errTerminating, Message: fmt.Sprintf(
		"waiting for the deletion of %s %q before creating it again", live.kind, live.name)}
}
