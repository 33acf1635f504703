package parity_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

var teams = []string{"payments", "search"}

// teamByHelm is what examples/teams/helm/README.md installs for a team in an environment.
func teamByHelm(t *testing.T, team, environment string) []unstructured.Unstructured {
	t.Helper()
	values, err := manifests.Values(filepath.Join(root, "examples/teams/helm", team+".yaml"))
	require.NoError(t, err)
	name := team + "-" + environment
	values["environment"], values["namespace"] = environment, map[string]any{"name": name}
	objects, err := manifests.Chart(filepath.Join(root, "charts/flokoa-environment"), values, name, manifests.Platform)
	require.NoError(t, err)
	return neutral(objects)
}

// teamByKustomize is the kustomization of a team, which has all environments.
func teamByKustomize(t *testing.T, team string) []unstructured.Unstructured {
	t.Helper()
	objects, err := manifests.Overlay(filepath.Join(root, "examples/teams/kustomize", team))
	require.NoError(t, err)
	return neutral(objects)
}

func TestHelmAndKustomizeInstallTheSameTeams(t *testing.T) {
	for _, team := range teams {
		var helm []unstructured.Unstructured
		for _, environment := range manifests.Environments {
			helm = append(helm, teamByHelm(t, team, environment)...)
		}
		require.Empty(t, lines(manifests.Compare(helm, teamByKustomize(t, team))), "%s: from Helm to kustomize", team)
	}
}

func TestADifferenceBetweenTeamsIsFoundAndNamed(t *testing.T) {
	var search []unstructured.Unstructured
	for _, environment := range manifests.Environments {
		search = append(search, teamByHelm(t, "search", environment)...)
	}
	kustomize := teamByKustomize(t, "search")
	for _, object := range kustomize {
		if object.GetKind() == "ResourceQuota" && object.GetName() == "flokoa" && object.GetNamespace() == "search-dev" {
			require.NoError(t, unstructured.SetNestedField(object.Object, "81", "spec", "hard", "secrets"))
		}
	}
	require.Equal(t, "~ ResourceQuota search-dev/flokoa: spec.hard.secrets: \"80\" -> \"81\"\n", lines(manifests.Compare(search, kustomize)))
}

// Whoever is bound in one namespace is bound in no other: neither a group of the first team, nor one of another team.
func TestNoSubjectIsBoundInTheNamespacesOfTwoTeams(t *testing.T) {
	bound := map[string]string{}
	all := map[string][]unstructured.Unstructured{}
	for _, environment := range manifests.Environments {
		all["first "+environment] = halves(t, environment, "kustomize")["namespace"]
	}
	for _, team := range teams {
		all[team] = teamByKustomize(t, team)
	}
	for _, objects := range all {
		for _, object := range objects {
			subjects, _, err := unstructured.NestedSlice(object.Object, "subjects")
			require.NoError(t, err)
			for _, subject := range subjects {
				who := subject.(map[string]any)
				name := strings.Join([]string{who["kind"].(string), text(who["namespace"]), who["name"].(string)}, " ")
				if name == "ServiceAccount flokoa-system flokoa-operator" {
					continue
				}
				before, known := bound[name]
				require.False(t, known && before != object.GetNamespace(), "%s is bound in %s and in %s", name, before, object.GetNamespace())
				bound[name] = object.GetNamespace()
			}
		}
	}
	// Five groups and a ServiceAccount in each of nine namespaces.
	require.Len(t, bound, 54)
}

func text(value any) string {
	text, _ := value.(string)
	return text
}

// ways are the files that add a team, by the way of installing it.
var ways = map[string]string{
	"Helm": "helm/%.yaml", "kustomize": "kustomize/%/kustomization.yaml", "Flux": "flux/teams/%.yaml", "Argo CD": "argocd/teams/%.yaml",
}

func TestATeamIsOneFileOfAtMostTenLines(t *testing.T) {
	for way, pattern := range ways {
		for _, team := range teams {
			file := filepath.Join(root, "examples/teams", strings.Replace(pattern, "%", team, 1))
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.LessOrEqual(t, strings.Count(string(text), "\n"), 10, "%s: %s", way, file)
		}
		// Nothing else names the team: no list has to be changed for the next one.
		require.Equal(t, []string{strings.Replace(pattern, "%", "payments", 1)}, filesWith(t, strings.Split(pattern, "/")[0], "payments"), way)
	}
}

// filesWith are the files of examples/teams/<folder> that contain a word, without READMEs.
func filesWith(t *testing.T, folder, word string) []string {
	t.Helper()
	var found []string
	base := filepath.Join(root, "examples/teams")
	require.NoError(t, filepath.WalkDir(filepath.Join(base, folder), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) == ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), word) {
			relative, _ := filepath.Rel(base, path)
			found = append(found, relative)
		}
		return err
	}))
	return found
}
