// Package crds_test checks on a real API server that objects of other projects' kinds are as their CustomResourceDefinitions want them.
package crds_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/ci/testkit/upstream"
)

const root = "../../../../"

// api refuses unknown fields instead of dropping them.
var api client.Client

func TestMain(m *testing.M) {
	crlog.SetLogger(logr.Discard())
	code, err := onAPIServer(context.Background(), m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "crds:", err)
		code = 1
	}
	os.Exit(code)
}

// onAPIServer runs the tests on an API server with the CustomResourceDefinitions of the other projects.
func onAPIServer(ctx context.Context, m *testing.M) (int, error) {
	definitions := []string{}
	for module, paths := range map[upstream.Module][]string{
		upstream.Cilium:     {"pkg/k8s/apis/cilium.io/client/crds/v2/ciliumnetworkpolicies.yaml"},
		upstream.GatewayAPI: {"config/crd/standard/gateway.networking.k8s.io_gateways.yaml", "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"},
		upstream.KEDA:       {"config/crd/bases/keda.sh_scaledobjects.yaml"},
		upstream.VPA:        {"deploy/vpa-v1-crd-gen.yaml"},
	} {
		source, err := module.Folder(ctx)
		if err != nil {
			return 0, err
		}
		for _, path := range paths {
			definitions = append(definitions, filepath.Join(source, path))
		}
	}
	command := exec.CommandContext(ctx, "ci/tools/envtest.sh")
	command.Dir, command.Stderr = root, os.Stderr
	assets, err := command.Output()
	if err != nil {
		return 0, err
	}
	plane := &envtest.Environment{
		BinaryAssetsDirectory: strings.TrimSpace(string(assets)), ControlPlaneStartTimeout: 2 * time.Minute,
		CRDDirectoryPaths: definitions, ErrorIfCRDPathMissing: true,
	}
	config, err := plane.Start()
	if err != nil {
		return 0, err
	}
	defer func() { _ = plane.Stop() }()
	admin, err := client.New(config, client.Options{})
	if err != nil {
		return 0, err
	}
	for _, name := range []string{"flokoa-dev", "flokoa-production", "gateway-system"} {
		if err := admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return 0, err
		}
	}
	api = client.WithFieldValidation(admin, metav1.FieldValidationStrict)
	return m.Run(), nil
}

// example reads an object of an example into a namespace, unless it names its own.
func example(t *testing.T, path, namespace string) *unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(root + "examples/" + path)
	require.NoError(t, err)
	object := &unstructured.Unstructured{}
	require.NoError(t, yaml.UnmarshalStrict(text, &object.Object))
	if object.GetNamespace() == "" {
		object.SetNamespace(namespace)
	}
	return object
}

// misspell renames a field of the first item of a list.
func misspell(t *testing.T, object *unstructured.Unstructured, from, to string, list ...string) *unstructured.Unstructured {
	t.Helper()
	wrong := object.DeepCopy()
	wrong.SetName("misspelled")
	wrong.SetResourceVersion("")
	wrong.SetUID("")
	items, found, err := unstructured.NestedSlice(wrong.Object, list...)
	require.NoError(t, err)
	require.True(t, found)
	first := items[0].(map[string]any)
	require.Contains(t, first, from)
	first[to] = first[from]
	require.NoError(t, unstructured.SetNestedSlice(wrong.Object, items, list...))
	return wrong
}

func TestTheEgressPolicyByNameIsValid(t *testing.T) {
	objects, err := manifests.Overlay("../testdata/cilium-fqdn")
	require.NoError(t, err)
	require.Len(t, objects, 1)
	policy := &objects[0]
	require.NoError(t, api.Create(t.Context(), policy))
	require.ErrorContains(t, api.Create(t.Context(), misspell(t, policy, "toFQDNs", "toFQDN", "spec", "egress")), `unknown field "spec.egress[0].toFQDN"`)
}

func TestTheGatewayAndItsRouteAreValid(t *testing.T) {
	require.NoError(t, api.Create(t.Context(), example(t, "gateway-api/gateway.yaml", "")))
	route := example(t, "gateway-api/httproute.yaml", "flokoa-dev")
	require.NoError(t, api.Create(t.Context(), route))
	require.ErrorContains(t, api.Create(t.Context(), misspell(t, route, "backendRefs", "backends", "spec", "rules")), `unknown field "spec.rules[0].backends"`)
}

func TestTheAutoscalersAreValid(t *testing.T) {
	scaled := example(t, "keda/scaledobject.yaml", "flokoa-dev")
	require.NoError(t, api.Create(t.Context(), scaled))
	require.ErrorContains(t, api.Create(t.Context(), misspell(t, scaled, "type", "kind", "spec", "triggers")), `unknown field "spec.triggers[0].kind"`)
	vpa := example(t, "vpa/verticalpodautoscaler.yaml", "flokoa-dev")
	require.NoError(t, api.Create(t.Context(), vpa))
	require.ErrorContains(t, api.Create(t.Context(), misspell(t, vpa, "minAllowed", "min", "spec", "resourcePolicy", "containerPolicies")),
		`unknown field "spec.resourcePolicy.containerPolicies[0].min"`)
}
