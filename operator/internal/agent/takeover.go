package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// An apply removes only what the operator owns and no longer desires. What another field manager wrote into a pod template survives
// it: a container of kubectl rollout undo, a Secret of kubectl set env. So the operator first becomes the owner, and then applies.

// templateManagers returns the entries of the field managers that own something in the operator's part of a Deployment's pod
// template, besides the operator's own applies. The entries have no fields. Entries that this function returned pass unchanged.
func templateManagers(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	var others []metav1.ManagedFieldsEntry
	for _, entry := range entries {
		if isOwnEntry(entry) {
			continue
		}
		if entry.FieldsV1 == nil || ownsTemplate(entry) {
			entry.FieldsV1, entry.FieldsType = nil, ""
			others = append(others, entry)
		}
	}
	return others
}

func isOwnEntry(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager == string(FieldOwner) && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == ""
}

// ownsTemplate reports whether an entry owns something in the operator's part of a pod template. Fields that cannot be decoded count.
func ownsTemplate(entry metav1.ManagedFieldsEntry) bool {
	if !strings.Contains(entry.FieldsV1.GetRawString(), `"f:template"`) && entry.Subresource != "" {
		return false // most events are about a status
	}
	owned, err := fieldsOf(entry)
	if err != nil {
		return true
	}
	found := false
	owned.Iterate(func(path fieldpath.Path) { found = found || ownedTemplate(path) })
	return found
}

func fieldsOf(entry metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	set := &fieldpath.Set{}
	if entry.FieldsV1 == nil {
		return set, nil
	}
	return set, set.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes()))
}

// adoptedContent reports whether a path is content that an adopted object had before: its spec or data, and the annotation that
// asked for the adoption.
func adoptedContent(path fieldpath.Path) bool {
	return hasPrefix(path, "spec") || hasPrefix(path, "data") || hasPrefix(path, "binaryData") ||
		hasPrefix(path, "metadata", "annotations", v1alpha1.AnnotationAdopt)
}

// takeOver makes the operator the only owner of what matches in a child, and of extra paths that nobody owns. The next apply then
// removes all of it that is not desired. It reads the child first, because caches hold no managed fields.
func (c *Controller) takeOver(ctx context.Context, live *child, matches func(fieldpath.Path) bool, extra ...fieldpath.Path) error {
	return c.rewrite(ctx, live, func(current client.Object) ([]jsonPatch, error) {
		entries, err := moveFields(current.GetManagedFields(), matches, extra)
		return []jsonPatch{{"replace", "/metadata/managedFields", entries}}, err
	})
}

// adopt takes over all content of an object without a controller. The same write makes the Agent its controller, because an admission
// policy lets the operator write nothing else, and adds the label by which the caches select it.
func (c *Controller) adopt(ctx context.Context, agent *v1alpha1.Agent, live *child) error {
	return c.rewrite(ctx, live, func(current client.Object) ([]jsonPatch, error) {
		entries, err := moveFields(current.GetManagedFields(), adoptedContent, []fieldpath.Path{adoptPath})
		owner := *metav1.NewControllerRef(agent, v1alpha1.GroupVersion.WithKind(v1alpha1.AgentKind))
		labels := map[string]string{v1alpha1.LabelAgent: agent.Name}
		for name, value := range current.GetLabels() {
			if name != v1alpha1.LabelAgent {
				labels[name] = value
			}
		}
		return []jsonPatch{
			{"replace", "/metadata/managedFields", entries},
			{"add", "/metadata/labels", labels},
			{"add", "/metadata/ownerReferences", append(current.GetOwnerReferences(), owner)},
		}, err
	})
}

// jsonPatch is one operation of a JSON patch.
type jsonPatch struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// rewrite patches exactly the object that was read. Another controller often writes the status meanwhile, so it retries conflicts.
func (c *Controller) rewrite(ctx context.Context, live *child, change func(current client.Object) ([]jsonPatch, error)) error {
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		current := emptyLike(live.object)
		if err := c.live.Get(ctx, client.ObjectKeyFromObject(live.object), current); err != nil {
			return err
		}
		changes, err := change(current)
		if err != nil {
			return fmt.Errorf("reading the managed fields: %w", err)
		}
		patch, err := json.Marshal(append([]jsonPatch{
			{"test", "/metadata/uid", live.object.GetUID()},
			{"replace", "/metadata/resourceVersion", current.GetResourceVersion()}, // a conflict if it changed meanwhile
		}, changes...))
		if err != nil {
			return err
		}
		return c.client.Patch(ctx, current, client.RawPatch(types.JSONPatchType, patch), FieldOwner)
	})
}

// moveFields moves the matching paths of all entries, and some more paths, to the operator's entry.
func moveFields(entries []metav1.ManagedFieldsEntry, matches func(fieldpath.Path) bool, extra []fieldpath.Path) ([]metav1.ManagedFieldsEntry, error) {
	taken := fieldpath.NewSet(extra...)
	own := metav1.ManagedFieldsEntry{Manager: string(FieldOwner), Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1"}
	var kept []metav1.ManagedFieldsEntry
	for _, entry := range entries {
		fields, err := fieldsOf(entry)
		if err != nil {
			return nil, err
		}
		if isOwnEntry(entry) {
			own, taken = entry, taken.Union(fields)
			continue
		}
		own.APIVersion = cmp.Or(own.APIVersion, entry.APIVersion)
		rest := fieldpath.NewSet()
		fields.Iterate(func(path fieldpath.Path) {
			if matches(path) {
				taken.Insert(path.Copy())
			} else {
				rest.Insert(path.Copy())
			}
		})
		if rest.Empty() {
			continue
		}
		if entry.FieldsV1, err = encodeFields(rest); err != nil {
			return nil, err
		}
		kept = append(kept, entry)
	}
	var err error
	own.FieldsV1, err = encodeFields(taken)
	return slices.Insert(kept, 0, own), err
}

func encodeFields(fields *fieldpath.Set) (*metav1.FieldsV1, error) {
	raw, err := fields.ToJSON()
	return metav1.NewFieldsV1(string(raw)), err
}
