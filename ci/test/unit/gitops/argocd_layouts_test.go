package gitops_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

var argoCDFolders = []string{oneCluster, fromCharts, threeClusters, twoTeams}

func TestEveryObjectForArgoCDMatchesItsSchema(t *testing.T) {
	known := schemas(t)
	for folder, want := range map[string]map[string]int{
		oneCluster:    {"AppProject": 2, "Application": 1 + 6, "ApplicationSet": 2},
		fromCharts:    {"AppProject": 2, "Application": 3 + 6, "ApplicationSet": 2},
		threeClusters: {"AppProject": 2, "Application": 9, "ApplicationSet": 3},
		twoTeams:      {"AppProject": 2, "Application": 12, "ApplicationSet": 2},
	} {
		checked := map[string]int{}
		for _, kind := range []string{"AppProject", "ApplicationSet"} {
			for name, object := range argoCD(t, folder, kind) {
				require.Empty(t, faults(t, known["argoproj.io/v1alpha1 "+kind], unstructured.Unstructured{Object: object}), "%s: %s", folder, name)
				checked[kind]++
			}
		}
		for name, application := range allApplications(t, folder) {
			require.Empty(t, faults(t, known["argoproj.io/v1alpha1 Application"], application), "%s: %s", folder, name)
			checked["Application"]++
		}
		require.Equal(t, want, checked, folder)
	}
}

// A file that no kustomization lists is applied by nobody, and no test sees it.
func TestEveryFileForArgoCDIsApplied(t *testing.T) {
	for _, pattern := range []string{"gitops/argocd/*.yaml", "gitops/argocd/*/*.yaml", "gitops/argocd/clusters/identity/*.yaml", "teams/argocd/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(root, "examples", pattern))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			if name := filepath.Base(file); name != "kustomization.yaml" && name != "argocd-cm.yaml" {
				content, err := os.ReadFile(filepath.Join(filepath.Dir(file), "kustomization.yaml"))
				require.NoError(t, err)
				require.Regexp(t, `(?m)^resources: \[(.*, )?`+name+`[,\]]`, string(content), file)
			}
		}
	}
}

// accounts are the accounts by project. An account without a namespace is that of the destination.
func accounts(application unstructured.Unstructured) string {
	return map[string]string{
		"flokoa-platform":     "argocd:flokoa-platform",
		"flokoa-environments": "argocd:flokoa-environments",
		"flokoa-team":         destination(application) + ":agent-deployer",
		"flokoa-teams":        destination(application) + ":agent-deployer",
	}[text(application.Object, "spec", "project")]
}

func TestEveryApplicationHasTheAccountOfItsProject(t *testing.T) {
	for _, folder := range argoCDFolders {
		projects := argoCD(t, folder, "AppProject")
		for name, application := range allApplications(t, folder) {
			project := projects[text(application.Object, "spec", "project")]
			require.NotNil(t, project, "%s: %s", folder, name)
			require.Equal(t, accounts(application), accountOf(t, project, application), "%s: %s", folder, name)
		}
	}
}

func TestEveryAccountExistsInItsCluster(t *testing.T) {
	for _, folder := range []string{oneCluster, fromCharts, "gitops/argocd/clusters/identity"} {
		require.Equal(t, "argocd", argoCD(t, folder, "ServiceAccount")["flokoa-platform"]["metadata"].(map[string]any)["namespace"], folder)
		binding := argoCD(t, folder, "ClusterRoleBinding")["argocd-flokoa-platform"]
		require.Equal(t, []any{map[string]any{"kind": "ServiceAccount", "name": "flokoa-platform", "namespace": "argocd"}}, binding["subjects"], folder)
	}
	require.Contains(t, argoCD(t, "gitops/argocd/clusters/identity", "Namespace"), "argocd")
	require.Contains(t, argoCD(t, twoTeams, "ServiceAccount"), "flokoa-environments")
}

// isOfTeam reports whether an Application is of Agents, which are in a repository that is not part of this one.
func isOfTeam(application unstructured.Unstructured) bool {
	return strings.HasPrefix(text(application.Object, "spec", "project"), "flokoa-team")
}

// objectIn is an object with nothing but its identity.
func objectIn(namespace, apiVersion, kind string) unstructured.Unstructured {
	object := unstructured.Unstructured{}
	object.SetAPIVersion(apiVersion)
	object.SetKind(kind)
	object.SetName("a")
	object.SetNamespace(namespace)
	return object
}

func TestEveryProjectAllowsEachObjectOfItsApplications(t *testing.T) {
	for _, folder := range argoCDFolders {
		projects := argoCD(t, folder, "AppProject")
		for name, application := range allApplications(t, folder) {
			project, namespace := projects[text(application.Object, "spec", "project")], destination(application)
			if !isOfTeam(application) {
				require.Empty(t, denials(t, project, application, rendered(t, application)), "%s: %s", folder, name)
				continue
			}
			agents := []unstructured.Unstructured{objectIn(namespace, "agent.flokoa.ai/v1alpha1", "Agent"), objectIn(namespace, "v1", "ConfigMap")}
			require.Empty(t, denials(t, project, application, agents), "%s: %s", folder, name)
		}
	}
}

// Without impersonation, Argo CD applies as cluster-admin. The project limits a team, too.
// Argo CD takes an object for that of the platform if its tracking annotation says so, and teams write Agents and ConfigMaps.
func TestProjectsOfThePlatformHaveNoKindThatTeamsWrite(t *testing.T) {
	for _, folder := range append([]string{oneCluster + "/root"}, argoCDFolders...) {
		for name, project := range argoCD(t, folder, "AppProject") {
			if strings.HasPrefix(name, "flokoa-team") {
				continue // holds what teams write, and nothing else
			}
			kinds, _, err := unstructured.NestedSlice(project, "spec", "namespaceResourceWhitelist")
			require.NoError(t, err)
			require.NotEmpty(t, kinds, name)
			for _, kind := range kinds {
				require.NotContains(t, []string{"Agent", "ConfigMap", "Secret", "Pod"}, kind.(map[string]any)["kind"], name)
				require.NotEqual(t, "*", kind.(map[string]any)["group"], name)
			}
			for _, destination := range project["spec"].(map[string]any)["destinations"].([]any) {
				require.Regexp(t, "^(argocd|(flokoa|[*])-[a-z]+)$", destination.(map[string]any)["namespace"], name)
			}
		}
	}
}

func TestArgoCDImpersonatesAndATeamHoldsAgentsAndConfigMapsOnly(t *testing.T) {
	settings := argoCDSettings(t).Object
	require.Equal(t, "true", text(settings, "data", "application.sync.impersonation.enabled"))
	require.Equal(t, "true", text(settings, "data", "application.sync.impersonation.enforced"))
	for _, folder := range argoCDFolders {
		projects := argoCD(t, folder, "AppProject")
		for name, application := range allApplications(t, folder) {
			if !isOfTeam(application) {
				continue
			}
			project, namespace := projects[text(application.Object, "spec", "project")], destination(application)
			for _, other := range []unstructured.Unstructured{
				objectIn(namespace, "v1", "Secret"), objectIn(namespace, "apps/v1", "Deployment"), objectIn(namespace, "rbac.authorization.k8s.io/v1", "RoleBinding"),
				objectIn("", "v1", "Namespace"), objectIn(manifests.Platform, "v1", "ConfigMap"), objectIn("argocd", "v1", "ConfigMap"),
			} {
				require.Len(t, denials(t, project, application, []unstructured.Unstructured{other}), 1, "%s: %s: %s", folder, name, manifests.Identity(other))
			}
			application.Object["spec"].(map[string]any)["source"].(map[string]any)["repoURL"] = "https://git.example.com/other/repository"
			require.Equal(t, []string{"source https://git.example.com/other/repository"}, denials(t, project, application, nil))
		}
	}
}

// --- comparison and order -----------------------------------------------------------------------------------------------

// The API server knows its own defaults. Without it, Argo CD predicts them.
func TestEveryApplicationIsComparedByTheAPIServer(t *testing.T) {
	for _, folder := range argoCDFolders {
		for name, application := range allApplications(t, folder) {
			require.Equal(t, "ServerSideDiff=true", application.GetAnnotations()["argocd.argoproj.io/compare-options"], "%s: %s", folder, name)
			require.NotContains(t, application.Object["spec"], "ignoreDifferences", "%s: %s", folder, name)
			options, _, err := unstructured.NestedStringSlice(application.Object, "spec", "syncPolicy", "syncOptions")
			require.NoError(t, err)
			require.Contains(t, options, "ServerSideApply=true", "%s: %s", folder, name)
		}
	}
}

// Argo CD gives a revision up after the last retry, and then waits for another commit. An Application that is synced by a person must
// not move on to a commit that nobody has reviewed.
func TestOnlyAutomatedApplicationsRetryForeverWithTheLatestCommit(t *testing.T) {
	for _, folder := range argoCDFolders {
		for name, application := range allApplications(t, folder) {
			policy := application.Object["spec"].(map[string]any)["syncPolicy"].(map[string]any)
			retry := policy["retry"].(map[string]any)
			manual := isOfTeam(application) && strings.HasSuffix(destination(application), "-production")
			require.Equal(t, manual, policy["automated"] == nil, "%s: %s", folder, name)
			if manual {
				require.Positive(t, retry["limit"], "%s: %s", folder, name)
				require.NotContains(t, retry, "refresh", "%s: %s", folder, name)
				continue
			}
			require.EqualValues(t, -1, retry["limit"], "%s: %s", folder, name)
			require.Equal(t, true, retry["refresh"], "%s: %s", folder, name)
			require.Equal(t, map[string]any{"prune": true, "selfHeal": true}, policy["automated"], "%s: %s", folder, name)
		}
	}
}

// waves are the sync waves of the Applications and ApplicationSets of a folder, by name.
func waves(t *testing.T, folder string) map[string]int {
	t.Helper()
	all := map[string]int{}
	for _, kind := range []string{"Application", "ApplicationSet"} {
		for name, object := range argoCD(t, folder, kind) {
			wave, err := strconv.Atoi(text(object, "metadata", "annotations", "argocd.argoproj.io/sync-wave"))
			require.NoError(t, err, "%s: %s", folder, name)
			all[name] = wave
		}
	}
	return all
}

func TestSyncWavesKeepTheOrder(t *testing.T) {
	for folder, order := range map[string][]string{
		oneCluster:    {"flokoa-platform", "flokoa-environments", "flokoa-agents"},
		fromCharts:    {"flokoa-crds", "flokoa-policies", "flokoa-operator", "flokoa-environments", "flokoa-agents"},
		threeClusters: {"flokoa-platform", "flokoa-environments", "flokoa-agents"},
	} {
		found := waves(t, folder)
		require.ElementsMatch(t, order, slices.Collect(maps.Keys(found)), folder)
		for i := 1; i < len(order); i++ {
			require.Less(t, found[order[i-1]], found[order[i]], "%s: %s comes before %s", folder, order[i-1], order[i])
		}
	}
}

// --- what is installed --------------------------------------------------------------------------------------------------

// installed are the objects of all Applications of the platform, and the namespaces that Argo CD creates with metadata.
func installed(t *testing.T, applications map[string]unstructured.Unstructured) []unstructured.Unstructured {
	t.Helper()
	var all []unstructured.Unstructured
	for _, application := range applications {
		if isOfTeam(application) {
			continue
		}
		all = append(all, rendered(t, application)...)
		labels, managed, err := unstructured.NestedStringMap(application.Object, "spec", "syncPolicy", "managedNamespaceMetadata", "labels")
		require.NoError(t, err)
		if managed {
			namespace := unstructured.Unstructured{}
			namespace.SetAPIVersion("v1")
			namespace.SetKind("Namespace")
			namespace.SetName(destination(application))
			namespace.SetLabels(labels)
			annotations, _, err := unstructured.NestedStringMap(application.Object, "spec", "syncPolicy", "managedNamespaceMetadata", "annotations")
			require.NoError(t, err)
			namespace.SetAnnotations(annotations)
			all = append(all, namespace)
		}
	}
	return unmanaged(all)
}

func overlays(t *testing.T, names ...string) []unstructured.Unstructured {
	t.Helper()
	var all []unstructured.Unstructured
	for _, name := range names {
		all = append(all, kustomized(t, filepath.Join(root, "overlays", name))...)
	}
	return unmanaged(all)
}

func TestArgoCDInstallsTheSameFromChartsAndOverlays(t *testing.T) {
	want := overlays(t, "cluster", "dev", "staging", "production")
	requireSame(t, want, installed(t, allApplications(t, oneCluster)))
	requireSame(t, want, installed(t, allApplications(t, fromCharts)))
}

func TestTheReleaseOfAnEnvironmentIsNotInTheEnvironment(t *testing.T) {
	for _, application := range applications(t, fromCharts, "flokoa-environments") {
		require.Equal(t, manifests.Platform, destination(application))
	}
}

// --- three clusters -----------------------------------------------------------------------------------------------------

func TestEachClusterGetsItsEnvironmentOnly(t *testing.T) {
	byServer := map[string]map[string]unstructured.Unstructured{}
	for name, application := range allApplications(t, threeClusters) {
		server := text(application.Object, "spec", "destination", "server")
		if byServer[server] == nil {
			byServer[server] = map[string]unstructured.Unstructured{}
		}
		byServer[server][name] = application
	}
	require.Len(t, byServer, len(manifests.Environments), "the cluster without the label gets nothing")
	for _, environment := range manifests.Environments {
		cluster := byServer["https://eu-"+environment+".example.com"]
		require.Len(t, cluster, 3)
		platform := map[string]string{"dev": "cluster-dev", "staging": "cluster-staging", "production": "cluster"}[environment]
		requireSame(t, overlays(t, platform, environment), installed(t, cluster))
		agents := cluster["agents-eu-"+environment]
		require.Equal(t, "flokoa-"+environment, destination(agents))
		require.Equal(t, environment, text(agents.Object, "spec", "source", "path"))
	}
}

func TestOneLinePromotesThePlatformOfACluster(t *testing.T) {
	for _, environment := range manifests.Environments {
		content, err := os.ReadFile(filepath.Join(root, "examples", threeClusters, "environments", environment+".yaml"))
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(content), "revision: v0.1.0"), environment)
	}
	for name, application := range allApplications(t, threeClusters) {
		if !isOfTeam(application) {
			require.Equal(t, "v0.1.0", text(application.Object, "spec", "source", "targetRevision"), name)
		}
	}
	for _, set := range []string{"flokoa-platform", "flokoa-environments"} {
		spec := argoCD(t, threeClusters, "ApplicationSet")[set]["spec"].(map[string]any)
		require.Equal(t, "{{ .revision }}", text(spec, "template", "spec", "source", "targetRevision"), set)
	}
}

// --- the README ---------------------------------------------------------------------------------------------------------

// One Application for each folder keeps a refused Agent from holding back others.
func TestTheReadmeSplitsTheApplicationOfATeam(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "examples", oneCluster, "README.md"))
	require.NoError(t, err)
	_, snippet, found := strings.Cut(string(readme), "```yaml\n")
	require.True(t, found)
	snippet, _, _ = strings.Cut(snippet, "```")
	changed := map[string]any{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(snippet), &changed))
	set := argoCD(t, oneCluster, "ApplicationSet")["flokoa-agents"]
	merge(set["spec"].(map[string]any), changed)
	require.Empty(t, faults(t, schemas(t)["argoproj.io/v1alpha1 ApplicationSet"], unstructured.Unstructured{Object: set}))

	folder := map[string]any{"path": "dev/order-agent", "basename": "order-agent"}
	parameters := map[string]any{"environment": "dev", "automated": true, "path": folder}
	application := fill(t, set["spec"].(map[string]any)["template"], parameters).(map[string]any)
	require.Equal(t, "agents-dev-order-agent", text(application, "metadata", "name"))
	require.Equal(t, "dev/order-agent", text(application, "spec", "source", "path"))
	require.Equal(t, "flokoa-dev", text(application, "spec", "destination", "namespace"))
}
