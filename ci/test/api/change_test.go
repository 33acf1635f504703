package api_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// oldNamespace becomes production only after Agents were made in it that production would refuse.
func oldNamespace(t *testing.T, agents ...*v1alpha1.Agent) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "old-"}}
	require.NoError(t, admin.Create(t.Context(), namespace))
	for _, agent := range agents {
		agent.Namespace = namespace.Name
		require.NoError(t, admin.Create(t.Context(), agent))
	}
	patch := `{"metadata":{"labels":{"` + environment + `":"production"}}}`
	require.NoError(t, admin.Patch(t.Context(), namespace, client.RawPatch(types.MergePatchType, []byte(patch))))
	require.Eventually(t, func() bool {
		return admin.Create(t.Context(), newAgent(namespace.Name, "canary", replicas(1)), client.DryRunAll) != nil
	}, taking, taking/300)
	return namespace.Name
}

// merge changes a stored Agent, and takes the change back.
func merge(t *testing.T, who client.Client, agent *v1alpha1.Agent, patch string) error {
	t.Helper()
	return who.Patch(t.Context(), agent.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(patch)), client.DryRunAll)
}

func scale(t *testing.T, who client.Client, agent *v1alpha1.Agent, to int32) error {
	t.Helper()
	wanted := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: to}}
	return who.SubResource("scale").Update(t.Context(), agent.DeepCopy(), client.WithSubResourceBody(wanted), &client.SubResourceUpdateOptions{UpdateOptions: client.UpdateOptions{DryRun: []string{metav1.DryRunAll}}})
}

func TestAnAgentOlderThanThePoliciesKeepsRunning(t *testing.T) {
	probeless := func(a *v1alpha1.Agent) {
		a.Spec.Availability = &v1alpha1.Availability{Probes: v1alpha1.ProbesNone}
		a.Spec.Runtime.Spec.Container.LivenessProbe = nil
	}
	old := newAgent("", "old", image("a:latest"), replicas(1), env("TOKEN", "x1y2"), probeless,
		container(func(c *corev1.Container) { c.Resources = corev1.ResourceRequirements{} }))
	oldNamespace(t, old)
	require.NoError(t, scale(t, admin, old, 2), "scaled up, though not to three")
	require.ErrorContains(t, scale(t, admin, old, 0), "scale to 3, or stop the Agent with spec.suspend: true")
	for name, patch := range map[string]string{
		"suspended":                   `{"spec":{"suspend":true}}`,
		"replicas upwards":            `{"spec":{"runtime":{"spec":{"replicas":2}}}}`,
		"an autoscaler with a bound":  `{"spec":{"autoscaling":{"minReplicas":3,"maxReplicas":5}}}`,
		"labels":                      `{"metadata":{"labels":{"a":"b"}}}`,
		"a finalizer":                 `{"metadata":{"finalizers":["example.com/f"]}}`,
		"how long it may take to end": `{"spec":{"runtime":{"spec":{"terminationGracePeriodSeconds":60}}}}`,
		"where it runs":               `{"spec":{"runtime":{"spec":{"nodeSelector":{"a":"b"}}}}}`,
		"its framework":               `{"spec":{"framework":"langgraph"}}`,
	} {
		require.NoError(t, merge(t, admin, old, patch), name)
	}
	require.NoError(t, admin.Status().Patch(t.Context(), old.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"status":{"replicas":1}}`))), "the operator's word")
	for patch, message := range map[string]string{
		`[{"op":"replace","path":"/spec/runtime/spec/container/image","value":"b:latest"}]`:                                                                   "flokoa-",
		`[{"op":"add","path":"/spec/runtime/spec/container/env/-","value":{"name":"A","value":"b"}}]`:                                                         "flokoa-",
		`[{"op":"add","path":"/spec/runtime/spec/sidecars","value":[{"name":"s","image":"b:v1"}]}]`:                                                           "flokoa-",
		`[{"op":"replace","path":"/spec/runtime/spec/replicas","value":0}]`:                                                                                   "flokoa-replicas",
		`[{"op":"add","path":"/spec/autoscaling","value":{"minReplicas":1,"maxReplicas":1}},{"op":"replace","path":"/spec/runtime/spec/replicas","value":0}]`: "replicas",
	} {
		err := admin.Patch(t.Context(), old.DeepCopy(), client.RawPatch(types.JSONPatchType, []byte(patch)), client.DryRunAll)
		require.ErrorContains(t, err, message, patch)
	}
	require.NoError(t, admin.Delete(t.Context(), old))
}

func TestScaleIsValidatedLikeTheSpec(t *testing.T) {
	agent := newAgent("production", "scaled", replicas(4))
	require.NoError(t, admin.Create(t.Context(), agent))
	require.NoError(t, scale(t, admin, agent, 3))
	require.NoError(t, scale(t, admin, agent, 9))
	require.EqualError(t, scale(t, admin, agent, 2), `agents.agent.flokoa.ai "scaled" is forbidden: ValidatingAdmissionPolicy 'flokoa-replicas' with binding 'flokoa-replicas-production' `+
		`denied request: replicas is 2, but must be at least 3 in production: scale to 3, or stop the Agent with spec.suspend: true`)
	require.NoError(t, merge(t, admin, agent, `{"spec":{"suspend":true}}`))
	require.ErrorContains(t, merge(t, admin, agent, `{"spec":{"runtime":{"spec":{"replicas":2}}}}`), "flokoa-replicas")
	require.ErrorContains(t, merge(t, admin, agent, `{"spec":{"autoscaling":{"minReplicas":2,"maxReplicas":9}}}`),
		"spec.autoscaling.minReplicas is 2 (the default is 1), but must be at least 3 in production: raise it", "the count is the same, and may fall")
	require.NoError(t, admin.Delete(t.Context(), agent))
}

// The chart flokoa-environment labels its namespace with the minimum for which it sized the quota.
func TestANamespaceMayHaveItsOwnMinimumReplicas(t *testing.T) {
	for label, row := range map[string]struct {
		enough int32
		few    string
	}{
		"5": {5, "replicas is 4, but must be at least 5 in production: raise spec.runtime.spec.replicas, or stop the Agent with spec.suspend: true"},
		"2": {2, "replicas is 1, but must be at least 2 in production: raise spec.runtime.spec.replicas, or stop the Agent with spec.suspend: true"},
	} {
		t.Run(label, func(t *testing.T) {
			namespace := namespaceOf("production")
			namespace.Labels[minReplicas] = label
			require.NoError(t, admin.Create(t.Context(), namespace))
			requireReplicas(t, namespace.Name, row.enough, row.few)

			agent := newAgent(namespace.Name, "scaled", replicas(row.enough))
			require.NoError(t, admin.Create(t.Context(), agent))
			require.ErrorContains(t, scale(t, admin, agent, row.enough-1), "must be at least "+label+" in production: scale to "+label)
			require.NoError(t, merge(t, admin, agent, `{"spec":{"suspend":true}}`))
			require.NoError(t, admin.Delete(t.Context(), agent))
		})
	}
}

const minReplicas = "flokoa.ai/min-replicas"

// requireReplicas has a namespace admit so many replicas, and refuse one less. The API server reads the labels of a new namespace late.
func requireReplicas(t *testing.T, namespace string, enough int32, message string) {
	t.Helper()
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		require.NoError(collect, admin.Create(t.Context(), newAgent(namespace, "enough", replicas(enough)), client.DryRunAll))
		require.ErrorContains(collect, admin.Create(t.Context(), newAgent(namespace, "few", replicas(enough-1)), client.DryRunAll), message)
	}, taking, taking/300)
}

func TestAMinimumThatIsNoNumberIsAnError(t *testing.T) {
	for _, label := range []string{"three", "1.5", "1000", ""} {
		namespace := namespaceOf("production")
		namespace.Labels[minReplicas] = label
		err := admin.Create(t.Context(), namespace, client.DryRunAll)
		require.True(t, apierrors.IsInvalid(err), "%v", err)
		require.ErrorContains(t, err, "metadata.labels[flokoa.ai/min-replicas] of a Namespace must be a whole number from 0 to 999: correct or remove it", label)
	}
	// Without the label, the value minReplicas of the chart flokoa-policies decides again.
	namespace := namespaceOf("production")
	namespace.Labels[minReplicas] = "4"
	require.NoError(t, admin.Create(t.Context(), namespace))
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"flokoa.ai/min-replicas":null,"team":"b"}}}`))
	require.NoError(t, admin.Patch(t.Context(), namespace.DeepCopy(), patch))
	requireReplicas(t, namespace.Name, 3, "must be at least 3 in production")
}

func TestDisabledProbesAreReportedAsAProbeChange(t *testing.T) {
	agent := newAgent("production", "probed", container(func(c *corev1.Container) { c.LivenessProbe, c.ReadinessProbe = nil, nil }))
	require.NoError(t, admin.Create(t.Context(), agent))
	require.ErrorContains(t, merge(t, admin, agent, `{"spec":{"availability":{"probes":"None"}}}`), "spec.availability.probes is None: remove it")
	require.NoError(t, merge(t, admin, agent, `{"spec":{"availability":{"spread":"None"}}}`))
	require.NoError(t, admin.Delete(t.Context(), agent))
}
