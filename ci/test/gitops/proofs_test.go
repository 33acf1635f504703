package gitops_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/gitserver"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// platformRepository is a user's copy of this repository, and platformTag the tag that the examples install.
const (
	platformRepository = "platform/flokoa"
	platformTag        = "v0.1.0"
	grantTag           = "v0.1.0-1" // of the commit that grants the verb use
	teamExample        = "examples/gitops/team/"
)

type namedTool interface {
	tool
	fmt.Stringer
}

// gitops is a tool that has installed Flokoa on a world.
type gitops struct {
	*world
	tool namedTool
	// files are those of the platform's repository, as they were pushed last.
	files map[string][]byte
	// teamStages are those of examples/teams, once they are installed.
	teamStages []stage
}

func TestToolsRunTheExamples(t *testing.T) {
	t.Parallel()
	for name, tool := range map[string]namedTool{"flux": flux{lockdown: true}, "argocd": argoCD{settings: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := install(t, name, tool)
			g.requireReady()
			g.requireTeams()
			g.requireRest()
			g.inEveryEnvironment(func(e *inEnvironment) {
				e.requireCorrections()
				e.requireHealth()
			})
			g.requireKept()
		})
	}
}

// Users of Argo CD who keep its default settings have neither impersonation, nor a health script, nor a comparison by the API server.
// Those of Flux have no accounts by default, but the examples name one for each stage.
func TestToolsRunTheExamplesWithDefaultSettings(t *testing.T) {
	t.Parallel()
	for name, tool := range map[string]namedTool{"flux-defaults": flux{}, "argocd-defaults": argoCD{}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := install(t, name, tool)
			g.requireReady()
			g.requireRest()
			g.inEveryEnvironment(func(e *inEnvironment) {
				e.requireEditsReverted()
				e.requirePruned()
				table.record(e.tool, e.environment, "corrected", "edits, pruned")
			})
		})
	}
}

// inEveryEnvironment runs a test in each environment at the same time.
func (g *gitops) inEveryEnvironment(test func(*inEnvironment)) {
	g.Run("in", func(t *testing.T) {
		for _, environment := range environments {
			t.Run(environment, func(t *testing.T) {
				t.Parallel()
				test(g.in(t, environment))
			})
		}
	})
}

// install has the tool install everything, from repositories that have what the examples say that they have.
func install(t *testing.T, name string, tool namedTool) *gitops {
	t.Helper()
	g := &gitops{world: newWorld(t, name), tool: tool}
	g.files = g.platformFiles()
	for file, content := range g.files {
		g.files[file] = tool.adapt(content)
	}
	g.push(platformRepository, gitserver.Change{Files: g.files, Message: "platform", Tag: platformTag})
	g.push(teamRepository, gitserver.Change{Files: g.teamFiles(), Message: "agents"})
	tool.start(g.world)
	tool.install(g.world, g.checkout(g.files))
	g.startOperator()
	return g
}

// teamFiles are those of the repository of a team: examples/gitops/team, and the guide's manifest in each environment.
func (g *gitops) teamFiles() map[string][]byte {
	g.Helper()
	files := g.teamExample()
	for _, environment := range environments {
		files[environment+"/guide.yaml"] = g.guideManifest()
		files[environment+"/kustomization.yaml"] = g.kustomization(environment, "guide.yaml")
	}
	return files
}

// kustomization is that of an environment in examples/gitops/team, with more files.
func (w *world) kustomization(environment string, files ...string) []byte {
	w.Helper()
	content, err := os.ReadFile(filepath.Join(root, teamExample, environment, "kustomization.yaml"))
	require.NoError(w, err)
	const resources = "resources: [../base]"
	require.Contains(w, string(content), resources)
	return []byte(strings.Replace(string(content), resources, "resources: [../base, "+strings.Join(files, ", ")+"]", 1))
}

// requireReady waits until everything is ready. Before that, the Agents of the team are refused: its account may not use the Secret.
func (g *gitops) requireReady() {
	g.Helper()
	g.awaitReady(g.tool, g.tool.stage(platform, ""), platformRepository, "")
	for _, environment := range environments {
		g.awaitReady(g.tool, g.tool.stage(guardrails, environment), platformRepository, "")
		g.createSecret("flokoa-" + environment)
	}
	for _, environment := range environments {
		if g.tool.impersonates() {
			g.awaitRefused(g.tool, g.tool.stage(agents, environment), "agent-secrets", "use")
		}
	}
	commit := g.grantUse()
	for _, environment := range environments {
		g.awaitReady(g.tool, g.tool.stage(guardrails, environment), platformRepository, commit)
		g.awaitReady(g.tool, g.tool.stage(agents, environment), teamRepository, "")
		g.requireGuideAgent(environment)
		table.record(g.tool, environment, "ready", "yes")
	}
}

// requireGuideAgent waits for the three replicas of the guide's Agent: by default, Argo CD knows no health of Agents, and does not.
func (g *gitops) requireGuideAgent(environment string) {
	g.Helper()
	agent := &v1alpha1.Agent{}
	g.eventually("the guide's Agent is available in "+environment, func() error {
		if err := g.api.Get(g.Context(), client.ObjectKey{Namespace: "flokoa-" + environment, Name: guideAgent}, agent); err != nil {
			return err
		}
		if agent.Status.AvailableReplicas != 3 || !meta.IsStatusConditionTrue(agent.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("%d replicas are available", agent.Status.AvailableReplicas)
		}
		return nil
	})
}

// grantUse lets the account that applies the Agents of each environment reference the Secret, by the patch that README shows, and a tag of
// its own.
func (g *gitops) grantUse() (commit string) {
	g.Helper()
	changed := map[string][]byte{}
	for _, environment := range environments {
		file := "overlays/" + environment + "/kustomization.yaml"
		changed[file] = append(slices.Clone(g.files[file]), secretUse(g.T, environment)...)
	}
	for _, file := range g.tool.pins() {
		require.Contains(g, string(g.files[file]), platformTag, file)
		changed[file] = bytes.ReplaceAll(g.files[file], []byte(platformTag), []byte(grantTag))
	}
	maps.Copy(g.files, changed)
	commit = g.push(platformRepository, gitserver.Change{Files: changed, Message: "the deployer may use agent-secrets", Tag: grantTag})
	g.tool.merged(g.world, g.checkout(g.files))
	return commit
}

// secretUse is the patch that overlays/README.md shows, for an environment.
func secretUse(t *testing.T, environment string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "overlays/README.md"))
	require.NoError(t, err)
	for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		if strings.Contains(block, "name: secret-user") {
			return strings.ReplaceAll(block, "flokoa-production", "flokoa-"+environment)
		}
	}
	t.Fatal("overlays/README.md does not show how to grant the verb use")
	return ""
}

// --- at rest ------------------------------------------------------------------------------------------------------------

// restTime is how long nothing may move, and restInterval how often the tool is asked to reconcile everything meanwhile. Before that,
// nothing moves for settleTime: the operator writes a status that says the same in other words after up to 30 seconds.
const (
	restTime     = time.Minute
	restInterval = 10 * time.Second
	settleTime   = 32 * time.Second
)

// requireRest has the tool reconcile everything again and again for a minute, with the operator running. No object may change.
func (g *gitops) requireRest() {
	g.Helper()
	var stages []stage
	for _, environment := range environments {
		for _, what := range []string{platform, guardrails, agents} {
			stages = append(stages, g.tool.stage(what, environment))
		}
	}
	stages = append(stages, g.teamStages...)
	still := g.requireStill(restTime, stages)
	for _, environment := range environments {
		objects := 0
		for name := range still {
			if strings.Contains(name, " flokoa-"+environment+"/") {
				objects++
			}
		}
		table.record(g.tool, environment, "at rest", fmt.Sprintf("%d objects", objects))
	}
}

// requireStill has the tool reconcile stages again and again for some time. No object may change; it returns them.
func (g *gitops) requireStill(limit time.Duration, stages []stage) map[string]string {
	g.Helper()
	before, since := g.versions(), time.Now()
	g.eventually("nothing moves by itself", func() error {
		now := g.versions()
		if moved := difference(before, now); moved != nil {
			before, since = now, time.Now()
			return moved
		}
		if time.Since(since) < settleTime {
			return errors.New("not long enough")
		}
		return nil
	})
	g.every(restInterval, limit, func() {
		for _, stage := range stages {
			require.NoError(g, g.tool.refresh(g.world, stage))
		}
	})
	for _, stage := range stages {
		g.tool.awaitSync(g.world, stage) // else it might not have reconciled at all
	}
	require.NoError(g, difference(before, g.versions()), "the tool reconciled every %s for %s", restInterval, limit)
	return before
}

// versions are the resourceVersions of all objects of the cluster, except what changes by itself: leases, events, nodes, and the tool's
// own objects, in which it notes when it was asked.
func (g *gitops) versions() map[string]string {
	g.Helper()
	objects, err := metadata.NewForConfig(g.cluster.Config)
	require.NoError(g, err)
	versions := map[string]string{}
	for _, resource := range g.resources() {
		list, err := objects.Resource(resource).List(g.Context(), metav1.ListOptions{})
		require.NoError(g, err, resource)
		for i := range list.Items {
			object := &list.Items[i]
			versions[resource.Resource+" "+object.GetNamespace()+"/"+object.GetName()] = object.GetResourceVersion()
		}
	}
	return versions
}

// resources are those of every kind that can be listed.
func (g *gitops) resources() []schema.GroupVersionResource {
	g.Helper()
	server, err := discovery.NewDiscoveryClientForConfig(g.cluster.Config)
	require.NoError(g, err)
	lists, err := server.ServerPreferredResources()
	require.NoError(g, err)
	var all []schema.GroupVersionResource
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		require.NoError(g, err)
		for _, resource := range list.APIResources {
			moves := slices.Contains([]string{"Lease", "Event", "Node"}, resource.Kind) || slices.Contains(g.tool.own(), resource.Kind)
			if slices.Contains(resource.Verbs, "list") && !moves {
				all = append(all, version.WithResource(resource.Name))
			}
		}
	}
	return all
}

// difference is an error that names what is new, gone, or changed.
func difference(before, after map[string]string) error {
	var moved []string
	for name, version := range after {
		if before[name] != version {
			moved = append(moved, fmt.Sprintf("%s: %q, then %q", name, before[name], version))
		}
	}
	for name := range before {
		if _, there := after[name]; !there {
			moved = append(moved, name+" is gone")
		}
	}
	if len(moved) == 0 {
		return nil
	}
	slices.Sort(moved)
	return fmt.Errorf("%d objects moved:\n%s", len(moved), strings.Join(moved[:min(20, len(moved))], "\n"))
}
