package render

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// defaultContainer sets the defaults of the agent container's omitted fields.
func defaultContainer(agent *v1alpha1.Agent, container *corev1ac.ContainerApplyConfiguration) {
	orDefault(&container.Name, defaultContainerName)
	for i := range container.Ports {
		orDefault(&container.Ports[i].Name, portName(agent.Spec.Runtime.Spec.Container.Ports, i))
		orDefault(&container.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	container.Env = append(agentEnv(agent), container.Env...)
	if drain := drainSeconds(agent); drain > 0 && !hasPreStop(agent.Spec.Runtime.Spec.Container) {
		orNew(&container.Lifecycle).WithPreStop(corev1ac.LifecycleHandler().WithSleep(corev1ac.SleepAction().WithSeconds(drain)))
	}
	if availability(agent).Probes != v1alpha1.ProbesNone {
		defaultProbes(agent, container)
	}
}

// hasPreStop reports whether the user's own preStop hook drains connections.
func hasPreStop(container corev1.Container) bool {
	return container.Lifecycle != nil && container.Lifecycle.PreStop != nil
}

// agentEnv holds the agent's identity. It precedes the user's entries, so that they can refer to it with $(NAME). A user's
// entry of the same name replaces it.
func agentEnv(agent *v1alpha1.Agent) []corev1ac.EnvVarApplyConfiguration {
	var env []corev1ac.EnvVarApplyConfiguration
	add := func(name, value string) {
		replaced := slices.ContainsFunc(agent.Spec.Runtime.Spec.Container.Env, func(e corev1.EnvVar) bool { return e.Name == name })
		if value != "" && !replaced {
			env = append(env, *corev1ac.EnvVar().WithName(name).WithValue(value))
		}
	}
	add(v1alpha1.EnvAgentName, agent.Name)
	add(v1alpha1.EnvAgentNamespace, agent.Namespace)
	add(v1alpha1.EnvAgentURL, URL(agent))
	return env
}

// ModelEnv returns those variables of a Model that the agent container gets: a variable that the author sets under the same name replaces
// it.
func ModelEnv(agent *v1alpha1.Agent, variables []corev1.EnvVar) []corev1.EnvVar {
	return slices.DeleteFunc(slices.Clone(variables), func(variable corev1.EnvVar) bool {
		return slices.ContainsFunc(agent.Spec.Runtime.Spec.Container.Env, func(e corev1.EnvVar) bool { return e.Name == variable.Name })
	})
}

// WithModel returns children whose agent container has the variables of a Model. No other container gets them. They follow the agent's
// identity and precede the author's variables, which can refer to them with $(NAME).
func (c Children) WithModel(agent *v1alpha1.Agent, live Live, variables []corev1.EnvVar) (Children, error) {
	variables = ModelEnv(agent, variables)
	if len(variables) == 0 {
		return c, nil
	}
	env, err := convert[[]corev1ac.EnvVarApplyConfiguration](variables)
	if err != nil {
		return Children{}, err
	}
	if c.Deployment, err = convert[appsv1ac.DeploymentApplyConfiguration](c.Deployment); err != nil { // a copy
		return Children{}, err
	}
	container := &c.Deployment.Spec.Template.Spec.Containers[0]
	container.Env = slices.Insert(container.Env, len(agentEnv(agent)), *env...)
	c.ReplaceTemplate(c.Deployment.Spec.Template)
	if c.Service = service(agent, servicePorts(agent, live, c.Deployment.Annotations[v1alpha1.AnnotationDigest])); c.Service != nil {
		c.Service.WithAnnotations(digest(c.Service))
	}
	return c, nil
}

// defaultProbes adds the guide's probes (paths and timings of "Health probes") that the user omits. The startup probe allows a
// slow model load five minutes. It is added only with the default liveness probe: an image whose liveness path differs may not
// serve /health, and the startup probe would kill it.
func defaultProbes(agent *v1alpha1.Agent, container *corev1ac.ContainerApplyConfiguration) {
	port := mainPort(agent.Spec.Runtime.Spec.Container)
	if port == nil {
		return
	}
	if container.ReadinessProbe == nil {
		container.ReadinessProbe = httpProbe("/ready", port.ContainerPort).
			WithInitialDelaySeconds(10).WithPeriodSeconds(5).WithTimeoutSeconds(3).WithSuccessThreshold(1).WithFailureThreshold(3)
	}
	if container.LivenessProbe != nil {
		return
	}
	container.LivenessProbe = httpProbe("/health", port.ContainerPort).
		WithInitialDelaySeconds(30).WithPeriodSeconds(10).WithTimeoutSeconds(5).WithFailureThreshold(3)
	if container.StartupProbe == nil {
		container.StartupProbe = httpProbe("/health", port.ContainerPort).
			WithPeriodSeconds(5).WithTimeoutSeconds(5).WithFailureThreshold(60)
	}
}

func httpProbe(path string, port int32) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromInt32(port)))
}

// ContainerName is the name of the agent's container in the pod.
func ContainerName(agent *v1alpha1.Agent) string {
	if name := agent.Spec.Runtime.Spec.Container.Name; name != "" {
		return name
	}
	return defaultContainerName
}
