package agent

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/configrollout"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

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
