package gitops_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

const teamRepository = root + "/examples/gitops/team"

// teamCopy is the repository of the team without anything that surrounds it here.
func teamCopy(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.CopyFS(folder, os.DirFS(teamRepository)))
	return folder
}

func buildTeam(t *testing.T, repository, environment string) (agent, settings unstructured.Unstructured) {
	t.Helper()
	objects, err := manifests.Overlay(filepath.Join(repository, environment))
	require.NoError(t, err)
	require.Len(t, objects, 2)
	for _, object := range objects {
		require.Empty(t, object.GetNamespace(), "the stage of the platform sets the namespace")
		switch object.GetKind() {
		case "Agent":
			agent = object
		case "ConfigMap":
			settings = object
		default:
			t.Errorf("agent-deployer may not write a %s", object.GetKind())
		}
	}
	return agent, settings
}

func TestATeamsRepositoryBuildsOnItsOwn(t *testing.T) {
	repository := teamCopy(t)
	for environment, want := range map[string]struct {
		image    string
		replicas any // a float, as YAML has numbers
		settings map[string]any
	}{
		"dev":        {"ghcr.io/example/order-agent:v2.2.0", 1.0, map[string]any{"LOG_LEVEL": "debug", "MODEL_NAME": "gpt-4o-mini"}},
		"staging":    {"ghcr.io/example/order-agent:v2.1.0", 2.0, map[string]any{"LOG_LEVEL": "info", "MODEL_NAME": "gpt-4o"}},
		"production": {"ghcr.io/example/order-agent:v2.0.0", 3.0, map[string]any{"LOG_LEVEL": "info", "MODEL_NAME": "gpt-4o"}},
	} {
		t.Run(environment, func(t *testing.T) {
			agent, settings := buildTeam(t, repository, environment)
			spec := agent.Object["spec"].(map[string]any)["runtime"].(map[string]any)["spec"].(map[string]any)
			container := spec["container"].(map[string]any)
			require.Equal(t, want.image, container["image"])
			require.Equal(t, want.replicas, spec["replicas"])
			require.Equal(t, want.settings, settings.Object["data"])
			from := []any{map[string]any{"configMapRef": map[string]any{"name": settings.GetName()}}}
			require.Equal(t, from, container["envFrom"], "the name that kustomize generated")
			require.NotEqual(t, "order-agent", settings.GetName(), "changed settings must have a new name, so that the Agent rolls")
		})
	}
}

// A reviewer of a promotion sees one line, and the cluster changes in one field.
func TestATeamPromotesAVersionByOneLine(t *testing.T) {
	repository := teamCopy(t)
	before, settings := buildTeam(t, repository, "staging")
	file := filepath.Join(repository, "staging/kustomization.yaml")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	promoted := strings.ReplaceAll(string(content), "v2.1.0", "v2.2.0")
	require.Len(t, changedLines(string(content), promoted), 1)
	require.NoError(t, os.WriteFile(file, []byte(promoted), 0o600))
	after, same := buildTeam(t, repository, "staging")
	require.Equal(t, settings, same)
	require.Equal(t, []manifests.Difference{{
		Object: "Agent order-agent", Field: "spec.runtime.spec.container.image",
		From: "ghcr.io/example/order-agent:v2.1.0", To: "ghcr.io/example/order-agent:v2.2.0",
	}}, manifests.Compare([]unstructured.Unstructured{before}, []unstructured.Unstructured{after}))
}

// changedLines are the lines of after that differ from before, which has as many lines.
func changedLines(before, after string) []string {
	var changed []string
	old := strings.Split(before, "\n")
	for i, line := range strings.Split(after, "\n") {
		if line != old[i] {
			changed = append(changed, line)
		}
	}
	return changed
}

// The repository of a team has the few fields that it uses; those of the component are generated from the CRD.
func TestATeamTellsKustomizeWhatTheComponentTells(t *testing.T) {
	team := readFields(t, teamRepository+"/base/kustomizeconfig.yaml")
	component := readFields(t, root+"/overlays/components/agent-kustomize/fields.yaml")
	require.Subset(t, component.Images, team.Images)
	require.Subset(t, component.Replicas, team.Replicas)
	require.Len(t, team.NameReference, 1)
	for _, reference := range component.NameReference {
		if reference.Kind == team.NameReference[0].Kind {
			require.Subset(t, reference.FieldSpecs, team.NameReference[0].FieldSpecs)
			return
		}
	}
	t.Errorf("the component knows no %s", team.NameReference[0].Kind)
}

type fields struct {
	Images, Replicas []map[string]any
	NameReference    []struct {
		Kind       string
		FieldSpecs []map[string]any
	}
}

func readFields(t *testing.T, file string) fields {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	read := fields{}
	require.NoError(t, yaml.Unmarshal(content, &read))
	require.NotEmpty(t, read.Images)
	require.NotEmpty(t, read.Replicas)
	return read
}
