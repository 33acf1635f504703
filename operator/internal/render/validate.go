package render

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// maxTemplate is how large a pod template may be, encoded, in bytes. Each change of it is a ReplicaSet with a copy, and each pod has
// another: a rollout of larger ones could fill etcd.
const maxTemplate = 128 << 10

// validateSize rejects a pod template that is too large. The CRD cannot: it bounds each field, and not their sum.
func validateSize(template *corev1ac.PodTemplateSpecApplyConfiguration) error {
	raw := encode(template)
	if len(raw) <= maxTemplate {
		return nil
	}
	return fmt.Errorf("spec.runtime.spec makes a pod template of %d KiB, and the limit is %d KiB: put files and long values into a ConfigMap or the image",
		(len(raw)+1023)>>10, maxTemplate>>10)
}

// validatePorts rejects ports of a container that the API server would reject in the Deployment or in the Service.
func validatePorts(spec v1alpha1.RuntimeSpec) error {
	agentPorts := slices.Clone(spec.Container.Ports)
	for i := range agentPorts {
		agentPorts[i].Name = portName(spec.Container.Ports, i)
	}
	if err := validateContainerPorts("container", agentPorts); err != nil {
		return err
	}
	for i, container := range spec.InitContainers {
		if err := validateContainerPorts(fmt.Sprintf("initContainers[%d]", i), container.Ports); err != nil {
			return err
		}
	}
	for i, container := range spec.Sidecars {
		if err := validateContainerPorts(fmt.Sprintf("sidecars[%d]", i), container.Ports); err != nil {
			return err
		}
	}
	return nil
}

// validateContainers rejects what identifies containers and is missing or not unique. The agent's container has a default name.
func validateContainers(spec v1alpha1.RuntimeSpec) error {
	names := map[string]bool{cmp.Or(spec.Container.Name, defaultContainerName): true}
	check := func(list string, containers []corev1.Container) error {
		for i, container := range containers {
			at := fmt.Sprintf("spec.runtime.spec.%s[%d]", list, i)
			switch {
			case container.Name == "":
				return fmt.Errorf("%s.name is missing: name the container", at)
			case names[container.Name]:
				return fmt.Errorf("%s.name: two containers are named %q: rename one of them", at, container.Name)
			}
			names[container.Name] = true
		}
		return nil
	}
	if err := check("initContainers", spec.InitContainers); err != nil {
		return err
	}
	return check("sidecars", spec.Sidecars)
}

func validateContainerPorts(container string, ports []corev1.ContainerPort) error {
	type number struct {
		port     int32
		protocol corev1.Protocol
	}
	numbers, names := map[number]bool{}, map[string]bool{}
	for _, port := range ports {
		key := number{port.ContainerPort, protocol(port)}
		if numbers[key] {
			return fmt.Errorf("spec.runtime.spec.%s.ports: two ports have the number %d and the protocol %s: omit one of them", container, key.port, key.protocol)
		}
		if port.Name != "" && names[port.Name] {
			return fmt.Errorf("spec.runtime.spec.%s.ports: two ports are named %q: rename one of them", container, port.Name)
		}
		numbers[key], names[port.Name] = true, true
	}
	return nil
}

// validateMetadata rejects labels, annotations, and selected labels that the API server would reject in a child.
func validateMetadata(spec v1alpha1.RuntimeSpec) error {
	at := field.NewPath("spec", "runtime", "spec")
	found := validation.ValidateLabels(spec.NodeSelector, at.Child("nodeSelector"))
	if pod := spec.PodMetadata; pod != nil {
		found = append(found, validation.ValidateLabels(pod.Labels, at.Child("podMetadata", "labels"))...)
		found = append(found, apivalidation.ValidateAnnotations(pod.Annotations, at.Child("podMetadata", "annotations"))...)
	}
	if service := spec.Service; service != nil {
		found = append(found, apivalidation.ValidateAnnotations(service.Annotations, at.Child("service", "annotations"))...)
	}
	for i, constraint := range spec.TopologySpreadConstraints {
		found = append(found, validateSelector(constraint.LabelSelector, at.Child("topologySpreadConstraints").Index(i))...)
	}
	found = append(found, validateAffinity(spec.Affinity, at.Child("affinity"))...)
	if len(found) == 0 {
		return nil
	}
	var texts []string
	for _, err := range found {
		texts = append(texts, err.Error())
	}
	slices.Sort(texts) // those of a map have no order, and a message that changes would be a write to the status
	return errors.New(strings.Join(texts, "; "))
}

func validateSelector(selector *metav1.LabelSelector, at *field.Path) field.ErrorList {
	if selector == nil {
		return nil
	}
	return validation.ValidateLabels(selector.MatchLabels, at.Child("labelSelector", "matchLabels"))
}

func validateAffinity(affinity *corev1.Affinity, at *field.Path) field.ErrorList {
	var found field.ErrorList
	add := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, at *field.Path) {
		for i, term := range required {
			found = append(found, validateSelector(term.LabelSelector, at.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i))...)
		}
		for i, term := range preferred {
			at := at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("podAffinityTerm")
			found = append(found, validateSelector(term.PodAffinityTerm.LabelSelector, at)...)
		}
	}
	if affinity == nil {
		return nil
	}
	if with := affinity.PodAffinity; with != nil {
		add(with.RequiredDuringSchedulingIgnoredDuringExecution, with.PreferredDuringSchedulingIgnoredDuringExecution, at.Child("podAffinity"))
	}
	if against := affinity.PodAntiAffinity; against != nil {
		add(against.RequiredDuringSchedulingIgnoredDuringExecution, against.PreferredDuringSchedulingIgnoredDuringExecution, at.Child("podAntiAffinity"))
	}
	return found
}
