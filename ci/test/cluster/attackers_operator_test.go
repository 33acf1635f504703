package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// operatorAttacks are those of somebody who has a token of the operator's ServiceAccount. With permissions Environments, nothing may
// run where no Agent is.
func operatorAttacks(permissions string) []attack {
	by := "operator's account, " + permissions
	const runs, stays, written = "its pod runs for a moment", "its pod runs, and stays", "all four kinds written"
	return []attack{
		{"Deployment of a missing Agent and a second owner", by, stays, forgeDeployment(inProduction, false, withOtherOwner)},
		{"Deployment of an Agent in a version that does not exist", by, stays, forgeDeployment(inProduction, false, ofUnknownVersion)},
		{"Deployment of a missing Agent with a finalizer", by, stays, forgeDeployment(inProduction, false, withFinalizer)},
		{"Deployment of a missing Agent", by, runs, forgeDeployment(inProduction, true)},
		{"privileged, two owners, namespace without Agents", by, stays, forgeDeployment(atHome, false, withOtherOwner, privileged)},
		{"privileged, namespace without Agents", by, runs, forgeDeployment(atHome, permissions == "Cluster", privileged)},
		{"hostPath /, namespace without Agents", by, runs, forgeDeployment(atHome, false, privileged, withHostPath)},
		{"create in kube-system", by, written, writeEach(inKubeSystem, nil, createOwned)},
		{"patch in kube-system", by, written, writeEach(inKubeSystem, createForeign, patchForeign)},
		{"delete in kube-system", by, written, writeEach(inKubeSystem, createForeign, deleteForeign)},
		{"create for pods of others in production", by, written, writeEach(inProduction, nil, createOwned)},
		{"patch what no Agent owns in production", by, written, writeEach(inProduction, createForeign, patchForeign)},
		{"adopt what nobody offered in production", by, written, writeEach(inProduction, createForeign, adoptForeign)},
		{"delete what no Agent owns in production", by, written, writeEach(inProduction, createForeign, deleteForeign)},
		{"externalIPs on the Service of an Agent", by, "the Service has the address", divertService},
	}
}

// strangerAttacks are those of somebody who holds the role edit in a namespace of their own.
func strangerAttacks() []attack {
	const by = "stranger with edit"
	return []attack{
		{"300 ConfigMaps of 1 MB with the label of an Agent", by, "operator at 318 MB of 256 MiB", see("TestLargeObjectsOfStrangersDoNotGrowTheOperator")},
		{"60 Deployments with the label of an Agent", by, "operator at 318 MB of 256 MiB", see("TestLargeObjectsOfStrangersDoNotGrowTheOperator")},
		{"create Lease " + lease, by, "written", writeLease(false, func(a *arena, claim *coordinationv1.Lease) error {
			return a.impersonate(stranger).Create(a.Context(), claim.DeepCopy())
		})},
		{"update Lease " + lease, by, "written", writeLease(true, func(a *arena, claim *coordinationv1.Lease) error {
			return a.impersonate(stranger).Update(a.Context(), claim)
		})},
		{"delete Lease " + lease, by, "written", writeLease(true, func(a *arena, claim *coordinationv1.Lease) error {
			return a.impersonate(stranger).Delete(a.Context(), claim)
		})},
	}
}

// see is for an attack that a test of its own carries out.
func see(test string) func(*arena) (string, error) {
	return func(*arena) (string, error) { return test, nil }
}

// --- Deployments with a forged owner ------------------------------------------------------------------------------------

func inProduction(a *arena) string { return a.production.namespace }
func atHome(a *arena) string       { return a.home.namespace }
func inKubeSystem(*arena) string   { return metav1.NamespaceSystem }

// forgedOwner is the reference to an Agent that does not exist.
func forgedOwner(name string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.AgentKind, Name: name,
		UID: types.UID("00000000-0000-4000-8000-000000000000"), Controller: ptr.To(true),
	}}
}

// forged is a Deployment like that of an Agent, with a Secret of the namespace. The Agent that owns it does not exist.
func forged(namespace string) *appsv1.Deployment {
	const name = "forged"
	labels := map[string]string{v1alpha1.LabelAgent: name}
	deployment := foreignObjects()["Deployment"].(*appsv1.Deployment)
	deployment.ObjectMeta = metav1.ObjectMeta{Namespace: namespace, Name: name, OwnerReferences: forgedOwner(name)}
	deployment.Spec.Replicas = ptr.To[int32](1)
	deployment.Spec.Selector.MatchLabels, deployment.Spec.Template.Labels = labels, labels
	pod := &deployment.Spec.Template.Spec
	pod.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: ptr.To(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	pod.Containers[0].SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	pod.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "model-key"}}}}
	return deployment
}

// withOtherOwner adds an owner that exists, which keeps the garbage collector away.
func withOtherOwner(a *arena, deployment *appsv1.Deployment) {
	other := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: deployment.Namespace, GenerateName: "owner-"}}
	a.create(other)
	a.Cleanup(func() { removeNow(other) })
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: other.Name, UID: other.UID}
	deployment.OwnerReferences = append(deployment.OwnerReferences, owner)
}

// ofUnknownVersion hides the owner from the garbage collector, which cannot look it up.
func ofUnknownVersion(_ *arena, deployment *appsv1.Deployment) {
	deployment.OwnerReferences[0].APIVersion = v1alpha1.GroupVersion.Group + "/v9"
}

// withFinalizer keeps the garbage collector from deleting the pods.
func withFinalizer(_ *arena, deployment *appsv1.Deployment) {
	deployment.Finalizers = []string{"example.com/keep"}
}

func privileged(_ *arena, deployment *appsv1.Deployment) {
	pod := &deployment.Spec.Template.Spec
	pod.SecurityContext = nil
	pod.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
}

func withHostPath(_ *arena, deployment *appsv1.Deployment) {
	pod := &deployment.Spec.Template.Spec
	pod.Volumes = []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
	pod.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "host", MountPath: "/host"}}
}

// collected is what the table says about an attack that admission cannot stop.
const collected = "OPEN for seconds: garbage collection"

// forgeDeployment runs a program with the Secrets of a namespace. The garbage collector deletes a Deployment whose only owner does
// not exist; where that is not enough, admission must deny it.
func forgeDeployment(where func(*arena) string, open bool, changes ...func(*arena, *appsv1.Deployment)) func(*arena) (string, error) {
	return func(a *arena) (string, error) {
		deployment := forged(where(a))
		for _, change := range changes {
			change(a, deployment)
		}
		if guard := a.request(func() error { return a.account().Create(a.Context(), deployment) }); guard != "" {
			return guard, nil
		}
		defer removeNow(deployment)
		switch stays := !a.disappears(deployment); {
		case stays:
			return "", errors.New("its pod runs, and stays")
		case !open:
			return "", errors.New("its pod runs until the garbage collector deletes it")
		}
		return collected, nil
	}
}

// disappears reports whether the garbage collector deletes an object within the time that it needs.
func (a *arena) disappears(object client.Object) bool {
	return nil == wait.PollUntilContextTimeout(a.Context(), 100*time.Millisecond, 15*time.Second, true, func(ctx context.Context) (bool, error) {
		err := api.Get(ctx, client.ObjectKeyFromObject(object), object)
		require.NoError(a, client.IgnoreNotFound(err))
		return err != nil, nil
	})
}

// --- objects of others --------------------------------------------------------------------------------------------------

// bystanders are objects of the other kinds that the operator writes, which no Agent owns.
func bystanders(namespace string) []client.Object {
	all := []client.Object{
		&corev1.ConfigMap{Data: map[string]string{"mapRoles": "[]"}},
		foreignObjects()["Service"],
		&policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr.To(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "theirs"}},
		}},
		&autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			MaxReplicas: 3, ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "theirs"},
		}},
	}
	for _, object := range all {
		object.SetNamespace(namespace)
		object.SetName("e2e-bystander")
	}
	return all
}

// kindOf is the kind of an object, for a message.
func kindOf(object client.Object) string {
	kind := fmt.Sprintf("%T", object)
	return kind[strings.LastIndex(kind, ".")+1:]
}

// writeEach has the operator's account write objects that belong to others, one of each kind. All must be refused.
func writeEach(where func(*arena) string, prepare func(*arena, client.Object), write func(*arena, client.Object) error) func(*arena) (string, error) {
	return func(a *arena) (string, error) {
		var written, guards []string
		for _, object := range bystanders(where(a)) {
			a.Cleanup(func() { removeNow(object) })
			if prepare != nil {
				prepare(a, object)
			}
			if guard := a.request(func() error { return write(a, object) }); guard != "" {
				guards = append(guards, guard)
			} else {
				written = append(written, kindOf(object))
			}
		}
		if len(written) > 0 {
			return "", errors.New(strings.Join(written, ", "))
		}
		return summary(guards), nil
	}
}

// summary names each guard once.
func summary(guards []string) string {
	slices.Sort(guards)
	return strings.Join(slices.Compact(guards), ", ")
}

// createForeign is how others make an object of theirs.
func createForeign(a *arena, object client.Object) {
	require.NoError(a, api.Create(a.Context(), object))
}

// createOwned creates an object as if an Agent of its name owned it.
func createOwned(a *arena, object client.Object) error {
	object.SetOwnerReferences(forgedOwner(object.GetName()))
	return a.account().Create(a.Context(), object, client.DryRunAll)
}

// patchForeign changes what makes each kind worth an attack.
func patchForeign(a *arena, object client.Object) error {
	patch := map[string]string{
		"ConfigMap": `{"data":{"mapRoles":"admin"}}`, "Service": `{"spec":{"externalIPs":["203.0.113.7"]}}`,
		"PodDisruptionBudget": `{"spec":{"maxUnavailable":0}}`, "HorizontalPodAutoscaler": `{"spec":{"maxReplicas":100}}`,
	}[kindOf(object)]
	return a.account().Patch(a.Context(), object, client.RawPatch(types.MergePatchType, []byte(patch)))
}

// adoptForeign writes the owner together with the annotation that would have allowed it.
func adoptForeign(a *arena, object client.Object) error {
	patch := client.MergeFrom(object.DeepCopyObject().(client.Object))
	object.SetAnnotations(map[string]string{v1alpha1.AnnotationAdopt: object.GetName()})
	object.SetOwnerReferences(forgedOwner(object.GetName()))
	return a.account().Patch(a.Context(), object, patch)
}

func deleteForeign(a *arena, object client.Object) error {
	return a.account().Delete(a.Context(), object)
}

// divertService attracts traffic for an address of the attacker's choice to the Service of an Agent.
func divertService(a *arena) (string, error) {
	require.Empty(a, a.deploy(a.production))
	a.production.waitReady(attackAgent)
	service := read(a.production.fixture, attackAgent, &corev1.Service{})
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"externalIPs":["203.0.113.7"]}}`))
	if guard := a.request(func() error { return a.account().Patch(a.Context(), service, patch) }); guard != "" {
		return guard, nil
	}
	return "", errors.New("the Service has an external IP")
}

// --- a forged Lease -----------------------------------------------------------------------------------------------------

// writeLease has the stranger write the Lease by which an operator claims a namespace; it may exist before.
func writeLease(exists bool, write func(*arena, *coordinationv1.Lease) error) func(*arena) (string, error) {
	return func(a *arena) (string, error) {
		claim := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: a.home.namespace, Name: lease}, Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To("forged"), LeaseDurationSeconds: ptr.To[int32](2147483647), RenewTime: ptr.To(metav1.NowMicro()),
		}}
		a.Cleanup(func() { removeNow(claim) })
		if exists {
			require.NoError(a, a.impersonate(harness.Account, "system:masters").Create(a.Context(), claim))
		}
		if guard := a.request(func() error { return write(a, claim) }); guard != "" {
			return guard, nil
		}
		return "", errors.New("written")
	}
}
