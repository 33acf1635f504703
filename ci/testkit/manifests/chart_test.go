package manifests_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// newChart writes a chart of the given templates, and of one value, and returns its folder.
func newChart(t *testing.T, templates map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"Chart.yaml":         "{apiVersion: v2, name: try, version: 0.1.0, kubeVersion: '>=1.35.0-0'}",
		"values.yaml":        "count: 1",
		"values.schema.json": `{"additionalProperties": false, "properties": {"count": {"type": "integer"}, "global": {}}}`,
	}
	for name, text := range templates {
		files["templates/"+name] = text
	}
	for name, text := range files {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	return dir
}

const configMap = `
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}", namespace: "{{ .Release.Namespace }}"}
data: {count: "{{ .Values.count }}", type: "{{ kindOf .Values.count }}"}
`

func TestChartRendersReleaseAndValues(t *testing.T) {
	objects, err := manifests.Chart(newChart(t, map[string]string{"a.yaml": configMap}), map[string]any{"count": 3}, "rel", "ns")
	require.NoError(t, err)
	require.Len(t, objects, 1)
	require.Equal(t, "rel", objects[0].GetName())
	require.Equal(t, "ns", objects[0].GetNamespace())
	require.Equal(t, map[string]any{"count": "3", "type": "float64"}, objects[0].Object["data"], "as from a values file")
}

func TestChartReturnsObjectsInTheOrderOfInstallation(t *testing.T) {
	objects, err := manifests.Chart(newChart(t, map[string]string{
		"a.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: last}",
		"b.yaml": "{{- if false }}\nkind: Never\n{{- end }}\n# nothing but a comment",
		"c.yaml": "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: first}\n---\n" + configMap,
		"d.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: hook, annotations: {helm.sh/hook: test}}",
	}), nil, "rel", "ns")
	require.NoError(t, err)
	var kinds []string
	for _, object := range objects {
		kinds = append(kinds, object.GetKind())
	}
	require.Equal(t, []string{"ServiceAccount", "ConfigMap", "Deployment"}, kinds)
}

func TestChartDoesNotWriteIntoTheCallersValues(t *testing.T) {
	values := map[string]any{"global": map[string]any{}}
	_, err := manifests.Chart(newChart(t, map[string]string{"a.yaml": configMap}), values, "rel", "ns")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"global": map[string]any{}}, values)
}

func TestChartSaysWhatIsWrong(t *testing.T) {
	for name, row := range map[string]struct {
		template string
		values   map[string]any
		want     string
	}{
		"a value that the schema does not know": {configMap, map[string]any{"cuont": 3}, "additional properties 'cuont' not allowed"},
		"a template that fails":                 {`{{ fail "no good" }}`, nil, "no good"},
		"a template that renders no YAML":       {"apiVersion: v1\nkind: [", nil, "a.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := manifests.Chart(newChart(t, map[string]string{"a.yaml": row.template}), row.values, "rel", "ns")
			require.ErrorContains(t, err, row.want)
		})
	}
	_, err := manifests.Chart(filepath.Join(t.TempDir(), "none"), nil, "rel", "ns")
	require.ErrorContains(t, err, "load chart")
}

func TestMinimalValuesAreOptional(t *testing.T) {
	dir := newChart(t, map[string]string{"a.yaml": configMap})
	values, err := manifests.Minimal(dir)
	require.NoError(t, err)
	require.Empty(t, values)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "ci"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ci", "minimal-values.yaml"), []byte("count: 2"), 0o600))
	values, err = manifests.Minimal(dir)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"count": 2.0}, values)
}
