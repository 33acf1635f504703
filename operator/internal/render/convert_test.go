package render

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
)

// An applied field is an owned field, so a field that the user omits must not appear, not even as an empty value. This covers every
// struct that a pod can hold.
func TestEmptyStructClaimsNoField(t *testing.T) {
	seen := map[reflect.Type]bool{}
	structsBelow(reflect.TypeFor[corev1.PodSpec](), seen)
	require.Greater(t, len(seen), 80, "PodSpec, Container, every volume source, ...")
	for kind := range seen {
		raw, err := json.Marshal(nonZero(reflect.Zero(kind)))
		require.NoError(t, err)
		require.JSONEq(t, `{}`, string(raw), kind.String())
	}
	pod, err := convert[corev1ac.PodSpecApplyConfiguration](corev1.PodSpec{})
	require.NoError(t, err)
	require.Equal(t, &corev1ac.PodSpecApplyConfiguration{}, pod)
	container, err := convert[corev1ac.ContainerApplyConfiguration](corev1.Container{})
	require.NoError(t, err)
	require.Equal(t, &corev1ac.ContainerApplyConfiguration{}, container)
}

// structsBelow collects every struct type that a type can hold and that has no custom JSON.
func structsBelow(kind reflect.Type, seen map[reflect.Type]bool) {
	switch {
	case kind.Implements(reflect.TypeFor[json.Marshaler]()) || seen[kind]:
	case kind.Kind() == reflect.Struct:
		seen[kind] = true
		for i := range kind.NumField() {
			structsBelow(kind.Field(i).Type, seen)
		}
	case kind.Kind() == reflect.Pointer || kind.Kind() == reflect.Slice || kind.Kind() == reflect.Map:
		structsBelow(kind.Elem(), seen)
	}
}

func TestPointerToAnEmptyStructIsKept(t *testing.T) {
	pointers := 0
	for _, of := range []any{corev1.PodSpec{}, corev1.Container{}, corev1.VolumeSource{}, corev1.VolumeProjection{}, corev1.EnvVarSource{}, corev1.LifecycleHandler{}} {
		kind := reflect.TypeOf(of)
		for i := range kind.NumField() {
			field := kind.Field(i)
			if field.Type.Kind() != reflect.Pointer || field.Type.Elem().Kind() != reflect.Struct {
				continue
			}
			value := reflect.New(kind).Elem()
			value.Field(i).Set(reflect.New(field.Type.Elem()))
			raw, err := json.Marshal(nonZero(value))
			require.NoError(t, err)
			require.JSONEq(t, `{"`+jsonName(field)+`":{}}`, string(raw), "%s.%s", kind, field.Name)
			pointers++
		}
	}
	require.Greater(t, pointers, 50, "volume sources, projections, environment sources, handlers, ...")
}

func jsonName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	return name
}

// Here every field of a pod has a value.
func TestNoFieldIsLostOrChanged(t *testing.T) {
	pod := corev1.PodSpec{}
	fill(reflect.ValueOf(&pod).Elem(), func(int) int { return 1 })
	converted, err := convert[corev1ac.PodSpecApplyConfiguration](pod)
	require.NoError(t, err)
	raw, err := json.Marshal(converted)
	require.NoError(t, err)
	want, err := json.Marshal(pod)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(raw))
}

func TestQuantitiesAreWrittenAsTheAPIServerStoresThem(t *testing.T) {
	for _, r := range []struct{ given, want string }{
		{"1000m", "1"},
		{"2000m", "2"},
		{"500m", "500m"},
		{"0.5", "500m"},
		{"0", "0"},
		{"1024Mi", "1Gi"},
		{"1000Mi", "1000Mi"},
		{"1e3", "1e3"},
		{"1000k", "1M"},
		{"1m", "1m"},
		{"100u", "1m"},
		{"1n", "1m"},
		{"0.0015", "2m"},
		{"1500100u", "1501m"},
	} {
		t.Run(r.given, func(t *testing.T) {
			quantity := resource.MustParse(r.given)
			resources := corev1.ResourceList{corev1.ResourceCPU: quantity}
			container, err := convert[corev1ac.ContainerApplyConfiguration](corev1.Container{Resources: corev1.ResourceRequirements{Requests: resources, Limits: resources}})
			require.NoError(t, err)
			raw, err := json.Marshal(container)
			require.NoError(t, err)
			require.JSONEq(t, `{"resources":{"requests":{"cpu":"`+r.want+`"},"limits":{"cpu":"`+r.want+`"}}}`, string(raw))
			require.Equal(t, resource.MustParse(r.given), quantity, "the Agent's own value is left as it was")
		})
	}
}
