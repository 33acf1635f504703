package configrollout

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Baseline is the content that the pods of an Agent took when they last rolled. An annotation of the Deployment holds it, outside of the
// pod template, so that recording it restarts nothing.
type Baseline struct {
	// Template is a digest of the pod template without the variables of a Model. Pods that roll because of another one take the current
	// content along.
	Template string `json:"template"`
	// ConfigMaps are the digests of the keys by the name of the ConfigMap. They are null if the pods could not start without it, and
	// empty if an optional one did not exist.
	ConfigMaps map[string]map[string]string `json:"configMaps,omitempty"`
	// Secrets are the versions by the name of the Secret: noVersion if the pods could not start without it, and noSecret if an optional one
	// did not exist. A digest would let anyone who may read the Deployment check guesses of the value.
	Secrets map[string]string `json:"secrets,omitempty"`
	// Models are the digests of the fields by the name of the Model, empty if the pods started without it.
	Models map[string]map[string]string `json:"models,omitempty"`
	// Environment are the variables of the Model. They hold no key, only a reference to it. The pods keep them when the Model is deleted,
	// and when another version of the operator would resolve it to other variables.
	Environment []corev1.EnvVar `json:"environment,omitempty"`
	// Rollout is why the pods last rolled, nil if that was no config rollout.
	Rollout *Rollout `json:"rollout,omitempty"`
}

// Rollout marks a rollout that a changed configuration caused.
type Rollout struct {
	// Objects are the revisions that caused it, by the kind and name of the object.
	Objects map[Object]string `json:"objects"`
	// Unready is true if no pod of the Agent was available before: its failure says nothing about the change.
	Unready bool `json:"unready,omitempty"`
}

// Causes names the objects that caused a rollout.
func (r *Rollout) Causes() string {
	var names []string
	for _, object := range slices.SortedFunc(maps.Keys(r.Objects), compareObjects) {
		names = append(names, object.String())
	}
	return strings.Join(names, ", ")
}

// Includes reports whether a rollout has every object of another one with the same revision.
func (r *Rollout) Includes(other *Rollout) bool {
	for object, revision := range other.Objects {
		if r.Objects[object] != revision {
			return false
		}
	}
	return true
}

// Retake returns the same rollout of pods that take the current content, nil if it has no object that they read.
func (r *Rollout) Retake(references References, contents Contents) *Rollout {
	next := &Rollout{Objects: map[Object]string{}, Unready: r.Unready}
	for object, revision := range r.Objects {
		if _, referenced := references[object]; referenced {
			next.Objects[object] = cmp.Or(references.revision(object, contents), revision)
		}
	}
	if len(next.Objects) == 0 {
		return nil
	}
	return next
}

// Remaining returns what is left of a rollout that failed: the objects that have the same content as then, nil if there are none. taken is
// the baseline of the pods now, which may be others.
func (r *Rollout) Remaining(taken Baseline, references References, contents Contents, changes []Change) *Rollout {
	left := &Rollout{Objects: map[Object]string{}, Unready: r.Unready}
	for object, revision := range r.Objects {
		now := revision
		if i := slices.IndexFunc(changes, func(c Change) bool { return c.Object == object }); i >= 0 {
			now = changes[i].Revision
		} else if taken.Rollout == nil || taken.Rollout.Objects[object] != revision {
			now = cmp.Or(references.revision(object, contents), revision)
		}
		if _, referenced := references[object]; referenced && now == revision {
			left.Objects[object] = revision
		}
	}
	if len(left.Objects) == 0 {
		return nil
	}
	return left
}

// The versions of a Secret that does not exist.
const (
	noVersion = ""
	noSecret  = "none"
)

// Decode returns the baseline in an annotation. It reports false if there is none, or it cannot be decoded.
func Decode(annotation string) (Baseline, bool) {
	baseline := Baseline{}
	if json.Unmarshal([]byte(annotation), &baseline) != nil || baseline.Template == "" {
		return Baseline{}, false
	}
	return baseline, true
}

// Encode returns the annotation that holds a baseline. The same baseline always has the same one.
func (b Baseline) Encode() string {
	raw, _ := json.Marshal(b) // maps of strings have no error
	return string(raw)
}

// Change is an object with another content than the pods took.
type Change struct {
	Object Object
	// Revision is that of the new content, as far as the pods read it.
	Revision string
	// Keys are those that changed, in order; none if that is not known.
	Keys []string
}

func (c Change) same(other Change) bool {
	return c.Object == other.Object && c.Revision == other.Revision
}

// String says what changed, as events and conditions do.
func (c Change) String() string {
	const most = 5
	text := c.Object.String() + " changed"
	if len(c.Keys) == 0 {
		return text
	}
	text += ": " + strings.Join(c.Keys[:min(len(c.Keys), most)], ", ")
	if more := len(c.Keys) - most; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// Describe says what changed.
func Describe(changes []Change) string {
	texts := make([]string, len(changes))
	for i, change := range changes {
		texts[i] = change.String()
	}
	return strings.Join(texts, "; ")
}

// Difference is how the current content differs from a baseline.
type Difference struct {
	// Changes need a rollout.
	Changes []Change
	// Missing is what keeps new pods from starting. Running pods are left alone.
	Missing []string
	// Moved is true if the baseline changes although no running pod needs another content: a pod that waited for an object starts by
	// itself, and a Secret may have another version with the same content.
	Moved bool
}

// Compare returns how the current content differs from what the pods took, in the order of the objects. Content that is not known counts
// as unchanged.
func (b Baseline) Compare(references References, contents Contents) Difference {
	var difference Difference
	for _, object := range references.Objects() {
		content, known := contents[object]
		if !known {
			continue
		}
		use := references[object]
		if missing := use.missing(object, content); missing != "" {
			difference.Missing = append(difference.Missing, missing)
			continue
		}
		if !content.Exists {
			difference.Moved = difference.Moved || !b.Has(object)
			continue // nothing rolls because an optional object was deleted
		}
		keys, changed, moved := b.compareObject(object, use, content)
		if changed {
			difference.Changes = append(difference.Changes, Change{object, use.revision(object.Kind, content), keys})
		}
		difference.Moved = difference.Moved || moved
	}
	return difference
}

// Has reports whether a baseline knows an object.
func (b Baseline) Has(object Object) bool {
	var known bool
	switch object.Kind {
	case Secret:
		_, known = b.Secrets[object.Name]
	case Model:
		_, known = b.Models[object.Name]
	default:
		_, known = b.ConfigMaps[object.Name]
	}
	return known
}

// compareObject is for an object that exists with every required key.
func (b Baseline) compareObject(object Object, use Use, content Content) (keys []string, changed, moved bool) {
	switch object.Kind {
	case ConfigMap:
		taken, now := b.ConfigMaps[object.Name], use.read(content)
		if _, compact := taken[allKeys]; compact {
			now = compactKeys(now)
		}
		return changedKeys(taken, now), taken != nil && !maps.Equal(taken, now), taken == nil
	case Model: // pods of which nothing is known have no variables of a Model
		taken, now := b.Models[object.Name], use.read(content)
		if len(taken) > 0 {
			keys = changedKeys(taken, now)
		}
		return keys, !maps.Equal(taken, now), false
	}
	version := b.Secrets[object.Name]
	if version == noVersion || version == content.Version {
		return nil, false, version == noVersion
	}
	taken, known := content.at(version)
	if !known {
		return nil, true, false
	}
	before, now := use.read(taken), use.read(content)
	same := maps.Equal(before, now)
	return changedKeys(before, now), !same, same
}

// changedKeys returns the keys with another digest, in order; none if they are not known.
func changedKeys(before, now map[string]string) []string {
	var keys []string
	for key := range now {
		if before[key] != now[key] {
			keys = append(keys, key)
		}
	}
	for key := range before {
		if _, still := now[key]; !still {
			keys = append(keys, key)
		}
	}
	if slices.Contains(keys, allKeys) {
		return nil
	}
	slices.Sort(keys)
	return keys
}

// Take returns the baseline of pods with a template that take the current content. Of content that is not known, and of a Model that does
// not exist, it keeps what is known about the pods before.
func (b Baseline) Take(template string, references References, contents Contents) Baseline {
	taken := b.update(template, references, contents, func(object Object) bool {
		return object.Kind != Model || contents[object].Exists || !b.Has(object)
	})
	if of, any := references.Model(); any {
		taken.Environment = b.EnvironmentOf(of)
		if model := contents[of]; model.Exists {
			taken.Environment = model.Environment
		}
	}
	return taken
}

// EnvironmentOf returns the variables of a Model that the pods took, none if they took those of another one: whoever names another Model must
// not get the key of the one before.
func (b Baseline) EnvironmentOf(model Object) []corev1.EnvVar {
	if !b.Has(model) {
		return nil
	}
	return b.Environment
}

// ForgetModel returns an annotation without the Model that the pods took, of an Agent with another template that names none any more.
func ForgetModel(annotation, template string) string {
	baseline, ok := Decode(annotation)
	if !ok || len(baseline.Models) == 0 && len(baseline.Environment) == 0 {
		return annotation
	}
	baseline.Template, baseline.Models, baseline.Environment = template, nil, nil
	return baseline.Encode()
}

// Move returns the baseline after a difference that Moved it. What changed is as before.
func (b Baseline) Move(references References, contents Contents) Baseline {
	changed := b.Compare(references, contents).Changes
	moved := b.update(b.Template, references, contents, func(object Object) bool {
		content := contents[object]
		gone := b.Has(object) && (!content.Exists || references[object].missing(object, content) != "")
		return !gone && !slices.ContainsFunc(changed, func(c Change) bool { return c.Object == object })
	})
	moved.Rollout, moved.Environment = b.Rollout, b.Environment
	return moved
}

// update returns a baseline of the referenced objects. It has the current content of those that are known and selected.
func (b Baseline) update(template string, references References, contents Contents, selected func(Object) bool) Baseline {
	updated := Baseline{Template: template, ConfigMaps: map[string]map[string]string{}, Secrets: map[string]string{}, Models: map[string]map[string]string{}}
	for object, use := range references {
		content, known := contents[object]
		if take := known && selected(object); take {
			updated.take(object, use, content)
		} else if b.Has(object) {
			updated.keep(object, b)
		}
	}
	updated.compact()
	return updated
}

// maxDigests is how many bytes the digests of keys take in a baseline, about. All annotations of an object have 256 KiB together.
const maxDigests = 32 << 10

// compact has one digest for all keys of each ConfigMap, if the digests of the keys take too much.
func (b *Baseline) compact() {
	size := 0
	for _, keys := range b.ConfigMaps {
		for key, sum := range keys {
			size += len(key) + len(sum)
		}
	}
	if size <= maxDigests {
		return
	}
	for name, keys := range b.ConfigMaps {
		b.ConfigMaps[name] = compactKeys(keys)
	}
}

// compactKeys returns one digest for all keys, unless there is none.
func compactKeys(keys map[string]string) map[string]string {
	if _, compact := keys[allKeys]; compact || len(keys) == 0 {
		return keys
	}
	return map[string]string{allKeys: digestOf(keys)}
}

// take has a baseline record the current content of an object.
func (b *Baseline) take(object Object, use Use, content Content) {
	switch object.Kind {
	case ConfigMap:
		b.ConfigMaps[object.Name] = use.read(content)
	case Model:
		b.Models[object.Name] = use.read(content)
	default:
		b.Secrets[object.Name] = versionOf(use, content)
	}
}

// keep has a baseline record what an earlier one recorded of an object.
func (b *Baseline) keep(object Object, earlier Baseline) {
	switch object.Kind {
	case ConfigMap:
		b.ConfigMaps[object.Name] = earlier.ConfigMaps[object.Name]
	case Model:
		b.Models[object.Name] = earlier.Models[object.Name]
	default:
		b.Secrets[object.Name] = earlier.Secrets[object.Name]
	}
}

func versionOf(use Use, content Content) string {
	switch {
	case use.missing(Object{}, content) != "":
		return noVersion
	case !content.Exists:
		return noSecret
	default:
		return content.Version
	}
}

// StartRollout returns a baseline whose pods roll because of changes.
func (b Baseline) StartRollout(changes []Change, unready bool) Baseline {
	objects := map[Object]string{}
	for _, change := range changes {
		objects[change.Object] = change.Revision
	}
	b.Rollout = &Rollout{Objects: objects, Unready: unready}
	return b
}

// Revision is what the pod template of a config rollout carries. It is opaque: it changes with every version of what the pods read, and
// says nothing about the content.
func Revision(references References, contents Contents) string {
	var texts []string
	for _, object := range references.Objects() {
		texts = append(texts, object.Kind, object.Name, contents[object].Version)
	}
	return digest(texts...)
}

// Template is the digest of a pod template: of the rendered one without the variables of a Model, of the name of the Model, and of the
// annotations that others put on it to roll the pods. An Agent that names another Model takes it at once.
func Template(rendered string, foreign map[string]string, model string) string {
	if model == "" {
		return digest(rendered) + "-" + digestOf(foreign)
	}
	return digest(rendered, model) + "-" + digestOf(foreign)
}

// Restarted reports whether others changed their annotations of the pod template since the pods took the baseline: the pods roll already.
func (b Baseline) Restarted(template string) bool {
	_, before, known := strings.Cut(b.Template, "-")
	_, now, _ := strings.Cut(template, "-")
	return known && before != now
}
