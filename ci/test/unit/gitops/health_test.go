package gitops_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/stretchr/testify/require"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/crds"
)

// healthDir has the form of a folder in Argo CD's resource_customizations: the script, its tests, and the Agents of the tests.
var healthDir = filepath.Join(root, "examples/gitops/argocd/health/agent.flokoa.ai/Agent")

// healthTests is health_test.yaml. Its keys are Argo CD's.
type healthTests struct {
	Tests []struct {
		InputPath    string `json:"inputPath"`
		HealthStatus health `json:"healthStatus"`
	} `json:"tests"`
}

type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// readHealthTests returns the health that each test expects, by the name of its Agent.
func readHealthTests(t *testing.T) map[string]health {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(healthDir, "health_test.yaml"))
	require.NoError(t, err)
	file := healthTests{}
	require.NoError(t, yaml.UnmarshalStrict(text, &file))
	want := map[string]health{}
	for _, test := range file.Tests {
		name := strings.TrimSuffix(strings.TrimPrefix(test.InputPath, "testdata/"), ".yaml")
		require.NotContains(t, want, name)
		want[name] = test.HealthStatus
	}
	require.NotEmpty(t, want)
	return want
}

// storedAgent reads an Agent of the tests, with whole numbers as int64, as Argo CD has it.
func storedAgent(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(healthDir, "testdata", name+".yaml"))
	require.NoError(t, err)
	object := unstructured.Unstructured{}
	text, err = yaml.YAMLToJSONStrict(text)
	require.NoError(t, err)
	require.NoError(t, object.UnmarshalJSON(text))
	return object.Object
}

// --- the Lua of Argo CD -------------------------------------------------------------------------------------------------

// sandbox is the Lua that Argo CD gives a script of argocd-cm: the libraries package, base, and table, and one second. Argo CD has a
// part of the library os, too, which is left out here.
func sandbox(t *testing.T) *lua.LState {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	t.Cleanup(state.Close)
	for name, open := range map[string]lua.LGFunction{lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		require.NoError(t, state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	state.SetContext(ctx)
	return state
}

// healthOf runs the script: the object is the global obj, and the script returns a table.
func healthOf(t *testing.T, object map[string]any) health {
	t.Helper()
	script, err := os.ReadFile(filepath.Join(healthDir, "health.lua"))
	require.NoError(t, err)
	return runHealth(t, string(script), object)
}

func runHealth(t *testing.T, script string, object map[string]any) health {
	t.Helper()
	state := sandbox(t)
	state.SetGlobal("obj", toLua(t, state, object))
	require.NoError(t, state.DoString(script))
	result, ok := state.Get(-1).(*lua.LTable)
	require.True(t, ok, "the script returns no table")
	result.ForEach(func(key, value lua.LValue) {
		require.Contains(t, []string{"status", "message"}, key.String())
		require.Equal(t, lua.LTString, value.Type(), key.String())
	})
	return health{result.RawGetString("status").String(), result.RawGetString("message").String()}
}

func toLua(t *testing.T, state *lua.LState, value any) lua.LValue {
	t.Helper()
	switch value := value.(type) {
	case nil:
		return lua.LNil
	case map[string]any:
		made := state.NewTable()
		for key, each := range value {
			made.RawSetString(key, toLua(t, state, each))
		}
		return made
	case []any:
		made := state.NewTable()
		for _, each := range value {
			made.Append(toLua(t, state, each))
		}
		return made
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case bool:
		return lua.LBool(value)
	default:
		require.Fail(t, "an Agent has no such value", "%T", value)
		return nil
	}
}

func TestHealthScriptsGetFewLibraries(t *testing.T) {
	for _, script := range []string{`string.format("")`, `("").len("")`, `math.max(1)`, `os.getenv("HOME")`, `io.open("f")`, `debug.traceback()`} {
		require.ErrorContains(t, sandbox(t).DoString(script), "attempt to index", script)
	}
	require.NoError(t, sandbox(t).DoString(`for _, v in ipairs({1}) do table.insert({}, tostring(v) .. "") end`))
	require.ErrorContains(t, sandbox(t).DoString(`while true do end`), context.DeadlineExceeded.Error())
}

// --- the script ---------------------------------------------------------------------------------------------------------

func TestArgoCDReportsAnAgentsHealth(t *testing.T) {
	for name, want := range readHealthTests(t) {
		require.Equal(t, want, healthOf(t, storedAgent(t, name)), name)
	}
}

func TestEveryAgentOfTheHealthTestsIsUsed(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(healthDir, "testdata", "*"))
	require.NoError(t, err)
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	want := readHealthTests(t)
	require.Len(t, want, len(names))
	for _, name := range names {
		require.Contains(t, want, name)
	}
}

// The operator reports a stalled rollout with another reason. The convention of the condition is that nothing progresses.
func TestStalledAgentIsDegradedWhateverItsReason(t *testing.T) {
	agent := storedAgent(t, "rolling")
	conditions := agent["status"].(map[string]any)["conditions"].([]any)
	for _, condition := range conditions {
		if condition := condition.(map[string]any); condition["type"] == "Reconciling" {
			condition["type"] = "Stalled"
		}
	}
	require.Equal(t, "Degraded", healthOf(t, agent).Status)
}

func TestAgentWithoutAStatusIsProgressing(t *testing.T) {
	for _, path := range [][]string{{"status"}, {"status", "conditions"}, {"status", "observedGeneration"}} {
		agent := storedAgent(t, "settled")
		unstructured.RemoveNestedField(agent, path...)
		require.Equal(t, health{"Progressing", "the operator has not observed this generation of the Agent yet"}, healthOf(t, agent), path)
	}
}

// A deployment waits by either tool, and must come to the same result. Argo CD shows some failures while Flux still waits, because
// they may end without a change of the Agent.
func TestArgoCDAndFluxAgreeOnEveryAgent(t *testing.T) {
	for name, want := range readHealthTests(t) {
		computed, err := status.Compute(&unstructured.Unstructured{Object: storedAgent(t, name)})
		require.NoError(t, err)
		allowed := map[status.Status][]string{
			status.CurrentStatus:     {"Healthy"},
			status.FailedStatus:      {"Degraded"},
			status.TerminatingStatus: {"Progressing"},
			status.InProgressStatus:  {"Progressing", "Degraded"},
		}[computed.Status]
		require.Contains(t, allowed, want.Status, "%s: %s", name, computed.Status)
	}
}

func TestArgoCDIsGivenTheScriptThatIsTested(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(healthDir, "health.lua"))
	require.NoError(t, err)
	require.Equal(t, string(script), text(argoCDSettings(t).Object, "data", "resource.customizations.health.agent.flokoa.ai_Agent"))
}

// --- the reasons of the operator ----------------------------------------------------------------------------------------

// sameHealth has, for each reason of Ready without an Agent of its own, the Agent that has the same health.
var sameHealth = map[string]string{
	"MutatedByAdmission":   "settled",
	"PolicyViolation":      "crash-looping",
	"ApplyFailed":          "crash-looping",
	"ConfigMissing":        "crash-looping",
	"ContainerConfigError": "crash-looping",
	"OOMKilled":            "crash-looping",
	"Unschedulable":        "crash-looping",
	"ProbeFailing":         "crash-looping",
}

// notOfReady are the reasons of other conditions alone.
var notOfReady = map[string]bool{
	"ReplicasAvailable": true, "NoReplicasAvailable": true, "RequirementsMet": true, "MissingRequirements": true,
	"Resolved": true, "ModelNotFound": true,
	"ConfigRolloutPending": true, "ConfigRolloutHalted": true, "OnNextRollout": true, "SecretsNotObserved": true,
}

// readyReasons returns the reasons that the operator has for Ready, by the status of the condition.
func readyReasons(t *testing.T) map[string]string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(root, "operator/api/v1alpha1/conditions.go"))
	require.NoError(t, err)
	reasons := map[string]string{}
	for _, declared := range regexp.MustCompile(`(?m)^\tReason\w+ = "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		if reason := declared[1]; !notOfReady[reason] {
			documented := regexp.MustCompile(`// Reason` + reason + ` is Ready=(True|False|Unknown)`).FindStringSubmatch(string(source))
			require.NotNil(t, documented, "the comment on %s does not start with the status of Ready", reason)
			reasons[reason] = documented[1]
		}
	}
	require.NotEmpty(t, reasons)
	return reasons
}

// readyOf returns the condition Ready of an Agent.
func readyOf(t *testing.T, agent map[string]any) map[string]any {
	t.Helper()
	for _, condition := range agent["status"].(map[string]any)["conditions"].([]any) {
		if condition := condition.(map[string]any); condition["type"] == "Ready" {
			return condition
		}
	}
	require.Fail(t, "the Agent has no condition Ready")
	return nil
}

func TestEveryReasonOfReadyHasAHealth(t *testing.T) {
	want, reasons := readHealthTests(t), readyReasons(t)
	covered := map[string]string{}
	for name := range want {
		ready := readyOf(t, storedAgent(t, name))
		require.Equal(t, reasons[ready["reason"].(string)], ready["status"], name)
		covered[ready["reason"].(string)] = name
	}
	for reason, readyStatus := range reasons {
		like, listed := sameHealth[reason]
		if covered[reason] != "" {
			require.False(t, listed, "%s has an Agent of its own: %s", reason, covered[reason])
			continue
		}
		require.True(t, listed, "no Agent of the health tests has the reason %s, and sameHealth does not have it", reason)
		agent := storedAgent(t, like)
		ready := readyOf(t, agent)
		ready["reason"] = reason
		require.Equal(t, readyStatus, ready["status"], reason)
		require.Equal(t, health{want[like].Status, fmt.Sprintf("%s: %s", reason, ready["message"])}, healthOf(t, agent))
	}
	for reason := range sameHealth {
		require.Contains(t, reasons, reason)
	}
}

// --- the CustomResourceDefinition ---------------------------------------------------------------------------------------

func agentSchema(t *testing.T) *apiextensions.JSONSchemaProps {
	t.Helper()
	crd := apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, yaml.Unmarshal(crds.Agents, &crd))
	require.Len(t, crd.Spec.Versions, 1)
	schema := &apiextensions.JSONSchemaProps{}
	require.NoError(t, apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, schema, nil))
	return schema
}

func TestEveryAgentOfTheHealthTestsIsAsStored(t *testing.T) {
	schema := agentSchema(t)
	structural, err := structuralschema.NewStructural(schema)
	require.NoError(t, err)
	for name := range readHealthTests(t) {
		agent := storedAgent(t, name)
		require.Empty(t, faults(t, schema, unstructured.Unstructured{Object: agent}), name)
		for _, field := range []string{"name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation"} {
			require.Contains(t, agent["metadata"], field, name)
		}
		defaulted := runtime.DeepCopyJSON(agent)
		defaulting.Default(defaulted, structural)
		require.Equal(t, defaulted, agent, name)
	}
}

func TestNewAgentHasTheStatusThatIsStoredFirst(t *testing.T) {
	structural, err := structuralschema.NewStructural(agentSchema(t))
	require.NoError(t, err)
	agent := storedAgent(t, "new")
	created := runtime.DeepCopyJSON(agent)
	delete(created, "status")
	defaulting.Default(created, structural)
	require.Equal(t, created, agent)
}
