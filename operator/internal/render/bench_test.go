package render_test

import (
	"testing"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/render"
)

// Every pass that does not skip the children starts with this.
func BenchmarkAgent(b *testing.B) {
	for name, agent := range map[string]*v1alpha1.Agent{
		"small": agenttest.New("a", agenttest.Replicas(3)),
		"guide": agenttest.Read(b, "../../../examples/agents/production-agent.yaml"),
		"full":  agenttest.Read(b, "testdata/full/agent.yaml"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := render.Agent(agent, render.Live{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
