package cluster_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// requiredRules are the rules that the chart gives the operator, without those about nodes and Namespaces.
func requiredRules(t *testing.T) []rbacv1.PolicyRule {
	t.Helper()
	objects, err := manifests.Chart(fromRoot("charts/flokoa-operator"), nil, "flokoa-operator", system)
	require.NoError(t, err)
	var rules []rbacv1.PolicyRule
	for _, object := range manifests.Bound(objects) {
		role := rbacv1.ClusterRole{}
		require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role))
		rules = append(rules, role.Rules...)
	}
	all := len(rules)
	rules = slices.DeleteFunc(rules, func(rule rbacv1.PolicyRule) bool {
		return slices.Contains(rule.Resources, "nodes") || slices.Contains(rule.Resources, "namespaces")
	})
	require.Len(t, rules, all-2)
	return rules
}

func TestSkippedPlacementChecksAreReportedWithoutNodeAccess(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	server := newAPIServer(t)
	agents, models := crds(t)
	require.NoError(t, server.admin.Create(t.Context(), agents))
	require.NoError(t, server.admin.Create(t.Context(), models))
	require.NoError(t, server.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system}}))
	health, metrics, err := harness.FreeAddresses()
	require.NoError(t, err)
	p := &process{
		Program: binary, Kubeconfig: server.user(t, "blind", requiredRules(t)...), Log: filepath.Join(t.TempDir(), "log"), Health: health, Metrics: metrics,
	}
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Kill() })
	require.NoError(t, p.WaitFor(t.Context(), "it leads", harness.StartTimeout, p.IsLeader))
	require.Contains(t, p.Tail("cannot read nodes"), "cannot read nodes")
	require.Contains(t, p.Tail("cannot read namespaces"), "bind this account to the ClusterRole of the chart flokoa-operator")
	require.Contains(t, p.Tail("not confined"), "install the chart flokoa-policies", "that API server has no policies")

	agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}, Spec: s.newAgent("a", highlyAvailable).Spec}
	require.NoError(t, server.admin.Create(t.Context(), agent))
	deployment := &appsv1.Deployment{}
	s.eventually("the Deployment is made", waitTimeout, func() error {
		return server.admin.Get(t.Context(), client.ObjectKeyFromObject(agent), deployment)
	})
	for i := range 3 {
		server.createReadyPod(t, fmt.Sprintf("a-1-%d", i))
	}
	deployment.Status = appsv1.DeploymentStatus{
		ObservedGeneration: deployment.Generation, Replicas: 3, UpdatedReplicas: 3, ReadyReplicas: 3, AvailableReplicas: 3,
	}
	require.NoError(t, server.admin.Status().Update(t.Context(), deployment))
	s.eventually("the skipped check is reported", waitTimeout, func() error {
		if err := server.admin.Get(t.Context(), client.ObjectKeyFromObject(agent), agent); err != nil {
			return err
		}
		ha := condition(agent, v1alpha1.ConditionHighlyAvailable)
		if ha.Status != metav1.ConditionTrue || !strings.HasSuffix(ha.Message, "not evaluated: whether the replicas, on 1 node in 1 zone, could be on more: the operator may not read nodes") {
			return fmt.Errorf("%+v", ha)
		}
		return nil
	})
	require.NoError(t, p.Stop())
}

// createReadyPod plays the ReplicaSet controller, the scheduler and a kubelet, which this API server does not have: a pod that
// answers, on the only node.
func (a apiServer) createReadyPod(t *testing.T, name string) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name,
			Labels:          map[string]string{v1alpha1.LabelAgent: "a", appsv1.DefaultDeploymentUniqueLabelKey: "1", corev1.LabelTopologyZone: "zone"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "a-1", UID: "u", Controller: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{NodeName: "node", Containers: []corev1.Container{{Name: "agent", Image: "i"}}},
	}
	require.NoError(t, a.admin.Create(t.Context(), pod))
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	require.NoError(t, a.admin.Status().Update(t.Context(), pod))
}
