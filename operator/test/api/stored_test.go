package apitest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// stored creates an Agent in a namespace of its own and reads it back as plain data.
func stored(t *testing.T, agent *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	agent.SetNamespace(newNamespace(t))
	require.NoError(t, api.Create(t.Context(), agent, client.FieldValidation(metav1.FieldValidationStrict)))
	return reread(t, agent)
}

func reread(t *testing.T, agent *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	again := &unstructured.Unstructured{}
	again.SetGroupVersionKind(agent.GroupVersionKind())
	require.NoError(t, api.Get(t.Context(), client.ObjectKeyFromObject(agent), again))
	return again
}

func TestStoredAgentsHaveOnlyDocumentedDefaults(t *testing.T) {
	got := stored(t, manifest(t, runtimeSpec(`container: {ports: [{containerPort: 1}, {containerPort: 2, protocol: UDP}]},
		sidecars: [{name: s, image: i, ports: [{containerPort: 3}]}], initContainers: [{name: b, image: i, ports: [{containerPort: 4}]}], strategy: {}, service: {}`)))
	require.Equal(t, `runtime:
  spec:
    container:
      image: i
      ports:
      - containerPort: 1
      - containerPort: 2
        protocol: UDP
    initContainers:
    - image: i
      name: b
      ports:
      - containerPort: 4
    replicas: 1
    service: {}
    sidecars:
    - image: i
      name: s
      ports:
      - containerPort: 3
    strategy: {}
  type: standard
`, asYAML(t, got.Object["spec"]))
	require.Equal(t, `availableReplicas: 0
conditions:
- lastTransitionTime: "1970-01-01T00:00:00Z"
  message: the operator has not reconciled this Agent yet
  reason: Pending
  status: Unknown
  type: Ready
observedGeneration: -1
readyReplicas: 0
replicas: 0
updatedReplicas: 0
`, asYAML(t, got.Object["status"]))
}

func TestTheGuidesManifestIsStoredAsItIs(t *testing.T) {
	want := fromFile(t, guideAgent)
	require.Equal(t, asYAML(t, want.Object["spec"]), asYAML(t, stored(t, fromFile(t, guideAgent)).Object["spec"]))

	applied := fromFile(t, guideAgent)
	applied.SetNamespace(newNamespace(t))
	require.NoError(t, api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("kubectl")))
	require.Equal(t, asYAML(t, want.Object["spec"]), asYAML(t, reread(t, applied).Object["spec"]))
}

func TestAnUnknownFieldIsRejectedOrPruned(t *testing.T) {
	for field, overlay := range map[string]string{
		"spec.replica":                                          "spec: {replica: 3}",
		"spec.configRollouts":                                   "spec: {configRollouts: Automatic}",
		"spec.runtime.spec.hostNetwork":                         runtimeSpec("hostNetwork: true"),
		"spec.runtime.spec.container.live":                      runtimeSpec("container: {live: true}"),
		"spec.runtime.spec.volumes[0].hostPath":                 volume("emptyDir: {}, hostPath: {path: /}"),
		"spec.runtime.spec.volumes[0].csi.nodePublishSecretRef": volume("csi: {driver: d, nodePublishSecretRef: {name: s}}"),
	} {
		t.Run(field, func(t *testing.T) {
			require.ErrorContains(t, dryRun(t, manifest(t, overlay)), `unknown field "`+field+`"`)

			applied := manifest(t, overlay)
			applied.SetNamespace("default")
			err := api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("kubectl"), client.DryRunAll)
			require.ErrorContains(t, err, "field not declared in schema")

			lenient := manifest(t, overlay)
			lenient.SetNamespace(newNamespace(t))
			require.NoError(t, api.Create(t.Context(), lenient, client.FieldValidation(metav1.FieldValidationIgnore)))
			key := field[strings.LastIndex(field, ".")+1:]
			require.NotContains(t, asYAML(t, reread(t, lenient).Object["spec"]), key+":")
		})
	}
}

func TestAVariableMayBeThereOnlyOnce(t *testing.T) {
	err := dryRun(t, manifest(t, runtimeSpec("container: {env: [{name: A, value: x}, {name: B}, {name: A, value: z}]}")))
	require.Error(t, err)
	require.Equal(t, []string{`spec.runtime.spec.container.env[2]: Duplicate value: {"name":"A"}`}, causes(t, err))
}

// One Agent that Go types cannot read would take the list of all Agents from the operator; one quantity that Go computes
// for hours would take the operator itself.
func TestValuesThatGoCannotDecodeAreRejected(t *testing.T) {
	limit := func(quantity string) string {
		return runtimeSpec(`container: {resources: {limits: {cpu: "` + quantity + `"}}}`)
	}
	for _, overlay := range []string{
		runtimeSpec("replicas: 2147483648"),
		strategy("maxSurge: 2147483648"),
		strategy("maxUnavailable: 2147483648"),
		ports("{containerPort: 2147483648}"),
		runtimeSpec("topologySpreadConstraints: [{topologyKey: zone, whenUnsatisfiable: DoNotSchedule, maxSkew: -2147483649}]"),
		runtimeSpec("container: {securityContext: {runAsUser: 9223372036854775808}}"),
		runtimeSpec("container: {livenessProbe: {httpGet: {port: 2147483648}}}"),
		runtimeSpec("container: {livenessProbe: {tcpSocket: {port: -2147483649}}}"),
		limit("1e1.5"),
		limit("1e99999999999999999999"),
		limit("1e-2147483647"),
		limit("1e2147483648"),
		runtimeSpec(`container: {resources: {requests: {cpu: "1e.5"}}}`),
		runtimeSpec(`sidecars: [{name: s, image: i, resources: {limits: {memory: "1e.5"}}}]`),
		runtimeSpec(`container: {env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: "1e1.5"}}}]}`),
		volume(`emptyDir: {sizeLimit: "1E+1.5"}`),
		volume(`ephemeral: {volumeClaimTemplate: {spec: {resources: {requests: {storage: "1e1.5"}}}}}`),
	} {
		t.Run(overlay, func(t *testing.T) {
			require.True(t, apierrors.IsInvalid(dryRun(t, manifest(t, overlay))), "the API server stores it, and Go cannot decode it")
		})
	}
}

// readable reports whether an Agent from the API server can be decoded into Go types.
func readable(t *testing.T, agent *unstructured.Unstructured) error {
	t.Helper()
	raw, err := agent.MarshalJSON()
	require.NoError(t, err)
	return json.Unmarshal(raw, &v1alpha1.Agent{})
}

func TestQuantitiesOfEveryUsualSpellingAreAllowed(t *testing.T) {
	for _, quantity := range []string{
		"1", `"1"`, "500m", `"0.5"`, `".5"`, `"1."`, "2Gi", "512Mi", "1.5Gi", "1G", "100k", "1e3", `"1E3"`, `"1e-3"`, `"12E+3"`, `"+1"`, "0", "250u", "1n", "1Ei", `"9223372036854775807"`,
	} {
		agent := manifest(t, runtimeSpec("container: {resources: {limits: {memory: "+quantity+"}}}"))
		require.NoError(t, dryRun(t, agent), quantity)
		require.NoError(t, readable(t, agent), quantity)
	}
}

func TestAnAgentIsScaledThroughItsSubresource(t *testing.T) {
	for name, overlay := range map[string]string{"with replicas": runtimeSpec("replicas: 2"), "without replicas": minimal} {
		t.Run(name, func(t *testing.T) {
			agent := stored(t, manifest(t, overlay))
			wanted, _, err := unstructured.NestedInt64(agent.Object, "spec", "runtime", "spec", "replicas")
			require.NoError(t, err)
			scale := &autoscalingv1.Scale{}
			require.NoError(t, api.SubResource("scale").Get(t.Context(), typed(agent), scale))
			require.Equal(t, wanted, int64(scale.Spec.Replicas))
			scale.Spec.Replicas = 5
			require.NoError(t, api.SubResource("scale").Update(t.Context(), typed(agent), client.WithSubResourceBody(scale)))
			wanted, _, err = unstructured.NestedInt64(reread(t, agent).Object, "spec", "runtime", "spec", "replicas")
			require.NoError(t, err)
			require.Equal(t, int64(5), wanted)
		})
	}
}

// typed refers to an Agent by its Go type, for the client of subresources.
func typed(agent *unstructured.Unstructured) *v1alpha1.Agent {
	return &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: agent.GetNamespace(), Name: agent.GetName()}}
}

func TestTheScaleSubresourceReportsRunningReplicas(t *testing.T) {
	agent := stored(t, manifest(t, minimal))
	merge(agent.Object, parse(t, "status: {replicas: 4, selector: flokoa.ai/agent=a}"))
	require.NoError(t, api.Status().Update(t.Context(), agent))
	scale := &autoscalingv1.Scale{}
	require.NoError(t, api.SubResource("scale").Get(t.Context(), typed(agent), scale))
	require.Equal(t, autoscalingv1.ScaleStatus{Replicas: 4, Selector: "flokoa.ai/agent=a"}, scale.Status)
}

func TestSpecAndStatusAreWrittenSeparately(t *testing.T) {
	agent := stored(t, manifest(t, "spec: {framework: x}\nstatus: {replicas: 7}"))
	require.Equal(t, int64(0), agent.Object["status"].(map[string]any)["replicas"])
	merge(agent.Object, parse(t, "spec: {framework: changed}\nstatus: {replicas: 7}"))
	require.NoError(t, api.Status().Update(t.Context(), agent))
	again := reread(t, agent)
	require.Equal(t, "x", again.Object["spec"].(map[string]any)["framework"])
	require.Equal(t, int64(7), again.Object["status"].(map[string]any)["replicas"])
	require.Equal(t, int64(1), again.GetGeneration())
}

func TestPortsWithoutAProtocolAreTCPAndStayAtRest(t *testing.T) {
	b := newBench(t)
	of := b.create(t, func(a *v1alpha1.Agent) {
		spec := &a.Spec.Runtime.Spec
		ports := []corev1.ContainerPort{{ContainerPort: 5353, Name: "dns-udp", Protocol: corev1.ProtocolUDP}, {ContainerPort: 5353, Name: "dns"}}
		spec.Container.Ports = ports
		spec.Sidecars = []corev1.Container{{Name: "s", Image: "i:v1", Ports: ports}}
		spec.InitContainers = []corev1.Container{{Name: "b", Image: "i:v1", Ports: ports}}
	})
	b.place(t, of)
	pod := child(t, of, &appsv1.Deployment{}).Spec.Template.Spec
	for _, container := range append(pod.Containers, pod.InitContainers...) {
		require.Equal(t, corev1.ProtocolUDP, container.Ports[0].Protocol, container.Name)
		require.Equal(t, corev1.ProtocolTCP, container.Ports[1].Protocol, container.Name)
	}
	b.requireAtRest(t, of)
}
