package configrollout

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Content is what an object held when it was read. It has a digest for each value, and no value.
type Content struct {
	// Exists is false if there was no such object. Everything else is empty then.
	Exists bool
	// Version is opaque: it changes with every write of the object, and differs between objects of the same name.
	Version string
	// Keys are the digests of the values. Those of a Secret are keyed with a secret of this process, and are never written anywhere.
	Keys map[string]string
	// Environment are the variables that a Model resolves to.
	Environment []corev1.EnvVar
	// Earlier are contents of a Secret that this process read before, the latest first.
	Earlier []Content
}

// Contents are the objects whose content is known.
type Contents map[Object]Content

// ConfigMapContent is the content of a ConfigMap.
func ConfigMapContent(version string, data map[string]string, binary map[string][]byte) Content {
	keys := make(map[string]string, len(data)+len(binary))
	for key, value := range data {
		keys[key] = digest("text", value)
	}
	for key, value := range binary { // the environment has only text
		keys[key] = digest("binary", string(value))
	}
	return Content{Exists: true, Version: version, Keys: keys}
}

// ModelContent is the content of a Model: its fields, and the variables that it resolves to.
func ModelContent(version string, fields map[string]string, environment []corev1.EnvVar) Content {
	content := ConfigMapContent(version, fields, nil)
	content.Environment = environment
	return content
}

// maxEarlier is how many earlier contents of a Secret are remembered.
const maxEarlier = 8

// SecretContent is the content of a Secret. sum is a hash that nobody outside of this process can compute. before is the content that
// this process read last, not existing if none.
func SecretContent(version string, data map[string][]byte, sum func([]byte) string, before Content) Content {
	keys := make(map[string]string, len(data))
	for key, value := range data {
		keys[key] = sum(value)
	}
	content := Content{Exists: true, Version: version, Keys: keys, Earlier: before.history()}
	content.Earlier = content.Earlier[:min(len(content.Earlier), maxEarlier)]
	return content
}

// AbsentContent is the content of an object that does not exist. It remembers what a Secret held before.
func AbsentContent(before Content) Content { return Content{Earlier: before.history()} }

// history returns a content and its earlier ones, each without a history of its own.
func (c Content) history() []Content {
	earlier := c.Earlier
	c.Earlier = nil
	if !c.Exists {
		return earlier
	}
	return append([]Content{c}, earlier...)
}

// at returns the content of a version.
func (c Content) at(version string) (Content, bool) {
	all := c.history()
	i := slices.IndexFunc(all, func(content Content) bool { return content.Version == version })
	if i < 0 {
		return Content{}, false
	}
	return all[i], true
}

// maxKeys is how many digests of keys a baseline holds of one object. An object with more has one digest for all of them.
const maxKeys = 32

// allKeys stands for all keys of an object with more than maxKeys. No key has this name.
const allKeys = "*"

// read returns the digests of the keys that pods read, nil if the pods cannot start: the object or a required key does not exist.
func (u Use) read(content Content) map[string]string {
	if u.missing(Object{}, content) != "" {
		return nil
	}
	keys := map[string]string{}
	for key, sum := range content.Keys {
		if _, named := u.Keys[key]; named || u.All {
			keys[key] = sum
		}
	}
	if len(keys) > maxKeys {
		return compactKeys(keys)
	}
	return keys
}

// revision is opaque. Pods with the same one read the same: an Agent on which it works is no proof for one that reads other keys. Of a Secret,
// it has no digest of a value, so it is another one after every write.
func (u Use) revision(kind string, content Content) string {
	if kind != Secret {
		return digestOf(u.read(content))
	}
	return digest(append([]string{content.Version, fmt.Sprint(u.All)}, slices.Sorted(maps.Keys(u.Keys))...)...)
}

// missing returns what keeps a new pod from starting, empty if nothing does.
func (u Use) missing(object Object, content Content) string {
	if !content.Exists {
		if u.Required {
			return object.String()
		}
		return ""
	}
	for _, key := range slices.Sorted(maps.Keys(u.Keys)) {
		if _, exists := content.Keys[key]; u.Keys[key] && !exists {
			return fmt.Sprintf("key %s of %s", key, object)
		}
	}
	return ""
}

// digest is the first 64 bits of the SHA-256 of some texts, in hex.
func digest(texts ...string) string {
	var all strings.Builder
	for _, text := range texts {
		fmt.Fprintf(&all, "%d:%s", len(text), text) // the length keeps two texts apart
	}
	sum := sha256.Sum256([]byte(all.String()))
	return hex.EncodeToString(sum[:8])
}

// digestOf is the digest of a map.
func digestOf(values map[string]string) string {
	texts := make([]string, 0, 2*len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		texts = append(texts, key, values[key])
	}
	return digest(texts...)
}
