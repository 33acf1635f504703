package agent

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/configrollout"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// emptyConfigMaps reads every ConfigMap as an empty one.
type emptyConfigMaps struct{ client.Reader }

func (emptyConfigMaps) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return nil
}

func TestAnAgentThatCannotBeRenderedHoldsNoSlot(t *testing.T) {
	agent := agenttest.New("a")
	agent.UID = "uid"
	agent.Spec.Runtime.Spec.Container.EnvFrom = []corev1.EnvFromSource{
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: waveConfig.Name}}}}
	taken := configrollout.Contents{waveConfig: configrollout.ConfigMapContent("1", map[string]string{"k": "v"}, nil)}
	baseline := configrollout.Baseline{}.Take("t", configrollout.ReferencesOf(&agent.Spec.Runtime.Spec), taken)
	agent.Spec.Runtime.Spec.Container.Args = []string{strings.Repeat("x", 200<<10)}
	name := client.ObjectKeyFromObject(agent)
	live := &children{
		card: &child{object: &corev1.ConfigMap{}}, service: &child{object: &corev1.Service{}}, budget: &child{object: &corev1.ConfigMap{}}, autoscaler: &child{object: &corev1.ConfigMap{}},
		deployment: &child{exists: true, object: &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: name.Namespace, Name: name.Name, Annotations: map[string]string{v1alpha1.AnnotationConfigBaseline: baseline.Encode()},
				Labels: map[string]string{v1alpha1.LabelAgent: agent.Name}, OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(agent, v1alpha1.GroupVersion.WithKind("Agent"))}},
			Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](2)},
			Status: appsv1.DeploymentStatus{AvailableReplicas: 2, Conditions: []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentProgressing, Reason: "NewReplicaSetAvailable"}}},
		}},
	}
	c := &Controller{live: emptyConfigMaps{}, now: time.Now}
	c.RollConfigs(ConfigRollouts{Limits: configrollout.Limits{PerNamespace: 1, Total: 1}}, func() []types.NamespacedName { return []types.NamespacedName{name} },
		func([]types.NamespacedName, time.Duration) {})
	outcome := c.applyChildren(t.Context(), agent, live, &state{})
	require.ErrorIs(t, outcome.err, status.ErrInvalidSpec)
	require.True(t, outcome.config.rolls())
	require.NotContains(t, c.configs.waves.members, name, "it does not count as rolling")
}
