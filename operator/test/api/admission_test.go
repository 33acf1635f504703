package apitest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

// mutate installs a policy that changes what is written in the test's namespace, and waits until it does.
func (b bench) mutate(t *testing.T, resource, mutation string, probe client.Object, mutated func() bool) {
	t.Helper()
	name := b.namespace + "-" + resource
	policy := &admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
		ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
		MatchConstraints: &admissionregistrationv1.MatchResources{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: b.namespace}},
			ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{resource}},
			}}},
		},
		Mutations: []admissionregistrationv1.Mutation{{PatchType: admissionregistrationv1.PatchTypeJSONPatch, JSONPatch: &admissionregistrationv1.JSONPatch{Expression: mutation}}},
	}}
	require.NoError(t, api.Create(t.Context(), policy))
	binding := &admissionregistrationv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: name}}
	require.NoError(t, api.Create(t.Context(), binding))
	require.Eventually(t, func() bool {
		require.NoError(t, api.Create(t.Context(), probe, client.DryRunAll))
		probe.SetResourceVersion("")
		probe.SetUID("")
		return mutated()
	}, 20*time.Second, 50*time.Millisecond, "the policy never took effect")
}

// probeDeployment is a Deployment that no Agent has.
func (b bench) probeDeployment() *appsv1.Deployment {
	labels := map[string]string{"app": "probe"}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "probe", Namespace: b.namespace}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "agent", Image: "i:v1"}}}},
	}}
}

// rolledOut writes the status of a Deployment that is rolled out, because no controller of Kubernetes runs here.
func rolledOut(t *testing.T, of *v1alpha1.Agent) {
	t.Helper()
	deployment := child(t, of, &appsv1.Deployment{})
	n := *deployment.Spec.Replicas
	deployment.Status = appsv1.DeploymentStatus{ObservedGeneration: deployment.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
	require.NoError(t, api.Status().Update(t.Context(), deployment))
}

func TestFieldsThatAdmissionRewritesAreReportedNotFought(t *testing.T) {
	container := "/spec/template/spec/containers/0"
	add := func(path, value string) string {
		return fmt.Sprintf(`JSONPatch{op: "add", path: %q, value: %s}`, path, value)
	}
	for name, r := range map[string]struct{ mutation, field string }{
		"the image": {"[" + add(container+"/image", `"mirror.example/agent:v1"`) + "]", `containers[name="agent"].image`},
		"an image that is another at every write": {
			"[" + add(container+"/image", `"mirror.example/agent:" + (oldObject == null ? "0" : oldObject.metadata.resourceVersion)`) + "]", `containers[name="agent"].image`},
		"a variable that is another at every write": {
			"[" + add(container+"/env", `[Object.spec.template.spec.containers.env{name: "AT", value: oldObject == null ? "0" : oldObject.metadata.resourceVersion}]`) + "]", `env[name="AT"]`},
		"a sidecar": {"[" + add("/spec/template/spec/containers/-", `Object.spec.template.spec.containers{name: "injected", image: "s:v1"}`) + "]", `containers[name="injected"]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			probe := b.probeDeployment()
			original := probe.DeepCopy()
			b.mutate(t, "deployments", r.mutation, probe, func() bool {
				containers := probe.Spec.Template.Spec.Containers
				mutated := len(containers) > 1 || containers[0].Image != "i:v1" || len(containers[0].Env) > 0
				probe.Spec = original.Spec
				return mutated
			})
			stored := b.create(t)
			b.place(t, stored)
			rolledOut(t, stored)
			live := b.settle(t, stored, func(live *v1alpha1.Agent) bool { return ready(live).Status == metav1.ConditionTrue })
			require.Equal(t, v1alpha1.ReasonMutatedByAdmission, ready(live).Reason)
			require.Contains(t, ready(live).Message, r.field)
			b.requireAtRest(t, stored)

			again := newBenchIn(t, b.namespace)
			again.place(t, stored)
			before := versions(t.Context(), t, b.namespace)
			again.place(t, stored)
			require.Equal(t, before, versions(t.Context(), t, b.namespace), "an operator that restarts writes nothing")
			require.Equal(t, v1alpha1.ReasonMutatedByAdmission, ready(again.place(t, stored)).Reason)
		})
	}
}

func TestOtherChildrenThatAdmissionRewritesAreReported(t *testing.T) {
	b := newBench(t)
	probe := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "probe", Namespace: b.namespace, Annotations: map[string]string{"a": "b"}}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	original := probe.DeepCopy()
	b.mutate(t, "services", `[JSONPatch{op: "add", path: "/spec/trafficDistribution", value: "PreferSameZone"}, JSONPatch{op: "add", path: "/metadata/annotations/team", value: "platform"}]`, probe, func() bool {
		mutated := probe.Annotations["team"] == "platform"
		*probe = *original.DeepCopy()
		return mutated
	})
	stored := b.create(t, agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) {
		s.Service = &v1alpha1.ServiceSpec{Annotations: map[string]string{"team": "mine"}}
	}))
	b.place(t, stored)
	rolledOut(t, stored)
	live := b.settle(t, stored, func(live *v1alpha1.Agent) bool { return ready(live).Status == metav1.ConditionTrue })
	require.Equal(t, v1alpha1.ReasonMutatedByAdmission, ready(live).Reason)
	require.Contains(t, ready(live).Message, "Service metadata.annotations.team")
	b.requireAtRest(t, stored)
}

// Outside the pod template too, a value that is another one at every write must not cause a write in every pass.
func TestLabelsThatAdmissionChangesAtEveryWriteCauseNoLoop(t *testing.T) {
	const value = `"v" + (oldObject == null ? "0" : oldObject.metadata.resourceVersion)`
	for resource, kind := range map[string]string{"deployments": "Deployment", "services": "Service"} {
		t.Run(resource, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			var probe client.Object = b.probeDeployment()
			if resource == "services" {
				probe = &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "probe", Namespace: b.namespace}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
			}
			probe.SetLabels(map[string]string{"app": "probe"})
			original := probe.DeepCopyObject().(client.Object)
			b.mutate(t, resource, `[JSONPatch{op: "add", path: "/metadata/labels/app.kubernetes.io~1part-of", value: `+value+`}]`, probe, func() bool {
				mutated := probe.GetLabels()["app.kubernetes.io/part-of"] != ""
				probe.SetLabels(original.GetLabels())
				if service, ok := probe.(*corev1.Service); ok {
					service.Spec = original.(*corev1.Service).Spec
				}
				return mutated
			})
			stored := b.create(t)
			b.place(t, stored)
			rolledOut(t, stored)
			live := b.settle(t, stored, func(live *v1alpha1.Agent) bool { return ready(live).Status == metav1.ConditionTrue })
			require.Equal(t, v1alpha1.ReasonMutatedByAdmission, ready(live).Reason)
			require.Contains(t, ready(live).Message, kind+" metadata.labels.app.kubernetes.io/part-of")
			before := versions(t.Context(), t, b.namespace)
			for range 3 {
				b.place(t, stored)
			}
			require.Equal(t, before, versions(t.Context(), t, b.namespace))
		})
	}
}
