package charts_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// A sample sets one value of a chart to something that is not its default.
type sample struct {
	Path  string         `json:"path"` // keys joined by dots; a dot inside a key is written \.
	Value any            `json:"value"`
	With  map[string]any `json:"with"` // what else must be set for the value to be valid or to matter
}

func (s sample) values() map[string]any {
	values := clone(s.With)
	set(values, keys(s.Path), s.Value)
	return values
}

func samples(t *testing.T, dir string) []sample {
	t.Helper()
	var read []sample
	readYAML(t, filepath.Join("testdata", filepath.Base(dir)+".yaml"), &read)
	return read
}

func TestEveryValueHasASample(t *testing.T) {
	for _, dir := range charts(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			var sampled []string
			for _, sample := range samples(t, dir) {
				sampled = append(sampled, sample.Path)
			}
			slices.Sort(sampled)
			require.Equal(t, leaves(defaults(t, dir), ""), sampled, "testdata/%s.yaml and the chart's values", filepath.Base(dir))
		})
	}
}

func TestEveryValueChangesWhatIsRendered(t *testing.T) {
	for _, dir := range charts(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			for _, sample := range samples(t, dir) {
				t.Run(sample.Path, func(t *testing.T) {
					without := asYAML(t, render(t, dir, sample.With))
					with := asYAML(t, render(t, dir, sample.values()))
					require.NotEqual(t, without, with, "no template looks at this value")
				})
			}
		})
	}
}

// The README has a row for every value, with the default and the description of values.yaml, in its order, and no other row.
func TestEveryValueIsDocumented(t *testing.T) {
	for _, dir := range charts(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			require.Equal(t, valueRows(t, dir), readmeRows(t, dir))
		})
	}
}

// The schema knows every value of values.yaml, and nothing that values.yaml keeps from the reader. Inside a value that is
// described as a whole (a Kubernetes type), the schema may know more than the default sets.
func TestSchemaAndValuesAgree(t *testing.T) {
	for _, dir := range charts(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			described := map[string]bool{}
			for _, row := range valueRows(t, dir) {
				described[row.path] = true
			}
			var compare func(path string, schema, values map[string]any)
			compare = func(path string, schema, values map[string]any) {
				properties, _ := schema["properties"].(map[string]any)
				for key, property := range properties {
					value, has := values[key]
					if path == "" && (key == "global" || key == "enabled") {
						require.False(t, has, "%s belongs to umbrella charts", key)
						continue
					}
					at := join(path, key)
					require.True(t, has, "%s is in the schema, but not in values.yaml", at)
					require.NotEmpty(t, property.(map[string]any)["description"], "description of %s in the schema", at)
					if below, ok := value.(map[string]any); ok && !described[at] {
						compare(at, property.(map[string]any), below)
					}
				}
				for key := range values {
					require.Contains(t, properties, key, "%s is in values.yaml, but not in the schema", join(path, key))
				}
			}
			compare("", schema(t, dir), defaults(t, dir))
		})
	}
}

// Closed: a misspelt value is an error at every level. Maps of free keys (labels, annotations) declare the type of their values.
func TestEverySchemaIsClosed(t *testing.T) {
	for _, dir := range charts(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			require.Equal(t, "http://json-schema.org/draft-07/schema#", schema(t, dir)["$schema"])
			objects := 0
			var walk func(path string, node any)
			walk = func(path string, node any) {
				switch node := node.(type) {
				case []any:
					for _, item := range node {
						walk(path, item)
					}
				case map[string]any:
					if node["type"] == "object" && path != "/properties/global" {
						objects++
						additional, declared := node["additionalProperties"]
						require.True(t, declared, "%s has no additionalProperties", path)
						require.NotEqual(t, true, additional, path)
					}
					for key, child := range node {
						walk(path+"/"+key, child)
					}
				}
			}
			walk("", schema(t, dir))
			require.Positive(t, objects)
		})
	}
}

// removable are the defaults that null may remove: entries of maps whose keys are free, and what OpenShift or the user decides.
var removable = map[string][]string{
	"flokoa-environment": {`network.dns.podLabels.k8s-app`},
	"flokoa-operator": {
		`networkPolicy.dns.podLabels.k8s-app`, `nodeSelector.kubernetes\.io/os`, `monitoring.dashboard.labels.grafana_dashboard`,
		`podSecurityContext.runAsUser`, `podSecurityContext.runAsGroup`,
		`resources.requests.cpu`, `resources.requests.memory`, `resources.limits.memory`,
	},
}

// Helm removes a key that is set to null. A template would read a missing number as 0, a missing list as nothing to deny, and a missing
// selector as everything.
func TestNullValueIsAnErrorThatNamesTheKey(t *testing.T) {
	for _, dir := range charts(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			var removed []string
			for _, path := range branches(defaults(t, dir), "") {
				values := complete(t, dir, nil)
				set(values, keys(path), nil)
				_, err := manifests.Chart(dir, values, release, namespace)
				if slices.Contains(removable[filepath.Base(dir)], path) {
					require.NotContains(t, fmt.Sprint(err), "missing property", path)
					removed = append(removed, path)
					continue
				}
				parts := keys(path)
				under, key := strings.Join(append([]string{""}, parts[:len(parts)-1]...), "/"), parts[len(parts)-1]
				require.ErrorContains(t, err, "at '"+under+"': missing property '"+key+"'")
			}
			require.ElementsMatch(t, removable[filepath.Base(dir)], removed)
		})
	}
}

// branches are the paths of all values, of maps and of what is in them.
func branches(values map[string]any, under string) []string {
	var paths []string
	for key, value := range values {
		at := join(under, key)
		paths = append(paths, at)
		if below, ok := value.(map[string]any); ok {
			paths = append(paths, branches(below, at)...)
		}
	}
	return paths
}

func TestEveryReadmeNamesItsVersion(t *testing.T) {
	for _, dir := range charts(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			metadata := load(t, dir).Metadata
			readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
			require.NoError(t, err)
			require.Contains(t, string(readme), "![Version: "+metadata.Version+"]")
			require.Contains(t, string(readme), "![AppVersion: "+metadata.AppVersion+"]")
			require.Contains(t, string(readme), metadata.Description)
			if metadata.KubeVersion != "" {
				require.Contains(t, string(readme), "`"+metadata.KubeVersion+"`")
			}
		})
	}
}

// A row of a README's table of values.
type row struct{ path, kind, value, description string }

// readmeRows are the rows that the README has.
func readmeRows(t *testing.T, dir string) []row {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	require.NoError(t, err)
	_, table, found := strings.Cut(string(readme), "| Key | Type | Default | Description |\n|-----|------|---------|-------------|\n")
	require.True(t, found, "the table of values")
	var rows []row
	for line := range strings.Lines(table) {
		line, isRow := strings.CutPrefix(strings.TrimSuffix(line, " |\n"), "| ")
		if !isRow {
			break
		}
		cells := strings.Split(line, " | ")
		require.Len(t, cells, 4, line)
		rows = append(rows, row{cells[0], cells[1], cells[2], cells[3]})
	}
	return rows
}

// valueRows are the rows that values.yaml requires: one for every value that a comment "# -- ..." describes. A value that no
// comment describes must be part of one that is.
func valueRows(t *testing.T, dir string) []row {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "values.yaml"))
	require.NoError(t, err)
	var document yamlv3.Node
	require.NoError(t, yamlv3.Unmarshal(text, &document))

	var rows []row
	var walk func(path string, mapping *yamlv3.Node, described bool)
	walk = func(path string, mapping *yamlv3.Node, described bool) {
		for i := 0; i < len(mapping.Content); i += 2 {
			key, value := mapping.Content[i], mapping.Content[i+1]
			at := join(path, key.Value)
			comment, documented := description(key.HeadComment)
			if documented {
				rows = append(rows, documentedRow(row{at, kind(value), "`" + asJSON(t, value) + "`", comment}))
			}
			if value.Kind == yamlv3.MappingNode && len(value.Content) > 0 {
				walk(at, value, described || documented)
				continue
			}
			require.True(t, described || documented, "values.yaml has no description of %s", at)
		}
	}
	walk("", document.Content[0], false)
	return rows
}

// description joins the lines of a comment that starts with "# -- ".
func description(comment string) (string, bool) {
	text, found := strings.CutPrefix(comment, "# -- ")
	return strings.ReplaceAll(text, "\n# ", " "), found
}

// documentedRow takes the type and the default out of the description: a value whose default depends on others is an empty string, and
// its comment starts with the type in parentheses and ends with the default.
func documentedRow(row row) row {
	if text, found := strings.CutPrefix(row.description, "("); found {
		row.kind, row.description, _ = strings.Cut(text, ") ")
	}
	if text, value, found := strings.Cut(row.description, " @default -- "); found {
		row.description, row.value = text, value
	}
	return row
}

// kind is what helm-docs calls a YAML node.
func kind(node *yamlv3.Node) string {
	switch node.Kind {
	case yamlv3.MappingNode:
		return "object"
	case yamlv3.SequenceNode:
		return "list"
	default:
		return map[string]string{"!!str": "string", "!!int": "int", "!!bool": "bool", "!!float": "float"}[node.Tag]
	}
}

func asJSON(t *testing.T, node *yamlv3.Node) string {
	t.Helper()
	var value any
	require.NoError(t, node.Decode(&value))
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	require.NoError(t, encoder.Encode(value))
	return strings.TrimSpace(text.String())
}

func defaults(t *testing.T, dir string) map[string]any {
	t.Helper()
	values := map[string]any{}
	readYAML(t, filepath.Join(dir, "values.yaml"), &values)
	return values
}

func schema(t *testing.T, dir string) map[string]any {
	t.Helper()
	read := map[string]any{}
	readYAML(t, filepath.Join(dir, "values.schema.json"), &read)
	return read
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(text, into))
}

// leaves are the sorted paths of all values that are no maps, or empty ones.
func leaves(values map[string]any, under string) []string {
	var paths []string
	for key, value := range values {
		at := join(under, key)
		if below, ok := value.(map[string]any); ok && len(below) > 0 {
			paths = append(paths, leaves(below, at)...)
			continue
		}
		paths = append(paths, at)
	}
	slices.Sort(paths)
	return paths
}

func join(path, key string) string {
	key = strings.ReplaceAll(key, ".", `\.`)
	if path == "" {
		return key
	}
	return path + "." + key
}

// keys takes apart what join has put together.
func keys(path string) []string {
	const dot = "\x00"
	parts := strings.Split(strings.ReplaceAll(path, `\.`, dot), ".")
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], dot, ".")
	}
	return parts
}

func set(values map[string]any, keys []string, value any) {
	if len(keys) == 1 {
		values[keys[0]] = value
		return
	}
	below, ok := values[keys[0]].(map[string]any)
	if !ok {
		below = map[string]any{}
		values[keys[0]] = below
	}
	set(below, keys[1:], value)
}

// clone copies a tree of maps.
func clone(values map[string]any) map[string]any {
	copied := map[string]any{}
	for key, value := range values {
		if below, ok := value.(map[string]any); ok {
			value = clone(below)
		}
		copied[key] = value
	}
	return copied
}
