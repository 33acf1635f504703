package agent

import (
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// drift is one place where a live object differs from the desired one.
type drift struct {
	path fieldpath.Path
	// added is true for something that is not desired, and false for something desired that is missing or has another value.
	added bool
}

// findDrift returns where a live object differs from the desired one. Every desired field must have its value. Other fields belong
// to other field managers, except in a pod template: there, everything but annotations and the API server's own defaults is drift.
func findDrift(live client.Object, desired runtime.ApplyConfiguration) ([]drift, error) {
	if surelyEqual(live, desired) {
		return nil, nil
	}
	return compareInFull(live, desired)
}

// compareInFull returns the drift by converting both objects to maps.
func compareInFull(live client.Object, desired runtime.ApplyConfiguration) ([]drift, error) {
	have, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	if err != nil {
		return nil, err
	}
	want, err := runtime.DefaultUnstructuredConverter.ToUnstructured(desired)
	if err != nil {
		return nil, err
	}
	if want, err = asStored(live, want); err != nil {
		return nil, err
	}
	return compare(want, have), nil
}

// asStored drops what the API server drops of a desired object: a zero value, an empty map. The type of the live object knows them.
func asStored(live client.Object, want map[string]any) (map[string]any, error) {
	typed := emptyLike(live)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(want, typed); err != nil {
		return nil, err
	}
	return runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
}

// isNotCompared are the fields of an object that say nothing about drift: cached objects have no type, and the status is not desired.
var isNotCompared = map[string]bool{"apiVersion": true, "kind": true, "status": true}

// compare returns the drift from a desired to a live object, in order.
func compare(want, have map[string]any) []drift {
	for name := range isNotCompared {
		delete(want, name)
	}
	c := comparison{}
	c.fields(nil, want, have)
	slices.SortFunc(c.found, func(a, b drift) int { return a.path.Compare(b.path) }) // maps have no order
	return c.found
}

// mergeKeys are the fields that identify an item of an associative list, by the list's name, as the API declares them for
// Server-Side Apply. Other field managers may add items to these lists. All other lists are compared whole and in order.
var mergeKeys = map[string][]string{
	"claims":                    {"name"}, // of a container's resources
	"containers":                {"name"},
	"env":                       {"name"},
	"hostAliases":               {"ip"},
	"imagePullSecrets":          {"name"},
	"initContainers":            {"name"},
	"ownerReferences":           {"uid"},
	"ports":                     {"containerPort", "port", "protocol"}, // of a container, of a Service
	"topologySpreadConstraints": {"topologyKey", "whenUnsatisfiable"},
	"volumeDevices":             {"devicePath"},
	"volumeMounts":              {"mountPath"},
	"volumes":                   {"name"},
}

// keyDefaults are the defaults that the API declares for merge keys.
var keyDefaults = map[string]any{"protocol": "TCP"}

// atomicFields are maps and structs that the API treats as one value. An addition inside them is drift; in a Service's selector, it
// would stop the traffic.
var atomicFields = map[string]bool{
	"configMapKeyRef":   true,
	"dataSource":        true,
	"labelSelector":     true,
	"namespaceSelector": true,
	"nodeSelector":      true,
	"preference":        true,
	"secretKeyRef":      true,
	"selector":          true,
}

// comparison collects drift.
type comparison struct{ found []drift }

func (c *comparison) add(path fieldpath.Path, added bool) {
	c.found = append(c.found, drift{path.Copy(), added})
}

// value compares the values of one field.
func (c *comparison) value(path fieldpath.Path, want, have any) {
	name := lastName(path)
	if !atomicFields[name] {
		switch want := want.(type) {
		case map[string]any:
			if have, ok := have.(map[string]any); ok {
				c.fields(path, want, have)
				return
			}
		case []any:
			if have, ok := have.([]any); ok {
				c.items(path, want, have)
				return
			}
		}
	}
	if want != nil && !reflect.DeepEqual(want, have) && !sameQuantity(path, want, have) {
		c.add(path, false)
	}
}

// fields compares structs and maps.
func (c *comparison) fields(path fieldpath.Path, want, have map[string]any) {
	for name, v := range want {
		c.value(append(path, fieldpath.PathElement{FieldName: &name}), v, have[name])
	}
	if !ownedTemplate(path) {
		return
	}
	for name := range have {
		if _, wanted := want[name]; !wanted && !isDefault(path, name, want, have) {
			c.add(append(path, fieldpath.PathElement{FieldName: &name}), true)
		}
	}
}

// items compares lists: by merge keys where the API has them, else by position.
func (c *comparison) items(path fieldpath.Path, want, have []any) {
	keys := mergeKeys[lastName(path)]
	if keys == nil {
		if !sameItems(path, want, have) {
			c.add(path, false)
		}
		return
	}
	last, ordered := -1, true
	haveKeys, matched := make([]value.FieldList, len(have)), make([]bool, len(have))
	for i, item := range have {
		haveKeys[i] = keyOf(keys, item)
	}
	for _, item := range want {
		key := keyOf(keys, item)
		at := slices.IndexFunc(haveKeys, key.Equals)
		inner := append(path, fieldpath.PathElement{Key: &key})
		if at < 0 {
			c.add(inner, false)
			continue
		}
		ordered, last, matched[at] = ordered && at > last, at, true
		c.value(inner, item, have[at])
	}
	if !ownedTemplate(path) {
		return
	}
	if !ordered {
		c.add(path, false) // $(NAME) in env, and init containers, depend on the order
	}
	for at, key := range haveKeys {
		if !matched[at] {
			c.add(append(path, fieldpath.PathElement{Key: &key}), true)
		}
	}
}

// sameItems compares a list that is one value to the API. Only defaults may be added inside its items.
func sameItems(path fieldpath.Path, want, have []any) bool {
	if len(want) != len(have) {
		return false
	}
	inside := comparison{}
	for i := range want {
		inside.value(append(path, fieldpath.PathElement{Index: ptr.To(i)}), want[i], have[i])
	}
	return len(inside.found) == 0
}

// keyOf returns the merge keys of a list item.
func keyOf(names []string, item any) value.FieldList {
	fields, _ := item.(map[string]any)
	var key value.FieldList
	for _, name := range names {
		if v, ok := fields[name]; ok {
			key = append(key, value.Field{Name: name, Value: value.NewValueInterface(v)})
		} else if v, ok := keyDefaults[name]; ok {
			key = append(key, value.Field{Name: name, Value: value.NewValueInterface(v)})
		}
	}
	key.Sort()
	return key
}

// lastName returns the name of the field that a path ends with, empty for a list item.
func lastName(path fieldpath.Path) string {
	if len(path) == 0 {
		return ""
	}
	return ptr.Deref(path[len(path)-1].FieldName, "")
}

// sameQuantity reports whether two values are the same quantity of a resource. The API server rounds up to a thousandth.
func sameQuantity(path fieldpath.Path, want, have any) bool {
	if len(path) < 2 || !quantityMaps[lastName(path[:len(path)-1])] {
		return false
	}
	a, okA := roundedQuantity(want)
	b, okB := roundedQuantity(have)
	return okA && okB && a.Cmp(b) == 0
}

// quantityMaps are the fields whose values are quantities by resource.
var quantityMaps = map[string]bool{"limits": true, "requests": true}

func roundedQuantity(of any) (resource.Quantity, bool) {
	text, _ := of.(string)
	quantity, err := resource.ParseQuantity(text)
	quantity.RoundUp(resource.Milli)
	return quantity, err == nil
}
