package render

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

// For any spec, rendering does not panic, is deterministic, and makes a pod template that does not depend on the replica count. An
// input is a spec as JSON, or else the choices that fill makes a spec by.
func FuzzRender(f *testing.F) {
	for _, pattern := range []string{"testdata/*/agent.yaml", "../../../examples/agents/*.yaml"} {
		files, err := filepath.Glob(pattern)
		require.NoError(f, err)
		require.NotEmpty(f, files)
		for _, file := range files {
			seed, err := json.Marshal(agenttest.Read(f, file).Spec)
			require.NoError(f, err)
			f.Add(seed)
		}
	}
	f.Add(bytes.Repeat([]byte{1}, 2000))
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07"))
	f.Fuzz(func(t *testing.T, input []byte) {
		agent := agenttest.New("fuzz", agenttest.Replicas(1))
		agent.Spec = specOf(input)
		before := agent.DeepCopy()
		first, err := Agent(agent, Live{})
		require.Equal(t, before, agent, "rendering must not change the Agent")
		if err != nil {
			require.Equal(t, Children{}, first)
			return
		}
		require.Equal(t, jsonOf(t, first), renderedAgain(t, agent, func(c Children) any { return c }))
		for _, replicas := range []int32{0, 1, 2, 5} {
			agent.Spec.Runtime.Spec.Replicas = &replicas
			require.Equal(t, jsonOf(t, first.Deployment.Spec.Template), renderedAgain(t, agent, func(c Children) any { return c.Deployment.Spec.Template }))
		}
	})
}

// specOf returns the spec that an input stands for. When the input is used up, every further choice is 0.
func specOf(input []byte) v1alpha1.AgentSpec {
	spec := v1alpha1.AgentSpec{}
	if json.Unmarshal(input, &spec) == nil {
		return spec
	}
	spec = v1alpha1.AgentSpec{}
	fill(reflect.ValueOf(&spec).Elem(), func(n int) int {
		if len(input) == 0 {
			return 0
		}
		choice := int(input[0]) % n
		input = input[1:]
		return choice
	})
	if spec.Runtime.Spec.Container.Image == "" {
		spec.Runtime.Spec.Container.Image = "i" // without one there is nothing to render
	}
	return spec
}

func renderedAgain(t *testing.T, agent *v1alpha1.Agent, of func(Children) any) string {
	t.Helper()
	children, err := Agent(agent, Live{})
	require.NoError(t, err)
	return jsonOf(t, of(children))
}

func jsonOf(t *testing.T, value any) string {
	t.Helper()
	raw, err := json.Marshal(value)
	require.NoError(t, err)
	return string(raw)
}
