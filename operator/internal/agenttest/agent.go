// Package agenttest builds Agents for tests: a small valid one, changed by options.
package agenttest

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// Option changes an Agent under construction.
type Option func(*v1alpha1.Agent)

// New returns a valid Agent with one replica and one port named http.
func New(name string, options ...Option) *v1alpha1.Agent {
	agent := &v1alpha1.Agent{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.AgentKind},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-of-" + name), Generation: 1},
		Spec: v1alpha1.AgentSpec{Runtime: v1alpha1.Runtime{Type: v1alpha1.RuntimeStandard, Spec: v1alpha1.RuntimeSpec{
			Replicas: ptr.To[int32](1),
			Container: corev1.Container{
				Name:  "agent",
				Image: "registry.example/agent:v1",
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
			},
		}}},
	}
	for _, option := range options {
		option(agent)
	}
	return agent
}

// Read decodes an Agent from a YAML file, strictly: an unknown field fails the test. It gets the namespace and uid that
// the API server would set.
func Read(t testing.TB, file string) *v1alpha1.Agent {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	agent := &v1alpha1.Agent{}
	require.NoError(t, yaml.UnmarshalStrict(raw, agent), file)
	if agent.Namespace == "" {
		agent.Namespace = "default"
	}
	agent.UID = types.UID("uid-of-" + agent.Name)
	agent.Generation = 1
	return agent
}

// In puts the Agent into a namespace.
func In(namespace string) Option {
	return func(a *v1alpha1.Agent) { a.Namespace = namespace }
}

// Replicas sets the desired number of pods.
func Replicas(n int32) Option {
	return func(a *v1alpha1.Agent) { a.Spec.Runtime.Spec.Replicas = &n }
}

// Image sets the agent's image.
func Image(image string) Option {
	return func(a *v1alpha1.Agent) { a.Spec.Runtime.Spec.Container.Image = image }
}

// Container changes the agent's container.
func Container(change func(*corev1.Container)) Option {
	return func(a *v1alpha1.Agent) { change(&a.Spec.Runtime.Spec.Container) }
}

// Runtime changes the settings of the runtime.
func Runtime(change func(*v1alpha1.RuntimeSpec)) Option {
	return func(a *v1alpha1.Agent) { change(&a.Spec.Runtime.Spec) }
}

// Availability sets the availability section.
func Availability(availability v1alpha1.Availability) Option {
	return func(a *v1alpha1.Agent) { a.Spec.Availability = &availability }
}

// Selecting returns a label selector for an agent's pods.
func Selecting(agent string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelAgent: agent}}
}

// RequiredAntiAffinity sets required pod anti-affinity terms.
func RequiredAntiAffinity(terms ...corev1.PodAffinityTerm) Option {
	return Runtime(func(s *v1alpha1.RuntimeSpec) {
		s.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
	})
}
