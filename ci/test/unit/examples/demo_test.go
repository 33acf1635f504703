package examples_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const demo = "../../../clusters/demo"

// The demo changes the key log-level of the ConfigMap agent-config, and waits until each of these Agents has rolled.
func TestTheAgentsOfTheDemoReadOneConfigMap(t *testing.T) {
	text, err := os.ReadFile(demo + "/agents.yaml")
	require.NoError(t, err)
	script, err := os.ReadFile(demo + "/demo.sh")
	require.NoError(t, err)
	documents := bytes.Split(text, []byte("\n---\n"))
	require.Len(t, documents, 3)
	for _, document := range documents {
		agent := v1alpha1.Agent{}
		require.NoError(t, yaml.UnmarshalStrict(document, &agent))
		require.Contains(t, string(script), "agent/"+agent.Name)
		require.Equal(t, "research", agent.Labels["app.kubernetes.io/part-of"])
		require.Equal(t, []corev1.EnvVar{{Name: "LOG_LEVEL", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "agent-config"}, Key: "log-level"}}}}, agent.Spec.Runtime.Spec.Container.Env)
	}
}
