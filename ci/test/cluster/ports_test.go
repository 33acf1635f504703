package cluster_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// setPorts gives an Agent other ports and waits until it has settled.
func setPorts(s *fixture, value string) *v1alpha1.Agent {
	s.Helper()
	s.patch("a", `[{"op":"add","path":"/spec/runtime/spec/container/ports","value":`+value+`}]`)
	return s.waitReady("a")
}

// requireServicePort reports what is wrong with a Service: it should have one port with this name and number and a ready pod behind it.
func requireServicePort(s *fixture, name string, number int32) {
	s.Helper()
	service := read(s, "a", &corev1.Service{})
	require.Len(s, service.Spec.Ports, 1)
	port := service.Spec.Ports[0]
	require.Equal(s, fmt.Sprintf("%s %d %s", name, number, name), fmt.Sprintf("%s %d %s", port.Name, port.Port, port.TargetPort.String()))
	s.eventually("a pod is behind the Service", waitTimeout, func() error { return checkEndpoints(s, "a", 1) })
}

func TestTheServiceFollowsThePorts(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	url := func(port int) string { return fmt.Sprintf("http://a.%s.svc:%d", s.namespace, port) }
	s.create("a")
	require.Equal(t, url(8080), s.waitReady("a").Status.URL)
	requireServicePort(s, "http", 8080)
	first := read(s, "a", &corev1.Service{})

	setPorts(s, `[{"name":"web","containerPort":8080}]`)
	requireServicePort(s, "web", 8080)
	require.Equal(t, url(9090), setPorts(s, `[{"name":"web","containerPort":9090}]`).Status.URL)
	requireServicePort(s, "web", 9090)
	require.Equal(t, url(8081), setPorts(s, `[{"containerPort":7000},{"name":"http","containerPort":8081}]`).Status.URL)
	require.Len(t, read(s, "a", &corev1.Service{}).Spec.Ports, 2)
	require.Equal(t, url(9090), setPorts(s, `[{"name":"web","containerPort":9090}]`).Status.URL)
	requireServicePort(s, "web", 9090)
	require.Equal(t, first.UID, read(s, "a", &corev1.Service{}).UID)
	require.Equal(t, first.Spec.ClusterIP, read(s, "a", &corev1.Service{}).Spec.ClusterIP, "clients keep the address")

	without := s.patch("a", `[{"op":"remove","path":"/spec/runtime/spec/container/ports"}]`)
	require.Empty(t, without.Spec.Runtime.Spec.Container.Ports)
	require.Empty(t, s.waitReady("a").Status.URL)
	s.eventually("the Service is gone", waitTimeout, func() error { return s.checkDeleted("a", &corev1.Service{}) })
	require.Equal(t, url(8080), setPorts(s, `[{"name":"http","containerPort":8080}]`).Status.URL)
	requireServicePort(s, "http", 8080)
}

func TestAServiceTurnsHeadlessAndBack(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a")
	s.waitReady("a")
	pods := uids(s, &corev1.PodList{})
	for _, kind := range []v1alpha1.ServiceType{v1alpha1.ServiceHeadless, v1alpha1.ServiceClusterIP} {
		s.patch("a", `[{"op":"add","path":"/spec/runtime/spec/service","value":{"type":"`+string(kind)+`"}}]`)
		s.eventually(string(kind), waitTimeout, func() error {
			service := &corev1.Service{}
			if err := s.checkDeleted("a", service); err == nil {
				return fmt.Errorf("no Service")
			}
			if headless := service.Spec.ClusterIP == corev1.ClusterIPNone; headless != (kind == v1alpha1.ServiceHeadless) {
				return fmt.Errorf("its address is %s", service.Spec.ClusterIP)
			}
			return nil
		})
		s.waitReady("a")
		requireServicePort(s, "http", 8080)
	}
	require.Equal(t, pods, uids(s, &corev1.PodList{}), "no pod restarts for it")
}
