package ecosystem_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/upstream"
)

// stored is an object of another project as the API server has it.
func (s *fixture) stored(kind schema.GroupVersionKind, name string) *unstructured.Unstructured {
	s.Helper()
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(kind)
	require.NoError(s, api.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, object))
	return object
}

func TestAnHTTPRouteReachesTheServiceOfAnAgent(t *testing.T) {
	s := &fixture{t, "flokoa-dev"}
	s.install(upstream.GatewayAPI, "httproutes.gateway.networking.k8s.io", "config/crd/standard")
	s.run("{apiVersion: v1, kind: Namespace, metadata: {name: gateway-system}}", "apply", "-f", "-")
	s.apply("examples/keda/agent.yaml")
	t.Cleanup(func() { s.cleanUp("delete", "agent/order-agent") })
	s.waitForReplicas("order-agent", 1, metav1.ConditionTrue, "RolloutComplete")

	(&fixture{t, "gateway-system"}).apply("examples/gateway-api/gateway.yaml")
	s.apply("examples/gateway-api/httproute.yaml")

	route := s.stored(schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}, "order-agent")
	rules, _, err := unstructured.NestedSlice(route.Object, "spec", "rules")
	require.NoError(t, err)
	require.Len(t, rules, 1)
	backend := rules[0].(map[string]any)["backendRefs"].([]any)[0].(map[string]any)
	require.Equal(t, "Service", backend["kind"], "the API server sets the default")
	service := &corev1.Service{}
	require.NoError(t, api.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: backend["name"].(string)}, service))
	require.Len(t, service.Spec.Ports, 1)
	require.EqualValues(t, service.Spec.Ports[0].Port, backend["port"])
	require.NotEqual(t, "None", service.Spec.ClusterIP)
}
