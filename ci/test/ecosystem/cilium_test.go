package ecosystem_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/ci/testkit/upstream"
)

func TestCiliumAcceptsTheEgressPolicyByName(t *testing.T) {
	s := &fixture{t, "flokoa-production"}
	s.install(upstream.Cilium, "ciliumnetworkpolicies.cilium.io", "pkg/k8s/apis/cilium.io/client/crds/v2/ciliumnetworkpolicies.yaml")
	objects, err := manifests.Overlay("testdata/cilium-fqdn")
	require.NoError(t, err)
	require.Len(t, objects, 1)
	policy := &objects[0]
	strict := client.FieldValidation(metav1.FieldValidationStrict)
	require.NoError(t, api.Create(t.Context(), policy.DeepCopy(), strict))

	wrong := policy.DeepCopy()
	wrong.SetName("misspelled")
	egress, _, err := unstructured.NestedSlice(wrong.Object, "spec", "egress")
	require.NoError(t, err)
	egress[0].(map[string]any)["toFQDN"] = egress[0].(map[string]any)["toFQDNs"]
	require.NoError(t, unstructured.SetNestedSlice(wrong.Object, egress, "spec", "egress"))
	require.ErrorContains(t, api.Create(t.Context(), wrong, strict), `unknown field "spec.egress[0].toFQDN"`)
}
