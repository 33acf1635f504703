package agent

import (
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// upToDate reports whether applying a configuration would not change a live object: it was the last one applied, which the digest
// shows, also for fields that are no longer desired, and every field that it claims still has its value. Fields that it does not
// claim belong to other field managers.
func upToDate(live client.Object, desired runtime.ApplyConfiguration) (bool, error) {
	want, err := runtime.DefaultUnstructuredConverter.ToUnstructured(desired)
	if err != nil {
		return false, err
	}
	delete(want, "apiVersion") // a typed object has neither
	delete(want, "kind")
	metadata, _ := want["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	if live.GetAnnotations()[v1alpha1.AnnotationDigest] != annotations[v1alpha1.AnnotationDigest] {
		return false, nil
	}
	have, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	if err != nil {
		return false, err
	}
	return subsetOf("", want, have), nil
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

// subsetOf reports whether a live value has everything that is desired. name is the field of both values.
func subsetOf(name string, want, have any) bool {
	if atomicFields[name] {
		return reflect.DeepEqual(want, have)
	}
	switch want := want.(type) {
	case map[string]any:
		have, ok := have.(map[string]any)
		if !ok {
			return false
		}
		for key, value := range want {
			if !subsetOf(key, value, have[key]) {
				return false
			}
		}
		return true
	case []any:
		have, _ := have.([]any)
		if keys := mergeKeys[name]; keys != nil {
			return keyedSubsetOf(keys, want, have)
		}
		return orderedSubsetOf(want, have)
	default:
		return reflect.DeepEqual(want, have)
	}
}

func orderedSubsetOf(want, have []any) bool {
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if !subsetOf("", want[i], have[i]) {
			return false
		}
	}
	return true
}

func keyedSubsetOf(keys []string, want, have []any) bool {
	for _, item := range want {
		if !subsetOf("", item, sameKeys(keys, item, have)) {
			return false
		}
	}
	return true
}

// sameKeys returns the item of a live list that has the merge keys of a desired one, nil if there is none.
func sameKeys(keys []string, want any, have []any) any {
	desired, _ := want.(map[string]any)
	for _, item := range have {
		fields, _ := item.(map[string]any)
		if !slices.ContainsFunc(keys, func(key string) bool { return !reflect.DeepEqual(fields[key], desired[key]) }) {
			return item
		}
	}
	return nil
}
