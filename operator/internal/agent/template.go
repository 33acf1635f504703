package agent

import (
	"reflect"
	"slices"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// ownedTemplate reports whether a path of a Deployment is in the part of the pod template that only the operator may write: the
// pod's spec and labels. Annotations may be anybody's; kubectl rollout restart writes one.
func ownedTemplate(path fieldpath.Path) bool {
	return hasPrefix(path, "spec", "template", "spec") || hasPrefix(path, "spec", "template", "metadata", "labels")
}

func hasPrefix(path fieldpath.Path, names ...string) bool {
	if len(path) < len(names) {
		return false
	}
	for i, name := range names {
		if ptr.Deref(path[i].FieldName, "") != name {
			return false
		}
	}
	return true
}

// templateDefaults are the values that the API server gives to omitted fields of a pod template, by the name of the field. Kubernetes
// adds none (its issue 69445): a new one would roll out every Deployment. A test compares them with a real API server.
var templateDefaults = map[string][]any{
	"apiVersion":                    {"v1"}, // fieldRef
	"defaultMode":                   {int64(0o644)},
	"divisor":                       {"0"},
	"dnsPolicy":                     {"ClusterFirst"},
	"expirationSeconds":             {int64(3600)},
	"failureThreshold":              {int64(3)},
	"imagePullPolicy":               {"Always", "IfNotPresent"}, // by the tag
	"path":                          {"/"},
	"periodSeconds":                 {int64(10)},
	"protocol":                      {"TCP"},
	"pullPolicy":                    {"Always", "IfNotPresent"}, // volumes from images
	"restartPolicy":                 {"Always"},
	"scheme":                        {"HTTP"},
	"schedulerName":                 {"default-scheduler"},
	"successThreshold":              {int64(1)},
	"terminationGracePeriodSeconds": {int64(30)},
	"terminationMessagePath":        {"/dev/termination-log"},
	"terminationMessagePolicy":      {"File"},
	"timeoutSeconds":                {int64(1)},
	"volumeMode":                    {"Filesystem"},
}

// isDefault reports whether the API server, not a person, gave a field its value. An empty value says nothing.
func isDefault(name string, want, have map[string]any) bool {
	set := have[name]
	if name == "serviceAccount" { // the deprecated name of serviceAccountName
		return reflect.DeepEqual(set, want["serviceAccountName"])
	}
	return isEmpty(set) || slices.ContainsFunc(templateDefaults[name], func(d any) bool { return reflect.DeepEqual(d, set) })
}

// isEmpty reports whether a value is nil, or text, a list, or a struct without content. False and zero are values.
func isEmpty(of any) bool {
	switch of := of.(type) {
	case nil:
		return true
	case string:
		return of == ""
	case []any:
		return len(of) == 0
	case map[string]any:
		return len(of) == 0
	default:
		return false
	}
}
