package gitops_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

const fluxExamples = root + "/examples/gitops/flux"

// fluxLayouts are what a user applies.
var fluxLayouts = []string{"cluster", "clusters/dev", "clusters/staging", "clusters/production", "helm"}

// fluxLayout is what `kubectl apply --kustomize` creates for a layout, by kind and name.
func fluxLayout(t *testing.T, folder string) map[string]unstructured.Unstructured {
	t.Helper()
	all := map[string]unstructured.Unstructured{}
	for _, object := range kustomized(t, filepath.Join(fluxExamples, folder)) {
		all[object.GetKind()+" "+object.GetName()] = object
	}
	return all
}

func TestEveryFluxExampleMatchesItsSchema(t *testing.T) {
	require.Equal(t, map[string]int{"GitRepository": 6, "HelmRelease": 6, "Kustomization": 13, "OCIRepository": 4}, checked(t, "flux"))
}

// The files alone would not show a patch that breaks an object.
func TestEveryFluxLayoutMatchesItsSchema(t *testing.T) {
	known := schemas(t)
	for _, layout := range fluxLayouts {
		for name, object := range fluxLayout(t, layout) {
			if schema, theirs := known[object.GetAPIVersion()+" "+object.GetKind()]; theirs {
				require.Empty(t, faults(t, schema, object), "%s: %s", layout, name)
			}
		}
	}
}

// paths are the folders that the stages of a layout apply, by the name of the stage.
func paths(layout map[string]unstructured.Unstructured) map[string]string {
	found := map[string]string{}
	for _, object := range layout {
		if object.GetKind() == "Kustomization" {
			found[object.GetName()] = text(object.Object, "spec", "path")
		}
	}
	return found
}

func TestOneClusterHasThreeEnvironments(t *testing.T) {
	require.Equal(t, map[string]string{
		"flokoa-platform": "./overlays/cluster",
		"flokoa-dev":      "./overlays/dev", "flokoa-staging": "./overlays/staging", "flokoa-production": "./overlays/production",
		"flokoa-tenants-dev":        "./examples/gitops/flux/tenants/dev",
		"flokoa-tenants-staging":    "./examples/gitops/flux/tenants/staging",
		"flokoa-tenants-production": "./examples/gitops/flux/tenants/production",
	}, paths(fluxLayout(t, "cluster")))
}

// A cluster with one environment has the overlay for it; an overlay that does not exist would be an error in the cluster only.
func TestThreeClustersHaveOneEnvironmentEach(t *testing.T) {
	for environment, platform := range map[string]string{
		"dev": "./overlays/cluster-dev", "staging": "./overlays/cluster-staging", "production": "./overlays/cluster",
	} {
		got := paths(fluxLayout(t, "clusters/"+environment))
		require.Equal(t, map[string]string{
			"flokoa-cluster": "./examples/gitops/flux/clusters/" + environment, "flokoa-platform": platform,
			"flokoa-" + environment: "./overlays/" + environment, "flokoa-tenants-" + environment: "./examples/gitops/flux/tenants/" + environment,
		}, got)
		for _, path := range got {
			require.FileExists(t, filepath.Join(root, path, "kustomization.yaml"))
		}
	}
}

// The layouts are made of the same files, so a cluster of its own differs from the cluster of all in what its folder says.
func TestAClusterOfItsOwnDiffersOnlyAsItSays(t *testing.T) {
	shared := fluxLayout(t, "cluster")
	for _, environment := range manifests.Environments {
		for name, object := range fluxLayout(t, "clusters/"+environment) {
			if strings.HasPrefix(object.GetName(), "flokoa-cluster") {
				require.NotContains(t, shared, name)
				continue
			}
			for _, difference := range manifests.Compare([]unstructured.Unstructured{shared[name]}, []unstructured.Unstructured{object}) {
				require.Equal(t, "Kustomization flux-system/flokoa-platform spec.path", difference.Object+" "+difference.Field)
			}
		}
	}
}

// A reviewer of a promotion of the platform sees one line: that of the tag.
func TestEachClusterPinsThePlatformInOneLine(t *testing.T) {
	for _, folder := range []string{"cluster", "clusters/dev", "clusters/staging", "clusters/production"} {
		t.Run(folder, func(t *testing.T) {
			examples := t.TempDir()
			require.NoError(t, os.CopyFS(examples, os.DirFS(fluxExamples)))
			before, err := manifests.Overlay(filepath.Join(examples, folder))
			require.NoError(t, err)
			file := filepath.Join(examples, folder, "kustomization.yaml")
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, 1, strings.Count(string(content), "tag: v0.1.0"))
			require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(content), "v0.1.0", "v0.2.0", 1)), 0o600))
			after, err := manifests.Overlay(filepath.Join(examples, folder))
			require.NoError(t, err)
			require.Equal(t, []manifests.Difference{{
				Object: "GitRepository flux-system/flokoa", Field: "spec.ref.tag", From: "v0.1.0", To: "v0.2.0",
			}}, manifests.Compare(before, after))
		})
	}
}

// What a cluster's folder says on main must reach the cluster, and what it pins must not come from main.
func TestAClusterFollowsItsOwnFolderOnMain(t *testing.T) {
	for _, environment := range manifests.Environments {
		layout := fluxLayout(t, "clusters/"+environment)
		for stage := range paths(layout) {
			source := "GitRepository " + text(layout["Kustomization "+stage].Object, "spec", "sourceRef", "name")
			require.Contains(t, layout, source)
			branch := text(layout[source].Object, "spec", "ref", "branch")
			require.Equal(t, stage == "flokoa-cluster", branch == "main", stage)
		}
	}
}

// Except for its name and its folder, the stage of a group is the stage that it replaces.
func TestAGroupOfAgentsHasAStageOfItsOwn(t *testing.T) {
	whole, groups := fluxLayout(t, "tenants/production"), fluxLayout(t, "groups")
	require.Equal(t, whole["GitRepository agents"], groups["GitRepository agents"])
	require.Equal(t, map[string]string{"agents-orders": "./production/orders", "agents-billing": "./production/billing"}, paths(groups))
	for name := range paths(groups) {
		stage := groups["Kustomization "+name]
		stage.SetName("agents")
		require.NoError(t, unstructured.SetNestedField(stage.Object, "./production", "spec", "path"))
		require.Equal(t, whole["Kustomization agents"], stage)
	}
}

// The folders of the groups build, in a repository of a team that moved its Agents there.
func TestARepositoryWithGroupsBuilds(t *testing.T) {
	repository := teamCopy(t)
	content, err := os.ReadFile(filepath.Join(repository, "production/kustomization.yaml"))
	require.NoError(t, err)
	agents := map[string]bool{}
	for name, path := range paths(fluxLayout(t, "groups")) {
		moved := strings.ReplaceAll(string(content), "../base", "../../base") + "nameSuffix: -" + strings.TrimPrefix(name, "agents-") + "\n"
		require.NoError(t, os.MkdirAll(filepath.Join(repository, path), 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(repository, path, "kustomization.yaml"), []byte(moved), 0o600))
		agent, _ := buildTeam(t, repository, path)
		agents[agent.GetName()] = true
	}
	require.Equal(t, map[string]bool{"order-agent-orders": true, "order-agent-billing": true}, agents)
}

// What the README of Flux says of files, stages, and promotion is so.
func TestTheReadmeOfFluxIsTrue(t *testing.T) {
	content, err := os.ReadFile(fluxExamples + "/README.md")
	require.NoError(t, err)
	readme := strings.ReplaceAll(string(content), "<env>", "production")
	for _, link := range regexp.MustCompile(`\]\(([^)#:]+)[^)]*\)`).FindAllStringSubmatch(readme, -1) {
		_, err := os.Stat(filepath.Join(fluxExamples, link[1]))
		require.NoError(t, err, "a link")
	}
	for _, path := range regexp.MustCompile(`(?:examples|overlays)/[-a-z/]+[a-z]`).FindAllString(readme, -1) {
		require.DirExists(t, filepath.Join(root, path))
	}
	pins := regexp.MustCompile("`([a-z/]+/kustomization.yaml)`(?: or `([a-z/]+/kustomization.yaml)`)? \\| `(- .*)` \\|").FindAllStringSubmatch(readme, -1)
	require.Len(t, pins, 3)
	for _, pin := range pins[1:] {
		for _, file := range pin[1:3] {
			if file != "" {
				requireLine(t, filepath.Join(fluxExamples, file), pin[3])
			}
		}
	}
	requireLine(t, teamRepository+"/dev/kustomization.yaml", pins[0][3])
	layout := fluxLayout(t, "clusters/production")
	for stage, path := range paths(layout) {
		account := text(layout["Kustomization "+stage].Object, "spec", "serviceAccountName")
		require.Regexp(t, "\\| `"+stage+"`.* \\| `"+strings.TrimPrefix(path, "./")+"` \\| `flux-system/"+account+"` \\|", readme)
	}
}

func requireLine(t *testing.T, file, line string) {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(content), line, file)
}
