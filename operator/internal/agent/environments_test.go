package agent

import (
	"context"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// namespaces are the environments of Namespaces by name, as the cache holds them, or the error of reading them.
type namespaces struct {
	client.Reader
	environments map[string]string
	err          error
}

// List fills in the Namespaces.
func (n namespaces) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	items := &list.(*corev1.NamespaceList).Items
	for name, environment := range n.environments {
		*items = append(*items, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"flokoa.ai/environment": environment}}})
	}
	return n.err
}

func TestNamespacesAreExportedWithTheirEnvironment(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(environments{namespaces{environments: map[string]string{"payments": "production", "payments-dev": "dev"}}}))
	require.Equal(t, `flokoa_namespace_environment{environment="dev",namespace="payments-dev"} 1
flokoa_namespace_environment{environment="production",namespace="payments"} 1
`, gathered(t, registry))
}

func TestUnreadableNamespacesExportNothing(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(environments{namespaces{environments: map[string]string{"payments": "production"}, err: errors.New("not synced")}}))
	require.Empty(t, gathered(t, registry))
}
