package main

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/crds"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// These tests look at the CRD as it is embedded, whatever made it.

var update = flag.Bool("update", false, "write the bounds there are now as the contract")

func embeddedCRD(t *testing.T, embedded []byte) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, yaml.UnmarshalStrict(embedded, crd))
	return crd
}

// every visits each schema of both CRDs: path is that of properties, with [] for a list's items and {} for a map's values. Those of a Model
// are below "Model".
func every(t *testing.T, visit func(path string, s *schema)) {
	t.Helper()
	visits := 0
	for root, embedded := range map[string][]byte{"": crds.Agents, "Model": crds.Models} {
		versions := embeddedCRD(t, embedded).Spec.Versions
		require.Len(t, versions, 1)
		metadata := join(root, "metadata")
		descend(versions[0].Schema.OpenAPIV3Schema, root, func(path string, s *schema) {
			visits++
			if path != metadata && !strings.HasPrefix(path, metadata+".") { // Kubernetes' own, whatever is declared
				visit(path, s)
			}
		})
	}
	require.Greater(t, visits, 1000, "the walk sees the whole schema")
}

func descend(s *schema, path string, visit func(string, *schema)) {
	visit(path, s)
	if s.Items != nil {
		descend(s.Items.Schema, path+"[]", visit)
	}
	if s.AdditionalProperties != nil {
		descend(s.AdditionalProperties.Schema, path+"{}", visit)
	}
	for name, property := range s.Properties {
		descend(&property, join(path, name), visit)
	}
}

// An annotation, by which kubectl apply remembers an object, may hold 256 KB.
func TestTheCRDIsSmallerThan150KB(t *testing.T) {
	raw, err := yaml.YAMLToJSON(crds.Agents)
	require.NoError(t, err)
	require.Less(t, len(raw), 150_000)
}

func TestTheCRDIsNoHelmTemplate(t *testing.T) {
	require.NotContains(t, string(crds.Agents)+string(crds.Models), "{{")
}

// Whatever else is left out gets its default when it is rendered (design: "The Agent API", Defaults).
func TestTheOnlyDefaultsAreThoseOfTheContract(t *testing.T) {
	defaults := map[string]string{}
	every(t, func(path string, s *schema) {
		if s.Default != nil {
			compact, err := json.Marshal(s.Default)
			require.NoError(t, err)
			defaults[path] = string(compact)
			require.NotContains(t, path, "[]", "a default inside a list item: Argo CD would call every Agent that omits the field OutOfSync forever")
		}
	})
	require.Equal(t, map[string]string{
		"spec.runtime.type":          `"standard"`,
		"spec.runtime.spec.replicas": `1`,
		"status": `{"availableReplicas":0,"conditions":[{"lastTransitionTime":"1970-01-01T00:00:00Z",` +
			`"message":"the operator has not reconciled this Agent yet","reason":"Pending","status":"Unknown","type":"Ready"}],` +
			`"observedGeneration":-1,"readyReplicas":0,"replicas":0,"updatedReplicas":0}`,
	}, defaults)
}

// The API server refuses an item without a key of its list, so that a key which may be left out would need a default.
func TestEveryKeyOfAListIsRequired(t *testing.T) {
	lists := 0
	every(t, func(path string, s *schema) {
		for _, key := range s.XListMapKeys {
			lists++
			require.Contains(t, s.Items.Schema.Required, key, path)
		}
		if strings.HasSuffix(path, ".ports") {
			require.Equal(t, "atomic", *s.XListType, path)
			require.Equal(t, uniquePorts, s.XValidations, path)
		}
	})
	require.Greater(t, lists, 10)
}

func TestEveryMapOfLabelsAndAnnotationsIsValidated(t *testing.T) {
	unvalidated := []string{}
	every(t, func(path string, s *schema) {
		switch {
		case s.AdditionalProperties == nil || s.AdditionalProperties.Schema.Type != "string":
		case slices.Contains(s.XValidations, validLabels):
			require.Equal(t, int64(63), *s.AdditionalProperties.Schema.MaxLength, path)
		case slices.Contains(s.XValidations, validAnnotations):
		case s.AdditionalProperties.Schema.Pattern == labelValue:
			require.Equal(t, int64(63), *s.AdditionalProperties.Schema.MaxLength, path)
		default:
			unvalidated = append(unvalidated, path)
		}
	})
	require.ElementsMatch(t, []string{
		"spec.runtime.spec.volumes[].csi.volumeAttributes", // neither labels nor annotations
		"spec.runtime.spec.volumes[].projected.sources[].podCertificate.userAnnotations",
		"spec.runtime.spec.volumes[].ephemeral.volumeClaimTemplate.metadata.annotations", // a rule on keys would cost too much
	}, unvalidated)
}

func TestEveryListMapAndStringIsBounded(t *testing.T) {
	every(t, func(path string, s *schema) {
		switch {
		case s.Type == "array":
			require.NotNil(t, s.MaxItems, path)
			require.LessOrEqual(t, *s.MaxItems, int64(256), path)
		case s.AdditionalProperties != nil:
			require.NotNil(t, s.MaxProperties, path)
			require.LessOrEqual(t, *s.MaxProperties, int64(64), path)
		case s.Type == "string" && s.Format == "date-time", s.Type == "string" && len(s.Enum) > 0:
		case s.Type == "string" || s.XIntOrString:
			require.NotNil(t, s.MaxLength, path)
			require.LessOrEqual(t, *s.MaxLength, int64(65536), path)
		}
	})
}

// A pod that ignores SIGTERM holds up a node drain and keeps its quota for as long as its grace period.
func TestWhatDelaysTheEndOfAPodIsBounded(t *testing.T) {
	found := 0
	every(t, func(path string, s *schema) {
		if endsWith(path, "terminationGracePeriodSeconds") || endsWith(path, "sleep.seconds") || endsWith(path, "drainSeconds") {
			found++
			require.NotNil(t, s.Maximum, path)
			require.LessOrEqual(t, *s.Maximum, 3600.0, path)
			require.NotNil(t, s.Minimum, path)
			require.Zero(t, *s.Minimum, path)
		}
	})
	require.Equal(t, 17, found, "the pod's, three probes and two hooks of three kinds of containers, and the drain")
}

// The bounds of our own fields are part of the contract: a narrower one rejects what was good before.
func TestTheBoundsOfOurFieldsAreThoseOfTheContract(t *testing.T) {
	foreign := foreignFields(reflect.TypeFor[v1alpha1.Agent](), "")
	var lines []string
	every(t, func(path string, s *schema) {
		plain := strings.NewReplacer("[]", "", "{}", "").Replace(path)
		text, err := json.Marshal(schema{
			Enum: s.Enum, Pattern: s.Pattern, Minimum: s.Minimum, Maximum: s.Maximum, MinLength: s.MinLength, MaxLength: s.MaxLength,
			MinItems: s.MinItems, MaxItems: s.MaxItems, MinProperties: s.MinProperties, MaxProperties: s.MaxProperties, Required: s.Required,
		})
		require.NoError(t, err)
		if !below(foreign, plain) && string(text) != "{}" {
			lines = append(lines, path+" "+string(text)+"\n")
		}
	})
	slices.Sort(lines)
	const golden = "testdata/bounds.txt"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o750))
		require.NoError(t, os.WriteFile(golden, []byte(strings.Join(lines, "")), 0o600))
	}
	require.Equal(t, read(t, golden), strings.Join(lines, ""))
}

// One Agent that Go types cannot read would take the list of all Agents from the operator. The API server holds numbers to
// their format by itself (that of 1.35 only where they have a bound), but knows neither the size of an int-or-string nor what a quantity is: Go fails on some that the
// pattern of controller-gen lets through, and computes for hours on others (1e-2147483647).
func TestValuesThatTheSchemaAcceptsCanBeDecoded(t *testing.T) {
	usual := []string{
		"1", "-1", "+1", "1.", ".5", "0.5", "100m", "1u", "1n", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei", "1e9", "1E-9", "1e+09",
	}
	odd := []string{
		"1e1.5", "1e.5", "1E+1.5", "1e99999999999999999999", "1e-99999999999999999999", "1e2147483648", "1e-2147483647", "1e-999999", "1e9999", "1e", "1e+", "", "1Zi", "1Ki1", "1 ",
	}
	quantities := 0
	every(t, func(path string, s *schema) {
		switch {
		case s.XIntOrString && s.Pattern != "":
			quantities++
			pattern := regexp.MustCompile(s.Pattern)
			for _, text := range usual {
				require.Regexp(t, pattern, text, path)
				_, err := resource.ParseQuantity(text)
				require.NoError(t, err, text)
			}
			for _, text := range odd {
				require.NotRegexp(t, pattern, text, path)
			}
		case s.XIntOrString:
			require.NotNil(t, s.Maximum, path)
			require.LessOrEqual(t, *s.Maximum, float64(math.MaxInt32), path)
			require.NotNil(t, s.Minimum, path)
			require.GreaterOrEqual(t, *s.Minimum, float64(math.MinInt32), path)
		case s.Type == "integer":
			require.Contains(t, []string{"int32", "int64"}, s.Format, path)
			require.True(t, s.Format == "int64" || s.Minimum != nil || s.Maximum != nil, "%s has no bound: Kubernetes 1.35 stores any number", path)
		}
	})
	require.Greater(t, quantities, 10)
}

// A field that is kept whatever it is would let anything be stored.
func TestUnknownFieldsAreNeverStored(t *testing.T) {
	every(t, func(path string, s *schema) {
		require.Nil(t, s.XPreserveUnknownFields, path)
		require.False(t, s.XEmbeddedResource, path)
		require.True(t, s.Type != "" || s.XIntOrString, "%s has a type", path)
	})
}

// kubectl explain must help with our own fields; what core/v1 says about its own would be 400 KB.
func TestEveryFieldOfOursIsDescribedAndNoneOfCoreIs(t *testing.T) {
	foreign := foreignFields(reflect.TypeFor[v1alpha1.Agent](), "")
	require.ElementsMatch(t, embedded, foreign, "the fields whose Go type is not our own")
	every(t, func(path string, s *schema) {
		plain := strings.NewReplacer("[]", "", "{}", "").Replace(path)
		switch {
		case below(foreign, plain) || strings.HasSuffix(path, "[]") && below(foreign, plain+"."):
			require.Empty(t, s.Description, path)
		case strings.HasSuffix(path, "{}") || strings.HasSuffix(path, "[]"):
		default:
			require.Regexp(t, `(?s)^[A-Za-z].{12,}(\.|#types-kinds|#resources)$`, s.Description, "%q should be described in a sentence", path)
		}
	})
}

// below reports whether a path is inside one of some fields; the fields themselves are our own.
func below(fields []string, path string) bool {
	for _, field := range fields {
		if strings.HasPrefix(path, field+".") {
			return true
		}
	}
	return false
}

// foreignFields are the paths of the fields below a type of ours whose type is a struct of another module.
func foreignFields(kind reflect.Type, path string) []string {
	var found []string
	for i := range kind.NumField() {
		field := kind.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "metadata" {
			continue
		}
		of := field.Type
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		switch {
		case of.Kind() != reflect.Struct || of.Name() == "IntOrString":
		case of.PkgPath() == reflect.TypeFor[v1alpha1.Agent]().PkgPath():
			found = append(found, foreignFields(of, join(path, name))...)
		default:
			found = append(found, join(path, name))
		}
	}
	return found
}

// A message that says only what is wrong leaves the author to guess.
func TestEveryRuleSaysWhatToDo(t *testing.T) {
	advice := regexp.MustCompile(`: .*(use|name|rename|omit|raise|lower|set)|must be a count`)
	rules := 0
	every(t, func(path string, s *schema) {
		for _, rule := range s.XValidations {
			rules++
			require.Regexp(t, advice, rule.Message, path)
			require.LessOrEqual(t, len(rule.Message), 250, path)
		}
	})
	require.Greater(t, rules, 10)
}

// The kubelet would expand $(NAME) in a variable to the value of another one, such as a password.
func TestNoTextOfAModelMayHaveADollarSign(t *testing.T) {
	texts := 0
	every(t, func(path string, s *schema) {
		if !strings.HasPrefix(path, "Model.spec.") || s.Type != "string" || len(s.Enum) > 0 {
			return
		}
		texts++
		patterns := []string{s.Pattern}
		for _, rule := range s.XValidations {
			if quoted := regexp.MustCompile(`^self\.matches\('(.*?)'\)`).FindStringSubmatch(rule.Rule); quoted != nil {
				patterns = append(patterns, quoted[1])
			}
		}
		require.True(t, slices.ContainsFunc(patterns, func(pattern string) bool {
			compiled := regexp.MustCompile(pattern)
			return pattern != "" && !slices.ContainsFunc([]string{"$", "a$", "$(A)", "https://a.example/$(A)", "A$_HOST", "A$_TOKEN"}, compiled.MatchString)
		}), path)
	})
	require.Equal(t, 10, texts)
}

func TestPrinterColumns(t *testing.T) {
	columns := func(embedded []byte) (narrow, wide []string) {
		for _, column := range embeddedCRD(t, embedded).Spec.Versions[0].AdditionalPrinterColumns {
			if column.Priority == 0 {
				narrow = append(narrow, column.Name)
			} else {
				wide = append(wide, column.Name)
			}
		}
		return narrow, wide
	}
	narrow, wide := columns(crds.Agents)
	require.Equal(t, []string{"Framework", "Model", "Replicas", "Available Replicas", "Ready", "Reason", "Age"}, narrow)
	require.Equal(t, []string{"HA", "Current", "Updated", "Image", "URL"}, wide)
	narrow, wide = columns(crds.Models)
	require.Equal(t, []string{"Provider", "Model", "Age"}, narrow)
	require.Equal(t, []string{"Base URL"}, wide)
}
