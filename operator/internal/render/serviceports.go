package render

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// desiredPorts are the Service ports of an Agent whose rollout is complete: one for each container port, with the same number. The
// target is the name, which each pod resolves by its own ports.
func desiredPorts(agent *v1alpha1.Agent) []corev1.ServicePort {
	container := agent.Spec.Runtime.Spec.Container
	ports := make([]corev1.ServicePort, len(container.Ports))
	for i, port := range container.Ports {
		name := portName(container.Ports, i)
		ports[i] = corev1.ServicePort{Name: name, Protocol: protocol(port), Port: port.ContainerPort, TargetPort: intstr.FromString(name)}
	}
	return ports
}

// servicePorts are the desired ports, or the ports during a rollout, which ends when the Deployment with this digest is rolled out.
func servicePorts(agent *v1alpha1.Agent, live Live, digest string) []corev1.ServicePort {
	if live.RolledOut == digest {
		return desiredPorts(agent)
	}
	return rolloutPorts(desiredPorts(agent), live.Ports)
}

// KeepsPorts reports whether rendered children have a Service that still serves pods of an earlier template. It changes when the
// rollout is complete.
func KeepsPorts(agent *v1alpha1.Agent, children Children) bool {
	plain := service(agent, desiredPorts(agent))
	if plain == nil || children.Service == nil {
		return children.Service != nil
	}
	return !reflect.DeepEqual(plain.Spec.Ports, children.Service.Spec.Ports)
}

// rolloutPorts are the Service ports while pods of an earlier template may serve: the desired ports, and those of the live Service.
// Clients use a live port, so it keeps its number. It keeps its name, too: kube-proxy rejects new connections to a renamed port until
// the EndpointSlices have the new name. Rendered again from its own result, the list stays the same.
func rolloutPorts(desired, live []corev1.ServicePort) []corev1.ServicePort {
	var ports []corev1.ServicePort
	for _, port := range desired {
		target := rolloutTarget(port, desired, live)
		if at := slices.IndexFunc(live, sameNumber(port)); at >= 0 {
			port, target = live[at], rolloutTarget(live[at], desired, live)
		} else if slices.ContainsFunc(live, func(l corev1.ServicePort) bool { return l.Name == port.Name }) {
			port.Name = rolloutName(port)
		}
		port.TargetPort = target
		ports = append(ports, port)
	}
	return append(ports, removedPorts(desired, live)...)
}

// removedPorts are the live ports that go when the rollout is complete, in a fixed order.
func removedPorts(desired, live []corev1.ServicePort) []corev1.ServicePort {
	var ports []corev1.ServicePort
	for _, port := range live {
		if !slices.ContainsFunc(desired, sameNumber(port)) {
			port.TargetPort = rolloutTarget(port, desired, live)
			ports = append(ports, port)
		}
	}
	slices.SortFunc(ports, func(a, b corev1.ServicePort) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return ports
}

// rolloutTarget is the target by which a Service port reaches pods of both templates, where there is one: the name if the new
// template has it too, else the number if the new template has that. A port that the new template lacks reaches the old pods.
func rolloutTarget(port corev1.ServicePort, desired, live []corev1.ServicePort) intstr.IntOrString {
	if port.TargetPort.Type == intstr.Int {
		return port.TargetPort
	}
	hasName := slices.ContainsFunc(desired, sameTarget(port))
	switch {
	case hasName && !shifted(port, desired, live):
		return port.TargetPort
	case hasName || slices.ContainsFunc(desired, sameNumber(port)):
		return intstr.FromInt32(port.Port)
	default:
		return port.TargetPort
	}
}

var positionalName = regexp.MustCompile(`^port-[0-9]+$`)

// shifted reports whether the two templates mean different ports by a target that is a position: a port before it was inserted or
// removed, or the order changed. Then some port has the same number at another position.
func shifted(port corev1.ServicePort, desired, live []corev1.ServicePort) bool {
	if !positionalName.MatchString(port.TargetPort.StrVal) {
		return false
	}
	for _, old := range live {
		at := slices.IndexFunc(desired, sameNumber(old))
		if at >= 0 && old.TargetPort != desired[at].TargetPort && (sameTarget(port)(old) || sameTarget(port)(desired[at])) {
			return true
		}
	}
	return false
}

// rolloutName is the name of a new Service port whose own name a live port still has. It is longer than a container port's name can be,
// so no other port has it.
func rolloutName(port corev1.ServicePort) string {
	return fmt.Sprintf("%s-%s-%d-during-rollout", port.Name, strings.ToLower(string(port.Protocol)), port.Port)
}

// sameNumber matches the port that the API server considers the same: by number and protocol.
func sameNumber(port corev1.ServicePort) func(corev1.ServicePort) bool {
	return func(other corev1.ServicePort) bool { return other.Port == port.Port && other.Protocol == port.Protocol }
}

// sameTarget matches ports with the same target. A pod resolves a name among its ports of the same protocol.
func sameTarget(port corev1.ServicePort) func(corev1.ServicePort) bool {
	return func(other corev1.ServicePort) bool {
		return other.TargetPort == port.TargetPort && other.Protocol == port.Protocol
	}
}
