package render

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// convert turns a user's core struct into an apply configuration of only the fields that are set. A plain JSON round trip also
// writes zero values of non-pointer fields ("name": "", "resources": {}), and every applied field is an owned field. A non-nil
// pointer is kept even if it points to an empty struct, because emptyDir: {} has a meaning.
func convert[T any](from any) (*T, error) {
	raw, err := json.Marshal(nonZero(reflect.ValueOf(from)))
	if err != nil {
		return nil, fmt.Errorf("convert %T to JSON: %w", from, err)
	}
	to := new(T)
	if err := json.Unmarshal(raw, to); err != nil {
		return nil, fmt.Errorf("convert %T to %T: %w", from, to, err)
	}
	return to, nil
}

// nonZero is a value as JSON data without zero struct fields. It rounds resource quantities up to a thousandth, as the API
// server does; their JSON is canonical otherwise.
func nonZero(value reflect.Value) any {
	if resources, ok := value.Interface().(corev1.ResourceList); ok {
		return roundUp(resources)
	}
	if marshaler, ok := value.Interface().(json.Marshaler); ok {
		return marshaler
	}
	switch value.Kind() {
	case reflect.Pointer:
		return nonZero(value.Elem())
	case reflect.Struct:
		fields := map[string]any{}
		addFields(value, fields)
		return fields
	case reflect.Slice:
		items := make([]any, value.Len())
		for i := range items {
			items[i] = nonZero(value.Index(i))
		}
		return items
	default:
		return value.Interface()
	}
}

// addFields adds a struct's non-zero fields under their JSON names. It inlines embedded structs, as JSON does.
func addFields(value reflect.Value, fields map[string]any) {
	for i := range value.NumField() {
		field, info := value.Field(i), value.Type().Field(i)
		name, _, _ := strings.Cut(info.Tag.Get("json"), ",")
		switch {
		case field.IsZero() || name == "-":
		case info.Anonymous && name == "":
			addFields(field, fields)
		default:
			fields[name] = nonZero(field)
		}
	}
}

func roundUp(resources corev1.ResourceList) corev1.ResourceList {
	all := corev1.ResourceList{}
	for name, quantity := range resources {
		quantity.RoundUp(resource.Milli)
		all[name] = quantity
	}
	return all
}
