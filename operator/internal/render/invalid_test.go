package render_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/render"
)

// The CRD's rules reject all of these. Rendering sees them only in an Agent that was stored under older rules.
func TestRenderingErrorNamesTheFieldToChange(t *testing.T) {
	for _, r := range []struct {
		name, availability, runtime string
		change                      agenttest.Option
		want                        string
	}{
		{"a name that starts with a digit", "", "", named("1a"), `metadata.name "1a" must be a DNS-1035 label`},
		{"a name with a dot", "", "", named("a.b"), `metadata.name "a.b" must be a DNS-1035 label`},
		{"a name with a capital", "", "", named("A"), `metadata.name "A" must be a DNS-1035 label`},
		{"a name that ends with a dash", "", "", named("a-"), `metadata.name "a-" must be a DNS-1035 label`},
		{"a name of 64 characters", "", "", named(strings.Repeat("a", 64)), `of at most 63 characters`},
		{"no image", "", "", agenttest.Image(""), `spec.runtime.spec.container.image is empty`},
		{"two ports of the same name", "", container(`ports: [{containerPort: 1, name: x}, {containerPort: 2, name: x}]`), nil, `spec.runtime.spec.container.ports: two ports are named "x"`},
		{"a port with the default name of another", "", container(`ports: [{containerPort: 1, name: port-1}, {containerPort: 2}]`), nil, `spec.runtime.spec.container.ports: two ports are named "port-1"`},
		{"two named ports of the same number", "", container(`ports: [{containerPort: 2, name: x}, {containerPort: 2, name: y}]`), nil, `spec.runtime.spec.container.ports: two ports have the number 2 and the protocol TCP: omit one of them`},
		{"two unnamed ports of the same number", "", container(`ports: [{containerPort: 2}, {containerPort: 2}]`), nil, `spec.runtime.spec.container.ports: two ports have the number 2 and the protocol TCP: omit one of them`},
		{"a grace period as long as the default drain", "", `terminationGracePeriodSeconds: 5`, nil, `spec.runtime.spec.terminationGracePeriodSeconds is 5: it must be greater than spec.availability.drainSeconds, which is 5`},
		{"a grace period shorter than the drain", `drainSeconds: 20`, `terminationGracePeriodSeconds: 19`, nil, `spec.runtime.spec.terminationGracePeriodSeconds is 19: it must be greater than spec.availability.drainSeconds, which is 20`},
		{"a sidecar without a name", "", `sidecars: [{image: i}]`, nil, `spec.runtime.spec.sidecars[0].name is missing: name the container`},
		{"an empty sidecar", "", `sidecars: [{}]`, nil, `spec.runtime.spec.sidecars[0].name is missing`},
		{"an init container without a name", "", `initContainers: [{name: a, image: i}, {name: "", image: i}]`, nil, `spec.runtime.spec.initContainers[1].name is missing`},
		{"two sidecars of the same name", "", `sidecars: [{name: s, image: i}, {name: s, image: i}]`, nil, `spec.runtime.spec.sidecars[1].name: two containers are named "s"`},
		{"a sidecar with the default name of the agent", "", `sidecars: [{name: agent, image: i}]`, nil, `spec.runtime.spec.sidecars[0].name: two containers are named "agent"`},
		{"a port number twice", "", container(`ports: [{containerPort: 2, name: a}, {containerPort: 2, name: b, protocol: TCP}]`), nil, `spec.runtime.spec.container.ports: two ports have the number 2 and the protocol TCP: omit one of them`},
		{"a port number twice in a sidecar", "", `sidecars: [{name: s, image: i, ports: [{containerPort: 2}, {containerPort: 2}]}]`, nil, `spec.runtime.spec.sidecars[0].ports: two ports have the number 2`},
		{"a port name twice in an init container", "", `initContainers: [{name: s, image: i, ports: [{containerPort: 2, name: a}, {containerPort: 3, name: a}]}]`, nil, `spec.runtime.spec.initContainers[0].ports: two ports are named "a"`},
		{"a label value with a space", "", `podMetadata: {labels: {team: "a b"}}`, nil, `spec.runtime.spec.podMetadata.labels: Invalid value: "a b"`},
		{"a label value of 64 characters", "", `podMetadata: {labels: {team: ` + strings.Repeat("a", 64) + `}}`, nil, `must be no more than 63`},
		{"a label key with two slashes", "", `podMetadata: {labels: {a/b/c: v}}`, nil, `spec.runtime.spec.podMetadata.labels: Invalid value: "a/b/c"`},
		{"two invalid labels", "", `podMetadata: {labels: {b: "-", a: "+"}}`, nil, `spec.runtime.spec.podMetadata.labels: Invalid value: "+": a valid label`},
		{"an annotation key with a space", "", `podMetadata: {annotations: {"a b": v}}`, nil, `spec.runtime.spec.podMetadata.annotations: Invalid value: "a b"`},
		{"an annotation of a Service", "", `service: {annotations: {-a: v}}`, nil, `spec.runtime.spec.service.annotations: Invalid value: "-a"`},
		{"a node selector", "", `nodeSelector: {pool: a/b}`, nil, `spec.runtime.spec.nodeSelector: Invalid value: "a/b"`},
		{"a selector of a spread constraint", "", `topologySpreadConstraints: [{topologyKey: k, labelSelector: {matchLabels: {k: a b}}}]`, nil, `spec.runtime.spec.topologySpreadConstraints[0].labelSelector.matchLabels: Invalid value: "a b"`},
		{"a selector of pod affinity", "", `affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{podAffinityTerm: {labelSelector: {matchLabels: {a b: k}}}}]}}`, nil, `spec.runtime.spec.affinity.podAffinity.preferred`},
		{"a selector of anti-affinity", "", `affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchLabels: {k: a b}}}]}}`, nil, `spec.runtime.spec.affinity.podAntiAffinity.required`},
		{"a large variable", "", "", env(130 << 10), `spec.runtime.spec makes a pod template of 132 KiB, and the limit is 128 KiB: put files and long values into a ConfigMap or the image`},
		{"large annotations", "", `podMetadata: {annotations: {k: ` + strings.Repeat("x", 128<<10) + `}}`, nil, `the limit is 128 KiB`},
		{"a large sidecar", "", `sidecars: [{name: s, image: i, args: [` + strings.Repeat("x", 128<<10) + `]}]`, nil, `the limit is 128 KiB`},
	} {
		t.Run(r.name, func(t *testing.T) {
			agent := agentOf(t, r.availability, r.runtime)
			if r.change != nil {
				r.change(agent)
			}
			children, err := render.Agent(agent, render.Live{})
			require.ErrorContains(t, err, r.want)
			require.Equal(t, render.Children{}, children)
		})
	}
}

func TestSpecsAtTheLimitsOfTheRulesRender(t *testing.T) {
	for _, r := range []struct {
		name, availability, runtime string
		change                      agenttest.Option
	}{
		{"a name of one letter", "", "", named("a")},
		{"a name of 63 characters", "", "", named(strings.Repeat("a", 62) + "9")},
		{"a large variable", "", "", env(126 << 10)},
		{"one number under two protocols", "", container(`ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53}]`), nil},
		{"one number in two containers", "", `sidecars: [{name: s, image: i, ports: [{containerPort: 53}, {containerPort: 53, protocol: UDP}]}]`, nil},
		{"a grace period one second longer than the drain", "", `terminationGracePeriodSeconds: 6`, nil},
		{"metadata of other controllers", "", `podMetadata: {labels: {app.kubernetes.io/version: v1, empty: ""}, annotations: {cluster-autoscaler.kubernetes.io/safe-to-evict: "false", controller.kubernetes.io/pod-deletion-cost: "9", kubectl.kubernetes.io/default-container: agent, kubernetes.io/ingress-bandwidth: 1M}}`, nil},
		{"no drain and no grace", `drainSeconds: 0`, `terminationGracePeriodSeconds: 0`, nil},
		{"an own preStop in a grace period shorter than the drain", "", "terminationGracePeriodSeconds: 1\n" + container(`lifecycle: {preStop: {sleep: {seconds: 1}}}`), nil},
	} {
		t.Run(r.name, func(t *testing.T) {
			agent := agentOf(t, r.availability, r.runtime)
			if r.change != nil {
				r.change(agent)
			}
			rendered(t, agent)
		})
	}
}

// env gives an Agent a variable of some length.
func env(length int) agenttest.Option {
	return func(a *v1alpha1.Agent) {
		a.Spec.Runtime.Spec.Container.Env = []corev1.EnvVar{{Name: "LARGE", Value: strings.Repeat("x", length)}}
	}
}

func named(name string) agenttest.Option {
	return func(a *v1alpha1.Agent) { a.Name = name }
}
