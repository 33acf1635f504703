// Package gitops_test holds the examples for Flux and Argo CD against the CustomResourceDefinitions of both, against what the
// repository has, and against the rules that keep a team's identity apart from the platform's. No controller runs here.
package gitops_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/upstream"
)

const root = "../../../.."

// sources are the CustomResourceDefinitions of each module. None of its code is used.
var sources = map[upstream.Module][]string{
	upstream.SourceController: {
		"config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml", "config/crd/bases/source.toolkit.fluxcd.io_ocirepositories.yaml",
	},
	upstream.KustomizeController: {"config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml"},
	upstream.ArgoCD: {
		"manifests/crds/application-crd.yaml", "manifests/crds/applicationset-crd.yaml", "manifests/crds/appproject-crd.yaml",
	},
}

// schemas are the structural schemas that the sources define, by apiVersion and kind.
func schemas(t *testing.T) map[string]*apiextensions.JSONSchemaProps {
	t.Helper()
	all := map[string]*apiextensions.JSONSchemaProps{}
	for module, files := range sources {
		dir := download(t, module)
		for _, file := range files {
			addSchemas(t, all, filepath.Join(dir, file))
		}
	}
	addSchemas(t, all, helmReleaseCRD(t))
	return all
}

// addSchemas adds those of a CustomResourceDefinition.
func addSchemas(t *testing.T, all map[string]*apiextensions.JSONSchemaProps, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	crd := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, yaml.Unmarshal(text, crd))
	for _, version := range crd.Spec.Versions {
		schema := &apiextensions.JSONSchemaProps{}
		require.NoError(t, apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, schema, nil))
		all[crd.Spec.Group+"/"+version.Name+" "+crd.Spec.Names.Kind] = schema
	}
}

// download returns the folder of a module in Go's cache.
func download(t *testing.T, module upstream.Module) string {
	t.Helper()
	t.Logf("go mod download %s", module)
	folder, err := module.Folder(t.Context())
	require.NoError(t, err, "modules come from `go env GOPROXY`")
	return folder
}

// examples are all objects of a folder, by the file that they are in.
func examples(t *testing.T, folder string) map[string][]unstructured.Unstructured {
	t.Helper()
	all := map[string][]unstructured.Unstructured{}
	base := filepath.Join(root, "examples/gitops", folder)
	require.NoError(t, filepath.WalkDir(base, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" || entry.Name() == "kustomization.yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, document := range strings.Split(string(text), "\n---\n") {
			object := unstructured.Unstructured{}
			require.NoError(t, yaml.UnmarshalStrict([]byte(document), &object.Object), path)
			require.NotEmpty(t, object.GetName(), path)
			all[path] = append(all[path], object)
		}
		return nil
	}))
	require.NotEmpty(t, all)
	return all
}

// faults are what a CustomResourceDefinition finds wrong with an object: values it refuses and fields it does not know.
func faults(t *testing.T, schema *apiextensions.JSONSchemaProps, object unstructured.Unstructured) []string {
	t.Helper()
	validator, _, err := validation.NewSchemaValidator(schema)
	require.NoError(t, err)
	var found []string
	for _, fault := range validation.ValidateCustomResource(nil, object.Object, validator) {
		found = append(found, fault.Error())
	}
	structural, err := structuralschema.NewStructural(schema)
	require.NoError(t, err)
	options := structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	for _, field := range pruning.PruneWithOptions(runtime.DeepCopyJSON(object.Object), structural, true, options) {
		found = append(found, "unknown field "+field)
	}
	return found
}

// checked counts the objects of a folder, by kind, that match the schemas of Flux and Argo CD. Other kinds are those of Kubernetes.
func checked(t *testing.T, folder string) map[string]int {
	t.Helper()
	known := schemas(t)
	counts := map[string]int{}
	for path, objects := range examples(t, folder) {
		for _, object := range objects {
			schema, theirs := known[object.GetAPIVersion()+" "+object.GetKind()]
			if !theirs {
				require.Contains(t, []string{"v1", "rbac.authorization.k8s.io/v1", "admissionregistration.k8s.io/v1"}, object.GetAPIVersion(),
					"%s: no definition of %s", path, object.GetKind())
				continue
			}
			require.Empty(t, faults(t, schema, object), "%s: %s", path, object.GetName())
			counts[object.GetKind()]++
		}
	}
	return counts
}

func TestAnInvalidExampleIsDetected(t *testing.T) {
	schema := schemas(t)["kustomize.toolkit.fluxcd.io/v1 Kustomization"]
	object := examples(t, "flux")[filepath.Join(root, "examples/gitops/flux/platform/platform.yaml")][0]
	require.Empty(t, faults(t, schema, object))
	spec := object.Object["spec"].(map[string]any)
	spec["serviceAccount"], spec["interval"] = "flokoa-platform", "often"
	found := strings.Join(faults(t, schema, object), "\n")
	require.Contains(t, found, "unknown field spec.serviceAccount")
	require.Contains(t, found, "spec.interval")
}
