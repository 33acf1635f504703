package gitops_test

import (
	"bytes"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

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
	objects, err := manifests.Overlay(filepath.Join(root, text(stage.Object, "spec", "path")))
	require.NoError(t, err)
	written, err := manifests.Text(objects)
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

func argoCD(t *testing.T, kind string) map[string]map[string]any {
	t.Helper()
	objects, err := manifests.Overlay(filepath.Join(root, "examples/teams/argocd"))
	require.NoError(t, err)
	all := map[string]map[string]any{}
	for _, object := range objects {
		if object.GetKind() == kind {
			all[object.GetName()] = object.Object
		}
	}
	require.NotEmpty(t, all)
	return all
}

// applications are those that an ApplicationSet makes, by name: one for each file of its git generator and element of its list.
func applications(t *testing.T, name string) map[string]unstructured.Unstructured {
	t.Helper()
	spec := argoCD(t, "ApplicationSet")[name]["spec"].(map[string]any)
	matrix := spec["generators"].([]any)[0].(map[string]any)["matrix"].(map[string]any)["generators"].([]any)
	pattern := matrix[0].(map[string]any)["git"].(map[string]any)["files"].([]any)[0].(map[string]any)["path"].(string)
	files, err := filepath.Glob(filepath.Join(root, pattern))
	require.NoError(t, err)
	require.Len(t, files, len(teams))
	made := map[string]unstructured.Unstructured{}
	for _, file := range files {
		for _, element := range matrix[1].(map[string]any)["list"].(map[string]any)["elements"].([]any) {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			values := map[string]any{}
			require.NoError(t, yaml.UnmarshalStrict(content, &values))
			maps.Copy(values, element.(map[string]any))
			application := unstructured.Unstructured{Object: fill(t, spec["template"], values).(map[string]any)}
			application.SetAPIVersion("argoproj.io/v1alpha1")
			application.SetKind("Application")
			application.SetNamespace("argocd")
			made[application.GetName()] = application
		}
	}
	require.Len(t, made, len(teams)*len(manifests.Environments))
	return made
}

// fill executes each string as a Go template, as an ApplicationSet with goTemplate and missingkey=error does.
func fill(t *testing.T, value any, values map[string]any) any {
	t.Helper()
	switch value := value.(type) {
	case map[string]any:
		filled := map[string]any{}
		for key, each := range value {
			filled[key] = fill(t, each, values)
		}
		return filled
	case []any:
		filled := make([]any, len(value))
		for i, each := range value {
			filled[i] = fill(t, each, values)
		}
		return filled
	case string:
		functions := template.FuncMap{"toYaml": func(v any) (string, error) { text, err := yaml.Marshal(v); return string(text), err }}
		parsed, err := template.New("").Option("missingkey=error").Funcs(functions).Parse(value)
		require.NoError(t, err)
		filled := &bytes.Buffer{}
		require.NoError(t, parsed.Execute(filled, values))
		return filled.String()
	default:
		return value
	}
}

// install renders the chart that an Application names, as Argo CD does: the release has the name of the Application and the namespace
// of its destination, and its parameters win over its values.
func install(t *testing.T, application unstructured.Unstructured) []unstructured.Unstructured {
	t.Helper()
	source := application.Object["spec"].(map[string]any)["source"].(map[string]any)
	require.Equal(t, "ghcr.io/flokoa/charts/flokoa-environment", path.Join(source["repoURL"].(string), source["chart"].(string)))
	values := map[string]any{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(text(source, "helm", "values")), &values))
	parameters := map[string]string{}
	for _, parameter := range source["helm"].(map[string]any)["parameters"].([]any) {
		parameters[text(parameter.(map[string]any), "name")] = text(parameter.(map[string]any), "value")
	}
	require.Equal(t, []string{"environment", "namespace.name"}, slices.Sorted(maps.Keys(parameters)))
	require.Equal(t, parameters["namespace.name"], application.GetName())
	return environmentChart(t, application.GetName(), parameters["environment"], text(application.Object, "spec", "destination", "namespace"), values)
}

func TestArgoCDInstallsTheTeamsThatHelmInstalls(t *testing.T) {
	var all, want []unstructured.Unstructured
	for _, application := range applications(t, "flokoa-team-environments") {
		all = append(all, install(t, application)...)
	}
	for _, team := range teams {
		want = append(want, teamByHelm(t, team)...)
	}
	requireSame(t, want, all)
}

// Argo CD renders with the destination as the release namespace, and the chart rejects a release in the environment itself.
func TestApplicationsOfATeamGoToTheirNamespaces(t *testing.T) {
	chart := struct{ Version string }{}
	content, err := os.ReadFile(filepath.Join(root, "charts/flokoa-environment/Chart.yaml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, &chart))
	for _, application := range applications(t, "flokoa-team-environments") {
		require.Equal(t, manifests.Platform, text(application.Object, "spec", "destination", "namespace"))
		require.Equal(t, chart.Version, text(application.Object, "spec", "source", "targetRevision"))
	}
	for name, application := range applications(t, "flokoa-team-agents") {
		namespace := text(application.Object, "spec", "destination", "namespace")
		require.Equal(t, "agents-"+namespace, name)
		team, environment, _ := strings.Cut(namespace, "-")
		require.Equal(t, "https://git.example.com/"+team+"/agents", text(application.Object, "spec", "source", "repoURL"))
		require.Equal(t, environment, text(application.Object, "spec", "source", "path"))
	}
}

// With impersonation, Argo CD takes the account of the first entry that matches the destination of the Application.
func TestTheProjectOfATeamAllowsItsApplications(t *testing.T) {
	projects := argoCD(t, "AppProject")
	accounts := map[string]string{"flokoa-environments": "argocd:flokoa-environments", "flokoa-teams": "agent-deployer"}
	require.Len(t, projects, len(accounts))
	for _, set := range []string{"flokoa-team-environments", "flokoa-team-agents"} {
		for name, application := range applications(t, set) {
			project := text(application.Object, "spec", "project")
			require.Contains(t, accounts, project, name)
			spec := projects[project]["spec"].(map[string]any)
			namespace := text(application.Object, "spec", "destination", "namespace")
			require.Len(t, matching(t, spec["destinations"], namespace), 1, name)
			matched := matching(t, spec["destinationServiceAccounts"], namespace)
			require.Len(t, matched, 1, name)
			require.Equal(t, accounts[project], matched[0]["defaultServiceAccount"], name)
			repository := spec["sourceRepos"].([]any)[0].(string)
			allowed, err := path.Match(repository, text(application.Object, "spec", "source", "repoURL"))
			require.NoError(t, err)
			require.True(t, allowed, "%s: %s", name, repository)
		}
	}
}

// Argo CD checks the namespace of each object, which is not that of the Application's destination.
func TestTheProjectOfTheEnvironmentsAllowsEachObject(t *testing.T) {
	spec := argoCD(t, "AppProject")["flokoa-environments"]["spec"].(map[string]any)
	for name, application := range applications(t, "flokoa-team-environments") {
		for _, object := range install(t, application) {
			if object.GetKind() == "Namespace" {
				require.Equal(t, name, object.GetName())
				require.Contains(t, spec["clusterResourceWhitelist"], map[string]any{"group": "", "kind": "Namespace"})
				continue
			}
			require.Equal(t, name, object.GetNamespace(), "%s %s", object.GetKind(), object.GetName())
			require.Len(t, matching(t, spec["destinations"], name), 1, name)
		}
	}
}

func TestTheProjectOfTheTeamsIsLimitedToAgents(t *testing.T) {
	team := argoCD(t, "AppProject")["flokoa-teams"]["spec"].(map[string]any)
	require.Empty(t, team["clusterResourceWhitelist"])
	require.Equal(t, []any{
		map[string]any{"group": "agent.flokoa.ai", "kind": "Agent"}, map[string]any{"group": "", "kind": "ConfigMap"},
	}, team["namespaceResourceWhitelist"])
	for _, namespace := range []string{manifests.Platform, "argocd", "kube-system"} {
		require.Empty(t, matching(t, team["destinations"], namespace), namespace)
		require.Empty(t, matching(t, team["destinationServiceAccounts"], namespace), namespace)
	}
}

// matching are the destinations whose pattern matches a namespace.
func matching(t *testing.T, destinations any, namespace string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for _, destination := range destinations.([]any) {
		matched, err := path.Match(text(destination.(map[string]any), "namespace"), namespace)
		require.NoError(t, err)
		if matched {
			found = append(found, destination.(map[string]any))
		}
	}
	return found
}

// --- both ---------------------------------------------------------------------------------------------------------------

func TestTheAccountOfTheEnvironmentsIsTheSameInBoth(t *testing.T) {
	flux, argocd := of(t, "flux", "ClusterRole")["/flokoa-environments"], argoCD(t, "ClusterRole")["argocd-flokoa-environments"]
	require.Equal(t, flux["rules"], argocd["rules"])
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
	check(readStage(t, "teams.yaml"))
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
	for _, kind := range []string{"AppProject", "ApplicationSet"} {
		for _, object := range argoCD(t, kind) {
			check(unstructured.Unstructured{Object: object})
		}
	}
	for _, set := range []string{"flokoa-team-environments", "flokoa-team-agents"} {
		for _, application := range applications(t, set) {
			check(application)
		}
	}
	require.Equal(t, map[string]int{"AppProject": 2, "Application": 12, "ApplicationSet": 2, "GitRepository": 6, "Kustomization": 13}, checked)
}
