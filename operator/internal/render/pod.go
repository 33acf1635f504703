package render

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// Defaults of the pod template. Frozen for v1alpha1.
const (
	defaultDrainSeconds       = 5
	defaultGraceBeyondDrain   = 30
	defaultEvictAfterSeconds  = 60
	defaultContainerName      = "agent"
	mountServiceAccountToken  = false
	injectServiceEnvironments = false
)

// podTemplate is the user's pod with defaults for its omitted fields.
func podTemplate(agent *v1alpha1.Agent) (*corev1ac.PodTemplateSpecApplyConfiguration, error) {
	pod, err := convert[corev1ac.PodSpecApplyConfiguration](userPod(agent))
	if err != nil {
		return nil, err
	}
	pod.EnableServiceLinks = ptr.To(injectServiceEnvironments)
	orDefault(&pod.AutomountServiceAccountToken, mountServiceAccountToken)
	pod.TerminationGracePeriodSeconds = ptr.To(gracePeriodSeconds(agent))
	pod.Tolerations = append(pod.Tolerations, evictionTolerations(agent.Spec.Runtime.Spec.Tolerations)...)
	pod.TopologySpreadConstraints = append(pod.TopologySpreadConstraints, spreadConstraints(agent)...)
	restrictPod(pod)
	defaultContainer(agent, &pod.Containers[0])
	rendered := template(agent).WithSpec(pod)
	return rendered, mountCard(agent, rendered)
}

func template(agent *v1alpha1.Agent) *corev1ac.PodTemplateSpecApplyConfiguration {
	template := corev1ac.PodTemplateSpec()
	if user := agent.Spec.Runtime.Spec.PodMetadata; user != nil {
		template.WithLabels(user.Labels).WithAnnotations(user.Annotations)
	}
	return template.WithLabels(podLabels(agent))
}

// userPod holds the fields of the pod that the user set, and no defaults.
func userPod(agent *v1alpha1.Agent) corev1.PodSpec {
	user := agent.Spec.Runtime.Spec
	pod := corev1.PodSpec{
		Containers:                   []corev1.Container{user.Container},
		ServiceAccountName:           user.ServiceAccountName,
		AutomountServiceAccountToken: user.AutomountServiceAccountToken,
		SecurityContext:              user.SecurityContext,
		NodeSelector:                 user.NodeSelector,
		Tolerations:                  user.Tolerations,
		Affinity:                     user.Affinity,
		TopologySpreadConstraints:    user.TopologySpreadConstraints,
		PriorityClassName:            user.PriorityClassName,
		RuntimeClassName:             user.RuntimeClassName,
		SchedulerName:                user.SchedulerName,
		DNSPolicy:                    user.DNSPolicy,
		DNSConfig:                    user.DNSConfig,
		HostAliases:                  user.HostAliases,
	}
	for _, sidecar := range user.Sidecars {
		sidecar.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
		pod.InitContainers = append(pod.InitContainers, sidecar)
	}
	pod.InitContainers = append(pod.InitContainers, user.InitContainers...)
	for _, volume := range user.Volumes {
		pod.Volumes = append(pod.Volumes, userVolume(volume))
	}
	for _, secret := range user.ImagePullSecrets {
		pod.ImagePullSecrets = append(pod.ImagePullSecrets, corev1.LocalObjectReference{Name: secret.Name})
	}
	return pod
}

func userVolume(user v1alpha1.Volume) corev1.Volume {
	volume := corev1.Volume{Name: user.Name, VolumeSource: corev1.VolumeSource{
		ConfigMap:             user.ConfigMap,
		Secret:                user.Secret,
		Projected:             user.Projected,
		EmptyDir:              user.EmptyDir,
		DownwardAPI:           user.DownwardAPI,
		PersistentVolumeClaim: user.PersistentVolumeClaim,
		Ephemeral:             user.Ephemeral,
		Image:                 user.Image,
	}}
	if user.CSI != nil {
		volume.CSI = &corev1.CSIVolumeSource{
			Driver:           user.CSI.Driver,
			ReadOnly:         user.CSI.ReadOnly,
			FSType:           user.CSI.FSType,
			VolumeAttributes: maps.Clone(user.CSI.VolumeAttributes),
		}
	}
	return volume
}

// gracePeriodSeconds gives the agent 30 seconds to exit after the drain, which counts against the grace period.
func gracePeriodSeconds(agent *v1alpha1.Agent) int64 {
	return ptr.Deref(agent.Spec.Runtime.Spec.TerminationGracePeriodSeconds, defaultGraceBeyondDrain+drainSeconds(agent))
}

func drainSeconds(agent *v1alpha1.Agent) int64 {
	return int64(ptr.Deref(availability(agent).DrainSeconds, defaultDrainSeconds))
}

func availability(agent *v1alpha1.Agent) v1alpha1.Availability {
	return ptr.Deref(agent.Spec.Availability, v1alpha1.Availability{})
}

// evictionTolerations evict pods from a lost node after 60 s. The Kubernetes default of 300 s is five minutes of lost
// capacity. A user's toleration of the same taint replaces them.
func evictionTolerations(user []corev1.Toleration) []corev1ac.TolerationApplyConfiguration {
	var added []corev1ac.TolerationApplyConfiguration
	for _, taint := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		if slices.ContainsFunc(user, func(t corev1.Toleration) bool { return covers(t, taint) }) {
			continue
		}
		added = append(added, *corev1ac.Toleration().
			WithKey(taint).
			WithOperator(corev1.TolerationOpExists).
			WithEffect(corev1.TaintEffectNoExecute).
			WithTolerationSeconds(defaultEvictAfterSeconds))
	}
	return added
}

// covers reports whether a toleration is about NoExecute taints with a key. An empty key or effect matches all.
func covers(toleration corev1.Toleration, key string) bool {
	return (toleration.Key == key || toleration.Key == "") &&
		(toleration.Effect == corev1.TaintEffectNoExecute || toleration.Effect == "")
}

// restrictPod sets the omitted fields that the restricted Pod Security Standard requires, on the pod and every container.
func restrictPod(pod *corev1ac.PodSpecApplyConfiguration) {
	orNew(&pod.SecurityContext)
	orDefault(&pod.SecurityContext.RunAsNonRoot, true)
	if pod.SecurityContext.SeccompProfile == nil {
		pod.SecurityContext.WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))
	}
	for i := range pod.InitContainers {
		restrictContainer(&pod.InitContainers[i])
	}
	for i := range pod.Containers {
		restrictContainer(&pod.Containers[i])
	}
}

func restrictContainer(container *corev1ac.ContainerApplyConfiguration) {
	security := orNew(&container.SecurityContext)
	capabilities := orNew(&security.Capabilities)
	if capabilities.Drop == nil {
		capabilities.WithDrop("ALL")
	}
	// The API server rejects allowPrivilegeEscalation: false with these, because they imply escalation.
	escalated := ptr.Deref(security.Privileged, false) || slices.Contains(capabilities.Add, "SYS_ADMIN") || slices.Contains(capabilities.Add, "CAP_SYS_ADMIN")
	if !escalated {
		orDefault(&security.AllowPrivilegeEscalation, false)
	}
}

// orDefault sets a field that the user omits.
func orDefault[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// orNew allocates a struct that the user omits, so that defaults can be set in it.
func orNew[T any](field **T) *T {
	if *field == nil {
		*field = new(T)
	}
	return *field
}
