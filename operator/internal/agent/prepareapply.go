package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

var (
	adoptPath = fieldpath.MakePathOrDie("metadata", "annotations", v1alpha1.AnnotationAdopt)
	// Another value of one of these means that something else is to be applied, not that somebody changed the object.
	appliedPaths = []fieldpath.Path{
		fieldpath.MakePathOrDie("metadata", "annotations", v1alpha1.AnnotationDigest),
		fieldpath.MakePathOrDie("metadata", "annotations", v1alpha1.AnnotationConfigBaseline),
	}
)

// prepareApply reports whether a child that exists needs an apply. It makes sure that the apply will also remove what others wrote
// where only the operator may write: in a pod template, and in an object that is being adopted.
func (c *Controller) prepareApply(ctx context.Context, agent *v1alpha1.Agent, live *child, desired runtime.ApplyConfiguration) (bool, error) {
	if metav1.GetControllerOf(live.object) == nil {
		return true, c.adopt(ctx, agent, live)
	}
	managers := templateManagers(live.object.GetManagedFields())
	if len(managers) == 0 && hasOtherDigest(live.object, desired) {
		return true, nil // something else is to be applied: spares a comparison
	}
	found, err := findDrift(live.object, desired)
	if err != nil || len(found) == 0 {
		return false, err
	}
	template, rest := splitTemplate(found)
	if len(managers) > 0 && len(template) > 0 {
		live.changedBy = managersOf(managers)
		return true, c.takeOver(ctx, live, ownedTemplate)
	}
	if slices.ContainsFunc(found, func(d drift) bool { return slices.ContainsFunc(appliedPaths, d.path.Equals) }) {
		return true, nil
	}
	return c.correctDrift(ctx, live, desired, template, rest)
}

// hasOtherDigest reports whether another Deployment is desired than the one that was applied last.
func hasOtherDigest(live client.Object, desired runtime.ApplyConfiguration) bool {
	deployment, ok := desired.(*appsv1ac.DeploymentApplyConfiguration)
	return ok && deployment.Annotations[v1alpha1.AnnotationDigest] != live.GetAnnotations()[v1alpha1.AnnotationDigest]
}

// correctDrift is for a child that differs from what was applied to it. Either somebody changed it, or admission changes it at every
// write, which an apply would repeat forever: dry runs tell them apart. It reports whether an apply is needed.
func (c *Controller) correctDrift(ctx context.Context, live *child, desired runtime.ApplyConfiguration, template, rest []drift) (needed bool, err error) {
	if len(template) > 0 {
		if needed, err = c.correctTemplate(ctx, live, desired, template); err != nil {
			return false, err
		}
	}
	if len(rest) == 0 {
		return needed, nil
	}
	byAdmission, err := c.dryRunApply(ctx, live, desired)
	if err != nil {
		return false, err
	}
	return len(live.withoutRewritten(rest, byAdmission)) > 0 || needed, nil
}

// withoutRewritten returns the drift that is not in the result of a dry run. It notes the rest as rewritten by admission.
func (c *child) withoutRewritten(found, byAdmission []drift) []drift {
	var others []drift
	for _, d := range found {
		switch {
		case !slices.ContainsFunc(byAdmission, func(a drift) bool { return a.path.Equals(d.path) }):
			others = append(others, d)
		case !d.added || d.path[len(d.path)-1].Key != nil: // an added value of a struct may be a default that this operator does not know
			c.rewritten = append(c.rewritten, d.String())
		}
	}
	return others
}

// checkAdoptable rejects an object without a controller that no apply can turn into the Agent's, before the Agent becomes its
// controller: then the garbage collector would delete it with the Agent.
func checkAdoptable(agent *v1alpha1.Agent, live *child) error {
	if metav1.GetControllerOf(live.object) != nil {
		return nil
	}
	switch object := live.object.(type) {
	case *appsv1.Deployment:
		want := &metav1.LabelSelector{MatchLabels: render.Selector(agent)}
		if !equality.Semantic.DeepEqual(object.Spec.Selector, want) {
			return notAdoptable(live, "spec.selector is immutable and must be matchLabels "+labels.Set(want.MatchLabels).String())
		}
	case *corev1.Service:
		user := agent.Spec.Runtime.Spec.Service
		if isHeadless(object.Spec.ClusterIP) != (user != nil && user.Type == v1alpha1.ServiceHeadless) {
			return notAdoptable(live, "spec.clusterIP is immutable, and either the Service or the Agent asks for a headless one")
		}
	}
	return nil
}

func notAdoptable(live *child, why string) error {
	return &status.Failure{Reason: v1alpha1.ReasonNameConflict, Message: fmt.Sprintf(
		"%s %q cannot be adopted: %s: rename the Agent, or delete the %s", live.kind, live.name, why, live.kind)}
}

// correctTemplate is for a pod template that differs although no other field manager owns any of it. It takes over what somebody hid.
func (c *Controller) correctTemplate(ctx context.Context, live *child, desired runtime.ApplyConfiguration, template []drift) (bool, error) {
	byAdmission, err := c.dryRunTemplate(ctx, live, desired)
	if err != nil {
		return false, err
	}
	hidden := live.withoutRewritten(template, byAdmission)
	if len(hidden) == 0 {
		return false, nil
	}
	live.changedBy = []string{"somebody"}
	var added []fieldpath.Path
	for _, d := range hidden {
		if d.added {
			added = append(added, d.path)
		}
	}
	return true, c.takeOver(ctx, live, ownedTemplate, added...)
}

// dryRunTemplate returns how a pod template would differ from the desired one if it was written whole now. An apply would not tell:
// it leaves what the operator does not own.
func (c *Controller) dryRunTemplate(ctx context.Context, live *child, desired runtime.ApplyConfiguration) ([]drift, error) {
	want, err := runtime.DefaultUnstructuredConverter.ToUnstructured(desired)
	if err != nil {
		return nil, err
	}
	template, _, err := unstructured.NestedFieldNoCopy(want, "spec", "template")
	if err != nil {
		return nil, err
	}
	return c.dryRun(ctx, live, desired, types.JSONPatchType, []jsonPatch{{"replace", "/spec/template", template}})
}

// dryRunApply returns how a child would differ from the desired one if it was applied now.
func (c *Controller) dryRunApply(ctx context.Context, live *child, desired runtime.ApplyConfiguration) ([]drift, error) {
	return c.dryRun(ctx, live, desired, types.ApplyPatchType, desired, client.ForceOwnership)
}

func (c *Controller) dryRun(ctx context.Context, live *child, desired runtime.ApplyConfiguration, kind types.PatchType, body any, options ...client.PatchOption) ([]drift, error) {
	patch, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	result := emptyLike(live.object)
	result.SetNamespace(live.object.GetNamespace())
	result.SetName(live.object.GetName())
	if err := c.client.Patch(ctx, result, client.RawPatch(kind, patch), append(options, FieldOwner, client.DryRunAll)...); err != nil {
		return nil, fmt.Errorf("dry run: %w", err)
	}
	return findDrift(result, desired)
}

// splitTemplate separates drift in the operator's part of a pod template from the rest.
func splitTemplate(found []drift) (template, rest []drift) {
	for _, d := range found {
		if ownedTemplate(d.path) {
			template = append(template, d)
		} else {
			rest = append(rest, d)
		}
	}
	return template, rest
}

// String returns the path as people write it, such as spec.replicas.
func (d drift) String() string { return strings.TrimPrefix(d.path.String(), ".") }

// managersOf returns the names of field managers, each once.
func managersOf(entries []metav1.ManagedFieldsEntry) []string {
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Manager)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
