package agent

import (
	"cmp"
	"fmt"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

// appliedChild is what is stored of a child, and what is desired.
type appliedChild struct {
	live    client.Object
	desired runtime.ApplyConfiguration
}

// storedChildren returns the children of an Agent as an API server stores them.
func storedChildren(t *testing.T, agent *v1alpha1.Agent) map[string]appliedChild {
	t.Helper()
	want := rendered(t, agent)
	deployment := stored[appsv1.Deployment](t, want.Deployment)
	withDefaults(&deployment.Spec.Template.Spec)
	all := map[string]appliedChild{
		"Deployment": {deployment, want.Deployment},
		"Service":    {stored[corev1.Service](t, want.Service), want.Service},
		"Disruption": {stored[policyv1.PodDisruptionBudget](t, want.Disruption), want.Disruption},
	}
	if want.Autoscaler != nil {
		all["Autoscaler"] = appliedChild{stored[autoscalingv2.HorizontalPodAutoscaler](t, want.Autoscaler), want.Autoscaler}
	}
	if want.Card != nil {
		all["Card"] = appliedChild{stored[corev1.ConfigMap](t, want.Card), want.Card}
	}
	return all
}

// withDefaults sets some of the defaults that the API server gives to omitted fields of a pod.
func withDefaults(pod *corev1.PodSpec) {
	pod.DNSPolicy, pod.RestartPolicy = cmp.Or(pod.DNSPolicy, corev1.DNSClusterFirst), cmp.Or(pod.RestartPolicy, corev1.RestartPolicyAlways)
	pod.SchedulerName, pod.DeprecatedServiceAccount = cmp.Or(pod.SchedulerName, corev1.DefaultSchedulerName), pod.ServiceAccountName
	for i := range pod.Containers {
		container := &pod.Containers[i]
		container.TerminationMessagePath = cmp.Or(container.TerminationMessagePath, corev1.TerminationMessagePathDefault)
		container.TerminationMessagePolicy = cmp.Or(container.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
		container.ImagePullPolicy = cmp.Or(container.ImagePullPolicy, corev1.PullPolicy(pullPolicy(container.Image)))
	}
}

func TestWhatIsSurelyEqualHasNoDrift(t *testing.T) {
	for name, agent := range map[string]*v1alpha1.Agent{
		"small": agenttest.New("a", agenttest.Replicas(3)),
		"guide": agenttest.Read(t, "../../../examples/agents/production-agent.yaml"),
		"full":  agenttest.Read(t, fullAgent),
	} {
		for kind, child := range storedChildren(t, agent) {
			t.Run(name+" "+kind, func(t *testing.T) {
				require.True(t, surelyEqual(child.live, child.desired), "what is stored as it was applied, with defaults")
				differ := 0
				mutate(reflect.ValueOf(child.live).Elem(), kind, 0, func(path string) {
					if !surelyEqual(child.live, child.desired) {
						differ++
						return
					}
					found, err := compareInFull(child.live, child.desired)
					require.NoError(t, err)
					require.Empty(t, found, path)
				})
				require.Greater(t, differ, 5)
				require.True(t, surelyEqual(child.live, child.desired), "every mutation is undone")
			})
		}
	}
}

// mutate changes one field after the other, and those that a pointer or a list may hold, and undoes each change after the report.
func mutate(value reflect.Value, path string, depth int, report func(path string)) {
	try := func(changed reflect.Value, how string) {
		before := reflect.New(value.Type()).Elem()
		before.Set(value)
		value.Set(changed)
		report(path + how)
		value.Set(before)
	}
	if !value.CanSet() || depth > 14 {
		return
	}
	if quantity, ok := value.Interface().(resource.Quantity); ok {
		quantity.Add(resource.MustParse("1"))
		try(reflect.ValueOf(quantity), " + 1")
		return
	}
	switch value.Kind() {
	case reflect.String:
		try(reflect.ValueOf(value.String()+"x").Convert(value.Type()), " + x")
		try(reflect.Zero(value.Type()), " = empty")
	case reflect.Bool:
		try(reflect.ValueOf(!value.Bool()).Convert(value.Type()), " flipped")
	case reflect.Int, reflect.Int32, reflect.Int64:
		try(reflect.ValueOf(value.Int()+1).Convert(value.Type()), " + 1")
	case reflect.Pointer:
		if !value.IsNil() {
			try(reflect.Zero(value.Type()), " = nil")
			mutate(value.Elem(), path, depth+1, report)
			return
		}
		fresh := reflect.New(value.Type().Elem())
		try(fresh, " = a zero value")
		value.Set(fresh)
		mutate(fresh.Elem(), path, depth+4, report)
		value.Set(reflect.Zero(value.Type()))
	case reflect.Slice:
		item := reflect.New(value.Type().Elem()).Elem()
		try(reflect.Append(value.Slice3(0, value.Len(), value.Len()), item), " + a zero item")
		if value.Len() > 0 {
			try(reflect.Append(value.Slice3(0, value.Len(), value.Len()), value.Index(0)), " + the first item again")
			try(value.Slice(1, value.Len()), " without the first item")
		}
		for i := range value.Len() {
			mutate(value.Index(i), fmt.Sprintf("%s[%d]", path, i), depth+1, report)
		}
	case reflect.Map:
		mutateMap(value, path, report)
	case reflect.Struct:
		for i := range value.NumField() {
			if value.Type().Field(i).IsExported() {
				mutate(value.Field(i), path+"."+value.Type().Field(i).Name, depth+1, report)
			}
		}
	}
}

// mutateMap adds a key to a map, and changes and removes each one.
func mutateMap(value reflect.Value, path string, report func(path string)) {
	kind := value.Type()
	try := func(key, changed reflect.Value, how string) {
		before := reflect.MakeMap(kind)
		for keys := value.MapRange(); keys.Next(); {
			before.SetMapIndex(keys.Key(), keys.Value())
		}
		if value.IsNil() {
			value.Set(reflect.MakeMap(kind))
			before = reflect.Zero(kind)
		}
		value.SetMapIndex(key, changed)
		report(fmt.Sprintf("%s[%s]%s", path, key, how))
		value.Set(before)
	}
	item := reflect.New(kind.Elem()).Elem()
	try(reflect.ValueOf("example.com/added").Convert(kind.Key()), item, " added")
	for _, key := range value.MapKeys() {
		try(key, reflect.Value{}, " removed")
		try(key, item, " = a zero value")
	}
}
