package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/util/version"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

var oldest = regexp.MustCompile(`^>=1\.(\d+)\.0-0$`)

// oldestKubernetes is the minor version from which a chart installs. The suffix -0 admits the versions of vendors, such as 1.35.2-gke.1000.
func oldestKubernetes(t *testing.T, kubeVersion string) *version.Version {
	t.Helper()
	found := oldest.FindStringSubmatch(kubeVersion)
	require.Len(t, found, 2, kubeVersion)
	return version.MustParseGeneric("1." + found[1])
}

// The API server of the oldest version knows every function of the CRD's rules, and the one before it does not: neither a chart that
// installs and fails, nor a chart that refuses a cluster on which it would work.
func TestTheCRDNeedsTheKubernetesThatItsChartAsksFor(t *testing.T) {
	charts, err := current(root)
	require.NoError(t, err)
	for _, now := range charts {
		if now.Name() == "flokoa-agent" { // it needs the CRD in the cluster, and so the chart of the CRD
			require.Empty(t, now.Metadata.KubeVersion)
			continue
		}
		asked := oldestKubernetes(t, now.Metadata.KubeVersion)
		if now.Name() == "flokoa-policies" {
			require.Equal(t, uint(35), asked.Minor(), "the policies need CEL lists of 1.35")
			continue
		}
		require.Empty(t, unknownRules(t, asked), "%s installs on %s", now.Name(), asked)
		require.NotEmpty(t, unknownRules(t, asked.SubtractMinor(1)), "%s would install on %s, too", now.Name(), asked.SubtractMinor(1))
	}
}

// unknownRules are the rules of the CRD that an API server of a version rejects. For new rules, an API server knows the functions of the
// version before it: a cluster that rolls its upgrade back keeps rules that it understands.
func unknownRules(t *testing.T, at *version.Version) []string {
	t.Helper()
	var rules []string
	for _, each := range crd(t, render(t, "flokoa-crds")[0]).Spec.Versions {
		var internal apiextensions.JSONSchemaProps
		require.NoError(t, apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(each.Schema.OpenAPIV3Schema, &internal, nil))
		schema, err := structural.NewStructural(&internal)
		require.NoError(t, err)
		rules = append(rules, uncompiled(t, schema, true, environment.MustBaseEnvSet(at.SubtractMinor(1)))...)
	}
	return rules
}

func uncompiled(t *testing.T, schema *structural.Structural, isRoot bool, known *environment.EnvSet) []string {
	t.Helper()
	var rules []string
	if len(schema.XValidations) > 0 {
		compiled, err := cel.Compile(schema, model.SchemaDeclType(schema, isRoot), celconfig.PerCallLimit, known, cel.NewExpressionsEnvLoader())
		require.NoError(t, err)
		for i, result := range compiled {
			if result.Error != nil {
				rules = append(rules, strings.TrimSpace(schema.XValidations[i].Rule)+": "+result.Error.Error())
			}
		}
	}
	if schema.Items != nil {
		rules = append(rules, uncompiled(t, schema.Items, false, known)...)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Structural != nil {
		rules = append(rules, uncompiled(t, schema.AdditionalProperties.Structural, false, known)...)
	}
	for _, property := range schema.Properties {
		rules = append(rules, uncompiled(t, &property, false, known)...)
	}
	return rules
}
