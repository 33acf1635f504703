package gitops_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

var teams = []string{"payments", "search"}

// teamByHelm are the environments of a team as its values file for Helm makes them; package parity holds kustomize against the same.
func teamByHelm(t *testing.T, team string) []unstructured.Unstructured {
	t.Helper()
	values, err := manifests.Values(filepath.Join(root, "examples/teams/helm", team+".yaml"))
	require.NoError(t, err)
	var all []unstructured.Unstructured
	for _, environment := range manifests.Environments {
		all = append(all, environmentChart(t, team+"-"+environment, environment, manifests.Platform, values)...)
	}
	return all
}

// environmentChart renders a release that has the name of the namespace of its environment.
func environmentChart(t *testing.T, namespace, environment, releaseNamespace string, values map[string]any) []unstructured.Unstructured {
	t.Helper()
	values = maps.Clone(values)
	values["environment"], values["namespace"] = environment, map[string]any{"name": namespace}
	objects, err := manifests.Chart(filepath.Join(root, "charts/flokoa-environment"), values, namespace, releaseNamespace)
	require.NoError(t, err)
	return unmanaged(objects)
}

// unmanaged takes away what Helm says about itself.
func unmanaged(objects []unstructured.Unstructured) []unstructured.Unstructured {
	for _, object := range objects {
		labels := object.GetLabels()
		delete(labels, "helm.sh/chart")
		delete(labels, "app.kubernetes.io/managed-by")
		object.SetLabels(labels)
	}
	return objects
}

// requireSame compares the objects, and names each difference.
func requireSame(t *testing.T, want, got []unstructured.Unstructured) {
	t.Helper()
	require.NotEmpty(t, want)
	for _, difference := range manifests.Compare(want, got) {
		t.Error(difference.String())
	}
}

// --- Flux ---------------------------------------------------------------------------------------------------------------

// variable is what postBuild replaces: ${name} or ${name:=default}.
var variable = regexp.MustCompile(`\$\{(\w+)(?::=([^}]*))?\}`)

// build returns what Flux applies for a Kustomization, without the content of the repositories of the teams.
func build(t *testing.T, stage unstructured.Unstructured) []unstructured.Unstructured {
	t.Helper()
	written, err := manifests.Text(kustomized(t, filepath.Join(root, text(stage.Object, "spec", "path"))))
	require.NoError(t, err)
	values, _, err := unstructured.NestedStringMap(stage.Object, "spec", "postBuild", "substitute")
	require.NoError(t, err)
	replaced := variable.ReplaceAllStringFunc(written, func(found string) string {
		parts := variable.FindStringSubmatch(found)
		value, given := values[parts[1]]
		require.True(t, given || parts[2] != "", "%s: no value for %s", stage.GetName(), found)
		if !given {
			return parts[2]
		}
		return value
	})
	require.NotContains(t, replaced, "$", "%s: Flux would replace it", stage.GetName())
	return documents(t, replaced)
}

func documents(t *testing.T, stream string) []unstructured.Unstructured {
	t.Helper()
	var objects []unstructured.Unstructured
	for _, document := range strings.Split(strings.TrimPrefix(stream, "---\n"), "\n---\n") {
		object := unstructured.Unstructured{}
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), &object.Object))
		objects = append(objects, object)
	}
	return objects
}

func readStage(t *testing.T, file string) unstructured.Unstructured {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "examples/teams/flux", file))
	require.NoError(t, err)
	return documents(t, string(content))[0]
}

// stagesOf are the stage of a team and the stages that it makes, each with what it makes.
func stagesOf(t *testing.T, team string) map[string]stage {
	t.Helper()
	stages := map[string]stage{}
	for queue := []unstructured.Unstructured{readStage(t, "teams/"+team+".yaml")}; len(queue) > 0; queue = queue[1:] {
		made := build(t, queue[0])
		stages[queue[0].GetName()] = stage{queue[0], made}
		for _, object := range made {
			if object.GetKind() == "Kustomization" && object.GetNamespace() == "flux-system" {
				queue = append(queue, object)
			}
		}
	}
	return stages
}

type stage struct {
	kustomization unstructured.Unstructured
	made          []unstructured.Unstructured
}

func TestFluxInstallsTheTeamsThatHelmInstalls(t *testing.T) {
	for _, team := range teams {
		requireSame(t, teamByHelm(t, team), stagesOf(t, team)[team+"-environments"].made)
	}
}

func TestADifferenceBetweenFluxAndHelmIsFound(t *testing.T) {
	made := stagesOf(t, "payments")["payments-environments"].made
	require.NoError(t, unstructured.SetNestedField(made[slices.IndexFunc(made, func(o unstructured.Unstructured) bool {
		return o.GetKind() == "ResourceQuota" && o.GetName() == "flokoa"
	})].Object, "31", "spec", "hard", "pods"))
	require.Len(t, manifests.Compare(teamByHelm(t, "payments"), made), 1)
}

// The stage of a team writes Flux's own objects, that of its environments only namespaces, and the team only Agents.
func TestEveryStageOfATeamHasItsAccount(t *testing.T) {
	require.Equal(t, "flokoa-platform", text(readStage(t, "teams.yaml").Object, "spec", "serviceAccountName"))
	for _, team := range teams {
		stages := stagesOf(t, team)
		accounts := map[string]string{}
		for name, stage := range stages {
			accounts[name] = text(stage.kustomization.Object, "spec", "serviceAccountName")
			require.Equal(t, true, stage.kustomization.Object["spec"].(map[string]any)["prune"], name)
		}
		require.Equal(t, map[string]string{
			"team-" + team: "flokoa-platform", team + "-environments": "flokoa-environments", team + "-agents": "flokoa-platform",
		}, accounts)
		for _, object := range stages[team+"-agents"].made {
			require.True(t, strings.HasPrefix(object.GetNamespace(), team+"-"), object.GetNamespace())
			switch object.GetKind() {
			case "Kustomization":
				require.Equal(t, "agent-deployer", text(object.Object, "spec", "serviceAccountName"))
				require.Equal(t, object.GetNamespace(), text(object.Object, "spec", "targetNamespace"), "the repository of the team names no namespace")
				require.NotContains(t, object.Object["spec"], "postBuild", "it would replace ${...} in an Agent")
				require.Equal(t, "./"+strings.TrimPrefix(object.GetNamespace(), team+"-"), text(object.Object, "spec", "path"))
			case "GitRepository":
				require.Equal(t, "https://git.example.com/"+team+"/agents", text(object.Object, "spec", "url"))
			default:
				t.Errorf("%s %s", object.GetKind(), object.GetName())
			}
		}
	}
}

// A kustomization.yaml in the folder would be a list that each new team has to be added to.
func TestFluxAppliesEveryFileOfTheTeams(t *testing.T) {
	folder := text(readStage(t, "teams.yaml").Object, "spec", "path")
	require.NoFileExists(t, filepath.Join(root, folder, "kustomization.yaml"))
	files, err := filepath.Glob(filepath.Join(root, folder, "*"))
	require.NoError(t, err)
	require.Len(t, files, len(teams))
}

// --- Argo CD ------------------------------------------------------------------------------------------------------------

func TestArgoCDInstallsTheTeamsThatHelmInstalls(t *testing.T) {
	made := applications(t, twoTeams, "flokoa-team-environments")
	require.Len(t, made, len(teams)*len(manifests.Environments))
	var all, want []unstructured.Unstructured
	for _, application := range made {
		all = append(all, unmanaged(rendered(t, application))...)
	}
	for _, team := range teams {
		want = append(want, teamByHelm(t, team)...)
	}
	requireSame(t, want, all)
}

// Argo CD renders with the destination as the release namespace, and the chart rejects a release in the environment itself.
func TestApplicationsOfATeamGoToTheirNamespaces(t *testing.T) {
	for _, application := range applications(t, twoTeams, "flokoa-team-environments") {
		require.Equal(t, manifests.Platform, destination(application))
	}
	made := applications(t, twoTeams, "flokoa-team-agents")
	require.Len(t, made, len(teams)*len(manifests.Environments))
	for name, application := range made {
		namespace := destination(application)
		require.Equal(t, "agents-"+namespace, name)
		team, environment, _ := strings.Cut(namespace, "-")
		require.Equal(t, "https://git.example.com/"+team+"/agents", text(application.Object, "spec", "source", "repoURL"))
		require.Equal(t, environment, text(application.Object, "spec", "source", "path"))
	}
}

func TestTheEnvironmentOfATeamHasItsOwnNamespaceOnly(t *testing.T) {
	for name, application := range applications(t, twoTeams, "flokoa-team-environments") {
		for _, object := range rendered(t, application) {
			if object.GetKind() == "Namespace" {
				require.Equal(t, name, object.GetName())
				continue
			}
			require.Equal(t, name, object.GetNamespace(), manifests.Identity(object))
		}
	}
}

func TestTheProjectOfTheTeamsIsLimitedToAgents(t *testing.T) {
	team := argoCD(t, twoTeams, "AppProject")["flokoa-teams"]["spec"].(map[string]any)
	require.Empty(t, team["clusterResourceWhitelist"])
	require.Equal(t, []any{
		map[string]any{"group": "agent.flokoa.ai", "kind": "Agent"}, map[string]any{"group": "", "kind": "ConfigMap"},
	}, team["namespaceResourceWhitelist"])
	for _, namespace := range []string{manifests.Platform, "argocd", "kube-system"} {
		require.Empty(t, matching(t, team["destinations"], inCluster, namespace), namespace)
		require.Empty(t, matching(t, team["destinationServiceAccounts"], inCluster, namespace), namespace)
	}
}

// --- both ---------------------------------------------------------------------------------------------------------------

func TestTheAccountOfTheEnvironmentsIsTheSameInBoth(t *testing.T) {
	flux, argocd := of(t, "flux", "ClusterRole")["/flokoa-environments"], argoCD(t, twoTeams, "ClusterRole")["argocd-flokoa-environments"]
	require.Equal(t, flux["rules"], argocd["rules"])
	renamed := strings.NewReplacer("flux-system", "argocd", "name: flokoa-environments", "name: argocd-flokoa-environments",
		"policyName: flokoa-environments", "policyName: argocd-flokoa-environments")
	for _, kind := range []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"} {
		flux, err := yaml.Marshal(of(t, "flux", kind)["/flokoa-environments"])
		require.NoError(t, err)
		argocd, err := yaml.Marshal(argoCD(t, twoTeams, kind)["argocd-flokoa-environments"])
		require.NoError(t, err)
		require.YAMLEq(t, renamed.Replace(string(flux)), string(argocd), kind)
	}
}

// Without the policy, the account makes itself cluster-admin. Every layout that has the account has the policy.
func TestEveryLayoutLimitsTheAccountOfTheEnvironments(t *testing.T) {
	cluster := fluxLayout(t, "cluster")
	for _, layout := range fluxLayouts {
		for _, kind := range []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"} {
			require.Contains(t, fluxLayout(t, layout), kind+" flokoa-environments", layout)
			require.Equal(t, cluster[kind+" flokoa-environments"], fluxLayout(t, layout)[kind+" flokoa-environments"], layout)
		}
	}
}

func TestEveryObjectOfTheTeamsMatchesItsSchema(t *testing.T) {
	known := schemas(t)
	checked := map[string]int{}
	check := func(object unstructured.Unstructured) {
		if schema, theirs := known[object.GetAPIVersion()+" "+object.GetKind()]; theirs {
			require.Empty(t, faults(t, schema, object), "%s %s", object.GetKind(), object.GetName())
			checked[object.GetKind()]++
		}
	}
	teamsFile, err := os.ReadFile(filepath.Join(root, "examples/teams/flux/teams.yaml"))
	require.NoError(t, err)
	for _, object := range documents(t, string(teamsFile)) {
		check(object)
	}
	for _, team := range teams {
		for _, stage := range stagesOf(t, team) {
			check(stage.kustomization)
			if strings.HasSuffix(stage.kustomization.GetName(), "-agents") {
				for _, object := range stage.made {
					check(object)
				}
			}
		}
	}
	require.Equal(t, map[string]int{"GitRepository": 7, "Kustomization": 13}, checked)
}
