package render

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

// The golden file and the tests of bounds cover only the fields that the full Agent sets.
func TestTheFullAgentSetsEveryFieldOfTheAPI(t *testing.T) {
	agent := agenttest.Read(t, "testdata/full/agent.yaml")
	require.Equal(t, []string{
		"availability.podDisruptionBudget.maxUnavailable", // minAvailable, which is set, excludes it
	}, unsetFields([]reflect.Value{reflect.ValueOf(agent.Spec)}, ""), "fields without a value in testdata/full/agent.yaml")
}

// unsetFields returns the fields of this API that none of some values of one type sets. The fields of embedded core types do not
// count.
func unsetFields(values []reflect.Value, path string) (unset []string) {
	kind := values[0].Type()
	if kind.PkgPath() != reflect.TypeFor[v1alpha1.Agent]().PkgPath() || kind.Kind() != reflect.Struct {
		return nil
	}
	for i := range kind.NumField() {
		var set []reflect.Value
		for _, value := range values {
			set = append(set, elements(value.Field(i))...)
		}
		if at := below(path, kind.Field(i)); len(set) == 0 {
			unset = append(unset, at)
		} else {
			unset = append(unset, unsetFields(set, at)...)
		}
	}
	return unset
}

// elements returns the items of a list, what a pointer points to, or the value itself, and nothing for a value that is not set.
func elements(value reflect.Value) (set []reflect.Value) {
	switch {
	case value.IsZero():
	case value.Kind() == reflect.Pointer:
		set = append(set, value.Elem())
	case value.Kind() == reflect.Slice:
		for i := range value.Len() {
			set = append(set, value.Index(i))
		}
	default:
		set = append(set, value)
	}
	return set
}
