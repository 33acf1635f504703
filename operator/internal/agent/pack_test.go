package agent

import (
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

func TestWhatIsPackedComesBackWhole(t *testing.T) {
	was := settledCache(t, agenttest.Read(t, fullAgent)).deployment
	was.ManagedFields = nil
	cached := was.DeepCopy()
	require.NoError(t, Pack(cached))
	require.Zero(t, cached.Spec.Template)
	require.NoError(t, Pack(cached), "a cache may do it again")

	read := *cached // as the cache gives it away
	require.NoError(t, unpack(&read))
	require.Equal(t, was, &read)
	require.NoError(t, unpack(&read), "as one read from the API server, which is not packed")
	require.Equal(t, was, &read)
	require.Zero(t, cached.Spec.Template, "what is read by one is not changed for others")
	require.NoError(t, unpack(&corev1.Service{}))
}

func TestWhatCannotBeUnpackedIsSaid(t *testing.T) {
	broken := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "a", ManagedFields: []metav1.ManagedFieldsEntry{
		{Operation: packed, FieldsV1: metav1.NewFieldsV1("?")}}}}
	require.ErrorContains(t, unpack(broken), "unpacking the pod template of Deployment n/a: ")
}
