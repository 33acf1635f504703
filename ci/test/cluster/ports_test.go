package cluster_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// ports gives an Agent other ports and waits until it has settled.
func ports(s *scene, value string) *v1alpha1.Agent {
	s.Helper()
	s.patch("a", `[{"op":"add","path":"/spec/runtime/spec/container/ports","value":`+value+`}]`)
	return s.settled("a")
}

// serves says what is wrong with a Service: it should have one port with this name and number and a ready pod behind it.
func serves(s *scene, name string, number int32) {
	s.Helper()
	service := read(s, "a", &corev1.Service{})
	require.Len(s, service.Spec.Ports, 1)
	port := service.Spec.Ports[0]
	require.Equal(s, fmt.Sprintf("%s %d %d", name, number, number), fmt.Sprintf("%s %d %s", port.Name, port.Port, port.TargetPort.String()))
	s.eventually("a pod is behind the Service", patience, func() error { return endpoints(s, "a", 1) })
}

func TestTheServiceFollowsThePorts(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	url := func(port int) string { return fmt.Sprintf("http://a.%s.svc:%d", s.namespace, port) }
	s.create("a")
	require.Equal(t, url(8080), s.settled("a").Status.URL)
	serves(s, "http", 8080)
	first := read(s, "a", &corev1.Service{})

	ports(s, `[{"name":"web","containerPort":8080}]`)
	serves(s, "web", 8080)
	require.Equal(t, url(9090), ports(s, `[{"name":"web","containerPort":9090}]`).Status.URL)
	serves(s, "web", 9090)
	require.Equal(t, url(8081), ports(s, `[{"containerPort":7000},{"name":"http","containerPort":8081}]`).Status.URL)
	require.Len(t, read(s, "a", &corev1.Service{}).Spec.Ports, 2)
	require.Equal(t, url(9090), ports(s, `[{"name":"web","containerPort":9090}]`).Status.URL)
	serves(s, "web", 9090)
	require.Equal(t, first.UID, read(s, "a", &corev1.Service{}).UID)
	require.Equal(t, first.Spec.ClusterIP, read(s, "a", &corev1.Service{}).Spec.ClusterIP, "clients keep the address")

	without := s.patch("a", `[{"op":"remove","path":"/spec/runtime/spec/container/ports"}]`)
	require.Empty(t, without.Spec.Runtime.Spec.Container.Ports)
	require.Empty(t, s.settled("a").Status.URL)
	s.eventually("the Service is gone", patience, func() error { return s.absent("a", &corev1.Service{}) })
	require.Equal(t, url(8080), ports(s, `[{"name":"http","containerPort":8080}]`).Status.URL)
	serves(s, "http", 8080)
}

func TestAServiceTurnsHeadlessAndBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.create("a")
	s.settled("a")
	pods := uids(s, &corev1.PodList{})
	for _, kind := range []v1alpha1.ServiceType{v1alpha1.ServiceHeadless, v1alpha1.ServiceClusterIP} {
		s.patch("a", `[{"op":"add","path":"/spec/runtime/spec/service","value":{"type":"`+string(kind)+`"}}]`)
		s.eventually(string(kind), patience, func() error {
			service := &corev1.Service{}
			if err := s.absent("a", service); err == nil {
				return fmt.Errorf("no Service")
			}
			if headless := service.Spec.ClusterIP == corev1.ClusterIPNone; headless != (kind == v1alpha1.ServiceHeadless) {
				return fmt.Errorf("its address is %s", service.Spec.ClusterIP)
			}
			return nil
		})
		s.settled("a")
		serves(s, "http", 8080)
	}
	require.Equal(t, pods, uids(s, &corev1.PodList{}), "no pod restarts for it")
}
