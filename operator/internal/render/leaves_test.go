package render

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

// notRendered lists the fields that change no child object, with the reason.
var notRendered = map[string]string{
	"configRollout":                         "a changed configuration rolls the pods, not the policy",
	"model.name":                            "the Model decides, and WithModel renders it",
	"runtime.type":                          "it has one value",
	"runtime.spec.sidecars[].restartPolicy": "it must be Always, and Always is rendered without it",
}

// variants are Agents in which a field has an effect that another field of the complete Agent hides.
var variants = map[string]func(*v1alpha1.AgentSpec){
	"complete": func(*v1alpha1.AgentSpec) {},
	"maxUnavailable instead of minAvailable": func(s *v1alpha1.AgentSpec) {
		s.Availability.PodDisruptionBudget.MinAvailable = nil
	},
	"no disruption budget": func(s *v1alpha1.AgentSpec) {
		s.Availability.PodDisruptionBudget.Mode = v1alpha1.DisruptionBudgetNone
	},
	"neither suspended nor autoscaled": func(s *v1alpha1.AgentSpec) { s.Suspend, s.Autoscaling = false, nil },
	"no probes": func(s *v1alpha1.AgentSpec) {
		s.Availability.Probes = v1alpha1.ProbesNone
		s.Runtime.Spec.Container.ReadinessProbe = nil
	},
	"a drain by default": func(s *v1alpha1.AgentSpec) {
		s.Runtime.Spec.Container.Lifecycle = nil
	},
}

// A new field of the API must have an effect. A field that is not rendered fails here, unless notRendered lists it.
func TestEveryFieldOfTheSpecChangesWhatIsRendered(t *testing.T) {
	effects := map[string]bool{} // by path without indices
	for name, vary := range variants {
		agent := complete()
		vary(&agent.Spec)
		before := outcome(t, agent)
		require.NotContains(t, before, "error: ", name)
		eachLeaf(reflect.ValueOf(&agent.Spec).Elem(), "", func(path string) {
			effects[path] = effects[path] || outcome(t, agent) != before
		})
		require.Equal(t, before, outcome(t, agent), "every removed leaf is restored")
	}
	require.Greater(t, len(effects), 500, "the complete Agent has the fields of the embedded core types too")
	var without []string
	for path, effective := range effects {
		if !effective {
			without = append(without, path)
		}
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(notRendered)), without, "fields without an effect")
}

// outcome returns what an Agent renders to, or the error.
func outcome(t *testing.T, agent *v1alpha1.Agent) string {
	t.Helper()
	children, err := Agent(agent, Live{})
	if err != nil {
		return "error: " + err.Error()
	}
	return jsonOf(t, children)
}

// complete returns an Agent with a value in every field of its spec, including all members of each union. It is not valid, but it
// renders. A new field of the API gets a value without a change here.
func complete() *v1alpha1.Agent {
	agent := agenttest.New("a")
	fill(reflect.ValueOf(&agent.Spec).Elem(), func(n int) int {
		if n <= 4 { // a pointer, true, or the size of a list or map
			return 1
		}
		return 2 // not the value of a default
	})
	// The values above are the default of these fields, or have no effect.
	agent.Spec.Availability.Spread, agent.Spec.Availability.DrainSeconds = v1alpha1.SpreadRequired, ptr.To[int32](3)
	spec := &agent.Spec.Runtime.Spec
	spec.Service.Type, spec.SecurityContext.RunAsNonRoot = v1alpha1.ServiceHeadless, ptr.To(false)
	spec.InitContainers[0].Name, spec.Sidecars[0].Name = "init", "sidecar"
	spec.Container.Ports = []corev1.ContainerPort{
		{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP, HostPort: 80, HostIP: "127.0.0.1"},
		{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
	}
	return agent
}

// eachLeaf zeroes each set leaf below a value in turn, calls visit with its path, and restores it.
func eachLeaf(value reflect.Value, path string, visit func(path string)) {
	switch {
	case value.IsZero():
	case isLeaf(value.Type()):
		old := reflect.New(value.Type()).Elem()
		old.Set(value)
		value.SetZero()
		visit(path)
		value.Set(old)
	case value.Kind() == reflect.Pointer:
		eachLeaf(value.Elem(), path, visit)
	case value.Kind() == reflect.Slice:
		for i := range value.Len() {
			eachLeaf(value.Index(i), path+"[]", visit)
		}
	case value.Kind() == reflect.Map:
		panic("eachLeaf does not visit the fields in " + path + ", a map of structs")
	default:
		for i := range value.NumField() {
			eachLeaf(value.Field(i), below(path, value.Type().Field(i)), visit)
		}
	}
}

// isLeaf is true for scalars, structs with a JSON form of their own, and maps and pointers of them.
func isLeaf(kind reflect.Type) bool {
	switch kind.Kind() {
	case reflect.Pointer, reflect.Map:
		return isLeaf(kind.Elem())
	case reflect.Struct:
		return kind.Implements(reflect.TypeFor[json.Marshaler]())
	default:
		return kind.Kind() != reflect.Slice
	}
}

func below(path string, field reflect.StructField) string {
	name := jsonName(field)
	if path == "" || name == "" { // embedded
		return path + name
	}
	return path + "." + name
}
