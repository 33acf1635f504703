package render_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
)

// modelVariables are those of a Model.
var modelVariables = []corev1.EnvVar{
	{Name: "FLOKOA_MODEL", Value: "m"},
	{Name: "OPENAI_API_KEY", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}, Key: "k"}}},
	{Name: "OPENAI_BASE_URL", Value: "https://api"},
}

func withModel(t *testing.T, children render.Children, agent *v1alpha1.Agent, live render.Live, variables []corev1.EnvVar) render.Children {
	t.Helper()
	children, err := children.WithModel(agent, live, variables)
	require.NoError(t, err)
	return children
}

func TestModelVariablesPrecedeTheAuthors(t *testing.T) {
	const (
		name      = `{name: FLOKOA_AGENT_NAME, value: a}`
		namespace = `{name: FLOKOA_AGENT_NAMESPACE, value: default}`
		model     = `{name: FLOKOA_MODEL, value: m}`
		key       = `{name: OPENAI_API_KEY, valueFrom: {secretKeyRef: {name: keys, key: k}}}`
		url       = `{name: OPENAI_BASE_URL, value: "https://api"}`
	)
	for _, r := range []row{
		{name: "no variables of the author", want: list("env", name, namespace, model, key, url)},
		{name: "the author maps the name", runtime: container(`env: [{name: MODEL, value: "openai:$(FLOKOA_MODEL)"}]`), want: list("env", name, namespace, model, key, url, `{name: MODEL, value: "openai:$(FLOKOA_MODEL)"}`)},
		{name: "the author's variable wins, in its own place", runtime: container(`env: [{name: A, value: "1"}, {name: OPENAI_BASE_URL, value: "https://mine"}]`), want: list("env", name, namespace, model, key, `{name: A, value: "1"}`, `{name: OPENAI_BASE_URL, value: "https://mine"}`)},
		{name: "the author's empty variable wins", runtime: container(`env: [{name: OPENAI_API_KEY}]`), want: list("env", name, namespace, model, url, `{name: OPENAI_API_KEY}`)},
		{name: "the author replaces all", runtime: container(`env: [{name: FLOKOA_AGENT_NAME, value: a}, {name: OPENAI_BASE_URL, value: u}, {name: OPENAI_API_KEY, value: k}, {name: FLOKOA_MODEL, value: m}]`), want: list("env", namespace, name, `{name: OPENAI_BASE_URL, value: u}`, `{name: OPENAI_API_KEY, value: k}`, model)},
		{name: "a ConfigMap that sets the URL, which explicit variables beat", runtime: container(`envFrom: [{configMapRef: {name: evil}}]`), want: list("env", name, namespace, model, key, url)},
	} {
		t.Run(r.name, func(t *testing.T) {
			agent := agentOf(t, r.availability, r.runtime)
			children := withModel(t, rendered(t, agent), agent, render.Live{}, modelVariables)
			require.Equal(t, canonical(t, r.want), asYAML(t, inContainer("env")(t, children)))
		})
	}
}

func TestOnlyTheAgentContainerGetsTheModel(t *testing.T) {
	agent := agentOf(t, "", "sidecars: [{name: s, image: i}]\ninitContainers: [{name: b, image: i}]")
	plain := rendered(t, agent)
	unchanged := asYAML(t, plain)
	children := withModel(t, plain, agent, render.Live{}, modelVariables)
	others, err := json.Marshal(podOf(children).InitContainers)
	require.NoError(t, err)
	require.NotContains(t, string(others), "OPENAI")
	require.NotContains(t, string(others), "FLOKOA_MODEL")
	require.NotEqual(t, plain.Deployment.Annotations, children.Deployment.Annotations, "the digest: a variable that goes must be applied, too")
	require.Equal(t, unchanged, asYAML(t, plain), "the children without the Model are as before")
}

func TestWithoutAModelNothingChanges(t *testing.T) {
	agent := agentOf(t, "", "")
	plain := rendered(t, agent)
	require.Equal(t, asYAML(t, plain), asYAML(t, withModel(t, plain, agent, render.Live{}, nil)))
}

// The Service drops the ports of an earlier template when the Deployment with the current one is rolled out, and its digest covers the Model.
func TestPortsFollowTheTemplateWithTheModel(t *testing.T) {
	agent := agentOf(t, "", container("ports: [{containerPort: 8081, name: http}]"))
	old := []corev1.ServicePort{{Name: "http", Port: 8080}}
	during := func(rolledOut string) render.Children {
		live := render.Live{Ports: old, RolledOut: rolledOut}
		children, err := render.Agent(agent, live)
		require.NoError(t, err)
		return withModel(t, children, agent, live, modelVariables)
	}
	children := during("an earlier template")
	require.Len(t, children.Service.Spec.Ports, 2)
	complete := during(children.Deployment.Annotations[v1alpha1.AnnotationDigest])
	require.Len(t, complete.Service.Spec.Ports, 1)
	require.NotEqual(t, children.Service.Annotations[v1alpha1.AnnotationDigest], complete.Service.Annotations[v1alpha1.AnnotationDigest])
}

func TestOmittedProbesGetDefaults(t *testing.T) {
	const (
		readiness = `readinessProbe: {httpGet: {path: /ready, port: 8080}, initialDelaySeconds: 10, periodSeconds: 5, timeoutSeconds: 3, successThreshold: 1, failureThreshold: 3}`
		liveness  = `livenessProbe: {httpGet: {path: /health, port: 8080}, initialDelaySeconds: 30, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 3}`
		startup   = `startupProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 60}`

		ownReadiness = `readinessProbe: {tcpSocket: {port: 1}}`
		ownLiveness  = `livenessProbe: {exec: {command: [alive]}, periodSeconds: 7}`
		ownStartup   = `startupProbe: {httpGet: {path: /boot, port: http}}`
		port         = `ports: [{containerPort: 8080}]`
	)
	check(t, inContainer("readinessProbe", "livenessProbe", "startupProbe"), []row{
		{name: "all three", runtime: container(port), want: fieldsOf(readiness, liveness, startup)},
		{name: "own readiness", runtime: container(port, ownReadiness), want: fieldsOf(ownReadiness, liveness, startup)},
		{name: "own liveness, which gets no default startup probe", runtime: container(port, ownLiveness), want: fieldsOf(readiness, ownLiveness)},
		{name: "own startup", runtime: container(port, ownStartup), want: fieldsOf(readiness, liveness, ownStartup)},
		{name: "own readiness and liveness", runtime: container(port, ownReadiness, ownLiveness), want: fieldsOf(ownReadiness, ownLiveness)},
		{name: "own readiness and startup", runtime: container(port, ownReadiness, ownStartup), want: fieldsOf(ownReadiness, liveness, ownStartup)},
		{name: "own liveness and startup", runtime: container(port, ownLiveness, ownStartup), want: fieldsOf(readiness, ownLiveness, ownStartup)},
		{name: "all own", runtime: container(port, ownReadiness, ownLiveness, ownStartup), want: fieldsOf(ownReadiness, ownLiveness, ownStartup)},
		{name: "no port", runtime: container()},
		{name: "no TCP port", runtime: container(`ports: [{containerPort: 8080, protocol: UDP, name: http}, {containerPort: 8080, protocol: SCTP}]`)},
		{name: "no TCP port, own liveness", runtime: container(ownLiveness), want: fieldsOf(ownLiveness)},
		{name: "the port named http, although another comes first", runtime: container(`ports: [{containerPort: 9090, name: grpc}, {containerPort: 8080, name: http}]`), want: fieldsOf(readiness, liveness, startup)},
		{name: "the first TCP port, although a UDP port named http comes first", runtime: container(`ports: [{containerPort: 53, protocol: UDP, name: http}, {containerPort: 8080}, {containerPort: 9090}]`), want: fieldsOf(readiness, liveness, startup)},
		{name: "Default", availability: `probes: Default`, runtime: container(port), want: fieldsOf(readiness, liveness, startup)},
		{name: "None", availability: `probes: None`, runtime: container(port)},
		{name: "None, own readiness", availability: `probes: None`, runtime: container(port, ownReadiness), want: fieldsOf(ownReadiness)},
	})
}

func TestPodDrainsBeforeItTerminates(t *testing.T) {
	check(t, inContainer("lifecycle"), []row{
		{name: "five seconds", want: `lifecycle: {preStop: {sleep: {seconds: 5}}}`},
		{name: "own drainSeconds", availability: `drainSeconds: 300`, want: `lifecycle: {preStop: {sleep: {seconds: 300}}}`},
		{name: "no drain at 0", availability: `drainSeconds: 0`},
		{name: "own preStop", runtime: container(`lifecycle: {preStop: {exec: {command: [bye]}}}`), want: `lifecycle: {preStop: {exec: {command: [bye]}}}`},
		{name: "own preStop and drainSeconds", availability: `drainSeconds: 9`, runtime: container(`lifecycle: {preStop: {sleep: {seconds: 1}}}`), want: `lifecycle: {preStop: {sleep: {seconds: 1}}}`},
		{name: "own postStart only", runtime: container(`lifecycle: {postStart: {exec: {command: [hi]}}}`), want: `lifecycle: {postStart: {exec: {command: [hi]}}, preStop: {sleep: {seconds: 5}}}`},
		{name: "own postStart, no drain at 0", availability: `drainSeconds: 0`, runtime: container(`lifecycle: {postStart: {exec: {command: [hi]}}}`), want: `lifecycle: {postStart: {exec: {command: [hi]}}}`},
	})
}

func TestGracePeriodIsLongerThanTheDrain(t *testing.T) {
	check(t, inPod("terminationGracePeriodSeconds"), []row{
		{name: "30 more than the default drain", want: `terminationGracePeriodSeconds: 35`},
		{name: "30 more than the user's drain", availability: `drainSeconds: 100`, want: `terminationGracePeriodSeconds: 130`},
		{name: "30 without a drain", availability: `drainSeconds: 0`, want: `terminationGracePeriodSeconds: 30`},
		{name: "own", runtime: `terminationGracePeriodSeconds: 6`, want: `terminationGracePeriodSeconds: 6`},
		{name: "own 0 without a drain", availability: `drainSeconds: 0`, runtime: `terminationGracePeriodSeconds: 0`, want: `terminationGracePeriodSeconds: 0`},
		{name: "own, shorter than the default drain, with an own preStop", runtime: "terminationGracePeriodSeconds: 1\n" + container(`lifecycle: {preStop: {exec: {command: [bye]}}}`), want: `terminationGracePeriodSeconds: 1`},
	})
}

func TestIdentityVariablesComeFirst(t *testing.T) {
	const (
		name      = `{name: FLOKOA_AGENT_NAME, value: a}`
		namespace = `{name: FLOKOA_AGENT_NAMESPACE, value: default}`
		url       = `{name: FLOKOA_AGENT_URL, value: "http://a.default.svc:8080"}`
		port      = `ports: [{containerPort: 8080}]`
	)
	check(t, inContainer("env"), []row{
		{name: "name, namespace and URL", runtime: container(port), want: list("env", name, namespace, url)},
		{name: "no URL without a port", want: list("env", name, namespace)},
		{name: "no URL without a TCP port", runtime: container(`ports: [{containerPort: 53, protocol: UDP}]`), want: list("env", name, namespace)},
		{name: "own entries after them, in the user's order", runtime: container(`env: [{name: Z, value: "$(FLOKOA_AGENT_NAME)"}, {name: A, value: "$(Z)"}]`), want: list("env", name, namespace, `{name: Z, value: "$(FLOKOA_AGENT_NAME)"}`, `{name: A, value: "$(Z)"}`)},
		{name: "own entry of the same name, in its own place", runtime: container(port, `env: [{name: A, value: "1"}, {name: FLOKOA_AGENT_URL, value: "https://elsewhere"}]`), want: list("env", name, namespace, `{name: A, value: "1"}`, `{name: FLOKOA_AGENT_URL, value: "https://elsewhere"}`)},
		{name: "own empty entry of the same name", runtime: container(port, `env: [{name: FLOKOA_AGENT_URL}]`), want: list("env", name, namespace, `{name: FLOKOA_AGENT_URL}`)},
		{name: "all own", runtime: container(port, `env: [{name: FLOKOA_AGENT_URL, value: u}, {name: FLOKOA_AGENT_NAMESPACE, value: ns}, {name: FLOKOA_AGENT_NAME, value: me}]`), want: list("env", `{name: FLOKOA_AGENT_URL, value: u}`, `{name: FLOKOA_AGENT_NAMESPACE, value: ns}`, `{name: FLOKOA_AGENT_NAME, value: me}`)},
		{name: "a source", runtime: container(`env: [{name: KEY, valueFrom: {secretKeyRef: {name: s, key: k, optional: false}}}]`), want: list("env", name, namespace, `{name: KEY, valueFrom: {secretKeyRef: {name: s, key: k, optional: false}}}`)},
	})
}

func TestEveryContainerPortHasANameAndAProtocol(t *testing.T) {
	check(t, inContainer("ports"), []row{
		{name: "none"},
		{name: "unnamed", runtime: container(`ports: [{containerPort: 8080}]`), want: `ports: [{containerPort: 8080, name: port-0, protocol: TCP}]`},
		{name: "unnamed, UDP", runtime: container(`ports: [{containerPort: 53, protocol: UDP}]`), want: `ports: [{containerPort: 53, name: port-0, protocol: UDP}]`},
		{name: "unnamed, SCTP", runtime: container(`ports: [{containerPort: 65535, protocol: SCTP}]`), want: `ports: [{containerPort: 65535, name: port-0, protocol: SCTP}]`},
		{name: "own name and other fields", runtime: container(`ports: [{containerPort: 53, protocol: UDP, name: dns, hostPort: 53, hostIP: 127.0.0.1}]`), want: `ports: [{containerPort: 53, protocol: UDP, name: dns, hostPort: 53, hostIP: 127.0.0.1}]`},
		{name: "in the user's order", runtime: container(`ports: [{containerPort: 9}, {containerPort: 1, name: b}, {containerPort: 5, name: a}]`), want: `ports: [{containerPort: 9, name: port-0, protocol: TCP}, {containerPort: 1, name: b, protocol: TCP}, {containerPort: 5, name: a, protocol: TCP}]`},
	})
}

func TestContainerNameDefaultsToAgent(t *testing.T) {
	check(t, inContainer("name"), []row{
		{name: "unnamed", want: `name: agent`},
		{name: "named", runtime: container(`name: main`), want: `name: main`},
	})
}

func TestOtherContainerFieldsPassThrough(t *testing.T) {
	fields := []string{
		`image: "r/i@sha256:0"`, `imagePullPolicy: Always`, `command: [c]`, `args: ["-v", ""]`, `workingDir: /w`, `stdin: true`, `tty: true`,
		`envFrom: [{prefix: P_, configMapRef: {name: c}}]`, `volumeMounts: [{name: v, mountPath: /v, subPath: s, readOnly: true}]`,
		`resources: {requests: {cpu: 250m}, limits: {memory: 1Gi}}`, `terminationMessagePath: /t`, `terminationMessagePolicy: FallbackToLogsOnError`,
	}
	check(t, inContainer("image", "imagePullPolicy", "command", "args", "workingDir", "stdin", "tty", "envFrom", "volumeMounts", "resources",
		"terminationMessagePath", "terminationMessagePolicy"), []row{{name: "as in the spec", runtime: container(fields...), want: fieldsOf(fields...)}})
}
