package agent

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/applyconfigurations"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/schema"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const notInAgents = "not a field of an Agent"

// notInTables are lists with merge keys and atomic fields of the API that the tables leave out, with the reason.
var notInTables = map[string]string{
	"ephemeralContainers":  notInAgents,
	"evictionResponders":   notInAgents,
	"nodePublishSecretRef": notInAgents,
	"resourceClaims":       notInAgents,
	"schedulingGates":      notInAgents,
	"secretRef":            "atomic only in volumes that an Agent does not have",
	"fieldRef":             "the API server sets apiVersion in it",
	"fileKeyRef":           "the API server sets optional in it",
	"resourceFieldRef":     "the API server sets divisor in it",
	"requiredDuringSchedulingIgnoredDuringExecution": "an atomic list in pod affinity has the same name",
}

// walker visits every field of a type in the API's schema once.
type walker struct {
	types   *schema.Schema
	visited map[string]bool
	visit   func(name string, atom schema.Atom)
}

func (w *walker) walk(name string, ref schema.TypeRef) {
	if ref.NamedType != nil {
		if w.visited[*ref.NamedType+"/"+name] {
			return
		}
		w.visited[*ref.NamedType+"/"+name] = true
	}
	atom, ok := w.types.Resolve(ref)
	if !ok {
		return
	}
	w.visit(name, atom)
	switch {
	case atom.Map != nil:
		for _, field := range atom.Fields {
			if field.Name != "status" && field.Name != "managedFields" {
				w.walk(field.Name, field.Type)
			}
		}
		w.walk("", atom.Map.ElementType)
	case atom.List != nil:
		w.walk("", atom.List.ElementType)
	}
}

// eachField calls visit with every field of the kinds that the operator applies.
func eachField(t *testing.T, visit func(name string, atom schema.Atom)) {
	t.Helper()
	converter := applyconfigurations.NewTypeConverter(clientscheme.Scheme)
	for _, object := range []runtime.Object{&appsv1.Deployment{}, &corev1.Service{}, &corev1.ConfigMap{}, &policyv1.PodDisruptionBudget{}, &autoscalingv2.HorizontalPodAutoscaler{}} {
		kinds, _, err := clientscheme.Scheme.ObjectKinds(object)
		require.NoError(t, err)
		object.GetObjectKind().SetGroupVersionKind(kinds[0])
		typed, err := converter.ObjectToTyped(object)
		require.NoError(t, err)
		(&walker{types: typed.Schema(), visited: map[string]bool{}, visit: visit}).walk("", typed.TypeRef())
	}
}

// addFieldNames adds the JSON names of all fields below a type.
func addFieldNames(names map[string]bool, visited map[reflect.Type]bool, of reflect.Type) {
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		addFieldNames(names, visited, of.Elem())
	case reflect.Struct:
		if visited[of] {
			return
		}
		visited[of] = true
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			names[name] = true
			addFieldNames(names, visited, of.Field(i).Type)
		}
	}
}

// A list that becomes a field of an Agent needs its merge key.
func TestExcusedListsAreNoFieldOfAnAgent(t *testing.T) {
	names := map[string]bool{}
	addFieldNames(names, map[reflect.Type]bool{}, reflect.TypeFor[v1alpha1.AgentSpec]())
	require.Greater(t, len(names), 200, "the fields of the embedded core types too")
	excused := 0
	for name, reason := range notInTables {
		if reason == notInAgents {
			excused++
			require.NotContains(t, names, name, "an Agent has this field: add it to the tables")
		}
	}
	require.Positive(t, excused)
}

func TestMergeKeysAndAtomicFieldsAreThoseOfTheAPI(t *testing.T) {
	lists, atomics := map[string]bool{}, map[string]bool{}
	left := map[string]bool{}
	eachField(t, func(name string, atom schema.Atom) {
		switch {
		case notInTables[name] != "":
			left[name] = true
		case atom.List != nil && atom.List.ElementRelationship == schema.Associative && len(atom.Keys) > 0:
			lists[name] = true
			for _, key := range atom.Keys {
				require.Contains(t, mergeKeys[name], key, "merge key of %s", name)
			}
		case atom.List != nil:
			require.NotContains(t, mergeKeys, name, "an atomic list")
		case atom.Map != nil && atom.Map.ElementRelationship == schema.Atomic && name != "":
			atomics[name] = true
			require.True(t, atomicFields[name], "%s is atomic", name)
		case atom.Map != nil && atom.Map.ElementRelationship != schema.Atomic:
			require.False(t, atomicFields[name], "%s is not atomic", name)
		}
	})
	require.Len(t, left, len(notInTables), "an exception for a field that the API does not have")
	require.Subset(t, slices.Collect(maps.Keys(lists)), slices.Collect(maps.Keys(mergeKeys)), "the table has a list that the API does not have")
	require.Subset(t, slices.Collect(maps.Keys(atomics)), slices.Collect(maps.Keys(atomicFields)), "the table has a field that the API does not have")
}
