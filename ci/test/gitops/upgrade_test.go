package gitops_test

import (
	"bytes"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/gitserver"
	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// nextTag and nextVersion are those of what is in this repository, after the frozen release that examples install.
const (
	nextTag        = "v0.2.0"
	frozenVersion  = "0.1.0"
	nextVersion    = "0.2.0"
	upgradeRest    = 20 * time.Second
	upgradedNS     = "flokoa-production"
	upgradedAgents = "order-agent"
)

// upgrade is a way to change the version of the platform by a commit.
type upgrade struct {
	namedTool
	// prepare makes both versions available, and returns the files of the platform's repository.
	prepare func(g *gitops) map[string][]byte
	// layout is the folder of examples/gitops that is applied once, by kubectl.
	layout string
	// root is the stage that applies the folder's changes in Git.
	root stage
	// files of examples/gitops name the version of the platform, in the words before, and next after the upgrade.
	files        []string
	before, next string
	// platform are the stages of the platform.
	platform []stage
}

func upgrades() map[string]upgrade {
	kustomization := func(name string) stage {
		return stage{kind: fluxKustomization, ObjectKey: client.ObjectKey{Namespace: "flux-system", Name: name}}
	}
	return map[string]upgrade{
		"flux-upgrade": {
			namedTool: flux{lockdown: true}, prepare: (*gitops).frozenInGit, layout: "flux/clusters/production", root: kustomization("flokoa-cluster"),
			files: []string{"flux/clusters/production/kustomization.yaml"}, before: "tag: " + platformTag, next: "tag: " + nextTag,
			platform: []stage{kustomization("flokoa-platform"), kustomization("flokoa-production")},
		},
		"argocd-upgrade": {
			namedTool: argoCD{settings: true}, prepare: (*gitops).chartsInRegistry, layout: "argocd/root", root: application("flokoa"),
			files:  []string{"argocd/helm/platform.yaml", "argocd/helm/environments.yaml"},
			before: "targetRevision: " + frozenVersion, next: "targetRevision: " + nextVersion,
			platform: []stage{application("flokoa-crds"), application("flokoa-policies"), application("flokoa-operator"), application("flokoa-production")},
		},
	}
}

// From the frozen release to what is in this repository, and back: by Flux from the folder of a cluster, by Argo CD from charts.
func TestUpgradesRestartNoAgent(t *testing.T) {
	t.Parallel()
	for name, way := range upgrades() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &gitops{world: newWorld(t, name), tool: way.namedTool}
			g.files = way.prepare(g)
			g.push(platformRepository, gitserver.Change{Files: g.files, Message: "platform"})
			g.push(teamRepository, gitserver.Change{Files: g.teamExample(), Message: "agents"})
			way.start(g.world)
			if _, ok := way.namedTool.(argoCD); ok {
				g.allowPlainHTTP()
			}
			g.kubectl("apply", "--kustomize", filepath.Join(g.checkout(g.files), "examples/gitops", way.layout))
			g.startOperator()
			agents := g.tool.stage(agents, "production")
			g.awaitReady(g.tool, agents, teamRepository, "")
			pods := g.pods()
			require.Len(t, pods, 3)
			g.move(way, way.before, way.next)
			require.Equal(t, pods, g.pods(), "the upgrade restarts no Agent")
			g.move(way, way.next, way.before)
			require.Equal(t, pods, g.pods(), "the way back restarts no Agent")
			table.record(g.tool, "production", "upgraded", "and back")
			g.requireThousand()
		})
	}
}

// move changes the version in Git, and waits until everything is ready and at rest.
func (g *gitops) move(way upgrade, from, to string) {
	g.Helper()
	changed := map[string][]byte{}
	for _, file := range way.files {
		file = "examples/gitops/" + file
		require.Contains(g, string(g.files[file]), from)
		changed[file] = bytes.ReplaceAll(g.files[file], []byte(from), []byte(to))
	}
	maps.Copy(g.files, changed)
	commit := g.push(platformRepository, gitserver.Change{Files: changed, Message: to})
	g.awaitReady(g.tool, way.root, platformRepository, commit)
	_, revision, _ := strings.Cut(to, ": ")
	for _, stage := range way.platform {
		g.awaitState(g.tool, stage, "has "+to, func(s state) bool { return s.ready && strings.Contains(s.revision, revision) })
	}
	g.requireVersion(strings.TrimPrefix(revision, "v"))
	g.requireStill(upgradeRest, append(slices.Clone(way.platform), way.root, g.tool.stage(agents, "production")))
	logf("%-28s %s", g.name, to)
}

// requireVersion checks what is applied, because a tool may report a revision that changed nothing.
func (g *gitops) requireVersion(version string) {
	g.Helper()
	operator := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: harness.System, Name: "flokoa-operator"}}
	require.True(g, g.exists(operator))
	require.Contains(g, operator.Spec.Template.Spec.Containers[0].Image, ":"+version)
	namespace := namespaceOf(upgradedNS)
	require.True(g, g.exists(namespace))
	for _, object := range []client.Object{operator, namespace} {
		require.Equal(g, version, object.GetLabels()["app.kubernetes.io/version"], object.GetName())
	}
}

func (g *gitops) pods() []string {
	g.Helper()
	list := &corev1.PodList{}
	require.NoError(g, g.api.List(g.Context(), list, client.InNamespace(upgradedNS), client.MatchingLabels{"flokoa.ai/agent": upgradedAgents}))
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	slices.Sort(names)
	return names
}

// teamExample are the files of examples/gitops/team.
func (g *gitops) teamExample() map[string][]byte {
	g.Helper()
	files := map[string][]byte{}
	for file, content := range g.files {
		if path, ok := strings.CutPrefix(file, teamExample); ok {
			files[path] = content
		}
	}
	require.NotEmpty(g, files)
	return files
}

// --- versions -----------------------------------------------------------------------------------------------------------

// frozen is the path of a chart of the frozen release.
func frozen(chart string) string {
	return filepath.Join(root, "ci/cmd/release/testdata", platformTag, chart+"-"+frozenVersion+".tgz")
}

// frozenInGit gives the platform's repository two tags: what the frozen charts render, in the folders of the overlays, and the overlays.
func (g *gitops) frozenInGit() map[string][]byte {
	g.Helper()
	files := g.platformFiles()
	old := map[string][]byte{}
	for file, content := range files {
		if !strings.HasPrefix(file, "overlays/") {
			old[file] = content
		}
	}
	old["overlays/cluster/namespace.yaml"] = files["overlays/cluster/namespace.yaml"]
	old["overlays/cluster/generated.yaml"] = slices.Concat(
		g.rendered("flokoa-crds", nil), g.rendered("flokoa-policies", nil), g.rendered("flokoa-operator", map[string]any{"permissions": "Environments", "minReadySeconds": 35}))
	old["overlays/cluster/kustomization.yaml"] = []byte("resources: [namespace.yaml, generated.yaml]\n")
	old["overlays/production/generated.yaml"] = g.rendered("flokoa-environment", map[string]any{"environment": "production"})
	old["overlays/production/kustomization.yaml"] = []byte("resources: [generated.yaml]\n")
	g.push(platformRepository, gitserver.Change{Files: old, Message: "frozen", Tag: platformTag})
	g.push(platformRepository, gitserver.Change{Files: map[string][]byte{"overlays": nil}, Message: "without overlays"})
	for file, content := range files { // every object and the operator's image have a new version
		if strings.HasPrefix(file, "overlays/") {
			content = bytes.ReplaceAll(content, []byte("app.kubernetes.io/version: "+frozenVersion), []byte("app.kubernetes.io/version: "+nextVersion))
			files[file] = bytes.ReplaceAll(content, []byte("flokoa-operator:"+frozenVersion), []byte("flokoa-operator:"+nextVersion))
		}
	}
	g.push(platformRepository, gitserver.Change{Files: files, Message: "next", Tag: nextTag})
	return files
}

// rendered is what a frozen chart renders, without the labels of Helm.
func (g *gitops) rendered(chart string, values map[string]any) []byte {
	g.Helper()
	release := map[string]string{"flokoa-environment": upgradedNS}[chart]
	if release == "" {
		release = chart
	}
	objects, err := manifests.Chart(frozen(chart), values, release, harness.System)
	require.NoError(g, err)
	for i := range objects {
		labels := objects[i].GetLabels()
		delete(labels, "helm.sh/chart")
		delete(labels, "app.kubernetes.io/managed-by")
		objects[i].SetLabels(labels)
	}
	text, err := manifests.Text(objects)
	require.NoError(g, err)
	return []byte(text + "---\n")
}

// chartsInRegistry pushes the frozen charts, and those of this repository as the next version.
func (g *gitops) chartsInRegistry() map[string][]byte {
	g.Helper()
	for _, chart := range []string{"flokoa-crds", "flokoa-policies", "flokoa-operator", "flokoa-environment"} {
		loaded, err := loader.Load(filepath.Join(root, "charts", chart))
		require.NoError(g, err)
		loaded.Metadata.Version, loaded.Metadata.AppVersion = nextVersion, nextVersion
		next, err := chartutil.Save(loaded, g.folder("next"))
		require.NoError(g, err)
		for _, file := range []string{frozen(chart), next} {
			out, err := exec.CommandContext(g.Context(), programs["helm"], "push", file, "oci://"+g.registry+"/charts", "--plain-http").CombinedOutput()
			require.NoError(g, err, "%s", out)
		}
	}
	files := g.platformFiles()
	const layout = "path: examples/gitops/argocd #"
	file := "examples/gitops/argocd/root/root.yaml"
	require.Contains(g, string(files[file]), layout)
	files[file] = bytes.ReplaceAll(files[file], []byte(layout), []byte("path: examples/gitops/argocd/helm #"))
	return files
}
