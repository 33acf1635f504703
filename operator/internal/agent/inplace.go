package agent

import (
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// inPlace tells whether applying a configuration would change a live object: whether this very configuration was the last
// one applied (the digest, which also stands for fields no longer wanted), and whether every field it claims still has its
// value. Fields it does not claim are somebody else's, and are not looked at.
func inPlace(live client.Object, want runtime.ApplyConfiguration) (bool, error) {
	wanted, err := runtime.DefaultUnstructuredConverter.ToUnstructured(want)
	if err != nil {
		return false, err
	}
	delete(wanted, "apiVersion") // a typed object that was read has neither
	delete(wanted, "kind")
	metadata, _ := wanted["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	if live.GetAnnotations()[v1alpha1.AnnotationDigest] != annotations[v1alpha1.AnnotationDigest] {
		return false, nil
	}
	is, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	if err != nil {
		return false, err
	}
	return covers("", is, wanted), nil
}

// listKeys are the fields that identify an item of a list, by the list's name, as the API declares them for Server-Side
// Apply; others may add items to these lists. Other lists are taken whole and in order.
var listKeys = map[string][]string{
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

// wholes are fields that the API takes as one value: what is added inside them changes what the operator applied, and
// would, in a Service's selector, stop its traffic.
var wholes = map[string]bool{
	"configMapKeyRef":   true,
	"labelSelector":     true,
	"namespaceSelector": true,
	"nodeSelector":      true,
	"secretKeyRef":      true,
	"selector":          true,
}

// covers tells whether a live value has everything that is wanted; name is that of the field the value stands in.
func covers(name string, live, want any) bool {
	if wholes[name] {
		return reflect.DeepEqual(live, want)
	}
	switch want := want.(type) {
	case map[string]any:
		live, ok := live.(map[string]any)
		if !ok {
			return false
		}
		for key, value := range want {
			if !covers(key, live[key], value) {
				return false
			}
		}
		return true
	case []any:
		live, _ := live.([]any)
		if keys := listKeys[name]; keys != nil {
			return coversKeyed(keys, live, want)
		}
		return coversOrdered(live, want)
	default:
		return reflect.DeepEqual(live, want)
	}
}

func coversOrdered(live, want []any) bool {
	if len(live) != len(want) {
		return false
	}
	for i := range want {
		if !covers("", live[i], want[i]) {
			return false
		}
	}
	return true
}

func coversKeyed(keys []string, live, want []any) bool {
	for _, item := range want {
		if !covers("", find(keys, live, item), item) {
			return false
		}
	}
	return true
}

// find is the item of a live list with the same keys as a wanted one, nil without one.
func find(keys []string, live []any, want any) any {
	wanted, _ := want.(map[string]any)
	for _, item := range live {
		fields, _ := item.(map[string]any)
		same := true
		for _, key := range keys {
			same = same && reflect.DeepEqual(fields[key], wanted[key])
		}
		if same {
			return item
		}
	}
	return nil
}
