package render

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// service has one port for each container port, with the same number. targetPort is the number, not the name, so that running
// pods stay reachable when a port is renamed.
func service(agent *v1alpha1.Agent) *corev1ac.ServiceApplyConfiguration {
	ports := agent.Spec.Runtime.Spec.Container.Ports
	if len(ports) == 0 {
		return nil
	}
	user := agent.Spec.Runtime.Spec.Service
	if user == nil {
		user = &v1alpha1.ServiceSpec{}
	}
	spec := corev1ac.ServiceSpec().WithType(corev1.ServiceTypeClusterIP).WithSelector(Selector(agent))
	if user.Type == v1alpha1.ServiceHeadless {
		spec.WithClusterIP(corev1.ClusterIPNone)
	}
	for _, port := range ports {
		servicePort := corev1ac.ServicePort().
			WithName(portName(port)).
			WithProtocol(protocol(port)).
			WithPort(port.ContainerPort).
			WithTargetPort(intstr.FromInt32(port.ContainerPort))
		if user.AppProtocol != "" && protocol(port) == corev1.ProtocolTCP {
			servicePort.WithAppProtocol(user.AppProtocol)
		}
		spec.WithPorts(servicePort)
	}
	return corev1ac.Service(agent.Name, agent.Namespace).
		WithLabels(labels(agent)).
		WithAnnotations(user.Annotations).
		WithOwnerReferences(owner(agent)).
		WithSpec(spec)
}

// URL is an Agent's URL inside the cluster: its TCP port named http, or else its first TCP port. Empty without a TCP port.
func URL(agent *v1alpha1.Agent) string {
	port := mainPort(agent.Spec.Runtime.Spec.Container)
	if port == nil {
		return ""
	}
	return fmt.Sprintf("http://%s.%s.svc:%d", agent.Name, agent.Namespace, port.ContainerPort)
}

// mainPort is the port of the default probes and the URL, nil without a TCP port.
func mainPort(container corev1.Container) *corev1.ContainerPort {
	var first *corev1.ContainerPort
	for i := range container.Ports {
		port := &container.Ports[i]
		if protocol(*port) != corev1.ProtocolTCP {
			continue
		}
		if port.Name == "http" {
			return port
		}
		if first == nil {
			first = port
		}
	}
	return first
}

// portName is a port's name. It defaults to <protocol>-<port>.
func portName(port corev1.ContainerPort) string {
	if port.Name != "" {
		return port.Name
	}
	return fmt.Sprintf("%s-%d", strings.ToLower(string(protocol(port))), port.ContainerPort)
}

func protocol(port corev1.ContainerPort) corev1.Protocol {
	if port.Protocol == "" {
		return corev1.ProtocolTCP
	}
	return port.Protocol
}
