package agent

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// StripService drops a Service's managed fields, except which of its ports other field managers own: the operator leaves those alone.
// A Service that it returned passes unchanged.
func StripService(service *corev1.Service) {
	var others []metav1.ManagedFieldsEntry
	for _, entry := range service.ManagedFields {
		if isOwnEntry(entry) || entry.Subresource != "" {
			continue
		}
		fields, err := encodeFields(portsIn(entry))
		if err == nil && string(fields.GetRawBytes()) != "{}" {
			entry.FieldsV1 = fields
			others = append(others, entry)
		}
	}
	service.ManagedFields = others
}

// portsIn returns the paths of the Service ports that an entry owns or owns something in. Fields that cannot be decoded are none.
func portsIn(entry metav1.ManagedFieldsEntry) *fieldpath.Set {
	ports := fieldpath.NewSet()
	fields, err := fieldsOf(entry)
	if err != nil {
		return ports
	}
	fields.Iterate(func(path fieldpath.Path) {
		if len(path) >= 3 && hasPrefix(path, "spec", "ports") {
			ports.Insert(path[:3].Copy())
		}
	})
	return ports
}

// foreignPorts returns the paths of the Service ports that other field managers own.
func foreignPorts(service *corev1.Service) *fieldpath.Set {
	all := fieldpath.NewSet()
	for _, entry := range service.ManagedFields {
		if !isOwnEntry(entry) {
			all = all.Union(portsIn(entry))
		}
	}
	return all
}

// ownPorts returns the ports of a Service that only the operator owns.
func ownPorts(service *corev1.Service) []corev1.ServicePort {
	if len(service.ManagedFields) == 0 {
		return service.Spec.Ports
	}
	foreign := foreignPorts(service)
	var own []corev1.ServicePort
	for _, port := range service.Spec.Ports {
		if !foreign.Has(portPath(port)) {
			own = append(own, port)
		}
	}
	return own
}

// conflictingPorts returns the paths of other managers' ports that have the name of a desired port with another number. They would
// survive an apply, and the API server rejects two ports of one name.
func conflictingPorts(live *corev1.Service, desired *corev1ac.ServiceApplyConfiguration) []fieldpath.Path {
	if len(live.ManagedFields) == 0 {
		return nil
	}
	foreign := foreignPorts(live)
	var paths []fieldpath.Path
	for _, port := range live.Spec.Ports {
		isConflict := func(want corev1ac.ServicePortApplyConfiguration) bool {
			return *want.Name == port.Name && (*want.Port != port.Port || *want.Protocol != port.Protocol)
		}
		if path := portPath(port); foreign.Has(path) && slices.ContainsFunc(desired.Spec.Ports, isConflict) {
			paths = append(paths, path)
		}
	}
	return paths
}

// portPath is the path of a Service port, which the API identifies by number and protocol.
func portPath(port corev1.ServicePort) fieldpath.Path {
	key := value.FieldList{
		{Name: "port", Value: value.NewValueInterface(int64(port.Port))},
		{Name: "protocol", Value: value.NewValueInterface(string(port.Protocol))},
	}
	return fieldpath.MakePathOrDie("spec", "ports", &key)
}

// isPrefixOf matches the paths that a path is at or below.
func isPrefixOf(path fieldpath.Path) func(fieldpath.Path) bool {
	return func(prefix fieldpath.Path) bool { return len(path) >= len(prefix) && path[:len(prefix)].Equals(prefix) }
}
