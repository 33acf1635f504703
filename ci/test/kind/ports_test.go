package kind_test

import (
	"context"
	"fmt"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

func portNumberChanged(s *fixture) { s.changePortNumber("renumbered", "http") }

// The policies of the environments let the gateway call the port named http only.
func unnamedPortNumberChanged(s *fixture) {
	allow := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "allow-gateway-to-unnamed"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelAgent: "unnamed"}},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: "live-gateway"}}}}}},
		},
	}
	require.NoError(s, api.Create(s.Context(), allow))
	s.Cleanup(func() { _ = api.Delete(context.Background(), allow) })
	s.changePortNumber("unnamed", "")
}

// changePortNumber holds the rollout of another port number while pods of both kinds serve, then lets it complete.
func (s *fixture) changePortNumber(agent, port string) {
	s.Helper()
	const newPort = 9090
	name := port
	if name == "" {
		name = "unnamed"
	}
	s.create(agent, 3, withEnv("PORT", fmt.Sprint(servicePort)), func(a *v1alpha1.Agent) { a.Spec.Runtime.Spec.Container.Ports[0].Name = port })
	before := s.service(agent)
	oldCallers := s.startLoad(agent)
	mixed := oldCallers.measure("port number changes, 3 replicas ("+name+"): callers of the old number, pods of both kinds", 3, neverBelow(3), func() {
		container := "/spec/runtime/spec/container/"
		s.patch(agent, fmt.Sprintf(`[{"op":"replace","path":"%[1]sports/0/containerPort","value":%[2]d},{"op":"replace","path":"%[1]senv/0/value","value":"%[2]d"},{"op":"replace","path":"%[1]simage","value":%[3]q}]`,
			container, newPort, newImage()))
		s.eventually("a pod of each kind is ready", waitTimeout, func() error { return s.checkMixed(agent) })
		s.kubectl("rollout", "pause", "deployment/"+agent)
		oldCallers.wait(3 * calm) // after what was already under way
		require.NoError(s, s.checkMixed(agent))
	})
	requireVersions(s.T, mixed, "v2.0.0", "v2.1.0")

	newCallers := s.startLoadOn(agent, newPort)
	s.kubectl("--namespace", "live-gateway", "delete", "pod", oldCallers.pod)
	complete := newCallers.measure("port number changes, 3 replicas ("+name+"): callers of the new number, until the old one is gone", 3, neverBelow(3), func() {
		s.kubectl("rollout", "resume", "deployment/"+agent)
		s.waitReady(agent)
		ports := s.service(agent).Spec.Ports
		require.Len(s, ports, 1)
		require.EqualValues(s, newPort, ports[0].Port)
		require.Equal(s, before.Spec.Ports[0].Name, ports[0].Name)
	})
	requireVersions(s.T, complete, "v2.0.0", "v2.1.0")
	require.Equal(s, before.UID, s.service(agent).UID)
	require.Equal(s, before.Spec.ClusterIP, s.service(agent).Spec.ClusterIP)
}

// checkMixed reports an error unless pods of both builds are ready.
func (s *fixture) checkMixed(agent string) error {
	s.Helper()
	ready := map[string]int{}
	for _, pod := range s.pods(agent) {
		if isReady(&pod) && pod.DeletionTimestamp == nil {
			ready[pod.Spec.Containers[0].Image]++
		}
	}
	if ready[oldImage()] == 0 || ready[newImage()] == 0 {
		return fmt.Errorf("ready pods by image: %v", ready)
	}
	return nil
}

func (s *fixture) service(agent string) *corev1.Service {
	s.Helper()
	service := &corev1.Service{}
	require.NoError(s, api.Get(s.Context(), keyIn(s, agent), service))
	return service
}
