package agent

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"

	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/render"
)

func TestCachedServiceKeepsWhichPortsOthersOwn(t *testing.T) {
	const port = `{"f:spec":{"f:ports":{"k:{\"port\":8080,\"protocol\":\"TCP\"}":{}}}}`
	for _, r := range []struct {
		name, manager, fields, want string
	}{
		{"the operator's own", string(FieldOwner), `{"f:spec":{"f:ports":{"k:{\"port\":8080,\"protocol\":\"TCP\"}":{".":{},"f:name":{}}}}}`, ""},
		{"a port", "kubectl", `{"f:metadata":{"f:labels":{"f:x":{}}},"f:spec":{"f:type":{},"f:ports":{"k:{\"port\":8080,\"protocol\":\"TCP\"}":{".":{},"f:name":{}}}}}`, port},
		{"a field of a port", "kubectl", `{"f:spec":{"f:ports":{"k:{\"port\":8080,\"protocol\":\"TCP\"}":{"f:targetPort":{}}}}}`, port},
		{"labels", "kubectl", `{"f:metadata":{"f:labels":{".":{},"f:x":{}}}}`, ""},
		{"the list of ports alone", "kubectl", `{"f:spec":{"f:ports":{}}}`, ""},
		{"what cannot be decoded", "kubectl", `{`, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			service := &corev1.Service{}
			service.ManagedFields = []metav1.ManagedFieldsEntry{{
				Manager: r.manager, Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(r.fields)}}
			for range 2 { // a cache may pass an object twice
				StripService(service)
				if r.want == "" {
					require.Nil(t, service.ManagedFields)
					continue
				}
				require.Len(t, service.ManagedFields, 1)
				require.JSONEq(t, r.want, string(service.ManagedFields[0].FieldsV1.GetRawBytes()))
			}
			service.Spec.Ports = []corev1.ServicePort{{Name: "x", Port: 8080, Protocol: corev1.ProtocolTCP}, {Name: "x", Port: 8080, Protocol: corev1.ProtocolUDP}}
			require.Len(t, ownPorts(service), map[bool]int{true: 2, false: 1}[r.want == ""])
		})
	}
}

// A settled pass renders nothing, but the end of a rollout must not be missed.
func TestServiceIsRenderedAgainWhenItsRolloutIsComplete(t *testing.T) {
	agent := agenttest.New("a", agenttest.Replicas(3))
	before := rendered(t, agent).Service
	agent.Spec.Runtime.Spec.Container.Ports[0].ContainerPort = 9090
	cache := &ineffective{fakeCache: settledCache(t, agent)}
	during, err := render.Agent(agent, render.Live{Ports: stored[corev1.Service](t, before).Spec.Ports})
	require.NoError(t, err)
	cache.service = stored[corev1.Service](t, during.Service)
	cache.deployment.Status.UpdatedReplicas = 2
	c, state := New(cache, &fakeReader{}, events.NewFakeRecorder(8), false), &state{}
	pass := func() int {
		live, err := c.readChildren(t.Context(), cache.agent)
		require.NoError(t, err)
		require.NoError(t, c.applyChildren(t.Context(), cache.agent, live, state).err)
		return cache.applies
	}
	require.Zero(t, pass(), "the rollout is under way")
	require.True(t, state.synced.keepsPorts)
	cache.deployment.Status.UpdatedReplicas = 3
	require.Equal(t, 1, pass(), "the rollout is complete")
}
