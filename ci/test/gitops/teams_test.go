package gitops_test

import (
	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/ci/testkit/gitserver"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// teams are those of examples/teams.
var teams = []string{"payments", "search"}

// requireTeams installs examples/teams beside the first team: each team is a file in Git, with a repository of its own.
func (g *gitops) requireTeams() {
	g.Helper()
	for _, team := range teams {
		g.push(team+"/agents", gitserver.Change{Files: g.teamExample(), Message: "agents of " + team})
	}
	g.tool.installTeams(g)
	for _, team := range teams {
		for _, environment := range environments {
			namespace := team + "-" + environment
			g.awaitReady(g.tool, g.tool.teamStage(namespace), team+"/agents", "")
			agent := &v1alpha1.Agent{}
			agent.Namespace, agent.Name = namespace, "order-agent"
			require.True(g, g.exists(agent))
		}
	}
}
