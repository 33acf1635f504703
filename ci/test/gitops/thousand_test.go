package gitops_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/gitserver"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// A thousand Agents are in one repository, in files of a hundred.
const (
	manyNamespace = "many"
	manyFiles     = 10
	manyPerFile   = 100
	manyTimeout   = 15 * time.Minute
)

// requireThousand has the tool apply a thousand Agents at once. A second sync changes nothing.
func (g *gitops) requireThousand() {
	g.Helper()
	g.limit = manyTimeout
	manifest, err := os.ReadFile(filepath.Join(root, "examples/agents/first-agent.yaml"))
	require.NoError(g, err)
	files := map[string][]byte{}
	for file := range manyFiles {
		var content []byte
		for i := range manyPerFile {
			name := fmt.Sprintf("a-%d-%d", file, i)
			content = append(append(content, "---\n"...), bytes.ReplaceAll(manifest, []byte("first-agent"), []byte(name))...)
		}
		files[fmt.Sprintf("agents/%d.yaml", file)] = content
	}
	g.addNodes()
	commit := g.push("many/agents", gitserver.Change{Files: files, Message: "a thousand Agents"})
	g.kubectl("create", "namespace", manyNamespace)
	g.kubectl("create", "rolebinding", "operator", "--namespace", manyNamespace, "--clusterrole=flokoa-operator-writer", "--serviceaccount=flokoa-system:flokoa-operator")

	began := time.Now()
	many := g.tool.applyMany(g, g.git.URL+"/many/agents")
	g.eventually("a thousand Agents are ready", func() error { // not asked again meanwhile: Flux would start again
		is, err := g.tool.state(g.world, many)
		if err == nil && (!is.ready || !strings.Contains(is.revision, commit)) {
			err = errors.New(is.text)
		}
		return err
	})
	ready := time.Since(began)
	require.Equal(g, manyFiles*manyPerFile, g.readyAgents())

	before := g.versions()
	began = time.Now()
	g.tool.awaitSync(g.world, many)
	second := time.Since(began)
	require.NoError(g, difference(before, g.versions()), "the second sync")
	g.awaitReady(g.tool, many, "many/agents", commit)
	logf("%-28s %d Agents applied and ready after %.0f s; second sync, nothing changed: %.1f s", g.name, manyFiles*manyPerFile, ready.Seconds(), second.Seconds())
	table.record(g.tool, "production", "1,000 Agents", fmt.Sprintf("%.0f s, again %.0f s", ready.Seconds(), second.Seconds()))
}

// addNodes doubles the machines: each has room for 110 pods.
func (g *gitops) addNodes() {
	g.Helper()
	nodes, err := os.ReadFile(filepath.Join(root, "ci/clusters/local/nodes.yaml"))
	require.NoError(g, err)
	g.apply(string(bytes.ReplaceAll(nodes, []byte("node-"), []byte("more-"))))
}

// readyAgents is how many Agents of the thousand are ready.
func (g *gitops) readyAgents() int {
	g.Helper()
	list := &v1alpha1.AgentList{}
	require.NoError(g, g.api.List(g.Context(), list, client.InNamespace(manyNamespace)))
	ready := 0
	for i := range list.Items {
		if meta.IsStatusConditionPresentAndEqual(list.Items[i].Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue) {
			ready++
		}
	}
	return ready
}
