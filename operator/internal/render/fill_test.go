package render

import (
	"math"
	"reflect"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Values that rendering depends on, and some unusual ones. The first of each is the zero value.
var (
	texts = []string{
		"", "a", "b", "agent", "http", "port-0", "port-1", "TCP", "UDP", "SCTP", "ALL", "SYS_ADMIN", "FLOKOA_AGENT_NAME", "FLOKOA_AGENT_URL",
		"kubernetes.io/hostname", "topology.kubernetes.io/zone", "ScheduleAnyway", "DoNotSchedule", "Preferred", "Required", "None", "Default",
		"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", "NoExecute", "NoSchedule", "Exists", "In", "NotIn", "Headless",
		"flokoa.ai/agent", "app.kubernetes.io/name", "fuzz", "{{", "\\x00", "é", "a,b=c",
	}
	numbers    = []int64{0, 1, 5, 8080, 53, 2, 300, -1, math.MaxInt32, math.MinInt32}
	quantities = []string{"0", "1", "1000m", "1n", "0.1", "-1", "1.5Gi", "9223372036854775807", "1e30", "123456789n"}
)

// fill sets a value and everything below it. It calls choose for each decision, which returns a number from 0 to n-1. 0 is the zero
// value.
func fill(value reflect.Value, choose func(n int) int) {
	switch at := value.Addr().Interface().(type) {
	case *resource.Quantity:
		*at = resource.MustParse(quantities[choose(len(quantities))])
		return
	case *intstr.IntOrString:
		*at = intstr.Parse([]string{"0", "1", "25%", "http", "8080"}[choose(5)])
		return
	case *metav1.ObjectMeta: // of a claim template; an apply configuration has none of the fields that the API server sets
		fill(reflect.ValueOf(&at.Labels).Elem(), choose)
		fill(reflect.ValueOf(&at.Annotations).Elem(), choose)
		return
	}
	switch value.Kind() {
	case reflect.String:
		value.SetString(texts[choose(len(texts))])
	case reflect.Bool:
		value.SetBool(choose(2) == 1)
	case reflect.Int32, reflect.Int64:
		value.SetInt(numbers[choose(len(numbers))])
	default:
		fillParts(value, choose)
	}
}

func fillParts(value reflect.Value, choose func(n int) int) {
	switch value.Kind() {
	case reflect.Struct:
		for i := range value.NumField() {
			fill(value.Field(i), choose)
		}
	case reflect.Pointer:
		if choose(2) == 1 {
			value.Set(reflect.New(value.Type().Elem()))
			fill(value.Elem(), choose)
		}
	case reflect.Slice:
		for range choose(4) {
			item := reflect.New(value.Type().Elem()).Elem()
			fill(item, choose)
			value.Set(reflect.Append(value, item))
		}
	case reflect.Map:
		for range choose(3) {
			key, item := reflect.New(value.Type().Key()).Elem(), reflect.New(value.Type().Elem()).Elem()
			fill(key, choose)
			fill(item, choose)
			if value.IsNil() {
				value.Set(reflect.MakeMap(value.Type()))
			}
			value.SetMapIndex(key, item)
		}
	default:
		panic("fill sets no " + value.Type().String() + ": a field of that type would be tested nowhere")
	}
}
