package gitops_test

import (
	"bytes"
	"strings"

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
	g.addTeam()
	for _, team := range append(teams[:len(teams):len(teams)], addedTeam) {
		for _, environment := range environments {
			namespace := team + "-" + environment
			g.awaitReady(g.tool, g.tool.teamStage(namespace), team+"/agents", "")
			g.teamStages = append(g.teamStages, g.tool.teamStage(namespace))
			agent := &v1alpha1.Agent{}
			agent.Namespace, agent.Name = namespace, "order-agent"
			require.True(g, g.exists(agent))
		}
	}
}

// addedTeam comes later: its file is a copy of that of payments, merged into main without a tag.
const addedTeam = "billing"

func (g *gitops) addTeam() {
	g.Helper()
	g.push(addedTeam+"/agents", gitserver.Change{Files: g.teamExample(), Message: "agents of " + addedTeam})
	payments := "examples/teams/" + g.tool.teamFiles() + "/payments.yaml"
	file := strings.Replace(payments, "payments", addedTeam, 1)
	g.push(platformRepository, gitserver.Change{Message: "a new team", Files: map[string][]byte{
		file: bytes.ReplaceAll(g.files[payments], []byte("payments"), []byte(addedTeam)),
	}})
	g.tool.readTeams(g.world)
}
