package gitops_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// of are the objects of a kind, by namespace and name.
func of(t *testing.T, folder, kind string) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for _, objects := range examples(t, folder) {
		for _, object := range objects {
			if object.GetKind() == kind {
				all[object.GetNamespace()+"/"+object.GetName()] = object.Object
			}
		}
	}
	require.NotEmpty(t, all, "no %s in %s", kind, folder)
	return all
}

func text(object map[string]any, path ...string) string {
	value, _, _ := unstructured.NestedString(object, path...)
	return value
}

// Without serviceAccountName Flux applies as cluster-admin; with postBuild it would substitute ${...} in an Agent.
func TestEveryFluxStageImpersonatesAndSubstitutesNothing(t *testing.T) {
	accounts := of(t, "flux", "ServiceAccount")
	for name, stage := range of(t, "flux", "Kustomization") {
		namespace, account := text(stage, "metadata", "namespace"), text(stage, "spec", "serviceAccountName")
		require.NotEmpty(t, account, name)
		if namespace == "flux-system" {
			require.Contains(t, accounts, namespace+"/"+account, name)
			require.DirExists(t, filepath.Join(root, text(stage, "spec", "path")), name)
		} else {
			require.Equal(t, "agent-deployer", account, name)
		}
		require.NotContains(t, stage["spec"], "postBuild", name)
		require.Equal(t, true, stage["spec"].(map[string]any)["prune"], name)
	}
}

func TestStagesOfFluxWaitForWhatTheyNeed(t *testing.T) {
	stages := of(t, "flux", "Kustomization")
	needs := map[string][]string{}
	for name, stage := range stages {
		dependencies, _, err := unstructured.NestedSlice(stage, "spec", "dependsOn")
		require.NoError(t, err)
		for _, dependency := range dependencies {
			on := "flux-system/" + dependency.(map[string]any)["name"].(string)
			require.Contains(t, stages, on, name)
			require.Equal(t, true, stages[on]["spec"].(map[string]any)["wait"], "%s waits for %s, which is ready at once", name, on)
			needs[name] = append(needs[name], on)
		}
	}
	require.Equal(t, map[string][]string{
		"flux-system/flokoa-dev":        {"flux-system/flokoa-platform"},
		"flux-system/flokoa-staging":    {"flux-system/flokoa-platform"},
		"flux-system/flokoa-production": {"flux-system/flokoa-platform"},
		"flux-system/flokoa-tenants":    {"flux-system/flokoa-dev", "flux-system/flokoa-staging", "flux-system/flokoa-production"},
	}, needs)
}

func TestArgoCDImpersonatesAndATeamHoldsAgentsAndConfigMapsOnly(t *testing.T) {
	settings := of(t, "argocd", "ConfigMap")["argocd/argocd-cm"]
	require.Equal(t, "true", text(settings, "data", "application.sync.impersonation.enabled"))
	projects := of(t, "argocd", "AppProject")
	for name, project := range projects {
		spec := project["spec"].(map[string]any)
		for _, account := range spec["destinationServiceAccounts"].([]any) {
			require.NotEmpty(t, account.(map[string]any)["defaultServiceAccount"], name)
		}
		require.NotEmpty(t, spec["destinationServiceAccounts"], name)
	}
	team := projects["argocd/flokoa-team"]["spec"].(map[string]any)
	require.Empty(t, team["clusterResourceWhitelist"])
	require.Equal(t, []any{
		map[string]any{"group": "agent.flokoa.ai", "kind": "Agent"}, map[string]any{"group": "", "kind": "ConfigMap"},
	}, team["namespaceResourceWhitelist"])
	require.Equal(t, "agent-deployer", team["destinationServiceAccounts"].([]any)[0].(map[string]any)["defaultServiceAccount"])
}

func TestEveryApplicationIsOfAProjectThatAllowsIt(t *testing.T) {
	projects := of(t, "argocd", "AppProject")
	templates := of(t, "argocd", "Application")
	for name, set := range of(t, "argocd", "ApplicationSet") {
		templates[name] = set["spec"].(map[string]any)["template"].(map[string]any)
	}
	for name, application := range templates {
		project, known := projects["argocd/"+text(application, "spec", "project")]
		require.True(t, known, name)
		repositories, _, err := unstructured.NestedStringSlice(project, "spec", "sourceRepos")
		require.NoError(t, err)
		require.Contains(t, repositories, text(application, "spec", "source", "repoURL"), name)
	}
}

// The API server knows its own defaults. Without it Argo CD guesses them.
func TestEveryApplicationIsComparedByTheAPIServer(t *testing.T) {
	templates := of(t, "argocd", "Application")
	for name, set := range of(t, "argocd", "ApplicationSet") {
		templates[name] = set["spec"].(map[string]any)["template"].(map[string]any)
	}
	for name, application := range templates {
		require.Equal(t, "ServerSideDiff=true", text(application, "metadata", "annotations", "argocd.argoproj.io/compare-options"), name)
	}
}

// --- health -------------------------------------------------------------------------------------------------------------

// health runs the script as Argo CD does: the object is the global obj, and what it returns has a status and a message.
func health(t *testing.T, object map[string]any) (status, message string) {
	t.Helper()
	script, err := os.ReadFile(filepath.Join(root, "examples/gitops/argocd/health.lua"))
	require.NoError(t, err)
	state := lua.NewState()
	defer state.Close()
	state.SetGlobal("obj", toLua(state, object))
	require.NoError(t, state.DoString(string(script)))
	result, ok := state.Get(-1).(*lua.LTable)
	require.True(t, ok)
	return result.RawGetString("status").String(), result.RawGetString("message").String()
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		made := state.NewTable()
		for key, each := range value {
			made.RawSetString(key, toLua(state, each))
		}
		return made
	case []any:
		made := state.NewTable()
		for _, each := range value {
			made.Append(toLua(state, each))
		}
		return made
	case string:
		return lua.LString(value)
	case int:
		return lua.LNumber(value)
	case bool:
		return lua.LBool(value)
	default:
		return lua.LNil
	}
}

func TestArgoCDReportsAnAgentsHealth(t *testing.T) {
	ready := func(status, reason string, others ...any) map[string]any {
		conditions := append(others, map[string]any{"type": "Ready", "status": status, "reason": reason, "message": "so it is"})
		return map[string]any{"observedGeneration": 2, "conditions": conditions}
	}
	stalled := map[string]any{"type": "Stalled", "status": "True", "reason": "ProgressDeadlineExceeded", "message": "it is stuck"}
	for name, r := range map[string]struct {
		status        map[string]any
		want, message string
	}{
		"not observed yet":      {nil, "Progressing", "the operator has not observed this generation of the Agent yet"},
		"as it is stored first": {map[string]any{"observedGeneration": -1, "conditions": []any{map[string]any{"type": "Ready", "status": "Unknown", "reason": "Pending", "message": "m"}}}, "Progressing", "the operator has not observed this generation of the Agent yet"},
		"it was changed since":  {map[string]any{"observedGeneration": 1, "conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "RolloutComplete", "message": "m"}}}, "Progressing", "the operator has not observed this generation of the Agent yet"},
		"it rolls":              {ready("False", "RolloutInProgress"), "Progressing", "RolloutInProgress: so it is"},
		"it runs":               {ready("True", "RolloutComplete"), "Healthy", "RolloutComplete: so it is"},
		"it is scaled to zero":  {ready("True", "ScaledToZero"), "Healthy", "ScaledToZero: so it is"},
		"it is suspended":       {ready("True", "Suspended"), "Suspended", "Suspended: so it is"},
		"it crashes":            {ready("False", "CrashLooping"), "Degraded", "CrashLooping: so it is"},
		"the quota refuses it":  {ready("False", "QuotaExceeded"), "Degraded", "QuotaExceeded: so it is"},
		"it is stuck, rolling":  {ready("False", "RolloutInProgress", stalled), "Degraded", "RolloutInProgress: so it is"},
	} {
		t.Run(name, func(t *testing.T) {
			object := map[string]any{"metadata": map[string]any{"generation": 2}}
			if r.status != nil {
				object["status"] = r.status
			}
			status, message := health(t, object)
			require.Equal(t, r.want, status)
			require.Equal(t, r.message, message)
		})
	}
}

func TestArgoCDIsGivenTheScriptThatIsTested(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(root, "examples/gitops/argocd/health.lua"))
	require.NoError(t, err)
	settings := of(t, "argocd", "ConfigMap")["argocd/argocd-cm"]
	require.Equal(t, strings.TrimSpace(string(script)), strings.TrimSpace(text(settings, "data", "resource.customizations.health.agent.flokoa.ai_Agent")))
}
