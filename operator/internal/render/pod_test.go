package render_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/render"
)

func TestPodsAreEvictedFromALostNodeAfterAMinute(t *testing.T) {
	const (
		notReady    = `{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 60}`
		unreachable = `{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 60}`
	)
	rows := []row{{name: "by default", want: list("tolerations", notReady, unreachable)}}
	for _, r := range []struct {
		name, own string
		added     []string
	}{
		{"with an own toleration of another taint", `{key: gpu, operator: Exists}`, []string{notReady, unreachable}},
		{"own toleration of not-ready", `{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 5}`, []string{unreachable}},
		{"own toleration of unreachable", `{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 0}`, []string{notReady}},
		{"own toleration of every effect of unreachable", `{key: node.kubernetes.io/unreachable, operator: Exists}`, []string{notReady}},
		{"own toleration of every taint", `{operator: Exists}`, nil},
		{"own toleration of every NoExecute taint", `{operator: Exists, effect: NoExecute, tolerationSeconds: 9}`, nil},
		{"own toleration of NoSchedule for not-ready", `{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoSchedule}`, []string{notReady, unreachable}},
		{"own toleration of every NoSchedule taint", `{operator: Exists, effect: NoSchedule}`, []string{notReady, unreachable}},
	} {
		rows = append(rows, row{name: r.name, runtime: list("tolerations", r.own), want: list("tolerations", append([]string{r.own}, r.added...)...)})
	}
	check(t, inPod("tolerations"), rows)
}

func TestOmittedPodSecurityFieldsAreRestricted(t *testing.T) {
	check(t, inPod("securityContext"), []row{
		{name: "by default", want: `securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}`},
		{name: "an empty one", runtime: `securityContext: {}`, want: `securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}`},
		{name: "with other fields", runtime: `securityContext: {runAsUser: 0, fsGroup: 7}`, want: `securityContext: {runAsUser: 0, fsGroup: 7, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}`},
		{name: "own runAsNonRoot", runtime: `securityContext: {runAsNonRoot: false}`, want: `securityContext: {runAsNonRoot: false, seccompProfile: {type: RuntimeDefault}}`},
		{name: "own seccomp profile", runtime: `securityContext: {seccompProfile: {type: Localhost, localhostProfile: p}}`, want: `securityContext: {runAsNonRoot: true, seccompProfile: {type: Localhost, localhostProfile: p}}`},
	})
}

func TestOmittedContainerSecurityFieldsAreRestricted(t *testing.T) {
	const restricted = `securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}`
	rows := []row{
		{name: "by default", want: restricted},
		{name: "an empty one", runtime: `securityContext: {}`, want: restricted},
		{name: "with other fields", runtime: `securityContext: {readOnlyRootFilesystem: true, capabilities: {add: [NET_BIND_SERVICE]}}`, want: `securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {add: [NET_BIND_SERVICE], drop: [ALL]}}`},
		{name: "own escalation", runtime: `securityContext: {allowPrivilegeEscalation: true}`, want: `securityContext: {allowPrivilegeEscalation: true, capabilities: {drop: [ALL]}}`},
		{name: "own drop", runtime: `securityContext: {capabilities: {drop: [NET_RAW]}}`, want: `securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [NET_RAW]}}`},
		{name: "own empty drop", runtime: `securityContext: {capabilities: {drop: []}}`, want: `securityContext: {allowPrivilegeEscalation: false, capabilities: {}}`},
		{name: "not privileged", runtime: `securityContext: {privileged: false}`, want: `securityContext: {privileged: false, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}`},
		{name: "privileged is an escalation", runtime: `securityContext: {privileged: true}`, want: `securityContext: {privileged: true, capabilities: {drop: [ALL]}}`},
		{name: "SYS_ADMIN is an escalation", runtime: `securityContext: {capabilities: {add: [SYS_ADMIN]}}`, want: `securityContext: {capabilities: {add: [SYS_ADMIN], drop: [ALL]}}`},
		{name: "CAP_SYS_ADMIN is an escalation", runtime: `securityContext: {capabilities: {add: [CHOWN, CAP_SYS_ADMIN]}}`, want: `securityContext: {capabilities: {add: [CHOWN, CAP_SYS_ADMIN], drop: [ALL]}}`},
		{name: "privileged without escalation, which the API server rejects", runtime: `securityContext: {privileged: true, allowPrivilegeEscalation: false}`, want: `securityContext: {privileged: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}`},
	}
	for kind, in := range map[string]struct {
		wrap func(string) string
		of   part
	}{
		"the agent's": {func(y string) string { return container(y) }, inContainer("securityContext")},
		"a sidecar":   {func(y string) string { return list("sidecars", fieldsOf("name: s", y)) }, inFirstInitContainer},
		"an init":     {func(y string) string { return list("initContainers", fieldsOf("name: i", y)) }, inFirstInitContainer},
	} {
		wrapped := make([]row, len(rows))
		for i, r := range rows {
			wrapped[i] = row{name: kind + ": " + r.name, runtime: in.wrap(r.runtime), want: r.want}
		}
		check(t, in.of, wrapped)
	}
}

func inFirstInitContainer(t *testing.T, children render.Children) any {
	t.Helper()
	return pick(t, podOf(children).InitContainers[0], "securityContext")
}

func TestSidecarsAreNativeAndPrecedeInitContainers(t *testing.T) {
	const security = `securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}`
	check(t, inPod("initContainers"), []row{
		{name: "none"},
		{
			name:    "both, each in the user's order",
			runtime: `{initContainers: [{name: i2, image: i}, {name: i1, image: i}], sidecars: [{name: s2, image: s}, {name: s1, image: s, restartPolicy: Always}]}`,
			want: list("initContainers",
				fieldsOf(`name: s2, image: s, restartPolicy: Always`, security), fieldsOf(`name: s1, image: s, restartPolicy: Always`, security),
				fieldsOf(`name: i2, image: i`, security), fieldsOf(`name: i1, image: i`, security)),
		},
		{
			name:    "sidecars get no probe, port name, environment or drain",
			runtime: `sidecars: [{name: s, image: s, ports: [{containerPort: 9}]}]`,
			want:    list("initContainers", fieldsOf(`name: s, image: s, restartPolicy: Always, ports: [{containerPort: 9}]`, security)),
		},
		{
			name:    "an init container may have a restart policy of its own",
			runtime: `initContainers: [{name: i, image: i, restartPolicy: Always}]`,
			want:    list("initContainers", fieldsOf(`name: i, image: i, restartPolicy: Always`, security)),
		},
	})
}

func TestPodHasNoServiceAccountTokenByDefault(t *testing.T) {
	check(t, inPod("automountServiceAccountToken", "serviceAccountName", "enableServiceLinks"), []row{
		{name: "by default", want: `{automountServiceAccountToken: false, enableServiceLinks: false}`},
		{name: "own account", runtime: `serviceAccountName: robot`, want: `{automountServiceAccountToken: false, enableServiceLinks: false, serviceAccountName: robot}`},
		{name: "own token", runtime: `automountServiceAccountToken: true`, want: `{automountServiceAccountToken: true, enableServiceLinks: false}`},
		{name: "own automountServiceAccountToken: false", runtime: `automountServiceAccountToken: false`, want: `{automountServiceAccountToken: false, enableServiceLinks: false}`},
	})
}

func TestOtherPodFieldsPassThrough(t *testing.T) {
	fields := []string{
		`imagePullSecrets: [{name: b}, {name: a}]`, `nodeSelector: {pool: agents}`, `affinity: {nodeAffinity: {}}`, `priorityClassName: high`,
		`runtimeClassName: gvisor`, `schedulerName: mine`, `dnsPolicy: Default`, `dnsConfig: {searches: [x]}`, `hostAliases: [{ip: 192.0.2.1, hostnames: [h]}]`,
		`volumes: [{name: v, emptyDir: {}}, {name: c, csi: {driver: d, readOnly: false, fsType: xfs, volumeAttributes: {k: v}}}]`,
	}
	names := []string{
		"imagePullSecrets", "nodeSelector", "affinity", "priorityClassName", "runtimeClassName", "schedulerName", "dnsPolicy", "dnsConfig",
		"hostAliases", "volumes",
	}
	check(t, inPod(names...), []row{
		{name: "nothing by default"},
		{name: "as in the spec", runtime: fieldsOf(fields...), want: fieldsOf(fields...)},
	})
}

func TestPodTemplateHasItsLabelsAndTheUsersMetadata(t *testing.T) {
	const standard = `flokoa.ai/agent: a, app.kubernetes.io/name: a, app.kubernetes.io/instance: a, app.kubernetes.io/component: agent, app.kubernetes.io/part-of: flokoa, app.kubernetes.io/managed-by: flokoa-operator`
	check(t, templateMetadata, []row{
		{name: "by default", want: `metadata: {labels: {` + standard + `}}`},
		{name: "with the user's", runtime: `podMetadata: {labels: {team: x}, annotations: {mesh: "on"}}`, want: `metadata: {labels: {team: x, ` + standard + `}, annotations: {mesh: "on"}}`},
		{name: "the user's cannot replace them", runtime: `podMetadata: {labels: {flokoa.ai/agent: b, app.kubernetes.io/managed-by: me}}`, want: `metadata: {labels: {` + standard + `}}`},
	})
}

func templateMetadata(t *testing.T, children render.Children) any {
	t.Helper()
	return pick(t, children.Deployment.Spec.Template, "metadata")
}

// A change of the pod template restarts every pod.
func TestUnrelatedFieldsDoNotChangeThePodTemplate(t *testing.T) {
	before := template(t, agentOf(t, "", `container: {ports: [{containerPort: 8080}]}`))
	for name, change := range map[string]agenttest.Option{
		"framework":         func(a *v1alpha1.Agent) { a.Spec.Framework = "crewai" },
		"model":             func(a *v1alpha1.Agent) { a.Spec.Model = &v1alpha1.ModelReference{Name: "m"} },
		"labels":            func(a *v1alpha1.Agent) { a.Labels = map[string]string{"l": "v"} },
		"annotations":       func(a *v1alpha1.Agent) { a.Annotations = map[string]string{"a": "v"} },
		"generation":        func(a *v1alpha1.Agent) { a.Generation = 9 },
		"uid":               func(a *v1alpha1.Agent) { a.UID = "another" },
		"service":           agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) { s.Service = &v1alpha1.ServiceSpec{AppProtocol: "http"} }),
		"strategy":          agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) { s.Strategy = &v1alpha1.RolloutStrategy{} }),
		"minReadySeconds":   agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) { s.MinReadySeconds = new(int32) }),
		"progress deadline": agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) { s.ProgressDeadlineSeconds = new(int32) }),
		"revision history":  agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) { s.RevisionHistoryLimit = new(int32) }),
		"0 replicas":        agenttest.Replicas(0),
		"1 replica":         agenttest.Replicas(1),
		"2 replicas":        agenttest.Replicas(2),
		"5 replicas":        agenttest.Replicas(5),
	} {
		t.Run(name, func(t *testing.T) {
			agent := agentOf(t, "", `container: {ports: [{containerPort: 8080}]}`)
			change(agent)
			require.Equal(t, before, template(t, agent))
		})
	}
}

// template returns the JSON of an Agent's pod template.
func template(t testing.TB, agent *v1alpha1.Agent) string {
	t.Helper()
	raw, err := json.Marshal(rendered(t, agent).Deployment.Spec.Template)
	require.NoError(t, err)
	return string(raw)
}

func TestRenderingIsDeterministic(t *testing.T) {
	first := asYAML(t, rendered(t, agenttest.Read(t, "testdata/full/agent.yaml")))
	for range 50 {
		require.Equal(t, first, asYAML(t, rendered(t, agenttest.Read(t, "testdata/full/agent.yaml"))))
	}
}

func TestRenderingDoesNotChangeTheAgent(t *testing.T) {
	agent := agenttest.Read(t, "testdata/full/agent.yaml")
	before := agent.DeepCopy()
	rendered(t, agent)
	require.Equal(t, before, agent)
}
