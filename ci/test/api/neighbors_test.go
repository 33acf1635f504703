package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

func tolerates(tolerations ...corev1.Toleration) change {
	return runtimeSpec(func(s *v1alpha1.RuntimeSpec) { s.Tolerations = tolerations })
}

// near gives an Agent one term of affinity, in each of the four places.
func near(place string, term corev1.PodAffinityTerm) change {
	term.TopologyKey = "kubernetes.io/hostname"
	weighted := []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: term}}
	return runtimeSpec(func(s *v1alpha1.RuntimeSpec) {
		s.Affinity = map[string]*corev1.Affinity{
			"required affinity":       {PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term}}},
			"required anti-affinity":  {PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term}}},
			"preferred affinity":      {PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: weighted}},
			"preferred anti-affinity": {PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: weighted}},
		}[place]
	})
}

func placements() []policyCase {
	taint := func(key string, operator corev1.TolerationOperator) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: operator, Effect: corev1.TaintEffectNoSchedule}
	}
	control := "spec.runtime.spec.tolerations may not have node-role.kubernetes.io/control-plane or node-role.kubernetes.io/master, because control planes run no Agents: remove that toleration"
	across := "spec.runtime.spec.affinity may not have namespaces or namespaceSelector, because it would decide where pods of other namespaces run: remove them; the term then applies to the Agent's own namespace"
	rows := []policyCase{
		{"a toleration of control planes", tolerates(taint("node-role.kubernetes.io/control-plane", corev1.TolerationOpExists)), control},
		{"a toleration of masters", tolerates(taint("a", "Exists"), taint("node-role.kubernetes.io/master", corev1.TolerationOpEqual)), control},
		{"any other toleration", tolerates(taint("example.com/gpu", corev1.TolerationOpExists)), ""},
		{"node affinity", runtimeSpec(func(s *v1alpha1.RuntimeSpec) {
			s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
				{Weight: 1, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "a", Operator: "Exists"}}}},
			}}}
		}), ""},
	}
	for _, place := range []string{"required affinity", "required anti-affinity", "preferred affinity", "preferred anti-affinity"} {
		rows = append(rows,
			policyCase{place, near(place, corev1.PodAffinityTerm{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}), ""},
			policyCase{place + ", other namespaces", near(place, corev1.PodAffinityTerm{Namespaces: []string{"production"}}), across},
			policyCase{place + ", every namespace", near(place, corev1.PodAffinityTerm{NamespaceSelector: &metav1.LabelSelector{}}), across})
	}
	return rows
}

func tolerations() []policyCase {
	keyless := "spec.runtime.spec.tolerations has an entry without a key, which tolerates every taint: set key to the taint that the Agent may tolerate"
	lost := corev1.Toleration{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
	return []policyCase{
		{"everything", tolerates(corev1.Toleration{Operator: corev1.TolerationOpExists}), keyless},
		{"everything of one effect", tolerates(lost, corev1.Toleration{Operator: "Exists", Effect: corev1.TaintEffectNoExecute}), keyless},
		{"one taint", tolerates(lost), ""},
	}
}

func budgeted(budget v1alpha1.DisruptionBudget) change {
	return func(a *v1alpha1.Agent) { a.Spec.Availability = &v1alpha1.Availability{PodDisruptionBudget: &budget} }
}

func disruptions() []policyCase {
	least := func(n int32, most int32) change {
		return func(a *v1alpha1.Agent) {
			a.Spec.Runtime.Spec.Replicas, a.Spec.Autoscaling = nil, &v1alpha1.Autoscaling{MinReplicas: &n, MaxReplicas: most}
		}
	}
	unavailable := func(value string) change {
		return budgeted(v1alpha1.DisruptionBudget{MaxUnavailable: ptr.To(intstr.Parse(value))})
	}
	available := func(value string) change {
		return budgeted(v1alpha1.DisruptionBudget{MinAvailable: ptr.To(intstr.Parse(value))})
	}
	zero := "spec.availability.podDisruptionBudget.maxUnavailable is 0 or 0%, which blocks every node drain: set it to 1 or more"
	high := func(field string) string {
		return "spec.availability.podDisruptionBudget.minAvailable is as high as the lowest replica count, which blocks every node drain: lower it, raise " + field + ", or use maxUnavailable: 1"
	}
	replicated := high("spec.runtime.spec.replicas")
	return []policyCase{
		{"maxUnavailable 0", unavailable("0"), zero},
		{"maxUnavailable 0%", unavailable("0%"), zero},
		{"maxUnavailable 1", unavailable("1"), ""},
		{"maxUnavailable 1%, which is one pod", unavailable("1%"), ""},
		{"minAvailable 2 of 3", available("2"), ""},
		{"minAvailable 3 of 3", available("3"), replicated},
		{"minAvailable 9 of 3", available("9"), replicated},
		{"minAvailable 100%", available("100%"), replicated},
		{"minAvailable 67% of 3, which is 3", available("67%"), replicated},
		{"minAvailable 66% of 3, which is 2", available("66%"), ""},
		{"minAvailable 99% of 99, which is 99", inTurn(replicas(99), available("99%")), replicated},
		{"minAvailable 99% of 100", inTurn(replicas(100), available("99%")), ""},
		{"minAvailable 0", available("0"), ""},
		{"minAvailable as high as minReplicas", inTurn(least(3, 9), available("3")), high("spec.autoscaling.minReplicas")},
		{"minAvailable below minReplicas", inTurn(least(3, 9), available("2")), ""},
		{"no budget", budgeted(v1alpha1.DisruptionBudget{Mode: v1alpha1.DisruptionBudgetNone}), ""},
		{"the default", budgeted(v1alpha1.DisruptionBudget{}), ""},
	}
}

func metadataDenial(environment, keys string) string {
	return "spec.runtime.spec may not have " + keys + " in " + environment + ", because other controllers act on such keys with their own permissions: " +
		"remove each key, or ask the platform team to add it to allowedMetadata." + environment + " of the chart flokoa-policies"
}

func metadata(environment string) []policyCase {
	labels := func(key string) change {
		return runtimeSpec(func(s *v1alpha1.RuntimeSpec) {
			s.PodMetadata = &v1alpha1.PodMetadata{Labels: map[string]string{key: "x"}}
		})
	}
	annotations := func(key string) change {
		return runtimeSpec(func(s *v1alpha1.RuntimeSpec) {
			s.PodMetadata = &v1alpha1.PodMetadata{Annotations: map[string]string{key: "the value"}}
		})
	}
	service := func(key string) change {
		return runtimeSpec(func(s *v1alpha1.RuntimeSpec) {
			s.Service = &v1alpha1.ServiceSpec{Annotations: map[string]string{key: "the value"}}
		})
	}
	denied := func(place, key string) string {
		return metadataDenial(environment, place+": "+key)
	}
	rows := []policyCase{
		{"a label of cloud identity", labels("azure.workload.identity/use"), denied("podMetadata.labels", "azure.workload.identity/use")},
		{"a label without a prefix", labels("aadpodidbinding"), denied("podMetadata.labels", "aadpodidbinding")},
		{"any other label", labels("example.com/team"), ""},
		{"injection by a mesh", labels("sidecar.istio.io/inject"), ""},
		{"a key that only contains a denied one", annotations("example.com/metallb.io"), ""},
	}
	for _, key := range []string{
		"k8s.v1.cni.cncf.io/networks", "v1.multus-cni.io/default-network", "cni.projectcalico.org/ipAddrs", "iam.amazonaws.com/role", "eks.amazonaws.com/role-arn",
		"iam.gke.io/gcp-service-account", "sidecar.istio.io/userVolume", "cdi.k8s.io/gpu", "nvidia.cdi.k8s.io/gpu",
		"pod-identity.alibabacloud.com/injection", "ipam.spidernet.io/ippool", "consul.hashicorp.com/connect-inject", "K8S.V1.CNI.CNCF.IO/networks",
	} {
		rows = append(rows, policyCase{key, annotations(key), denied("podMetadata.annotations", key)})
	}
	for _, key := range []string{
		"external-dns.alpha.kubernetes.io/hostname", "service.beta.kubernetes.io/aws-load-balancer-type", "networking.gke.io/load-balancer-type", "cloud.google.com/neg",
		"beta.cloud.google.com/backend-config", "consul.hashicorp.com/service-sync", "metallb.universe.tf/address-pool", "metallb.io/address-pool", "service.cilium.io/global", "tailscale.com/expose",
	} {
		rows = append(rows, policyCase{key, service(key), denied("service.annotations", key)})
	}
	all := func(names ...string) change {
		return runtimeSpec(func(s *v1alpha1.RuntimeSpec) {
			s.PodMetadata = &v1alpha1.PodMetadata{Annotations: map[string]string{"iam.amazonaws.com/role": "the value"}}
			s.Service = &v1alpha1.ServiceSpec{Annotations: map[string]string{}}
			for _, name := range names {
				s.Service.Annotations["tailscale.com/"+name] = "the value"
			}
		})
	}
	role := "podMetadata.annotations: iam.amazonaws.com/role, "
	return append(rows,
		policyCase{"any other annotation of a Service", service("prometheus.io/scrape"), ""},
		policyCase{"two keys", all("a"), metadataDenial(environment, role+"service.annotations: tailscale.com/a")},
		policyCase{"five keys", all("a", "b", "c", "d"), metadataDenial(environment, role+
			"service.annotations: tailscale.com/a, service.annotations: tailscale.com/b, service.annotations: tailscale.com/c, service.annotations: tailscale.com/d")},
		policyCase{"seven keys", all("a", "b", "c", "d", "e", "f"), metadataDenial(environment, role+
			"service.annotations: tailscale.com/a, service.annotations: tailscale.com/b, service.annotations: tailscale.com/c, service.annotations: tailscale.com/d and 2 more")})
}

// An Agent that is older than a policy keeps what violates it, and can be changed in every other way.
func TestWhatIsOlderThanThePoliciesMayStay(t *testing.T) {
	old := newAgent("", "old", tolerates(corev1.Toleration{Operator: "Exists"}, corev1.Toleration{Key: "node-role.kubernetes.io/control-plane", Operator: "Exists"}),
		near("required anti-affinity", corev1.PodAffinityTerm{NamespaceSelector: &metav1.LabelSelector{}}),
		budgeted(v1alpha1.DisruptionBudget{MaxUnavailable: ptr.To(intstr.FromInt32(0))}),
		runtimeSpec(func(s *v1alpha1.RuntimeSpec) {
			s.PodMetadata = &v1alpha1.PodMetadata{Annotations: map[string]string{"iam.amazonaws.com/role": "a", "example.com/key": key}}
			s.Container.ReadinessProbe.HTTPGet.HTTPHeaders = []corev1.HTTPHeader{{Name: "Authorization", Value: "x"}}
		}), func(a *v1alpha1.Agent) {
			a.Finalizers, a.Spec.Card = []string{"orphan"}, &v1alpha1.Card{Description: key, Version: "1"}
		})
	high := newAgent("", "high", budgeted(v1alpha1.DisruptionBudget{MinAvailable: ptr.To(intstr.FromInt32(9))}))
	namespace := oldNamespace(t, old, high)
	user := as(t, "")
	for name, patch := range map[string]string{
		"suspended":                   `{"spec":{"suspend":true}}`,
		"replicas":                    `{"spec":{"runtime":{"spec":{"replicas":4}}}}`,
		"a label":                     `{"metadata":{"labels":{"a":"b"}}}`,
		"without finalizers":          `{"metadata":{"finalizers":null}}`,
		"another budget of the Agent": `{"spec":{"availability":{"podDisruptionBudget":{"maxUnavailable":1}}}}`,
		"a harmless annotation":       `{"spec":{"runtime":{"spec":{"podMetadata":{"annotations":{"a":"b"}}}}}}`,
		"no toleration":               `{"spec":{"runtime":{"spec":{"tolerations":null}}}}`,
		"without the keyless one":     `{"spec":{"runtime":{"spec":{"tolerations":[{"key":"node-role.kubernetes.io/control-plane","operator":"Exists"}]}}}}`,
		"only the keyless one":        `{"spec":{"runtime":{"spec":{"tolerations":[{"operator":"Exists"}]}}}}`,
		"in another order":            `{"spec":{"runtime":{"spec":{"tolerations":[{"key":"node-role.kubernetes.io/control-plane","operator":"Exists"},{"operator":"Exists"}]}}}}`,
		"one toleration more":         `{"spec":{"runtime":{"spec":{"tolerations":[{"operator":"Exists"},{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute"}]}}}}`,
		"no affinity":                 `{"spec":{"runtime":{"spec":{"affinity":null}}}}`,
		"a framework":                 `{"spec":{"framework":"langgraph"}}`,
	} {
		require.NoError(t, merge(t, user, old, patch), name)
	}
	require.NoError(t, merge(t, user, high, `{"spec":{"runtime":{"spec":{"replicas":4}}}}`))
	require.Empty(t, user.warned())
	for patch, message := range map[string]string{
		`[{"op":"add","path":"/spec/runtime/spec/tolerations/-","value":{"key":"node-role.kubernetes.io/master","operator":"Exists"}}]`:                   "'flokoa-placement'",
		`[{"op":"replace","path":"/spec/runtime/spec/tolerations/1/key","value":"node-role.kubernetes.io/master"}]`:                                       "'flokoa-placement'",
		`[{"op":"add","path":"/spec/runtime/spec/tolerations/1/effect","value":"NoSchedule"}]`:                                                            "'flokoa-placement'",
		`[{"op":"add","path":"/spec/runtime/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/namespaces","value":["dev"]}]`: "'flokoa-placement'",
		`[{"op":"replace","path":"/spec/runtime/spec/podMetadata/annotations/iam.amazonaws.com~1role","value":"b"}]`:                                      "'flokoa-metadata'",
		`[{"op":"add","path":"/spec/runtime/spec/podMetadata/annotations/eks.amazonaws.com~1role-arn","value":""}]`:                                       "'flokoa-metadata'",
		`[{"op":"replace","path":"/spec/runtime/spec/container/image","value":"a:v2"}]`:                                                                   "'flokoa-inline-credentials'",
		`[{"op":"add","path":"/spec/runtime/spec/podMetadata/annotations/other","value":"` + key + `"}]`:                                                  "'flokoa-inline-credentials'",
		`[{"op":"replace","path":"/spec/card/version","value":"2"}]`:                                                                                      "'flokoa-inline-credentials'",
		`[{"op":"replace","path":"/spec/availability/podDisruptionBudget/maxUnavailable","value":"0%"}]`:                                                  "'flokoa-disruption'",
		`[{"op":"replace","path":"/spec/availability/podDisruptionBudget","value":{"minAvailable":"100%"}}]`:                                              "'flokoa-disruption'",
	} {
		err := user.Patch(t.Context(), old.DeepCopy(), client.RawPatch(types.JSONPatchType, []byte(patch)), client.DryRunAll)
		require.ErrorContains(t, err, message, patch)
	}
	require.NoError(t, admin.Patch(t.Context(), old, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
	require.NoError(t, user.DeleteAllOf(t.Context(), old, client.InNamespace(namespace)))
}

// --- orphans ------------------------------------------------------------------------------------------------------------

func TestNoAgentOfAnEnvironmentLeavesOrphans(t *testing.T) {
	user := as(t, "")
	agent := newAgent("dev", "parent")
	require.NoError(t, admin.Create(t.Context(), agent))
	removeAfter(t, agent)
	orphaned := "an Agent may not be deleted with propagationPolicy Orphan, because its Deployment and Service would stay and use the quota: delete it without --cascade=orphan"
	for name, options := range orphaning() {
		require.ErrorContains(t, user.Delete(t.Context(), agent.DeepCopy(), &options), orphaned, name)
		require.ErrorContains(t, user.DeleteAllOf(t.Context(), agent.DeepCopy(), client.InNamespace("dev"), &client.DeleteAllOfOptions{DeleteOptions: options}), orphaned, name+" of a collection")
	}
	for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground} {
		require.NoError(t, user.Delete(t.Context(), agent.DeepCopy(), client.PropagationPolicy(policy), client.DryRunAll), policy)
		require.NoError(t, user.DeleteAllOf(t.Context(), agent.DeepCopy(), client.InNamespace("dev"), client.PropagationPolicy(policy), client.DryRunAll), policy)
	}
	require.NoError(t, user.Delete(t.Context(), agent.DeepCopy(), client.DryRunAll), "without a policy")
	finalizer := "metadata.finalizers of an Agent may not have orphan, because its Deployment and Service would stay and use the quota when it is deleted: remove that finalizer"
	require.ErrorContains(t, merge(t, user, agent, `{"metadata":{"finalizers":["orphan"]}}`), finalizer)
	require.ErrorContains(t, user.Create(t.Context(), newAgent("dev", "b", func(a *v1alpha1.Agent) { a.Finalizers = []string{"orphan"} }), client.DryRunAll), finalizer)
	require.NoError(t, merge(t, user, agent, `{"metadata":{"finalizers":["example.com/f"]}}`), "any other finalizer")
	outside := newAgent("default", "parent")
	require.NoError(t, admin.Create(t.Context(), outside))
	require.NoError(t, user.Delete(t.Context(), outside, client.PropagationPolicy(metav1.DeletePropagationOrphan)), "in no environment")
}

// An Agent with as many tolerations, terms of affinity, labels, annotations, and skills as the CustomResourceDefinition lets in.
func TestTheLargestPlacementIsNotTooMuchForThePolicies(t *testing.T) {
	text := strings.Repeat("A sentence that a person could have written. ", 100)[:4096]
	card := &v1alpha1.Card{Description: text, Version: "1"}
	for i := range 64 {
		card.Skills = append(card.Skills, v1alpha1.CardSkill{ID: fmt.Sprint(i), Name: "a skill", Description: text[:2000+32*i]})
	}
	large := newAgent("production", "large", func(a *v1alpha1.Agent) { a.Spec.Card = card }, runtimeSpec(func(s *v1alpha1.RuntimeSpec) {
		s.PodMetadata = &v1alpha1.PodMetadata{Labels: map[string]string{}, Annotations: map[string]string{}}
		s.Service = &v1alpha1.ServiceSpec{Annotations: map[string]string{}}
		s.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{}}
		for i := range 64 {
			key := fmt.Sprintf("a-long-enough-prefix-of-a-company.example.com/with-a-long-name-%02d", i)
			s.PodMetadata.Labels[key], s.PodMetadata.Annotations[key], s.Service.Annotations[key] = "x", text[:1500], text[:1500]
			s.Tolerations = append(s.Tolerations, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists})
			s.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution = append(s.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution,
				corev1.WeightedPodAffinityTerm{Weight: 1, PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: "a", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{key: "x"}}}})
		}
	}))
	require.NoError(t, admin.Create(t.Context(), large, client.DryRunAll))
	large.Spec.Runtime.Spec.Service.Annotations["tailscale.com/expose"] = "true"
	delete(large.Spec.Runtime.Spec.Service.Annotations, "a-long-enough-prefix-of-a-company.example.com/with-a-long-name-00")
	require.ErrorContains(t, admin.Create(t.Context(), large, client.DryRunAll), "may not have service.annotations: tailscale.com/expose in production")
	require.NoError(t, admin.Create(t.Context(), newAgent("production", "large"), client.DryRunAll))
	largest := func(namespace, prefix string) *v1alpha1.Agent {
		return newAgent(namespace, "tolerant", runtimeSpec(func(s *v1alpha1.RuntimeSpec) {
			for i := range 64 {
				s.Tolerations = append(s.Tolerations, corev1.Toleration{Key: fmt.Sprintf("%s.example.com/%063d", strings.Repeat(prefix, 60), i), Operator: corev1.TolerationOpExists})
			}
		}))
	}
	require.ErrorContains(t, admin.Create(t.Context(), largest("dev", "a"), client.DryRunAll), " and 59 more in dev")
	tolerant := largest("production", "a")
	require.NoError(t, admin.Create(t.Context(), tolerant))
	removeAfter(t, tolerant)
	tolerant.Spec.Runtime.Spec.Tolerations = largest("", "b").Spec.Runtime.Spec.Tolerations
	require.NoError(t, admin.Update(t.Context(), tolerant, client.DryRunAll), "none of which was there before")
}

// --- values of the chart ------------------------------------------------------------------------------------------------

// reconfigure has the API server enforce a policy as other values of the chart render it, until the test ends.
func reconfigure(t *testing.T, values map[string]any, name string, inForce func() bool) {
	t.Helper()
	set := func(ctx context.Context, values map[string]any) {
		objects, err := manifests.Chart(root+"/charts/flokoa-policies", values, "flokoa-policies", manifests.Platform)
		require.NoError(t, err)
		for _, object := range objects {
			if object.GetKind() == "ValidatingAdmissionPolicy" && object.GetName() == name {
				require.NoError(t, admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(&object), client.FieldOwner("test"), client.ForceOwnership))
			}
		}
	}
	before := inForce()
	set(t.Context(), values)
	require.Eventually(t, func() bool { return inForce() != before }, taking, taking/300)
	t.Cleanup(func() {
		set(context.WithoutCancel(t.Context()), nil)
		require.Eventually(t, func() bool { return inForce() == before }, taking, taking/300)
	})
}

func TestAnEnvironmentMayAllowDeniedMetadata(t *testing.T) {
	identity := runtimeSpec(func(s *v1alpha1.RuntimeSpec) {
		s.PodMetadata = &v1alpha1.PodMetadata{Labels: map[string]string{"azure.workload.identity/use": "true"}}
	})
	admits := func(namespace string, changes ...change) bool {
		return admin.Create(context.WithoutCancel(t.Context()), newAgent(namespace, "a", changes...), client.DryRunAll) == nil
	}
	reconfigure(t, map[string]any{"allowedMetadata": map[string]any{"staging": []any{"azure.workload.identity/*"}}}, "flokoa-metadata",
		func() bool { return admits("staging", identity) })
	require.True(t, admits("staging", identity))
	require.False(t, admits("production", identity))
	require.False(t, admits("staging", runtimeSpec(func(s *v1alpha1.RuntimeSpec) {
		s.PodMetadata = &v1alpha1.PodMetadata{Labels: map[string]string{"aadpodidbinding": "x"}}
	})), "any other key")
}

// tolerationDenial is the message for keys that an environment does not allow.
func tolerationDenial(environment, keys string) string {
	return "spec.runtime.spec.tolerations may not have " + keys + " in " + environment + ", because such nodes may be reserved for others: " +
		"remove each toleration, or ask the platform team to add its key to allowedTolerations." + environment + " of the chart flokoa-policies"
}

func TestEachTolerationKeyNeedsTheEnvironmentsPermission(t *testing.T) {
	exists := func(key string, effect corev1.TaintEffect) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect}
	}
	lost := []corev1.Toleration{exists(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute), exists(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)}
	for name, row := range map[string]struct {
		tolerations []corev1.Toleration
		keys        string // empty if the environment allows it
	}{
		"the nodes of production": {[]corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpEqual, Value: "production"}}, "dedicated"},
		"cordoned nodes":          {[]corev1.Toleration{exists(corev1.TaintNodeUnschedulable, "")}, "node.kubernetes.io/unschedulable"},
		"nodes of add-ons":        {[]corev1.Toleration{exists("CriticalAddonsOnly", "")}, "CriticalAddonsOnly"},
		"nodes of infrastructure": {[]corev1.Toleration{exists("node-role.kubernetes.io/infra", corev1.TaintEffectNoSchedule)}, "node-role.kubernetes.io/infra"},
		"lost nodes":              {lost, ""},
		"new pods on lost nodes":  {[]corev1.Toleration{exists(corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule)}, "node.kubernetes.io/not-ready"},
		"lost nodes, any effect":  {[]corev1.Toleration{exists(corev1.TaintNodeUnreachable, "")}, "node.kubernetes.io/unreachable"},
		"two keys, one twice":     {append(lost, exists("b", ""), exists("a", "NoSchedule"), exists("a", "NoExecute")), "a, b"},
		"seven keys":              {[]corev1.Toleration{exists("a", ""), exists("b", ""), exists("c", ""), exists("d", ""), exists("e", ""), exists("f", ""), exists("g", "")}, "a, b, c, d, e and 2 more"},
	} {
		for _, namespace := range environments {
			t.Run(name+" in "+namespace, func(t *testing.T) {
				err := admin.Create(t.Context(), newAgent(namespace, "a", tolerates(row.tolerations...)), client.DryRunAll)
				if row.keys == "" || namespace == "production" {
					require.NoError(t, err)
					return
				}
				require.ErrorContains(t, err, "'flokoa-placement-"+namespace+"' denied request: "+tolerationDenial(namespace, row.keys))
			})
		}
	}
}

func TestTolerationsOlderThanThePolicyMayStay(t *testing.T) {
	old := newAgent("", "old", tolerates(corev1.Toleration{Key: "dedicated", Operator: corev1.TolerationOpExists}, corev1.Toleration{Key: "gpu", Operator: corev1.TolerationOpExists}))
	oldNamespace(t, old)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: old.Namespace}}
	require.NoError(t, admin.Patch(t.Context(), namespace, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"flokoa.ai/environment":"dev"}}}`))))
	patch := func(patch string) error {
		return admin.Patch(t.Context(), old.DeepCopy(), client.RawPatch(types.JSONPatchType, []byte(patch)), client.DryRunAll)
	}
	const at = `"path":"/spec/runtime/spec/tolerations/`
	denied := tolerationDenial("dev", "other")
	require.Eventually(t, func() bool {
		err := patch(`[{"op":"add",` + at + `-","value":{"key":"other","operator":"Exists"}}]`)
		return err != nil && strings.Contains(err.Error(), denied)
	}, taking, taking/300)
	require.NoError(t, patch(`[{"op":"remove",`+at+`0"}]`))
	require.NoError(t, patch(`[{"op":"add",`+at+`-","value":{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute"}}]`))
	require.ErrorContains(t, patch(`[{"op":"replace",`+at+`0/key","value":"other"}]`), denied)
	require.ErrorContains(t, patch(`[{"op":"add",`+at+`0/effect","value":"NoExecute"}]`), tolerationDenial("dev", "dedicated"))
}

func TestAnEnvironmentMayAllowTolerations(t *testing.T) {
	admits := func(namespace string, keys ...string) bool {
		var tolerations []corev1.Toleration
		for _, key := range keys {
			tolerations = append(tolerations, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists})
		}
		return admin.Create(context.WithoutCancel(t.Context()), newAgent(namespace, "a", tolerates(tolerations...)), client.DryRunAll) == nil
	}
	reconfigure(t, map[string]any{"allowedTolerations": map[string]any{"dev": []any{"*"}, "staging": []any{"example.com/*", "gpu"}, "production": []any{}}}, "flokoa-placement",
		func() bool { return admits("staging", "gpu") })
	require.True(t, admits("staging", "gpu", "example.com/gpu"))
	require.False(t, admits("staging", "gpu", "other"))
	require.False(t, admits("staging", "other-gpu"))
	require.True(t, admits("dev", "other"))
	require.False(t, admits("production", "gpu"))
	require.False(t, admits("dev", "node-role.kubernetes.io/control-plane"), "not even with *")
	require.False(t, admits("dev", "node-role.kubernetes.io/master"), "not even with *")
}

func TestAnEnvironmentMayRequireDigests(t *testing.T) {
	create := func(namespace, reference string) error {
		return admin.Create(context.WithoutCancel(t.Context()), newAgent(namespace, "a", image(reference)), client.DryRunAll)
	}
	reconfigure(t, map[string]any{"requireDigest": map[string]any{"production": true}}, "flokoa-pinned-images",
		func() bool { return create("production", "a:v1") == nil })
	require.ErrorContains(t, create("production", "a:v1"), `image "a:v1" is not pinned: use a digest (repository@sha256:...), which production requires`)
	require.NoError(t, create("production", "a@sha256:"+strings.Repeat("0a", 32)))
	require.NoError(t, create("staging", "a:v1"))
}
