package agent

import (
	"reflect"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// surelyEqual reports whether findDrift would find nothing, by comparing both objects as they are: findDrift converts them to maps, which
// costs ten times as much. False means that there may be drift.
func surelyEqual(live client.Object, desired runtime.ApplyConfiguration) bool {
	return covers(make(fieldpath.Path, 0, 16), reflect.ValueOf(desired), reflect.ValueOf(live))
}

// covers reports whether a value surely has what is desired of it.
func covers(path fieldpath.Path, want, have reflect.Value) bool {
	want, have = pointedTo(want), pointedTo(have)
	switch {
	case !want.IsValid():
		return true
	case !have.IsValid() || want.Kind() != have.Kind():
		return false
	case want.Kind() == reflect.Struct && want.Type() != have.Type():
		return coversFields(path, want, have)
	case want.Kind() == reflect.Struct: // a type that is one value to the API, such as a quantity
		return equality.Semantic.DeepEqual(want.Interface(), have.Interface())
	case want.Kind() == reflect.Map:
		return coversKeys(path, want, have)
	case want.Kind() == reflect.Slice:
		return coversItems(path, want, have)
	default:
		return want.Equal(have.Convert(want.Type()))
	}
}

// pointedTo returns what a value points to, if it is a pointer: an invalid value for nil.
func pointedTo(value reflect.Value) reflect.Value {
	if value.Kind() == reflect.Pointer {
		return value.Elem()
	}
	return value
}

// coversItems compares lists of the same length, item by item in order.
func coversItems(path fieldpath.Path, want, have reflect.Value) bool {
	if want.Len() != have.Len() {
		return false
	}
	for i := range want.Len() {
		if !covers(append(path, fieldpath.PathElement{}), want.Index(i), have.Index(i)) {
			return false
		}
	}
	return true
}

// coversKeys compares maps. Others may add keys, except where the map is one value or the operator's alone.
func coversKeys(path fieldpath.Path, want, have reflect.Value) bool {
	if want.Len() != have.Len() && isClosed(path) {
		return false
	}
	for keys := want.MapRange(); keys.Next(); {
		found := have.MapIndex(keys.Key().Convert(have.Type().Key()))
		if !found.IsValid() || !covers(append(path, fieldpath.PathElement{}), keys.Value(), found) {
			return false
		}
	}
	return true
}

// coversFields compares structs. Others may set further fields, except where the struct is one value or the operator's alone.
func coversFields(path fieldpath.Path, want, have reflect.Value) bool {
	wanted, present, closed := jsonFields(want.Type()), jsonFields(have.Type()), isClosed(path)
	for i := range wanted.list {
		field := &wanted.list[i]
		value := want.FieldByIndex(field.index)
		if value.IsZero() || len(path) == 0 && isNotCompared[field.name] {
			continue
		}
		index, ok := present.byName[field.name]
		if !ok || !covers(append(path, fieldpath.PathElement{FieldName: &field.name}), value, have.FieldByIndex(index)) {
			return false
		}
	}
	if !closed {
		return true
	}
	var texts map[string]any
	for _, field := range present.list {
		value := have.FieldByIndex(field.index)
		if value.IsZero() || wanted.isSet(want, field.name) {
			continue
		}
		if texts == nil {
			texts = wanted.strings(want)
		}
		if !isDefault(path, field.name, texts, map[string]any{field.name: plain(value)}) {
			return false
		}
	}
	return true
}

// isClosed reports whether anything that is not desired is drift in the value at a path.
func isClosed(path fieldpath.Path) bool { return isAtomic(path) || ownedTemplate(path) }

// isAtomic reports whether a path is at or below a value that the API treats as one.
func isAtomic(path fieldpath.Path) bool {
	for _, element := range path {
		if element.FieldName != nil && atomicFields[*element.FieldName] {
			return true
		}
	}
	return false
}

// plain returns a value as isDefault knows it: a string, an integer, or an empty map. It returns itself for any other.
func plain(value reflect.Value) any {
	value = pointedTo(value)
	if quantity, ok := value.Interface().(resource.Quantity); ok {
		return quantity.String()
	}
	switch {
	case value.Kind() == reflect.String:
		return value.String()
	case value.CanInt():
		return value.Int()
	case value.Kind() == reflect.Struct && value.IsZero():
		return map[string]any{}
	default:
		return value
	}
}

// structFields are the fields of a struct by their JSON names.
type structFields struct {
	list   []structField
	byName map[string][]int
}

type structField struct {
	name  string
	index []int
}

var knownFields sync.Map // structFields by type

func jsonFields(of reflect.Type) *structFields {
	if known, ok := knownFields.Load(of); ok {
		return known.(*structFields)
	}
	fields := &structFields{byName: map[string][]int{}}
	fields.add(of, nil)
	knownFields.Store(of, fields)
	return fields
}

// add adds the fields of a struct. It inlines embedded structs, as JSON does.
func (s *structFields) add(of reflect.Type, index []int) {
	for i := range of.NumField() {
		field, at := of.Field(i), append(index[:len(index):len(index)], i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "":
			s.add(field.Type, at)
		case name != "-":
			s.list = append(s.list, structField{name, at})
			s.byName[name] = at
		}
	}
}

// isSet reports whether a struct has a value in a field.
func (s *structFields) isSet(in reflect.Value, name string) bool {
	index, ok := s.byName[name]
	return ok && !in.FieldByIndex(index).IsZero()
}

// strings returns the fields of a struct that hold strings.
func (s *structFields) strings(in reflect.Value) map[string]any {
	all := map[string]any{}
	for _, field := range s.list {
		if value := pointedTo(in.FieldByIndex(field.index)); value.Kind() == reflect.String {
			all[field.name] = value.String()
		}
	}
	return all
}
