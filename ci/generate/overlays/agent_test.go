package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/crds"
)

// everywhere is an Agent that has an image, and the name of a ConfigMap, a Secret and a ServiceAccount, in each place for one.
const everywhere = `
apiVersion: agent.flokoa.ai/v1alpha1
kind: Agent
metadata: {name: planner}
spec:
  runtime:
    spec:
      serviceAccountName: planner
      imagePullSecrets: [{name: registry}]
      container: &container
        image: example/planner
        env:
          - {name: A, valueFrom: {configMapKeyRef: {name: settings, key: a}}}
          - {name: B, valueFrom: {secretKeyRef: {name: registry, key: b}}}
        envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: registry}}]
      initContainers: [{name: before, <<: *container}]
      sidecars: [{name: beside, <<: *container}]
      volumes:
        - {name: a, configMap: {name: settings}}
        - {name: b, secret: {secretName: registry}}
        - {name: c, projected: {sources: [{configMap: {name: settings}}, {secret: {name: registry}}]}}
        - {name: d, image: {reference: example/planner}}
`

const kustomization = `
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [agent.yaml, account.yaml]
components: [agent-kustomize]
`

// build builds a kustomization beside the component, laid out as in a team's repository, and returns its Agent as text.
func build(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(dir, "agent-kustomize"), os.DirFS(filepath.Join("../../..", agentFolder))))
	all := map[string]string{
		"agent.yaml":   everywhere,
		"account.yaml": "{apiVersion: v1, kind: ServiceAccount, metadata: {name: planner}}",
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	objects, err := manifests.Overlay(dir)
	require.NoError(t, err)
	for _, object := range objects {
		if object.GetKind() == "Agent" {
			text, err := yaml.Marshal(object.Object["spec"])
			require.NoError(t, err)
			return string(text)
		}
	}
	require.Fail(t, "no Agent was built")
	return ""
}

func TestAnAgentsImagesReplicasAndReferencesAreKustomized(t *testing.T) {
	const container = `env:
      - name: A
        valueFrom:
          configMapKeyRef:
            key: a
            name: of-a-team-settings-h29d89cmmt
      - name: B
        valueFrom:
          secretKeyRef:
            key: b
            name: of-a-team-registry-6dg6bbh8f9
      envFrom:
      - configMapRef:
          name: of-a-team-settings-h29d89cmmt
      - secretRef:
          name: of-a-team-registry-6dg6bbh8f9
      image: registry.example/planner:v2
`
	require.Equal(t, `runtime:
  spec:
    container:
      `+container+`    imagePullSecrets:
    - name: of-a-team-registry-6dg6bbh8f9
    initContainers:
    - `+container+`      name: before
    replicas: 5
    serviceAccountName: of-a-team-planner
    sidecars:
    - `+container+`      name: beside
    volumes:
    - configMap:
        name: of-a-team-settings-h29d89cmmt
      name: a
    - name: b
      secret:
        secretName: of-a-team-registry-6dg6bbh8f9
    - name: c
      projected:
        sources:
        - configMap:
            name: of-a-team-settings-h29d89cmmt
        - secret:
            name: of-a-team-registry-6dg6bbh8f9
    - image:
        reference: registry.example/planner:v2
      name: d
`, build(t, map[string]string{"kustomization.yaml": kustomization + `
namePrefix: of-a-team-
images: [{name: example/planner, newName: registry.example/planner, newTag: v2}]
replicas: [{name: planner, count: 5}]
configMapGenerator: [{name: settings, literals: [a=1]}]
secretGenerator: [{name: registry, literals: [b=2]}]
`}))
}

// With the schema, what a patch says of one variable, container or volume leaves the others alone; without, it replaces the list.
func TestAPatchOfAnAgentsListChangesOneEntry(t *testing.T) {
	const patch = `
apiVersion: agent.flokoa.ai/v1alpha1
kind: Agent
metadata: {name: planner}
spec: {runtime: {spec: {container: {env: [{name: C, value: "3"}]}, sidecars: [{name: beside, image: example/other:v1}]}}}
`
	const patched = kustomization + "\npatches: [{path: patch.yaml}]\n"
	// First without: the library keeps a schema that it was once given for as long as the process lives.
	replaced := build(t, map[string]string{"kustomization.yaml": patched, "patch.yaml": patch})
	require.Contains(t, replaced, "name: C\n")
	require.Equal(t, 1, strings.Count(replaced, "secretKeyRef"), "only the init container was left alone:\n%s", replaced)

	schema, err := os.ReadFile(filepath.Join("../../..", agentFolder, "schema.json"))
	require.NoError(t, err)
	merged := build(t, map[string]string{
		"kustomization.yaml": patched + "openapi: {path: schema.json}\n", "patch.yaml": patch, "schema.json": string(schema),
	})
	require.Contains(t, merged, "image: example/other:v1\n")
	require.Contains(t, merged, "name: C\n")
	require.Equal(t, 3, strings.Count(merged, "secretKeyRef"), merged)
}

// What is configured is tried above, in every place: a place that the API gains must be added to the Agent of these tests.
func TestTheAgentHasEveryFieldThatIsConfigured(t *testing.T) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, yaml.UnmarshalStrict(crds.Agents, crd))
	agent := map[string]any{}
	require.NoError(t, yaml.Unmarshal([]byte(everywhere), &agent))
	configured := configure(crd)
	fields := configured.Images
	for _, reference := range configured.NameReferences {
		fields = append(fields, reference.Fields...)
	}
	require.NotEmpty(t, fields)
	for _, field := range fields {
		require.True(t, has(agent, strings.Split(field.Path, "/")), field.Path)
	}
}

// has is true when the path leads to something; it goes into each entry of a list, as kustomize does.
func has(value any, path []string) bool {
	if list, ok := value.([]any); ok {
		return slices.ContainsFunc(list, func(entry any) bool { return has(entry, path) })
	}
	if len(path) == 0 {
		return value != nil
	}
	fields, ok := value.(map[string]any)
	return ok && has(fields[path[0]], path[1:])
}
