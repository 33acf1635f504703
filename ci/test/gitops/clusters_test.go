package gitops_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/gitserver"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// member is a cluster to which the Argo CD of another applies.
type member struct {
	*world
	environment string
}

// One Argo CD applies one environment to each of two clusters, beside its own. A change of one line in Git upgrades one of them.
func TestOneArgoCDRunsManyClusters(t *testing.T) {
	t.Parallel()
	t.Run("argocd-clusters", requireManyClusters)
}

func requireManyClusters(t *testing.T) {
	t.Parallel()
	a := argoCD{settings: true}
	g := &gitops{world: newWorld(t, "argocd-clusters"), tool: a}
	g.files = g.platformFiles()
	g.push(platformRepository, gitserver.Change{Files: g.files, Message: "platform", Tag: platformTag})
	g.push(teamRepository, gitserver.Change{Files: g.teamExample(), Message: "agents"})
	a.start(g.world)
	checkout := g.checkout(g.files)
	var members []member
	for _, environment := range []string{"dev", "production"} {
		m := member{joinWorld(t, "argocd-"+environment), environment}
		m.kubectl("apply", "--kustomize", filepath.Join(checkout, "examples/gitops/argocd/clusters/identity"))
		g.addCluster(m)
		members = append(members, m)
	}
	layout := filepath.Join(checkout, "examples/gitops/argocd/clusters")
	g.kubectl("apply", "--filename", filepath.Join(layout, "projects.yaml"), "--filename", filepath.Join(layout, "platform.yaml"))
	for _, m := range members {
		m.startOperator()
		g.awaitReady(a, application("flokoa-platform-"+m.environment), platformRepository, "")
	}
	g.kubectl("apply", "--kustomize", layout)
	for _, m := range members {
		g.awaitReady(a, application("flokoa-environment-"+m.environment), platformRepository, "")
		g.awaitReady(a, application("agents-"+m.environment), teamRepository, "")
		agent := &v1alpha1.Agent{}
		agent.Namespace, agent.Name = "flokoa-"+m.environment, "order-agent"
		require.True(t, m.exists(agent), m.environment)
	}
	g.requireOneClusterUpgraded()
}

func application(name string) stage {
	return stage{kind: argoApplication, ObjectKey: client.ObjectKey{Namespace: "argocd", Name: name}}
}

// requireOneClusterUpgraded changes the revision in the file of one environment.
func (g *gitops) requireOneClusterUpgraded() {
	g.Helper()
	const file = "examples/gitops/argocd/clusters/environments/dev.yaml"
	before, err := g.tool.state(g.world, application("flokoa-platform-production"))
	require.NoError(g, err)
	g.push(platformRepository, gitserver.Change{Message: "next", Tag: nextTag})
	changed := bytes.ReplaceAll(g.files[file], []byte(platformTag), []byte(nextTag))
	require.NotEqual(g, g.files[file], changed)
	commit := g.push(platformRepository, gitserver.Change{Files: map[string][]byte{file: changed}, Message: "dev takes the next version"})
	for _, set := range []string{"flokoa-platform", "flokoa-environments"} {
		require.NoError(g, g.refreshSet(set))
	}
	g.awaitState(g.tool, application("flokoa-platform-dev"), "has the next version", func(s state) bool {
		return s.ready && s.revision != before.revision && g.git.Contains(g.Context(), platformRepository, commit, s.revision)
	})
	after, err := g.tool.state(g.world, application("flokoa-platform-production"))
	require.NoError(g, err)
	require.Equal(g, before.revision, after.revision, "production stays")
}

// addCluster is `argocd cluster add --label`.
func (g *gitops) addCluster(m member) {
	g.Helper()
	config := m.cluster.Config
	access, err := json.Marshal(map[string]any{"tlsClientConfig": map[string]any{
		"caData": config.CAData, "certData": config.CertData, "keyData": config.KeyData,
	}})
	require.NoError(g, err)
	secret := &corev1.Secret{StringData: map[string]string{"name": m.environment, "server": config.Host, "config": string(access)}}
	secret.Namespace, secret.Name = "argocd", "cluster-"+strings.ToLower(m.environment)
	secret.Labels = map[string]string{"argocd.argoproj.io/secret-type": "cluster", "flokoa.ai/environment": m.environment}
	require.NoError(g, g.api.Create(g.Context(), secret))
}
