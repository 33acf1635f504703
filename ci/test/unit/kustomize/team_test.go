package kustomize_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

const teamFile = kustomization + "resources: [../dev]\ncomponents: [../components/team]\nconfigMapGenerator: [{name: flokoa-team, literals: [name=data-science]}]\n"

func TestATeamMayHaveSomeEnvironments(t *testing.T) {
	namespaces := map[string]bool{}
	for _, object := range inCopy(t, "team", map[string]string{"team/kustomization.yaml": teamFile}) {
		if object.GetKind() == "Namespace" {
			require.Equal(t, "data-science-dev", object.GetName())
		} else {
			namespaces[object.GetNamespace()] = true
		}
	}
	require.Equal(t, map[string]bool{"data-science-dev": true}, namespaces)
}

// Whom the first team binds in its overlay must not follow into the namespaces of others.
func TestATeamBindsNobodyOfTheFirstTeam(t *testing.T) {
	access, err := os.ReadFile(filepath.Join(root, "overlays/dev/guardrails/access.yaml"))
	require.NoError(t, err)
	mine := string(access)
	for _, role := range []string{"agent-viewer", "agent-editor", "secret-manager", "secret-user", "model-manager", "agent-deployer"} {
		mine += "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: " + role + "}\nsubjects:\n" +
			"  - {kind: User, apiGroup: rbac.authorization.k8s.io, name: alice}\n  - {kind: Group, apiGroup: rbac.authorization.k8s.io, name: acme}\n"
	}
	for _, object := range inCopy(t, "team", map[string]string{"team/kustomization.yaml": teamFile, "dev/guardrails/access.yaml": mine}) {
		subjects, _, err := unstructured.NestedSlice(object.Object, "subjects")
		require.NoError(t, err)
		if object.GetName() == "flokoa-operator-writer" || object.GetKind() != "RoleBinding" {
			continue
		}
		require.Len(t, subjects, 1, object.GetName())
		require.Regexp(t, `^(flokoa:data-science-dev:[a-z-]+|agent-deployer)$`, subjects[0].(map[string]any)["name"])
	}
}

func TestATeamWithoutANameIsAnError(t *testing.T) {
	folder := filepath.Join(root, "overlays/components/team")
	_, err := os.Stat(folder)
	require.NoError(t, err)
	top := t.TempDir()
	require.NoError(t, os.CopyFS(top, os.DirFS(filepath.Join(root, "overlays"))))
	for name, generator := range map[string]string{
		"no ConfigMap": "", "another literal": "configMapGenerator: [{name: flokoa-team, literals: [team=payments]}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			mine := filepath.Join(top, "mine")
			require.NoError(t, os.MkdirAll(mine, 0o755))
			text := kustomization + "resources: [../dev]\ncomponents: [../components/team]\n" + generator
			require.NoError(t, os.WriteFile(filepath.Join(mine, "kustomization.yaml"), []byte(text), 0o644))
			_, err := manifests.Overlay(mine)
			require.Error(t, err)
			t.Log(err)
			require.ErrorContains(t, err, "flokoa-team")
		})
	}
}
