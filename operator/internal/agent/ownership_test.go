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

func TestWhoseAnObjectOfAChildsNameIs(t *testing.T) {
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
		{"nobody controls it", metav1.ObjectMeta{}, foreign},
		{"it has our label, which anybody may put there", metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelAgent: "a"}}, foreign},
		{"we own it without controlling it", metav1.ObjectMeta{OwnerReferences: ownedBy("uid-of-a")}, foreign},
		{"nobody controls it, and a person hands it over", metav1.ObjectMeta{Annotations: adopt("a")}, owned},
		{"nobody controls it, and a person hands it to another Agent", metav1.ObjectMeta{Annotations: adopt("b")}, foreign},
		{"nobody controls it, and the annotation is empty", metav1.ObjectMeta{Annotations: adopt("")}, foreign},
		{"this Agent controls it", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1alpha1", "Agent", "a", "uid-of-a")}, owned},
		{"this Agent controls it, in a later version of the API", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1", "Agent", "a", "uid-of-a")}, owned},
		{"this Agent controls it, and it is being deleted", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1alpha1", "Agent", "a", "uid-of-a"), DeletionTimestamp: deleted}, terminating},
		{"an earlier Agent of the name controls it", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1alpha1", "Agent", "a", "earlier")}, terminating},
		{"an earlier Agent of the name controls it, and it is being deleted", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1alpha1", "Agent", "a", "earlier"), DeletionTimestamp: deleted}, terminating},
		{"an earlier Agent of the name in another version controls it", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1beta1", "Agent", "a", "earlier")}, terminating},
		{"an Agent of another name controls it", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1alpha1", "Agent", "b", "uid-of-b")}, foreign},
		{"an Agent of another product controls it", metav1.ObjectMeta{OwnerReferences: controlledBy("example.com/v1", "Agent", "a", "other")}, foreign},
		{"something else of the name controls it", metav1.ObjectMeta{OwnerReferences: controlledBy("agent.flokoa.ai/v1alpha1", "Model", "a", "other")}, foreign},
		{"another controls it, whatever a person says", metav1.ObjectMeta{OwnerReferences: controlledBy("apps/v1", "ReplicaSet", "a", "other"), Annotations: adopt("a")}, foreign},
	} {
		t.Run(r.name, func(t *testing.T) {
			require.Equal(t, r.want, ownershipOf(&r.object, agenttest.New("a")))
		})
	}
}

func TestAPodIsTheDeploymentsWhenItsReplicaSetIs(t *testing.T) {
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
	require.False(t, belongsTo(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelAgent: "a"}}}, deployment), "a label that anybody may put on")
}
