package render

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// service is nil for an Agent without ports of which no earlier pod serves one either.
func service(agent *v1alpha1.Agent, ports []corev1.ServicePort) *corev1ac.ServiceApplyConfiguration {
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
			WithName(port.Name).
			WithProtocol(port.Protocol).
			WithPort(port.Port).
			WithTargetPort(port.TargetPort)
		if user.AppProtocol != "" && port.Protocol == corev1.ProtocolTCP {
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

// portName is the name of the container's port at an index. An unnamed port is named by its position, because the name must stay
// when the number changes.
func portName(ports []corev1.ContainerPort, index int) string {
	if name := ports[index].Name; name != "" {
		return name
	}
	return fmt.Sprintf("port-%d", index)
}

func protocol(port corev1.ContainerPort) corev1.Protocol {
	if port.Protocol == "" {
		return corev1.ProtocolTCP
	}
	return port.Protocol
}
