package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

func TestOwnershipFollowsTheControllerReference(t *testing.T) {
	controlledBy := func(apiVersion, kind, name, uid string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, UID: types.UID(uid), Controller: ptr.To(true)}}
	}
	ownedBy := func(uid string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: "agent.flokoa.ai/v1alpha1", Kind: "Agent", Name: "a", UID: types.UID(uid)}}
	}
	adopt := func(name string) map[string]string { return map[string]string{v1alpha1.AnnotationAdopt: name} }
	deleted := &metav1.Time{Time: time.Unix(1, 0)}
	for _, r := range []struct {
		name   string
		object metav1.ObjectMeta
		want   ownership
	}{
		{"no controller", metav1.ObjectMeta{}, foreign},
		{"no controller, with the operator's label, which anyone may set", metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelAgent: "a"}}, foreign},
		{"owned by this Agent, without a controller", metav1.ObjectMeta{OwnerReferences: ownedBy("uid-of-a")}, foreign},
		{"no controller, annotated for adoption by this Agent", metav1.ObjectMeta{Annotations: adopt("a")}, owned},
		{"no controller, annotated for adoption by another Agent", metav1.ObjectMeta{Annotations: adopt("b")}, foreign},
		{"no controller, with an empty adoption annotation", metav1.ObjectMeta{Annotations: adopt("")}, foreign},
		{"controlled by this Agent", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1alpha1", "Agent", "a", "uid-of-a")}, owned},
		{"controlled by this Agent, in a later API version", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1", "Agent", "a", "uid-of-a")}, owned},
		{"controlled by this Agent, and terminating", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1alpha1", "Agent", "a", "uid-of-a"), DeletionTimestamp: deleted}, terminating},
		{"controlled by an earlier Agent of the same name", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1alpha1", "Agent", "a", "earlier")}, terminating},
		{"controlled by an earlier Agent of the same name, and terminating", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1alpha1", "Agent", "a", "earlier"), DeletionTimestamp: deleted}, terminating},
		{"controlled by an earlier Agent of the same name, in another API version", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1beta1", "Agent", "a", "earlier")}, terminating},
		{"controlled by an Agent of another name", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1alpha1", "Agent", "b", "uid-of-b")}, foreign},
		{"controlled by an Agent of another API group", metav1.ObjectMeta{OwnerReferences: controlledBy("example.com/v1", "Agent", "a", "other")}, foreign},
		{"controlled by another kind of the same name", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1alpha1", "Model", "a", "other")}, foreign},
		{"controlled by another object, although annotated for adoption", metav1.ObjectMeta{OwnerReferences: controlledBy("apps/v1", "ReplicaSet", "a", "other"), Annotations: adopt("a")}, foreign},
	} {
		t.Run(r.name, func(t *testing.T) {
			require.Equal(t, r.want, ownershipOf(&r.object, agenttest.New("a")))
		})
	}
}

func TestPodBelongsToTheDeploymentOfItsReplicaSet(t *testing.T) {
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	pod := func(kind, owner, hash string, controller bool) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Labels:          map[string]string{appsv1.DefaultDeploymentUniqueLabelKey: hash, v1alpha1.LabelAgent: "a"},
			OwnerReferences: []metav1.OwnerReference{{Kind: kind, Name: owner, Controller: &controller}},
		}}
	}
	require.True(t, belongsTo(pod("ReplicaSet", "a-5d7", "5d7", true), deployment))
	require.False(t, belongsTo(pod("ReplicaSet", "a-b-5d7", "5d7", true), deployment), "of the Deployment a-b")
	require.False(t, belongsTo(pod("ReplicaSet", "a-5d7", "another", true), deployment))
	require.False(t, belongsTo(pod("ReplicaSet", "a-5d7", "5d7", false), deployment), "owned, not controlled")
	require.False(t, belongsTo(pod("StatefulSet", "a-5d7", "5d7", true), deployment))
	require.False(t, belongsTo(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelAgent: "a"}}}, deployment), "a label that anyone may set")
}
