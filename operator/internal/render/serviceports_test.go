package render_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/render"
)

// Templates are lists of ports such as "http:8080", ":8080" without a name, or "dns:53/UDP". want is the Service at the end of the
// rollout's changes, as "<name> <number> <target>". all are the numbers that reach a pod of every template, and some those that reach
// only pods of the templates that have the port.
func TestRolloutKeepsPortsReachable(t *testing.T) {
	for _, r := range []struct {
		name      string
		templates []string
		want      string
		all, some string
	}{
		{"unchanged", []string{"http:8080", "http:8080"}, "http 8080 http", "8080", ""},
		{"another number", []string{"http:8080", "http:9090"}, "http-tcp-9090-during-rollout 9090 http, http 8080 http", "8080 9090", ""},
		{"another number, unnamed", []string{":8080", ":9090"}, "port-0-tcp-9090-during-rollout 9090 port-0, port-0 8080 port-0", "8080 9090", ""},
		{
			"another number, the second of three unnamed", []string{":1 :2 :3", ":1 :4 :3"},
			"port-0 1 port-0, port-1-tcp-4-during-rollout 4 port-1, port-2 3 port-2, port-1 2 port-1", "1 2 3 4", "",
		},
		{
			"two changes in one rollout", []string{"http:8080", "http:9090", "http:7070"},
			"http-tcp-7070-during-rollout 7070 http, http 8080 http, http-tcp-9090-during-rollout 9090 http", "7070 8080 9090", "",
		},
		{
			"changed back", []string{"http:8080", "http:9090", "http:8080"},
			"http 8080 http, http-tcp-9090-during-rollout 9090 http", "8080 9090", "",
		},
		{"changed back, unnamed", []string{":8080", ":9090", ":8080"}, "port-0 8080 port-0, port-0-tcp-9090-during-rollout 9090 port-0", "8080 9090", ""},
		{"renamed", []string{"http:8080", "web:8080"}, "http 8080 8080", "8080", ""},
		{"renamed and back", []string{"http:8080", "web:8080", "http:8080"}, "http 8080 8080", "8080", ""},
		{"a name added", []string{":8080", "http:8080"}, "port-0 8080 8080", "8080", ""},
		{"a name removed", []string{"http:8080", ":8080"}, "http 8080 8080", "8080", ""},
		{"renamed, then another number", []string{"http:8080", "web:8080", "web:9090"}, "web 9090 web, http 8080 8080", "", ""},
		{"another name and number in one change", []string{"http:8080", "web:9090"}, "web 9090 web, http 8080 http", "", "8080 9090"},
		{"two numbers swapped", []string{"a:1 b:2", "a:2 b:1"}, "b 2 b, a 1 a", "1 2", ""},
		{"two unnamed ports reordered", []string{":1 :2", ":2 :1"}, "port-1 2 2, port-0 1 1", "1 2", ""},
		{"a number that another port leaves", []string{"a:1 b:2", "a:2 b:3"}, "b 2 b, b-tcp-3-during-rollout 3 b, a 1 a", "1 2 3", ""},
		{"a port added", []string{"http:8080", "http:8080 admin:9090"}, "http 8080 http, admin 9090 admin", "8080", "9090"},
		{"an unnamed port added in front", []string{":8080", ":7070 :8080"}, "port-0-tcp-7070-during-rollout 7070 7070, port-0 8080 8080", "8080", "7070"},
		{"a named port added in front of an unnamed one", []string{":8080", "a:7070 :8080"}, "a 7070 a, port-0 8080 8080", "8080", "7070"},
		{"a port removed", []string{"http:8080 admin:9090", "http:8080"}, "http 8080 http, admin 9090 admin", "8080", "9090"},
		{"the first of two unnamed ports removed", []string{":8080 :9090", ":9090"}, "port-1 9090 9090, port-0 8080 8080", "9090", "8080"},
		{"every port removed", []string{"http:8080", ""}, "http 8080 http", "", "8080"},
		{"the first port", []string{"", "http:8080"}, "http 8080 http", "", "8080"},
		{"another protocol", []string{"x:53/UDP", "x:53"}, "x-tcp-53-during-rollout 53 x, x 53/UDP x", "", "53 53/UDP"},
		{"a second protocol", []string{"dns:53/UDP", "dns:53/UDP dns-tcp:53"}, "dns 53/UDP dns, dns-tcp 53 dns-tcp", "53/UDP", "53"},
	} {
		t.Run(r.name, func(t *testing.T) {
			var live []corev1.ServicePort
			for _, template := range r.templates {
				live = rollout(t, template, live)
				slices.Reverse(live) // the API server may store another order
				require.Equal(t, sorted(live), sorted(rollout(t, template, live)), "the next pass changes nothing")
			}
			slices.Reverse(live)
			require.Equal(t, r.want, format(live))
			for _, number := range strings.Fields(r.all) {
				for _, template := range r.templates {
					require.NotEmpty(t, listener(template, portOf(t, live, number)), "%s does not reach the pods of %q", number, template)
				}
			}
			for _, number := range strings.Fields(r.some) {
				for _, template := range r.templates {
					require.Contains(t, []string{"", number}, listener(template, portOf(t, live, number)))
				}
			}
		})
	}
}

// rollout returns the ports of the Service while an Agent with these ports rolls out.
func rollout(t *testing.T, template string, live []corev1.ServicePort) []corev1.ServicePort {
	t.Helper()
	agent := withPorts(template)
	children, err := render.Agent(agent, render.Live{Ports: live, RolledOut: "an earlier template"})
	require.NoError(t, err)
	complete, err := render.Agent(agent, render.Live{Ports: live, RolledOut: children.Deployment.Annotations[v1alpha1.AnnotationDigest]})
	require.NoError(t, err)
	require.Equal(t, rendered(t, agent), complete, "a complete rollout keeps nothing")
	require.False(t, render.KeepsPorts(agent, complete))
	require.Equal(t, format(portsOf(complete)) != format(portsOf(children)), render.KeepsPorts(agent, children))
	return portsOf(children)
}

func withPorts(template string) *v1alpha1.Agent {
	return agenttest.New("a", agenttest.Container(func(c *corev1.Container) {
		c.Ports = nil
		for _, port := range strings.Fields(template) {
			name, number, _ := strings.Cut(port, ":")
			added := corev1.ContainerPort{Name: name}
			_, _ = fmt.Sscanf(number, "%d/%s", &added.ContainerPort, &added.Protocol)
			c.Ports = append(c.Ports, added)
		}
	}))
}

func portsOf(children render.Children) []corev1.ServicePort {
	if children.Service == nil {
		return nil
	}
	var ports []corev1.ServicePort
	for _, port := range children.Service.Spec.Ports {
		ports = append(ports, corev1.ServicePort{Name: *port.Name, Protocol: *port.Protocol, Port: *port.Port, TargetPort: *port.TargetPort})
	}
	return ports
}

func format(ports []corev1.ServicePort) string {
	var all []string
	for _, port := range ports {
		all = append(all, fmt.Sprintf("%s %s %s", port.Name, numberOf(port.Port, port.Protocol), port.TargetPort.String()))
	}
	return strings.Join(all, ", ")
}

func sorted(ports []corev1.ServicePort) []string {
	all := strings.Split(format(ports), ", ")
	slices.Sort(all)
	return all
}

// numberOf is a number without the default protocol.
func numberOf(port int32, protocol corev1.Protocol) string {
	return strings.TrimSuffix(fmt.Sprintf("%d/%s", port, protocol), "/TCP")
}

func portOf(t *testing.T, ports []corev1.ServicePort, number string) corev1.ServicePort {
	t.Helper()
	at := slices.IndexFunc(ports, func(port corev1.ServicePort) bool { return numberOf(port.Port, port.Protocol) == number })
	require.GreaterOrEqual(t, at, 0, "the Service has no port %s", number)
	return ports[at]
}

// listener is the number at which the pods of a template listen for a Service port, empty if none does.
func listener(template string, port corev1.ServicePort) string {
	for i, container := range withPorts(template).Spec.Runtime.Spec.Container.Ports {
		name := container.Name
		if name == "" {
			name = fmt.Sprintf("port-%d", i)
		}
		protocol := container.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		if protocol == port.Protocol && (port.TargetPort == intstr.FromString(name) || port.TargetPort == intstr.FromInt32(container.ContainerPort)) {
			return numberOf(container.ContainerPort, protocol)
		}
	}
	return ""
}

func TestRolloutPortNamesAreUniqueAndValid(t *testing.T) {
	longest := strings.Repeat("a", 15)
	live := rollout(t, longest+":65534/SCTP", nil)
	live = rollout(t, longest+":65535/SCTP", live)
	require.Equal(t, longest+"-sctp-65535-during-rollout", live[0].Name)
	require.LessOrEqual(t, len(live[0].Name), 63)
	shortest := rollout(t, "a:1", rollout(t, "a:2", nil))
	require.Greater(t, len(shortest[0].Name), 15, "a container's port cannot have the name")
}

// The API server rejects a Service with two ports of one name, or of one number and protocol.
func TestRolloutPortsAreUniqueAfterAnyChanges(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var live []corev1.ServicePort
		for range 1 + random.IntN(4) {
			template := randomTemplate(random)
			live = rollout(t, template, live)
			names, numbers := map[string]bool{}, map[string]bool{}
			for _, port := range live {
				names[port.Name], numbers[numberOf(port.Port, port.Protocol)] = true, true
			}
			require.Len(t, names, len(live), "%s: %s", template, format(live))
			require.Len(t, numbers, len(live), "%s: %s", template, format(live))
			random.Shuffle(len(live), func(i, j int) { live[i], live[j] = live[j], live[i] })
			require.Equal(t, sorted(live), sorted(rollout(t, template, live)), "the next pass changes nothing: %s", template)
		}
	}
}

// randomTemplate has up to three ports. Their names and numbers are few, so that templates collide.
func randomTemplate(random *rand.Rand) string {
	var ports []string
	for i, name := range random.Perm(3) {
		if i < random.IntN(4) {
			ports = append(ports, fmt.Sprintf("%s:%d%s", []string{"", "a", "b"}[name], 1+random.IntN(2)+2*i, []string{"", "/UDP"}[random.IntN(2)]))
		}
	}
	random.Shuffle(len(ports), func(i, j int) { ports[i], ports[j] = ports[j], ports[i] })
	return strings.Join(ports, " ")
}

// The Service's other settings follow the spec at once.
func TestRolloutPortsHaveTheCurrentAppProtocol(t *testing.T) {
	agent := withPorts("http:9090 dns:53/UDP")
	agent.Spec.Runtime.Spec.Service = &v1alpha1.ServiceSpec{AppProtocol: "kubernetes.io/h2c"}
	children, err := render.Agent(agent, render.Live{Ports: rollout(t, "http:8080 dns:54/UDP", nil)})
	require.NoError(t, err)
	for _, port := range children.Service.Spec.Ports {
		require.Equal(t, *port.Protocol == corev1.ProtocolTCP, port.AppProtocol != nil)
	}
}
