package api_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const operator = "system:serviceaccount:flokoa-system:flokoa-operator"

// writers returns a client of the operator's account, and one of a user with the same permissions.
func writers(t *testing.T) (them, user *person) {
	t.Helper()
	everything := rbacv1.PolicyRule{
		APIGroups: []string{"", "apps", "policy", "autoscaling", "coordination.k8s.io"}, Verbs: []string{"*"},
		Resources: []string{"deployments", "services", "configmaps", "poddisruptionbudgets", "horizontalpodautoscalers", "leases"},
	}
	them, user = as(t, operator), as(t, "other")
	for _, namespace := range []string{"production", "default", "kube-system"} {
		let(t, namespace, operator, everything)
		let(t, namespace, "other", everything)
	}
	require.Eventually(t, func() bool {
		return them.Create(t.Context(), childOf("Service", "default", "a", controller("a")), client.DryRunAll) == nil
	}, taking, taking/300)
	require.Eventually(t, func() bool {
		return user.Create(t.Context(), childOf("Service", "kube-system", "a"), client.DryRunAll) == nil
	}, taking, taking/300)
	return them, user
}

func owner(kind, name string, controls bool) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Name: name, UID: types.UID("u" + name), Controller: ptr.To(controls)}
}

func controller(name string) metav1.OwnerReference { return owner("Agent", name, true) }

// versioned is a controller reference to an Agent of a version that the CustomResourceDefinition does not serve.
func versioned(version, name string) metav1.OwnerReference {
	reference := controller(name)
	reference.APIVersion = v1alpha1.GroupVersion.Group + "/" + version
	return reference
}

// childKinds are what the operator writes.
var childKinds = []string{"Deployment", "Service", "ConfigMap", "PodDisruptionBudget", "HorizontalPodAutoscaler"}

// childName is the name of a child of an Agent.
func childName(kind, agent string) string {
	if kind == "ConfigMap" {
		return agent + "-card"
	}
	return agent
}

// childOf is an Agent's child as the operator writes it, with other owners.
func childOf(kind, namespace, agent string, owners ...metav1.OwnerReference) client.Object {
	meta := metav1.ObjectMeta{
		Namespace: namespace, Name: childName(kind, agent), OwnerReferences: owners, Labels: map[string]string{v1alpha1.LabelAgent: agent},
	}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelAgent: agent}}
	switch kind {
	case "Deployment":
		return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Selector: selector, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: selector.MatchLabels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "agent", Image: "a:v1"}}},
		}}}
	case "Service":
		return &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Selector: selector.MatchLabels, Ports: []corev1.ServicePort{{Port: 8080}}}}
	case "ConfigMap":
		return &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"agent-card.json": "{}"}}
	case "PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{ObjectMeta: meta, Spec: policyv1.PodDisruptionBudgetSpec{Selector: selector, MaxUnavailable: ptr.To(intstr.FromInt32(1))}}
	default:
		return &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: meta, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Agent", Name: agent}, MaxReplicas: 3,
		}}
	}
}

// removeAfter deletes an object after the test.
func removeAfter(t *testing.T, object client.Object) {
	t.Helper()
	t.Cleanup(func() { _ = admin.Delete(context.WithoutCancel(t.Context()), object) })
}

func copied(object client.Object) client.Object { return object.DeepCopyObject().(client.Object) }

// applied is an object as a Server-Side Apply sends it.
func applied(t *testing.T, object client.Object) runtime.ApplyConfiguration {
	t.Helper()
	kind, err := apiutil.GVKForObject(object, scheme)
	require.NoError(t, err)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	require.NoError(t, err)
	delete(content, "status")
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(kind)
	u.SetManagedFields(nil)
	return client.ApplyConfigurationFromUnstructured(u)
}

// The two charts name the same account, or nothing is confined.
func TestTheAccountOfTheOperatorsChartIsConfined(t *testing.T) {
	objects, err := manifests.Chart(root+"/charts/flokoa-operator", nil, "flokoa-operator", manifests.Platform)
	require.NoError(t, err)
	var accounts []string
	for _, object := range objects {
		if object.GetKind() == "ServiceAccount" {
			accounts = append(accounts, "system:serviceaccount:"+manifests.Platform+":"+object.GetName())
		}
	}
	require.Equal(t, []string{operator}, accounts)
	policies := &admissionregistrationv1.ValidatingAdmissionPolicyList{}
	require.NoError(t, admin.List(t.Context(), policies))
	confined := 0
	for _, policy := range policies.Items {
		for _, condition := range policy.Spec.MatchConditions {
			if strings.Contains(condition.Expression, "'"+operator+"'") {
				confined++
			}
		}
	}
	require.Equal(t, 6, confined)
}

func TestTheOperatorCreatesOnlyChildrenOfAgents(t *testing.T) {
	them, user := writers(t)
	only := `only with one owner reference, to an Agent `
	for name, row := range map[string]struct {
		namespace string
		owners    []metav1.OwnerReference
		message   string
	}{
		"unowned":                              {"production", nil, only},
		"an Agent's of another name":           {"production", []metav1.OwnerReference{controller("b")}, only},
		"one that an Agent only owns":          {"production", []metav1.OwnerReference{owner("Agent", "a", false)}, only},
		"another kind's":                       {"production", []metav1.OwnerReference{owner("Model", "a", true)}, only},
		"one with a second owner":              {"production", []metav1.OwnerReference{controller("a"), owner("Agent", "b", false)}, only},
		"one of a version that nothing serves": {"production", []metav1.OwnerReference{versioned("v9", "a")}, only},
		"one of a version with a similar name": {"default", []metav1.OwnerReference{versioned("v1alpha10", "a")}, only},
		"unowned, in no environment":           {"default", nil, only},
		"an Agent's, in kube-system":           {"kube-system", []metav1.OwnerReference{controller("a")}, "in a kube-* namespace: create the Agent in another namespace"},
		"an Agent's, in production":            {"production", []metav1.OwnerReference{controller("a")}, ""},
		"an Agent's, in default":               {"default", []metav1.OwnerReference{controller("a")}, ""},
	} {
		for _, kind := range childKinds {
			t.Run(name+": "+kind, func(t *testing.T) {
				object := childOf(kind, row.namespace, "a", row.owners...)
				err := them.Create(t.Context(), copied(object), client.DryRunAll)
				byApply := them.Apply(t.Context(), applied(t, object), client.FieldOwner("flokoa-operator"), client.ForceOwnership, client.DryRunAll)
				if row.message == "" {
					require.NoError(t, err)
					require.NoError(t, byApply)
					return
				}
				require.ErrorContains(t, err, "a Flokoa operator may ")
				require.ErrorContains(t, err, kind+` "`+childName(kind, "a")+`"`)
				require.ErrorContains(t, err, row.message)
				require.ErrorContains(t, byApply, row.message)
				require.NoError(t, user.Create(t.Context(), copied(object), client.DryRunAll), "other users are not restricted")
			})
		}
	}
	t.Run("an autoscaler by its older version", func(t *testing.T) {
		old := &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "production", Name: "a"}, Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "a"}, MaxReplicas: 3,
		}}
		require.ErrorContains(t, them.Create(t.Context(), old, client.DryRunAll), "a Flokoa operator may write")
	})
	t.Run("a ConfigMap that is no card", func(t *testing.T) {
		object := childOf("ConfigMap", "production", "a", controller("a"))
		object.SetName("a")
		require.ErrorContains(t, them.Create(t.Context(), object, client.DryRunAll), "to an Agent of agent.flokoa.ai/v1alpha1 whose name is that of the ConfigMap without -card as controller")
	})
}

func TestTheOperatorChangesOnlyChildrenOfAgents(t *testing.T) {
	them, user := writers(t)
	touch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"touched":"yes"}}}`))
	for _, kind := range childKinds {
		t.Run(kind, func(t *testing.T) {
			child, foreign := childOf(kind, "production", "child", controller("child")), childOf(kind, "production", "foreign")
			for _, object := range []client.Object{child, foreign} {
				require.NoError(t, admin.Create(t.Context(), object))
				removeAfter(t, object)
			}
			require.NoError(t, them.Patch(t.Context(), copied(child), touch, client.DryRunAll))
			require.NoError(t, them.Delete(t.Context(), copied(child), client.DryRunAll))
			named := kind + ` "` + foreign.GetName() + `"`
			require.ErrorContains(t, them.Patch(t.Context(), copied(foreign), touch, client.DryRunAll), named)
			refused := `a Flokoa operator may not delete ` + named + `, because no Agent of that name controls it: delete it yourself, or rename the Agent`
			require.ErrorContains(t, them.Delete(t.Context(), copied(foreign), client.DryRunAll), refused)
			require.ErrorContains(t, them.DeleteAllOf(t.Context(), copied(foreign), client.InNamespace("production"),
				client.MatchingLabels{v1alpha1.LabelAgent: "foreign"}, client.DryRunAll), refused, "by deletecollection")
			require.NoError(t, user.Delete(t.Context(), copied(foreign), client.DryRunAll), "other users are not restricted")
			stolen := copied(foreign)
			stolen.SetOwnerReferences([]metav1.OwnerReference{controller("foreign")})
			require.ErrorContains(t, them.Update(t.Context(), stolen, client.DryRunAll), "may adopt "+named+" only if nothing controls it")
		})
	}
	t.Run("in kube-system", func(t *testing.T) {
		foreign := childOf("ConfigMap", "kube-system", "coredns")
		foreign.SetName("coredns")
		require.NoError(t, admin.Create(t.Context(), foreign))
		require.ErrorContains(t, them.Patch(t.Context(), copied(foreign), touch, client.DryRunAll), "kube-* namespace")
		require.ErrorContains(t, them.Delete(t.Context(), copied(foreign), client.DryRunAll), "kube-* namespace")
	})
}

// The garbage collector never resolves an owner of such a version. So the operator may correct the reference, and not keep it.
func TestTheOperatorCorrectsTheVersionOfAnOwner(t *testing.T) {
	them, _ := writers(t)
	for _, kind := range childKinds {
		t.Run(kind, func(t *testing.T) {
			child := childOf(kind, "production", "versioned", versioned("v9", "versioned"))
			require.NoError(t, admin.Create(t.Context(), child))
			removeAfter(t, child)
			touch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"touched":"yes"}}}`))
			require.ErrorContains(t, them.Patch(t.Context(), copied(child), touch, client.DryRunAll), "only with one owner reference")
			require.NoError(t, them.Apply(t.Context(), applied(t, childOf(kind, "production", "versioned", controller("versioned"))),
				client.FieldOwner("flokoa-operator"), client.ForceOwnership, client.DryRunAll))
			require.NoError(t, them.Delete(t.Context(), copied(child), client.DryRunAll))
		})
	}
}

func TestTheOperatorKeepsNoChildFromBeingDeleted(t *testing.T) {
	them, user := writers(t)
	for _, kind := range childKinds {
		t.Run(kind, func(t *testing.T) {
			object := childOf(kind, "production", "kept", controller("kept"))
			refused := `a Flokoa operator may not add metadata.finalizers to ` + kind + ` "` + object.GetName() + `", because they keep it from being deleted`
			object.SetFinalizers([]string{"example.com/a"})
			require.ErrorContains(t, them.Create(t.Context(), copied(object), client.DryRunAll), refused)
			require.ErrorContains(t, them.Apply(t.Context(), applied(t, object), client.FieldOwner("x"), client.DryRunAll), refused, "by an apply")
			require.NoError(t, user.Create(t.Context(), copied(object), client.DryRunAll), "other users are not restricted")
			require.NoError(t, admin.Create(t.Context(), object))
			removeAfter(t, object)
			t.Cleanup(func() { _ = admin.Patch(context.WithoutCancel(t.Context()), copied(object), finalizers(`null`)) })
			require.ErrorContains(t, them.Patch(t.Context(), copied(object), finalizers(`["example.com/a","example.com/b"]`), client.DryRunAll), refused, "one more")
			require.ErrorContains(t, them.Patch(t.Context(), copied(object), finalizers(`["orphan"]`), client.DryRunAll), refused, "another one")
			require.NoError(t, them.Patch(t.Context(), copied(object), finalizers(`null`), client.DryRunAll))
			for name, options := range orphaning() {
				refused := `a Flokoa operator may not delete ` + kind + ` "` + object.GetName() + `" with propagationPolicy Orphan`
				require.ErrorContains(t, them.Delete(t.Context(), copied(object), &options, client.DryRunAll), refused, name)
				require.ErrorContains(t, them.DeleteAllOf(t.Context(), copied(object), client.InNamespace("production"), client.MatchingLabels{v1alpha1.LabelAgent: "kept"},
					&client.DeleteAllOfOptions{DeleteOptions: options}, client.DryRunAll), refused, name+" of a collection")
				require.NoError(t, user.Delete(t.Context(), copied(object), &options, client.DryRunAll), "other users are not restricted")
			}
			require.NoError(t, them.Delete(t.Context(), copied(object), client.PropagationPolicy(metav1.DeletePropagationForeground), client.DryRunAll))

			require.NoError(t, admin.Delete(t.Context(), copied(object), client.PropagationPolicy(metav1.DeletePropagationForeground)))
			require.NoError(t, admin.Get(t.Context(), client.ObjectKeyFromObject(object), object))
			require.ElementsMatch(t, []string{"example.com/a", metav1.FinalizerDeleteDependents}, object.GetFinalizers())
			touch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"touched":"yes"}}}`))
			require.NoError(t, them.Patch(t.Context(), copied(object), touch, client.DryRunAll), "while it terminates")
		})
	}
}

func finalizers(list string) client.Patch {
	return client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":`+list+`}}`))
}

// orphaning are the options of a deletion that keeps what the object owns.
func orphaning() map[string]client.DeleteOptions {
	return map[string]client.DeleteOptions{
		"propagationPolicy": {PropagationPolicy: ptr.To(metav1.DeletePropagationOrphan)},
		"orphanDependents":  {Raw: &metav1.DeleteOptions{OrphanDependents: ptr.To(true)}}, //nolint:staticcheck // clients may still send it
	}
}

// rewrites is the JSON patch with which the operator adopts an object: a controller reference after those that it has.
func rewrites(t *testing.T, object client.Object, agent string) client.Patch {
	t.Helper()
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": object.GetUID()},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": object.GetResourceVersion()},
		{"op": "add", "path": "/metadata/ownerReferences", "value": append(object.GetOwnerReferences(), controller(agent))},
	})
	require.NoError(t, err)
	return client.RawPatch(types.JSONPatchType, patch)
}

func TestTheOperatorAdoptsOnlyAnnotatedObjects(t *testing.T) {
	them, _ := writers(t)
	for _, kind := range childKinds {
		t.Run(kind, func(t *testing.T) {
			found := childOf(kind, "production", "found")
			require.NoError(t, admin.Create(t.Context(), found))
			removeAfter(t, found)
			adopt := func() error {
				return them.Patch(t.Context(), copied(found), rewrites(t, found, "found"), client.DryRunAll)
			}
			annotated := func(agent string, owners ...metav1.OwnerReference) {
				found.SetAnnotations(map[string]string{v1alpha1.AnnotationAdopt: agent})
				found.SetOwnerReferences(owners)
				require.NoError(t, admin.Update(t.Context(), found))
			}
			refused := `its annotation flokoa.ai/adopt names the Agent: annotate it, or rename the Agent`
			require.ErrorContains(t, adopt(), refused)
			annotated("another")
			require.ErrorContains(t, adopt(), refused)
			annotated("found")
			require.NoError(t, adopt())
			require.ErrorContains(t, them.Delete(t.Context(), copied(found), client.DryRunAll), "may not delete")
			annotated("found", owner("Other", "x", false))
			require.ErrorContains(t, adopt(), "remove every other entry from metadata.ownerReferences")
			annotated("found", owner("Other", "x", true))
			stolen := copied(found)
			stolen.SetOwnerReferences([]metav1.OwnerReference{controller("found")})
			require.ErrorContains(t, them.Update(t.Context(), stolen, client.DryRunAll), refused, "something controls it")
		})
	}
}

// --- what an Agent cannot ask for ---------------------------------------------------------------------------------------

// operatorCase is a child that the operator may or may not write.
type operatorCase struct {
	kind   string
	change func(client.Object)
	// message is part of the denial; empty for a child that an Agent can ask for.
	message string
}

func pod(change func(*corev1.PodSpec)) func(client.Object) {
	return func(object client.Object) { change(&object.(*appsv1.Deployment).Spec.Template.Spec) }
}

func podVolume(source corev1.VolumeSource) func(client.Object) {
	return pod(func(p *corev1.PodSpec) { p.Volumes = []corev1.Volume{{Name: "v", VolumeSource: source}} })
}

func service(change func(*corev1.ServiceSpec)) func(client.Object) {
	return func(object client.Object) { change(&object.(*corev1.Service).Spec) }
}

func operatorCases() map[string]operatorCase {
	unasked := func(fields string) string {
		return "a Flokoa operator may not set " + fields + " in spec.template.spec of a Deployment, because an Agent cannot ask for it"
	}
	external := func(fields string) string {
		return "a Flokoa operator may not set spec." + fields + " of a Service, because the Service of an Agent has the type ClusterIP"
	}
	cases := map[string]operatorCase{
		"hostNetwork":           {"Deployment", pod(func(p *corev1.PodSpec) { p.HostNetwork = true }), unasked("hostNetwork")},
		"hostPID":               {"Deployment", pod(func(p *corev1.PodSpec) { p.HostPID = true }), unasked("hostPID")},
		"hostIPC":               {"Deployment", pod(func(p *corev1.PodSpec) { p.HostIPC = true }), unasked("hostIPC")},
		"hostUsers":             {"Deployment", pod(func(p *corev1.PodSpec) { p.HostUsers = ptr.To(true) }), unasked("hostUsers")},
		"nodeName":              {"Deployment", pod(func(p *corev1.PodSpec) { p.NodeName = "n" }), unasked("nodeName")},
		"shareProcessNamespace": {"Deployment", pod(func(p *corev1.PodSpec) { p.ShareProcessNamespace = ptr.To(true) }), unasked("shareProcessNamespace")},
		"devices": {"Deployment", pod(func(p *corev1.PodSpec) {
			p.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: ptr.To("gpu")}}
		}), unasked("resourceClaims")},
		"the node's files": {"Deployment", podVolume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}), unasked("volumes[v]")},
		"a volume of NFS":  {"Deployment", podVolume(corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "s", Path: "/"}}), unasked("volumes[v]")},
		"a CSI driver's Secret": {"Deployment", podVolume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
			Driver: "d", NodePublishSecretRef: &corev1.LocalObjectReference{Name: "s"},
		}}), unasked("volumes[v]")},
		"another Agent's pods in a Deployment": {"Deployment", func(object client.Object) {
			spec := &object.(*appsv1.Deployment).Spec
			spec.Selector.MatchLabels = map[string]string{"app": "x"}
			spec.Template.Labels = spec.Selector.MatchLabels
		}, "set flokoa.ai/agent in spec.selector.matchLabels to the name of the Deployment"},
		"a privileged container, which an Agent can ask for": {"Deployment", pod(func(p *corev1.PodSpec) {
			p.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
		}), ""},
		"externalIPs":    {"Service", service(func(s *corev1.ServiceSpec) { s.ExternalIPs = []string{"192.0.2.1"} }), external("externalIPs")},
		"NodePort":       {"Service", service(func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }), "type"},
		"LoadBalancer":   {"Service", service(func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeLoadBalancer }), "type"},
		"ExternalName":   {"Service", service(func(s *corev1.ServiceSpec) { s.Type, s.ExternalName = corev1.ServiceTypeExternalName, "e.example" }), "externalName"},
		"loadBalancerIP": {"Service", service(func(s *corev1.ServiceSpec) { s.LoadBalancerIP = "192.0.2.1" }), external("loadBalancerIP")},
		"loadBalancerClass": {"Service", service(func(s *corev1.ServiceSpec) {
			s.Type, s.LoadBalancerClass = corev1.ServiceTypeLoadBalancer, ptr.To("example.com/lb")
		}), "loadBalancerClass"},
		"a headless Service":                {"Service", service(func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone }), ""},
		"another Agent's pods in a Service": {"Service", service(func(s *corev1.ServiceSpec) { s.Selector = map[string]string{v1alpha1.LabelAgent: "b"} }), "that select the pods of their Agent"},
		"a Service without a selector":      {"Service", service(func(s *corev1.ServiceSpec) { s.Selector = nil }), "that select the pods of their Agent"},
		"another Agent's pods in a budget": {"PodDisruptionBudget", func(object client.Object) {
			object.(*policyv1.PodDisruptionBudget).Spec.Selector = &metav1.LabelSelector{}
		}, "only PodDisruptionBudgets that select the pods of their Agent"},
		"another workload in an autoscaler": {"HorizontalPodAutoscaler", func(object client.Object) {
			object.(*autoscalingv2.HorizontalPodAutoscaler).Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "a"}
		}, "only HorizontalPodAutoscalers that scale their Agent"},
		"another version in an autoscaler": {"HorizontalPodAutoscaler", func(object client.Object) {
			object.(*autoscalingv2.HorizontalPodAutoscaler).Spec.ScaleTargetRef.APIVersion = v1alpha1.GroupVersion.Group + "/v9"
		}, "only HorizontalPodAutoscalers that scale their Agent"},
	}
	return cases
}

// The golden files of rendering have every field that an Agent can ask for.
func TestTheOperatorWritesWhateverAgentsAskFor(t *testing.T) {
	them, _ := writers(t)
	files, err := filepath.Glob(root + "/operator/internal/render/testdata/*/want.yaml")
	require.NoError(t, err)
	kinds := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, document := range strings.Split(string(text), "\n---\n") {
			child := &unstructured.Unstructured{}
			require.NoError(t, yaml.Unmarshal([]byte(document), &child.Object))
			child.SetNamespace("default")
			kinds[child.GetKind()] = true
			require.NoError(t, them.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(child), client.FieldOwner("flokoa-operator"), client.ForceOwnership, client.DryRunAll), file)
		}
	}
	require.Len(t, kinds, len(childKinds))
}

func TestTheOperatorWritesOnlyWhatAgentsCanAskFor(t *testing.T) {
	them, user := writers(t)
	for name, row := range operatorCases() {
		t.Run(name, func(t *testing.T) {
			object := childOf(row.kind, "default", "a", controller("a"))
			row.change(object)
			err := them.Create(t.Context(), copied(object), client.DryRunAll)
			if row.message == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "a Flokoa operator may ")
			require.ErrorContains(t, err, row.message)
			require.NoError(t, user.Create(t.Context(), copied(object), client.DryRunAll), "other users are not restricted")
			if row.kind == "Deployment" && row.message == operatorCases()["another Agent's pods in a Deployment"].message {
				return // spec.selector is immutable
			}
			requireRepairable(t, them, object, row)
		})
	}
}

// requireRepairable has the operator change a child into which somebody else put what no Agent can ask for. It must be able to repair
// the rest of it and to remove what was added, and not to add it.
func requireRepairable(t *testing.T, them client.Client, object client.Object, row operatorCase) {
	t.Helper()
	require.NoError(t, admin.Create(t.Context(), object))
	removeAfter(t, object)
	touch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"touched":"yes"}}}`))
	require.NoError(t, them.Patch(t.Context(), copied(object), touch, client.DryRunAll))
	good := childOf(row.kind, "default", "a", controller("a"))
	good.SetName("good")
	good.SetOwnerReferences([]metav1.OwnerReference{controller("good")})
	require.NoError(t, admin.Create(t.Context(), good))
	removeAfter(t, good)
	bad := copied(good)
	row.change(bad)
	require.ErrorContains(t, them.Update(t.Context(), bad, client.DryRunAll), "a Flokoa operator may ")
}

// --- the Lease of a namespace -------------------------------------------------------------------------------------------

func TestOnlyOperatorsHoldTheLeaseOfANamespace(t *testing.T) {
	them, user := writers(t)
	lease := func(name string) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"lease": name}}}
	}
	const theirs = "scope.flokoa.ai"
	written := "only a Flokoa operator may write the Lease scope.flokoa.ai: if this account is one, add it to operators of the chart flokoa-policies"
	require.ErrorContains(t, user.Create(t.Context(), lease(theirs), client.DryRunAll), written)
	require.ErrorContains(t, user.Apply(t.Context(), applied(t, lease(theirs)), client.FieldOwner("x"), client.DryRunAll), written, "by an apply")
	require.ErrorContains(t, admin.Create(t.Context(), lease(theirs), client.DryRunAll), written, "not even an admin")
	require.NoError(t, user.Create(t.Context(), lease("mine"), client.DryRunAll), "any other Lease")
	held := lease(theirs)
	require.NoError(t, them.Create(t.Context(), held))
	held.Spec.LeaseDurationSeconds = ptr.To[int32](60)
	require.NoError(t, them.Update(t.Context(), held))
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"leaseDurationSeconds":2147483647}}`))
	require.ErrorContains(t, user.Patch(t.Context(), held.DeepCopy(), patch), written)
	deleted := "only a Flokoa operator may delete the Lease scope.flokoa.ai, or whoever may delete the namespace: uninstall the operator that holds it"
	require.ErrorContains(t, user.Delete(t.Context(), held.DeepCopy()), deleted)
	require.ErrorContains(t, user.DeleteAllOf(t.Context(), lease(theirs), client.InNamespace("default"), client.MatchingLabels{"lease": theirs}), deleted, "by deletecollection")
	require.NoError(t, them.Delete(t.Context(), held.DeepCopy(), client.DryRunAll))
	require.NoError(t, as(t, "system:serviceaccount:kube-system:namespace-controller").DeleteAllOf(t.Context(), lease(theirs),
		client.InNamespace("default"), client.DryRunAll), "a namespace can be deleted")
	require.NoError(t, admin.Delete(t.Context(), held))
}
