package render_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/render"
)

var update = flag.Bool("update", false, "write the current output as the new goldens: a changed pod template restarts every agent")

const examples = "../../../examples/agents"

// The goldens are the contract of v1alpha1: what an Agent file renders to never changes under an operator upgrade.
func TestEveryGoldenAgentRendersToItsGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*/agent.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, inputs)
	examples, err := filepath.Glob(examples + "/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, examples)
	for _, input := range append(inputs, examples...) {
		name := filepath.Base(filepath.Dir(input))
		if name == "agents" {
			name = strings.TrimSuffix(filepath.Base(input), ".yaml")
		}
		t.Run(name, func(t *testing.T) {
			got := text(t, input)
			golden := filepath.Join("testdata", name, "want.yaml")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o755))
				require.NoError(t, os.WriteFile(golden, got, 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err, "no golden: run go test ./operator/internal/render -update and read what it wrote")
			require.Equal(t, string(want), string(got))
		})
	}
}

// text renders an Agent file to YAML documents, Deployment first.
func text(t *testing.T, file string) []byte {
	t.Helper()
	children, err := render.Agent(agenttest.Read(t, file), render.Live{})
	require.NoError(t, err)
	var documents [][]byte
	all := reflect.ValueOf(children)
	for i := range all.NumField() {
		if all.Field(i).IsNil() {
			continue
		}
		document, err := yaml.Marshal(all.Field(i).Interface())
		require.NoError(t, err)
		documents = append(documents, document)
	}
	return bytes.Join(documents, []byte("---\n"))
}
