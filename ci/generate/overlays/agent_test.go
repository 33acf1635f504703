package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

// referring is an Agent that names an object in every other place for a name.
const referring = `
apiVersion: agent.flokoa.ai/v1alpha1
kind: Agent
metadata: {name: planner}
spec:
  model: {name: model}
  autoscaling: {maxReplicas: 3, metrics: [{type: Object, object: {describedObject: {apiVersion: v1, kind: Service, name: service}}}]}
  runtime:
    spec:
      priorityClassName: priority
      runtimeClassName: runtime
      affinity:
        podAffinity: &terms
          requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: k, labelSelector: &planner {matchLabels: {flokoa.ai/agent: planner, team: planner}}}]
          preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: k, labelSelector: *planner}}]
        podAntiAffinity: *terms
      topologySpreadConstraints: [{topologyKey: k, maxSkew: 1, whenUnsatisfiable: DoNotSchedule, labelSelector: *planner}]
      volumes:
        - {name: a, persistentVolumeClaim: {claimName: claim}}
        - {name: b, projected: {sources: [{clusterTrustBundle: {name: bundle, labelSelector: *planner}}]}}
        - name: c
          ephemeral:
            volumeClaimTemplate:
              spec:
                storageClassName: storage
                volumeAttributesClassName: attributes
                volumeName: volume
                dataSource: {kind: PersistentVolumeClaim, name: claim}
                dataSourceRef: {kind: VolumeSnapshot, name: snapshot}
`

// neighbors are what the Agent refers to, and what refers to it.
const neighbors = `
{apiVersion: agent.flokoa.ai/v1alpha1, kind: Model, metadata: {name: model}, spec: {apiKey: {name: key, key: k}}}
---
{apiVersion: v1, kind: Secret, metadata: {name: key}}
---
{apiVersion: v1, kind: Service, metadata: {name: service}, spec: {selector: {flokoa.ai/agent: planner}}}
---
{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: priority}}
---
{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: runtime}}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: claim}}
---
{apiVersion: v1, kind: PersistentVolume, metadata: {name: volume}}
---
{apiVersion: certificates.k8s.io/v1, kind: ClusterTrustBundle, metadata: {name: bundle}}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: storage}}
---
{apiVersion: storage.k8s.io/v1, kind: VolumeAttributesClass, metadata: {name: attributes}}
---
{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshot, metadata: {name: snapshot}}
---
{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: h}, spec: {scaleTargetRef: {apiVersion: agent.flokoa.ai/v1alpha1, kind: Agent, name: planner}}}
---
{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: s}, spec: {scaleTargetRef: {apiVersion: agent.flokoa.ai/v1alpha1, kind: Agent, name: planner}}}
---
{apiVersion: autoscaling.k8s.io/v1, kind: VerticalPodAutoscaler, metadata: {name: v}, spec: {targetRef: {apiVersion: agent.flokoa.ai/v1alpha1, kind: Agent, name: planner}}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i}, spec: {defaultBackend: {service: {name: planner}}, rules: [{http: {paths: [{backend: {service: {name: planner}}}]}}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r}, spec: {rules: [{backendRefs: [{name: planner, port: 80}]}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: g}, spec: {rules: [{backendRefs: [{name: planner, port: 80}]}]}}
---
{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: p}, spec: {selector: {matchLabels: {flokoa.ai/agent: planner}}}}
---
{apiVersion: monitoring.coreos.com/v1, kind: ServiceMonitor, metadata: {name: m}, spec: {selector: {matchLabels: {flokoa.ai/agent: planner}}}}
---
{apiVersion: monitoring.coreos.com/v1, kind: PodMonitor, metadata: {name: n}, spec: {selector: {matchLabels: {flokoa.ai/agent: planner}}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: o}
spec:
  podSelector: &planner {matchLabels: {flokoa.ai/agent: planner}}
  ingress: [{from: [{podSelector: *planner}]}]
  egress: [{to: [{podSelector: *planner}]}]
`

// build builds a kustomization beside the component, and returns its Agent as text.
func build(t *testing.T, files map[string]string) string {
	t.Helper()
	for _, object := range buildAll(t, files) {
		if object.GetKind() == "Agent" {
			text, err := yaml.Marshal(object.Object["spec"])
			require.NoError(t, err)
			return string(text)
		}
	}
	require.Fail(t, "no Agent was built")
	return ""
}

// buildAll builds a kustomization beside the component, laid out as in a team's repository.
func buildAll(t *testing.T, files map[string]string) []unstructured.Unstructured {
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
	return objects
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

// A version of a ConfigMap or Secret has a name of its own, so a change of the content is a change of every Agent that reads it.
func TestAnotherContentChangesEveryReferenceOfAnAgent(t *testing.T) {
	generated := regexp.MustCompile(`(settings|registry)[-0-9a-z]*`)
	agent := func(setting, password string) string {
		return build(t, map[string]string{"kustomization.yaml": kustomization + fmt.Sprintf(`
configMapGenerator: [{name: settings, literals: [a=%s]}]
secretGenerator: [{name: registry, literals: [b=%s]}]
`, setting, password)})
	}
	before, after := agent("1", "1"), agent("2", "2")
	names, others := generated.FindAllString(before, -1), generated.FindAllString(after, -1)
	require.Greater(t, len(names), 10)
	require.Len(t, others, len(names))
	for i := range names {
		require.NotEqual(t, names[i], others[i], "reference %d", i)
	}
	require.Equal(t, generated.ReplaceAllString(before, "$1"), generated.ReplaceAllString(after, "$1"), "nothing else changes")
	require.Equal(t, before, agent("1", "1"))
}

// A Model and its Secret are often generated together, and an Agent names the Model.
func TestTheKeyOfAModelFollowsAGeneratedName(t *testing.T) {
	built := buildAll(t, map[string]string{
		"model.yaml": "{apiVersion: agent.flokoa.ai/v1alpha1, kind: Model, metadata: {name: model}, spec: {provider: OpenAI, model: gpt-4o, apiKey: {name: registry, key: b}}}",
		"agent.yaml": referring,
		"kustomization.yaml": strings.Replace(kustomization, "account.yaml", "model.yaml", 1) + `
namePrefix: of-a-team-
secretGenerator: [{name: registry, literals: [b=2]}]
`})
	for _, object := range built {
		switch object.GetKind() {
		case "Model":
			require.Equal(t, "of-a-team-model", object.GetName())
			name, _, err := unstructured.NestedString(object.Object, "spec", "apiKey", "name")
			require.NoError(t, err)
			require.Equal(t, "of-a-team-registry-6dg6bbh8f9", name)
		case "Agent":
			name, _, err := unstructured.NestedString(object.Object, "spec", "model", "name")
			require.NoError(t, err)
			require.Equal(t, "of-a-team-model", name)
		}
	}
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

func TestNamesFollowAPrefixInBothDirections(t *testing.T) {
	built := buildAll(t, map[string]string{
		"agent.yaml": referring, "neighbors.yaml": neighbors,
		"kustomization.yaml": strings.Replace(kustomization, "account.yaml", "account.yaml, neighbors.yaml", 1) + "namePrefix: of-a-team-\n",
	})
	objects := map[string]unstructured.Unstructured{}
	for _, object := range built {
		objects[object.GroupVersionKind().GroupKind().String()] = object
	}
	agent := objects["Agent.agent.flokoa.ai"]
	checked := 0
	for _, reference := range configure(agentCRD(t), modelCRD(t)).NameReferences {
		for _, field := range reference.Fields {
			object, exists := objects[schema.GroupKind{Group: field.Group, Kind: field.Kind}.String()]
			require.True(t, exists, "no %s", field.Kind)
			for _, value := range values(object.Object, parts(field.Path)) {
				checked++
				require.Regexp(t, "^of-a-team-[a-z]+$", value, "%s %s", field.Kind, field.Path)
			}
		}
	}
	require.Greater(t, checked, 30)
	text, err := yaml.Marshal(agent.Object)
	require.NoError(t, err)
	require.Equal(t, 6, strings.Count(string(text), "team: planner\n"), "a label of another key is no reference:\n%s", text)
}

func TestAScaleTargetThatIsNoAgentIsLeftAlone(t *testing.T) {
	built := buildAll(t, map[string]string{
		"kustomization.yaml": kustomization + "namePrefix: of-a-team-\n",
		"agent.yaml":         everywhere + "\n---\n{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: h}, spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}}",
	})
	for _, object := range built {
		if object.GetKind() == "HorizontalPodAutoscaler" {
			name, _, err := unstructured.NestedString(object.Object, "spec", "scaleTargetRef", "name")
			require.NoError(t, err)
			require.Equal(t, "web", name)
			return
		}
	}
	require.Fail(t, "no HorizontalPodAutoscaler was built")
}

// notNames end the paths of fields that are called like a name and name no object that a kustomization can rename.
var notNames = []string{
	"/card/name", "/card/skills/name", "/container/name", "ontainers/name", "/sidecars/name", "/volumes/name", "/env/name", "/ports/name", "/volumeMounts/name",
	"/volumeDevices/name", "/fileKeyRef/volumeName", "/resourceFieldRef/containerName", "/containerResource/name", // inside the pod
	"/claims/name", "/resource/name", "/metric/name", "/resizePolicy/resourceName", "/httpHeaders/name", "/options/name", "/sysctls/name", // no object
	"/schedulerName", "/signerName", "/csi/driver", "/runAsUserName", // the name of a program or a user
	"/gmsaCredentialSpecName", // Windows
}

func TestEveryFieldThatNamesAnObjectIsConfigured(t *testing.T) {
	configured := map[string]bool{}
	for _, reference := range configure(agentCRD(t), modelCRD(t)).NameReferences {
		for _, field := range reference.Fields {
			configured[field.Path] = true
		}
	}
	used := map[string]bool{}
	for _, field := range append(fieldsOf(agentCRD(t)), fieldsOf(modelCRD(t))...) {
		path := field.Path
		if configured[path] || !regexp.MustCompile(`(?i)(name|ref|driver|class|account|claim)$`).MatchString(path) {
			continue
		}
		at := slices.IndexFunc(notNames, func(end string) bool { return strings.HasSuffix(path, end) })
		require.GreaterOrEqual(t, at, 0, "%s: add it to references, or to notNames", path)
		used[notNames[at]] = true
	}
	require.Len(t, used, len(notNames), "an entry of notNames that the API does not have: used are %v", used)
}

// What is configured is tried above, in every place: a place that the API gains must be added to the Agent of these tests.
func TestTheAgentHasEveryFieldThatIsConfigured(t *testing.T) {
	var agents []any
	for _, text := range []string{everywhere, referring} {
		agent := map[string]any{}
		require.NoError(t, yaml.Unmarshal([]byte(text), &agent))
		agents = append(agents, agent)
	}
	configured := configure(agentCRD(t), modelCRD(t))
	fields := configured.Images
	for _, reference := range configured.NameReferences {
		fields = append(fields, reference.Fields...)
	}
	require.NotEmpty(t, fields)
	for _, field := range fields {
		if field.Kind == "Agent" {
			require.NotEmpty(t, values(agents, parts(field.Path)), field.Path)
		}
	}
}

func agentCRD(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	return parsed(t, crds.Agents)
}

func modelCRD(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	return parsed(t, crds.Models)
}

func parsed(t *testing.T, text []byte) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	require.NoError(t, yaml.UnmarshalStrict(text, crd))
	return crd
}

// parts are those of a path, in which \/ is part of a name.
func parts(path string) []string {
	all := strings.Split(strings.ReplaceAll(path, `\/`, "\n"), "/")
	for i := range all {
		all[i] = strings.ReplaceAll(all[i], "\n", "/")
	}
	return all
}

// values are what a path leads to; it goes into each entry of a list, as kustomize does.
func values(value any, path []string) []any {
	if list, ok := value.([]any); ok {
		var all []any
		for _, entry := range list {
			all = append(all, values(entry, path)...)
		}
		return all
	}
	if len(path) == 0 {
		if value == nil {
			return nil
		}
		return []any{value}
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	return values(fields[path[0]], path[1:])
}
