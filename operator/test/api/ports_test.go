package apitest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

// servicePorts are the ports of an Agent's Service as "<name> <number> <target>", in the order of their numbers. There are none without
// a Service.
func servicePorts(t *testing.T, of *v1alpha1.Agent) string {
	t.Helper()
	service := &corev1.Service{}
	err := api.Get(t.Context(), client.ObjectKeyFromObject(of), service)
	if apierrors.IsNotFound(err) {
		return ""
	}
	require.NoError(t, err)
	slices.SortFunc(service.Spec.Ports, func(a, b corev1.ServicePort) int { return int(a.Port - b.Port) })
	var all []string
	for _, port := range service.Spec.Ports {
		all = append(all, fmt.Sprintf("%s %d %s", port.Name, port.Port, port.TargetPort.String()))
	}
	return strings.Join(all, ", ")
}

// setPorts gives an Agent other ports, such as "http:8080" or ":8080" without a name, and reconciles.
func (b bench) setPorts(t *testing.T, of *v1alpha1.Agent, ports string) {
	t.Helper()
	b.change(t, of, func(a *v1alpha1.Agent) { a.Spec.Runtime.Spec.Container.Ports = containerPorts(t, ports) })
}

func containerPorts(t *testing.T, ports string) []corev1.ContainerPort {
	t.Helper()
	var all []corev1.ContainerPort
	for _, port := range strings.Fields(ports) {
		name, number, _ := strings.Cut(port, ":")
		added := corev1.ContainerPort{Name: name}
		_, err := fmt.Sscan(number, &added.ContainerPort)
		require.NoError(t, err)
		all = append(all, added)
	}
	return all
}

// completeRollout writes the status of a complete rollout, because no Deployment controller runs here.
func completeRollout(t *testing.T, of *v1alpha1.Agent) {
	t.Helper()
	deployment := child(t, of, &appsv1.Deployment{})
	desired := *deployment.Spec.Replicas
	deployment.Status = appsv1.DeploymentStatus{
		ObservedGeneration: deployment.Generation, Replicas: desired, UpdatedReplicas: desired, ReadyReplicas: desired, AvailableReplicas: desired,
	}
	require.NoError(t, api.Status().Update(t.Context(), deployment))
}

// hangRollout writes the status of a rollout whose first new pod never becomes available.
func hangRollout(t *testing.T, of *v1alpha1.Agent) {
	t.Helper()
	deployment := child(t, of, &appsv1.Deployment{})
	desired := *deployment.Spec.Replicas
	deployment.Status = appsv1.DeploymentStatus{
		ObservedGeneration: deployment.Generation, Replicas: desired + 1, UpdatedReplicas: 1, ReadyReplicas: desired, AvailableReplicas: desired, UnavailableReplicas: 1,
		Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}},
	}
	require.NoError(t, api.Status().Update(t.Context(), deployment))
}

func TestAChangedPortStaysReachableUntilTheRolloutIsComplete(t *testing.T) {
	for _, r := range []struct {
		name          string
		changes       []string // the first is rolled out
		during, after string
	}{
		{"another number", []string{"http:8080", "http:9090"}, "http 8080 http, http-tcp-9090-during-rollout 9090 http", "http 9090 http"},
		{"another number, unnamed", []string{":8080", ":9090"}, "port-0 8080 port-0, port-0-tcp-9090-during-rollout 9090 port-0", "port-0 9090 port-0"},
		{
			"several numbers in one rollout", []string{"http:8080", "http:9090", "http:7070"},
			"http-tcp-7070-during-rollout 7070 http, http 8080 http, http-tcp-9090-during-rollout 9090 http", "http 7070 http",
		},
		{"changed back", []string{"http:8080", "http:9090", "http:8080"}, "http 8080 http, http-tcp-9090-during-rollout 9090 http", "http 8080 http"},
		{"renamed", []string{"http:8080", "web:8080"}, "http 8080 8080", "web 8080 web"},
		{"swapped", []string{"a:8080 b:9090", "a:9090 b:8080"}, "a 8080 a, b 9090 b", "b 8080 b, a 9090 a"},
		{"reordered, unnamed", []string{":8080 :9090", ":9090 :8080"}, "port-0 8080 8080, port-1 9090 9090", "port-1 8080 port-1, port-0 9090 port-0"},
		{"a port added", []string{"http:8080", "http:8080 admin:9090"}, "http 8080 http, admin 9090 admin", "http 8080 http, admin 9090 admin"},
		{"a port removed", []string{"http:8080 admin:9090", "http:8080"}, "http 8080 http, admin 9090 admin", "http 8080 http"},
		{"every port removed", []string{"http:8080", ""}, "http 8080 http", ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			stored := b.create(t, agenttest.Replicas(3), agenttest.Container(func(c *corev1.Container) { c.Ports = containerPorts(t, r.changes[0]) }))
			b.place(t, stored)
			completeRollout(t, stored)
			b.settle(t, stored, isReady)
			first := child(t, stored, &corev1.Service{})

			for _, ports := range r.changes[1:] {
				b.setPorts(t, stored, ports)
			}
			require.Equal(t, r.during, servicePorts(t, stored))
			require.Equal(t, first.UID, child(t, stored, &corev1.Service{}).UID)
			hangRollout(t, stored)
			b.settle(t, stored, func(a *v1alpha1.Agent) bool { return ready(a).Reason == v1alpha1.ReasonProgressDeadlineExceeded })
			b.requireAtRest(t, stored)
			require.Equal(t, r.during, servicePorts(t, stored))
			restarted := newBenchIn(t, b.namespace)
			restarted.requireAtRest(t, stored)
			require.Equal(t, r.during, servicePorts(t, stored))

			version := child(t, stored, &corev1.Service{}).ResourceVersion
			b.writes.Store(0)
			completeRollout(t, stored)
			b.settle(t, stored, isReady)
			require.Equal(t, r.after, servicePorts(t, stored))
			want := int64(2) // of the Service, and of the status
			if r.during == r.after {
				want = 1
				require.Equal(t, version, child(t, stored, &corev1.Service{}).ResourceVersion)
			}
			require.Equal(t, want, b.writes.Load())
			b.requireAtRest(t, stored)
			if r.after != "" {
				last := child(t, stored, &corev1.Service{})
				require.Equal(t, first.UID, last.UID, "clients keep the address")
				require.Equal(t, first.Spec.ClusterIP, last.Spec.ClusterIP)
			}
		})
	}
}

func isReady(of *v1alpha1.Agent) bool { return ready(of).Status == "True" }

func TestPortsChangeAtOnceIfNoPodRuns(t *testing.T) {
	b := newBench(t)
	stored := b.create(t, agenttest.Replicas(0))
	b.place(t, stored)
	completeRollout(t, stored)
	b.settle(t, stored, isReady)
	b.setPorts(t, stored, "http:9090")
	completeRollout(t, stored)
	b.settle(t, stored, isReady)
	require.Equal(t, "http 9090 http", servicePorts(t, stored))
}

func TestTheServiceFollowsThePorts(t *testing.T) {
	b := newBench(t)
	stored := b.create(t)
	b.place(t, stored)
	set := func(change func(*v1alpha1.RuntimeSpec)) *v1alpha1.Agent {
		b.change(t, stored, func(a *v1alpha1.Agent) { change(&a.Spec.Runtime.Spec) })
		completeRollout(t, stored)
		return b.settle(t, stored, isReady)
	}
	first := child(t, stored, &corev1.Service{})
	set(func(spec *v1alpha1.RuntimeSpec) { spec.Container.Ports[0].Name = "web" })
	require.Equal(t, "web 8080 web", servicePorts(t, stored))
	set(func(spec *v1alpha1.RuntimeSpec) { spec.Container.Ports[0].ContainerPort = 9191 })
	require.Equal(t, "web 9191 web", servicePorts(t, stored))
	require.Equal(t, first.UID, child(t, stored, &corev1.Service{}).UID)

	set(func(spec *v1alpha1.RuntimeSpec) { spec.Service = &v1alpha1.ServiceSpec{Type: v1alpha1.ServiceHeadless} })
	require.Equal(t, corev1.ClusterIPNone, child(t, stored, &corev1.Service{}).Spec.ClusterIP)

	live := set(func(spec *v1alpha1.RuntimeSpec) { spec.Container.Ports = nil })
	require.Empty(t, live.Status.URL)
	require.True(t, apierrors.IsNotFound(api.Get(t.Context(), client.ObjectKeyFromObject(stored), &corev1.Service{})))

	live = set(func(spec *v1alpha1.RuntimeSpec) {
		spec.Container.Ports = []corev1.ContainerPort{{ContainerPort: 9090, Protocol: corev1.ProtocolTCP}}
	})
	require.Equal(t, "http://a."+b.namespace+".svc:9090", live.Status.URL)
	require.Equal(t, "port-0 9090 port-0", servicePorts(t, stored))
}

// A Headless Service does not translate numbers, but its SRV records have the number of each pod by the name of the port.
func TestAHeadlessServiceKeepsNamesDuringARollout(t *testing.T) {
	b := newBench(t)
	stored := b.create(t, agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) { s.Service = &v1alpha1.ServiceSpec{Type: v1alpha1.ServiceHeadless} }))
	b.place(t, stored)
	completeRollout(t, stored)
	b.settle(t, stored, isReady)
	b.setPorts(t, stored, "http:9090")
	require.Equal(t, "http 8080 http, http-tcp-9090-during-rollout 9090 http", servicePorts(t, stored))
}

// An apply keeps a port of another field manager, and the API server rejects two ports of one name.
func TestAManuallyRenumberedPortIsRestored(t *testing.T) {
	for name, rollout := range map[string]func(*testing.T, *v1alpha1.Agent){"a complete rollout": completeRollout, "a rollout that hangs": hangRollout} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			stored := b.create(t)
			b.place(t, stored)
			rollout(t, stored)
			first := child(t, stored, &corev1.Service{})
			renumber := client.RawPatch(types.JSONPatchType, []byte(`[{"op":"replace","path":"/spec/ports/0/port","value":9090}]`))
			require.NoError(t, api.Patch(t.Context(), child(t, stored, &corev1.Service{}), renumber))
			b.settle(t, stored, func(*v1alpha1.Agent) bool { return servicePorts(t, stored) == "http 8080 http" })
			require.Equal(t, first.UID, child(t, stored, &corev1.Service{}).UID, "the Service is not replaced")
			b.requireAtRest(t, stored)
		})
	}
}

func TestAForeignServicePortSurvivesARolloutOfThePorts(t *testing.T) {
	b := newBench(t)
	stored := b.create(t)
	b.place(t, stored)
	completeRollout(t, stored)
	b.settle(t, stored, isReady)
	add := client.RawPatch(types.JSONPatchType, []byte(`[{"op":"add","path":"/spec/ports/-","value":{"name":"extra","port":7000,"protocol":"TCP"}}]`))
	require.NoError(t, api.Patch(t.Context(), child(t, stored, &corev1.Service{}), add))
	b.setPorts(t, stored, "http:9090")
	b.settle(t, stored, func(*v1alpha1.Agent) bool {
		return servicePorts(t, stored) == "extra 7000 7000, http 8080 http, http-tcp-9090-during-rollout 9090 http"
	})
	completeRollout(t, stored)
	b.settle(t, stored, isReady)
	require.Equal(t, "extra 7000 7000, http 9090 http", servicePorts(t, stored))
	b.requireAtRest(t, stored)
}
