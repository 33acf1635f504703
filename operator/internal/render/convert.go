package render

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// convert turns a core struct of the user's into its apply configuration, claiming only what he set. Plain JSON would
// not do: it writes zero values of fields that are not pointers ("name": "", "resources": {}), and an applied field is an
// owned field. A field whose value is a set pointer stays, even when what it points to is empty: emptyDir: {} means
// something.
func convert[T any](from any) (*T, error) {
	raw, err := json.Marshal(set(reflect.ValueOf(from)))
	if err != nil {
		return nil, fmt.Errorf("reading %T: %w", from, err)
	}
	to := new(T)
	if err := json.Unmarshal(raw, to); err != nil {
		return nil, fmt.Errorf("reading %T: %w", from, err)
	}
	return to, nil
}

// set is a value as JSON data without the struct fields that are zero. Resource quantities are rounded up to a thousandth, as
// the API server stores them; the rest of their canonical form is their own JSON's.
func set(value reflect.Value) any {
	if resources, ok := value.Interface().(corev1.ResourceList); ok {
		return rounded(resources)
	}
	if marshaler, ok := value.Interface().(json.Marshaler); ok {
		return marshaler
	}
	switch value.Kind() {
	case reflect.Pointer:
		return set(value.Elem())
	case reflect.Struct:
		fields := map[string]any{}
		setFields(value, fields)
		return fields
	case reflect.Slice:
		items := make([]any, value.Len())
		for i := range items {
			items[i] = set(value.Index(i))
		}
		return items
	default:
		return value.Interface()
	}
}

// setFields gathers a struct's non-zero fields under their JSON names; embedded structs are inlined, as JSON does.
func setFields(value reflect.Value, fields map[string]any) {
	for i := range value.NumField() {
		field, info := value.Field(i), value.Type().Field(i)
		name, _, _ := strings.Cut(info.Tag.Get("json"), ",")
		switch {
		case field.IsZero() || name == "-":
		case info.Anonymous && name == "":
			setFields(field, fields)
		default:
			fields[name] = set(field)
		}
	}
}

func rounded(resources corev1.ResourceList) corev1.ResourceList {
	all := corev1.ResourceList{}
	for name, quantity := range resources {
		quantity.RoundUp(resource.Milli)
		all[name] = quantity
	}
	return all
}
