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

// Identity is what tells an object from all others of a cluster, as `Kind namespace/name`, or `Kind name` outside namespaces.
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

// Compare tells how one set of objects differs from another, by object and then by field. Lists are compared as a whole: which
// entry of one is which of the other is not for a text to guess.
func Compare(from, to []unstructured.Unstructured) []Difference {
	before, after := byIdentity(from), byIdentity(to)
	names := slices.Sorted(maps.Keys(before))
	for name := range after {
		if _, both := before[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var found []Difference
	for _, name := range names {
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

func byIdentity(objects []unstructured.Unstructured) map[string]unstructured.Unstructured {
	all := map[string]unstructured.Unstructured{}
	for _, object := range objects {
		all[Identity(object)] = object
	}
	return all
}

func compareFields(object, at string, from, to map[string]any) []Difference {
	keys := slices.Sorted(maps.Keys(from))
	for key := range to {
		if _, both := from[key]; !both {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var found []Difference
	for _, key := range keys {
		path := strings.TrimPrefix(at+"."+key, ".")
		was, is := from[key], to[key]
		wasMap, oneIsMap := was.(map[string]any)
		isMap, otherIsMap := is.(map[string]any)
		switch {
		case oneIsMap && otherIsMap:
			found = append(found, compareFields(object, path, wasMap, isMap)...)
		case !reflect.DeepEqual(was, is):
			found = append(found, Difference{Object: object, Field: path, From: oneLine(was), To: oneLine(is)})
		}
	}
	return found
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
