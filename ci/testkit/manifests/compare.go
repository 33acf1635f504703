package manifests

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Identity identifies an object in a cluster, as `Kind namespace/name`, or `Kind name` outside namespaces.
func Identity(object unstructured.Unstructured) string {
	if object.GetNamespace() == "" {
		return object.GetKind() + " " + object.GetName()
	}
	return object.GetKind() + " " + object.GetNamespace() + "/" + object.GetName()
}

// A Difference is one thing in which two sets of objects are not alike.
type Difference struct {
	// Object is the Identity of the object.
	Object string
	// Field is the path of the field, its keys joined by dots; empty when the whole object is only on one side.
	Field string
	// From and To are the values as YAML on one line; empty where there is none.
	From, To string
}

// String is a difference on a line: what is added, removed or changed.
func (d Difference) String() string {
	switch {
	case d.Field == "" && d.From == "":
		return "+ " + d.Object
	case d.Field == "":
		return "- " + d.Object
	default:
		return fmt.Sprintf("~ %s: %s: %s -> %s", d.Object, d.Field, orNone(d.From), orNone(d.To))
	}
}

func orNone(value string) string {
	if value == "" {
		return "(none)"
	}
	return value
}

// Compare reports how one set of objects differs from another, by object and then by field. Entries of lists are matched by
// name if they have one, else by index; for a list of strings, only those that the other lacks are reported.
func Compare(from, to []unstructured.Unstructured) []Difference {
	before, after := byIdentity(from), byIdentity(to)
	var found []Difference
	for _, name := range keysOf(before, after) {
		was, existed := before[name]
		is, exists := after[name]
		switch {
		case !existed:
			found = append(found, Difference{Object: name, To: name})
		case !exists:
			found = append(found, Difference{Object: name, From: name})
		default:
			found = append(found, compareFields(name, "", was.Object, is.Object)...)
		}
	}
	return found
}

// keysOf are the keys that one or the other has, sorted.
func keysOf[V any](one, other map[string]V) []string {
	all := maps.Clone(one)
	maps.Copy(all, other)
	return slices.Sorted(maps.Keys(all))
}

func byIdentity(objects []unstructured.Unstructured) map[string]unstructured.Unstructured {
	all := map[string]unstructured.Unstructured{}
	for _, object := range objects {
		all[Identity(object)] = object
	}
	return all
}

func compareFields(object, at string, from, to map[string]any) []Difference {
	var found []Difference
	for _, key := range keysOf(from, to) {
		found = append(found, compareValues(object, strings.TrimPrefix(at+"."+key, "."), from[key], to[key])...)
	}
	return found
}

func compareValues(object, at string, from, to any) []Difference {
	if reflect.DeepEqual(from, to) {
		return nil
	}
	wasMap, oneIsMap := from.(map[string]any)
	isMap, otherIsMap := to.(map[string]any)
	if oneIsMap && otherIsMap {
		return compareFields(object, at, wasMap, isMap)
	}
	wasList, oneIsList := from.([]any)
	isList, otherIsList := to.([]any)
	if oneIsList && otherIsList {
		return compareLists(object, at, wasList, isList)
	}
	return []Difference{{Object: object, Field: at, From: oneLine(from), To: oneLine(to)}}
}

func compareLists(object, at string, from, to []any) []Difference {
	before, after := entries(from), entries(to)
	if before == nil || after == nil {
		return []Difference{{Object: object, Field: at, From: oneLine(without(from, to)), To: oneLine(without(to, from))}}
	}
	var found []Difference
	for _, difference := range compareFields(object, "", before, after) {
		difference.Field = at + difference.Field
		found = append(found, difference)
	}
	if len(found) == 0 { // the same entries, in another order
		found = append(found, Difference{Object: object, Field: at, From: oneLine(from), To: oneLine(to)})
	}
	return found
}

// entries are those of a list of maps, by [name] or [place]; nil for a list of anything else.
func entries(list []any) map[string]any {
	all := map[string]any{}
	for i, each := range list {
		fields, ok := each.(map[string]any)
		if !ok {
			return nil
		}
		key := fmt.Sprintf("[%d]", i)
		if name, named := fields["name"].(string); named {
			key = "[" + name + "]"
		}
		all[key] = each
	}
	if len(all) != len(list) {
		return nil
	}
	return all
}

// without is what one list has and the other has not; all of it when they differ in order alone.
func without(list, other []any) []any {
	var kept []any
	for _, each := range list {
		if !slices.ContainsFunc(other, func(o any) bool { return reflect.DeepEqual(o, each) }) {
			kept = append(kept, each)
		}
	}
	if kept == nil && len(list) == len(other) {
		return list
	}
	return kept
}

// oneLine writes a value as YAML on one line.
func oneLine(value any) string {
	if value == nil {
		return ""
	}
	if list, ok := value.([]any); ok {
		parts := make([]string, len(list))
		for i, each := range list {
			parts[i] = oneLine(each)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	if fields, ok := value.(map[string]any); ok {
		var parts []string
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			parts = append(parts, key+": "+oneLine(fields[key]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	text, err := yaml.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return strings.TrimSpace(string(text))
}

// Text writes objects as one stream of YAML documents, in the order given.
func Text(objects []unstructured.Unstructured) (string, error) {
	var all strings.Builder
	for _, object := range objects {
		document, err := yaml.Marshal(object.Object)
		if err != nil {
			return "", fmt.Errorf("write %s: %w", Identity(object), err)
		}
		all.WriteString("---\n")
		all.Write(document)
	}
	return all.String(), nil
}
