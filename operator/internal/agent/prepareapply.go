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
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// preparation is what to do about a child that exists.
type preparation struct {
	// needed is false if an apply would change nothing.
	needed bool
	// isDrift is true if the desired configuration was applied before, and somebody changed what it set.
	isDrift bool
	// paths are the drift outside the pod template.
	paths []string
}

var (
	adoptPath  = fieldpath.MakePathOrDie("metadata", "annotations", v1alpha1.AnnotationAdopt)
	digestPath = fieldpath.MakePathOrDie("metadata", "annotations", v1alpha1.AnnotationDigest)
)

// prepareApply finds out whether a child needs an apply, and makes sure that the apply will also remove what others wrote where
// only the operator may write: in a pod template, and in an object that is being adopted.
func (c *Controller) prepareApply(ctx context.Context, agent *v1alpha1.Agent, live *child, desired runtime.ApplyConfiguration) (preparation, error) {
	if metav1.GetControllerOf(live.object) == nil {
		return preparation{needed: true}, c.adopt(ctx, agent, live)
	}
	found, err := findDrift(live.object, desired)
	if err != nil || len(found) == 0 {
		return preparation{}, err
	}
	prepared := preparation{needed: true, isDrift: !slices.ContainsFunc(found, func(d drift) bool { return d.path.Equals(digestPath) })}
	if _, ok := live.object.(*appsv1.Deployment); !ok {
		prepared.paths = pathsOf(found)
		return prepared, nil
	}
	template, rest := splitTemplate(found)
	prepared.paths = pathsOf(rest)
	if managers := templateManagers(live.object.GetManagedFields()); len(managers) > 0 && len(template) > 0 {
		live.changedBy = managersOf(managers)
		return prepared, c.takeOver(ctx, live, ownedTemplate)
	}
	if prepared.isDrift && len(template) > 0 {
		corrected, err := c.correctTemplate(ctx, live, desired, template)
		prepared.needed = corrected || len(rest) > 0
		return prepared, err
	}
	return prepared, nil
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

// correctTemplate is for a pod template that differs although no other field manager owns any of it: admission changes it at every
// write, or somebody hid the change. A dry run tells them apart. It reports whether an apply is needed.
func (c *Controller) correctTemplate(ctx context.Context, live *child, desired runtime.ApplyConfiguration, template []drift) (bool, error) {
	byAdmission, err := c.dryRunTemplate(ctx, live, desired)
	if err != nil {
		return false, err
	}
	var hidden []drift
	for _, d := range template {
		switch {
		case !slices.ContainsFunc(byAdmission, func(a drift) bool { return a.path.Equals(d.path) }):
			hidden = append(hidden, d)
		case !d.added || d.path[len(d.path)-1].Key != nil: // an added value of a struct may be a default that this operator does not know
			live.rewritten = append(live.rewritten, d.String())
		}
	}
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

// dryRunTemplate returns how a pod template would differ from the desired one if it was written whole now.
func (c *Controller) dryRunTemplate(ctx context.Context, live *child, desired runtime.ApplyConfiguration) ([]drift, error) {
	want, err := runtime.DefaultUnstructuredConverter.ToUnstructured(desired)
	if err != nil {
		return nil, err
	}
	template, _, err := unstructured.NestedFieldNoCopy(want, "spec", "template")
	if err != nil {
		return nil, err
	}
	patch, err := json.Marshal([]any{map[string]any{"op": "replace", "path": "/spec/template", "value": template}})
	if err != nil {
		return nil, err
	}
	result := emptyLike(live.object)
	result.SetNamespace(live.object.GetNamespace())
	result.SetName(live.object.GetName())
	if err := c.client.Patch(ctx, result, client.RawPatch(types.JSONPatchType, patch), FieldOwner, client.DryRunAll); err != nil {
		return nil, fmt.Errorf("dry run of the pod template: %w", err)
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

func pathsOf(found []drift) []string {
	var all []string
	for _, d := range found {
		all = append(all, d.String())
	}
	return all
}

// managersOf returns the names of field managers, each once.
func managersOf(entries []metav1.ManagedFieldsEntry) []string {
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Manager)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// sameVersion reports whether the response to an apply, which overwrote the configuration, is the object that was read.
func sameVersion(live client.Object, response runtime.ApplyConfiguration) bool {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(response)
	if err != nil {
		return false
	}
	metadata, _ := fields["metadata"].(map[string]any)
	version, _ := metadata["resourceVersion"].(string)
	return version != "" && version == live.GetResourceVersion()
}
