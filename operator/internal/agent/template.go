package agent

import (
	"reflect"
	"strings"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

var podSpecPath = []string{"spec", "template", "spec"}

// ownedTemplate reports whether a path of a Deployment is in the part of the pod template that only the operator may write: the
// pod's spec and labels. Annotations may be anybody's; kubectl rollout restart writes one.
func ownedTemplate(path fieldpath.Path) bool {
	return hasPrefix(path, podSpecPath...) || hasPrefix(path, "spec", "template", "metadata", "labels")
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

// podDefaults and templateDefaults are the values that the API server gives to omitted fields, of a pod and anywhere below, by the
// name of the field. Kubernetes adds none (its issue 69445): a new one would roll out every Deployment. A test compares them with a
// real API server.
var (
	podDefaults = map[string]any{
		"dnsPolicy":                     "ClusterFirst",
		"restartPolicy":                 "Always",
		"schedulerName":                 "default-scheduler",
		"securityContext":               map[string]any{},
		"terminationGracePeriodSeconds": int64(30),
	}
	templateDefaults = map[string]any{
		"apiVersion":               "v1", // fieldRef
		"defaultMode":              int64(0o644),
		"divisor":                  "0",
		"emptyDir":                 map[string]any{},
		"expirationSeconds":        int64(3600),
		"failureThreshold":         int64(3),
		"metadata":                 map[string]any{}, // of a claim template
		"name":                     "",               // of a reference
		"path":                     "/",
		"periodSeconds":            int64(10),
		"protocol":                 "TCP",
		"resources":                map[string]any{},
		"scheme":                   "HTTP",
		"service":                  "", // grpc
		"successThreshold":         int64(1),
		"terminationMessagePath":   "/dev/termination-log",
		"terminationMessagePolicy": "File",
		"timeoutSeconds":           int64(1),
		"volumeMode":               "Filesystem",
	}
)

// isDefault reports whether the API server, not a person, gave a field in the struct at a path its value.
func isDefault(path fieldpath.Path, name string, want, have map[string]any) bool {
	set := have[name]
	switch {
	case set == nil:
		return true
	case name == "serviceAccount": // the deprecated name of serviceAccountName
		return reflect.DeepEqual(set, want["serviceAccountName"])
	case name == "imagePullPolicy":
		return set == pullPolicy(want["image"])
	case name == "pullPolicy":
		return set == pullPolicy(want["reference"])
	case len(path) == len(podSpecPath):
		return reflect.DeepEqual(set, podDefaults[name])
	}
	value, ok := templateDefaults[name]
	return ok && reflect.DeepEqual(set, value)
}

// pullPolicy is the default for an image.
func pullPolicy(image any) string {
	reference, _ := image.(string)
	name, _, hasDigest := strings.Cut(reference[strings.LastIndex(reference, "/")+1:], "@")
	_, tag, _ := strings.Cut(name, ":")
	if tag == "latest" || tag == "" && !hasDigest {
		return "Always"
	}
	return "IfNotPresent"
}
