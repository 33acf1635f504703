package examples_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
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

// The guide's Agent, which the demo applies unchanged, names the Model of the demo. Its key is in the Secret that the demo creates.
func TestTheModelOfTheDemoIsTheOneThatTheGuidesAgentNames(t *testing.T) {
	text, err := os.ReadFile(demo + "/model.yaml")
	require.NoError(t, err)
	script, err := os.ReadFile(demo + "/demo.sh")
	require.NoError(t, err)
	guide, err := os.ReadFile(filepath.Join(agents, guideAgent))
	require.NoError(t, err)
	model, agent := v1alpha1.Model{}, v1alpha1.Agent{}
	require.NoError(t, yaml.UnmarshalStrict(text, &model))
	require.NoError(t, yaml.UnmarshalStrict(guide, &agent))
	require.Equal(t, agent.Spec.Model.Name, model.Name)
	require.Contains(t, string(script), fmt.Sprintf("create secret generic %s --from-literal=%s=", model.Spec.APIKey.Name, model.Spec.APIKey.Key))
	got := check(t, string(text)+"---\n"+string(guide), "-f", "-", "--namespace", "flokoa-demo")
	require.Equal(t, highlyAvailable, got.code, got.stdout)
	require.Contains(t, got.stdout, "1 Model read")
	require.NotContains(t, got.stdout, "warning")
}
