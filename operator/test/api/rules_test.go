package apitest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// rule is a CEL rule of the CRD: its message, the field that it names, and Agents that it accepts and rejects, as
// YAML laid over a minimal Agent.
type rule struct {
	message, field  string
	allowed, denied []string
}

// YAML of an Agent with fields in one place.
func named(name string) string         { return "metadata: {name: " + name + "}" }
func runtimeSpec(fields string) string { return "spec: {runtime: {spec: {" + fields + "}}}" }
func ports(items string) string        { return runtimeSpec("container: {ports: [" + items + "]}") }
func volume(fields string) string      { return runtimeSpec("volumes: [{name: v, " + fields + "}]") }
func strategy(fields string) string    { return runtimeSpec("strategy: {" + fields + "}") }
func labels(key string) string         { return runtimeSpec(`podMetadata: {labels: {"` + key + `": v}}`) }
func annotations(key string) string {
	return runtimeSpec(`podMetadata: {annotations: {"` + key + `": v}}`)
}
func onService(key string) string { return runtimeSpec(`service: {annotations: {"` + key + `": v}}`) }
func timing(grace, drain string) string {
	return "spec: {availability: {drainSeconds: " + drain + "}, runtime: {spec: {terminationGracePeriodSeconds: " + grace + "}}}"
}

var agentRules = []rule{
	{
		message: "metadata.name must be a DNS-1035 label, because it names a Service: use at most 63 lowercase letters, digits, and '-', starting with a letter and ending with a letter or digit",
		field:   "metadata.name",
		allowed: []string{named("a"), named("a-1"), named(strings.Repeat("a", 63)), named("null, generateName: a-"), named("null, generateName: " + strings.Repeat("a", 80))},
		denied:  []string{named(`"1a"`), named("a.b"), named(strings.Repeat("a", 64))},
	},
	{
		message: "runtime.spec.terminationGracePeriodSeconds must be greater than availability.drainSeconds (default 5), because the drain counts against the grace period: raise the grace period or lower drainSeconds",
		field:   "spec",
		allowed: []string{
			minimal, timing("6", "null"), timing("0", "0"), timing("13", "12"), timing("null", "300"),
			runtimeSpec("terminationGracePeriodSeconds: 1, container: {lifecycle: {preStop: {sleep: {seconds: 1}}}}"),
		},
		denied: []string{
			timing("5", "null"), timing("0", "null"), timing("12", "12"), runtimeSpec("terminationGracePeriodSeconds: 5"),
			runtimeSpec("terminationGracePeriodSeconds: 5, container: {lifecycle: {postStart: {sleep: {seconds: 1}}}}"),
		},
	},
	{
		message: "sidecars: names must be unique among container (default name agent), initContainers, and sidecars: rename the sidecar",
		field:   "spec.runtime.spec",
		allowed: []string{
			runtimeSpec("sidecars: [{name: s, image: i}], initContainers: [{name: b, image: i}]"),
			runtimeSpec("container: {name: main}, sidecars: [{name: agent, image: i}]"),
		},
		denied: []string{
			runtimeSpec("sidecars: [{name: agent, image: i}]"),
			runtimeSpec(`container: {name: ""}, sidecars: [{name: agent, image: i}]`),
			runtimeSpec("container: {name: main}, sidecars: [{name: main, image: i}]"),
			runtimeSpec("sidecars: [{name: s, image: i}, {name: b, image: i}], initContainers: [{name: b, image: i}]"),
		},
	},
	{
		message: "initContainers: names must be unique among container (default name agent), initContainers, and sidecars: rename the init container",
		field:   "spec.runtime.spec",
		allowed: []string{runtimeSpec("initContainers: [{name: b, image: i}]"), runtimeSpec("container: {name: main}, initContainers: [{name: agent, image: i}]")},
		denied: []string{
			runtimeSpec("initContainers: [{name: agent, image: i}]"),
			runtimeSpec(`container: {name: ""}, initContainers: [{name: agent, image: i}]`),
			runtimeSpec("container: {name: main}, initContainers: [{name: b, image: i}, {name: main, image: i}]"),
		},
	},
	{
		message: "progressDeadlineSeconds (default 600) must be greater than minReadySeconds: raise progressDeadlineSeconds or lower minReadySeconds",
		field:   "spec.runtime.spec",
		allowed: []string{
			minimal, runtimeSpec("minReadySeconds: 599"), runtimeSpec("progressDeadlineSeconds: 1"),
			runtimeSpec("minReadySeconds: 0, progressDeadlineSeconds: 1"), runtimeSpec("minReadySeconds: 900, progressDeadlineSeconds: 901"),
		},
		denied: []string{runtimeSpec("minReadySeconds: 600"), runtimeSpec("minReadySeconds: 9, progressDeadlineSeconds: 9")},
	},
	{
		message: "sidecars: restartPolicy must be Always: omit it, or move the container to initContainers",
		field:   "spec.runtime.spec.sidecars",
		allowed: []string{runtimeSpec("sidecars: [{name: s, image: i}, {name: t, image: i, restartPolicy: Always}]")},
		denied:  []string{runtimeSpec("sidecars: [{name: s, image: i}, {name: t, image: i, restartPolicy: OnFailure}]"), runtimeSpec(`sidecars: [{name: s, image: i, restartPolicy: ""}]`)},
	},
}

func withCard(fields string) string {
	return "spec: {card: {description: d, version: v}, runtime: {spec: {" + fields + "}}}"
}
func scaling(fields, replicas string) string {
	return "spec: {autoscaling: {" + fields + "}, runtime: {spec: {replicas: " + replicas + "}}}"
}
func budget(fields string) string {
	return "spec: {availability: {podDisruptionBudget: {" + fields + "}}}"
}

var availabilityRules = []rule{
	{
		message: "runtime.spec.replicas must not be 0 with autoscaling: omit replicas, because the autoscaler sets it, or stop the agent with suspend: true",
		field:   "spec",
		allowed: []string{runtimeSpec("replicas: 0"), scaling("maxReplicas: 3", "1"), scaling("maxReplicas: 3", "null"), scaling("maxReplicas: 3", "9")},
		denied:  []string{scaling("maxReplicas: 3", "0"), scaling("minReplicas: 1, maxReplicas: 1", "0")},
	},
	{
		message: "autoscaling.minReplicas (default 1) must not be greater than autoscaling.maxReplicas: lower minReplicas or raise maxReplicas",
		field:   "spec.autoscaling",
		allowed: []string{scaling("maxReplicas: 1", "null"), scaling("minReplicas: 3, maxReplicas: 3", "null"), scaling("minReplicas: 3, maxReplicas: 9", "null")},
		denied:  []string{scaling("minReplicas: 2, maxReplicas: 1", "null"), scaling("minReplicas: 10, maxReplicas: 9", "null")},
	},
	{
		message: "runtime.spec.volumes: the name flokoa-agent-card is reserved for the agent card: rename the volume or omit card",
		field:   "spec",
		allowed: []string{runtimeSpec("volumes: [{name: flokoa-agent-card, emptyDir: {}}]"), withCard(""), withCard("volumes: [{name: card, emptyDir: {}}]")},
		denied:  []string{withCard("volumes: [{name: a, emptyDir: {}}, {name: flokoa-agent-card, emptyDir: {}}]")},
	},
	{
		message: "runtime.spec.container.volumeMounts: the agent card is mounted at /etc/flokoa/agent-card.json: use another mountPath or omit card",
		field:   "spec",
		allowed: []string{
			runtimeSpec("container: {volumeMounts: [{name: v, mountPath: /etc/flokoa/agent-card.json}]}"),
			withCard("container: {volumeMounts: [{name: v, mountPath: /etc/flokoa}]}"),
		},
		denied: []string{withCard("container: {volumeMounts: [{name: v, mountPath: /data}, {name: v, mountPath: /etc/flokoa/agent-card.json}]}")},
	},
	{
		message: "podDisruptionBudget: minAvailable, maxUnavailable, and mode None exclude each other: set at most one of them",
		field:   "spec.availability.podDisruptionBudget",
		allowed: []string{budget(""), budget("mode: None"), budget("mode: Auto, minAvailable: 1"), budget("maxUnavailable: 1")},
		denied: []string{
			budget("minAvailable: 1, maxUnavailable: 1"), budget("mode: None, minAvailable: 1"), budget("mode: None, maxUnavailable: 0"),
			budget("mode: None, minAvailable: 1, maxUnavailable: 1"),
		},
	},
	{
		message: "podDisruptionBudget.minAvailable must be a count of 0 or more, or a percentage up to 100%",
		field:   "spec.availability.podDisruptionBudget.minAvailable",
		allowed: []string{budget("minAvailable: 0"), budget("minAvailable: 7"), budget("minAvailable: 0%"), budget("minAvailable: 100%")},
		denied:  []string{budget("minAvailable: -1"), budget(`minAvailable: "1"`), budget("minAvailable: 101%"), budget("minAvailable: 05%"), budget("minAvailable: most")},
	},
	{
		message: "podDisruptionBudget.maxUnavailable must be a count of 0 or more, or a percentage up to 100%",
		field:   "spec.availability.podDisruptionBudget.maxUnavailable",
		allowed: []string{budget("maxUnavailable: 0"), budget("maxUnavailable: 7"), budget("maxUnavailable: 50%"), budget("maxUnavailable: 100%")},
		denied:  []string{budget("maxUnavailable: -1"), budget(`maxUnavailable: "1"`), budget("maxUnavailable: 101%"), budget("maxUnavailable: 05%")},
	},
}

var networkRules = []rule{
	{
		message: "container.ports: an unnamed port gets the name port-<position>, such as port-0: name every port, or give no port a name of that form",
		field:   "spec.runtime.spec.container",
		allowed: []string{ports("{containerPort: 1}, {containerPort: 2}"), ports("{containerPort: 1, name: port-1}, {containerPort: 2, name: port-0}"), ports("{containerPort: 1, name: port-x}, {containerPort: 2, name: tcp-2}, {containerPort: 3}")},
		denied:  []string{ports("{containerPort: 1, name: port-1}, {containerPort: 2}"), ports("{containerPort: 1}, {containerPort: 2, name: port-0}"), ports("{containerPort: 1}, {containerPort: 2, name: port-9}")},
	},
	{
		message: "podMetadata.labels: the operator sets flokoa.ai/*, pod-template-hash, and the name, instance, component, managed-by, and part-of of app.kubernetes.io/: use another key",
		field:   "spec.runtime.spec.podMetadata.labels",
		allowed: []string{
			runtimeSpec("podMetadata: {labels: {}}"), labels("team"), labels("azure.workload.identity/use"), labels("app.kubernetes.io/version"), labels("kubernetes.io/x"),
			labels("sidecar.istio.io/inject"), labels("app.kubernetes.io/created-by"), labels("name"), labels("kueue.x-k8s.io/queue-name"), labels("my-flokoa.ai/x"),
		},
		denied: []string{
			labels("pod-template-hash"), labels("flokoa.ai/agent"), labels("flokoa.ai/x"), labels("app.kubernetes.io/name"), labels("app.kubernetes.io/instance"),
			labels("app.kubernetes.io/component"), labels("app.kubernetes.io/managed-by"), labels("app.kubernetes.io/part-of"),
		},
	},
	{
		message: "podMetadata.annotations: the prefix flokoa.ai/ is reserved: use another prefix",
		field:   "spec.runtime.spec.podMetadata.annotations",
		allowed: []string{
			runtimeSpec("podMetadata: {annotations: {}}"), annotations("pod-template-hash"), annotations("vault.hashicorp.com/agent-inject"),
			annotations("cluster-autoscaler.kubernetes.io/safe-to-evict"), annotations("controller.kubernetes.io/pod-deletion-cost"),
			annotations("kubectl.kubernetes.io/default-container"), annotations("kubernetes.io/ingress-bandwidth"), annotations("app.kubernetes.io/version"),
			annotations("kubectl.kubernetes.io/restartedAt"), annotations("karpenter.sh/do-not-disrupt"), annotations("app.kubernetes.io/name"),
		},
		denied: []string{annotations("flokoa.ai/digest"), annotations("flokoa.ai/x")},
	},
	{
		message: "service.annotations: the prefix flokoa.ai/ is reserved: use another prefix",
		field:   "spec.runtime.spec.service.annotations",
		allowed: []string{runtimeSpec("service: {annotations: {}}"), onService("service.kubernetes.io/topology-mode"), onService("note")},
		denied:  []string{onService("flokoa.ai/digest")},
	},
}

// portRules are those of each list of ports.
func portRules() []rule {
	var rules []rule
	for field, overlay := range map[string]string{
		"container": "container: {ports: [%s]}", "initContainers[0]": "initContainers: [{name: b, image: i, ports: [%s]}]", "sidecars[0]": "sidecars: [{name: s, image: i, ports: [%s]}]",
	} {
		ports := func(items string) string { return runtimeSpec(fmt.Sprintf(overlay, items)) }
		rules = append(rules, rule{
			message: "ports: names must be unique: rename one of the ports",
			field:   "spec.runtime.spec." + field + ".ports",
			allowed: []string{ports(""), ports("{containerPort: 1, name: a}, {containerPort: 2, name: b}, {containerPort: 3}, {containerPort: 4}"), ports(`{containerPort: 1, name: ""}, {containerPort: 2, name: ""}`)},
			denied:  []string{ports("{containerPort: 1, name: x}, {containerPort: 2, name: x}"), ports("{containerPort: 1, name: x}, {containerPort: 1, protocol: UDP, name: x}, {containerPort: 2, name: w}")},
		}, rule{
			message: "ports: a port number may occur once per protocol (default TCP): omit one of the ports, or set another protocol",
			field:   "spec.runtime.spec." + field + ".ports",
			allowed: []string{ports("{containerPort: 1}"), ports("{containerPort: 53}, {containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: SCTP}, {containerPort: 54, protocol: UDP}")},
			denied: []string{
				ports("{containerPort: 1}, {containerPort: 1}"), ports("{containerPort: 1, name: a}, {containerPort: 2}, {containerPort: 1, protocol: TCP}"),
				ports(`{containerPort: 1, protocol: ""}, {containerPort: 1}`), ports("{containerPort: 1, protocol: UDP}, {containerPort: 1, protocol: UDP}"),
			},
		})
	}
	return rules
}

var (
	validNames   = []string{"team", "Team", "0", "a.b_c-d", "example.com/team", strings.Repeat("a", 63), strings.Repeat("a", 63) + ".com/" + strings.Repeat("a", 63)}
	invalidNames = []string{"", "a b", "-a", "a-", "a/b/c", "/a", "a/", "a_b/c", "é", strings.Repeat("a", 64), strings.Repeat("a.", 126) + "ab/c"}
)

// metadataRules are those of each map of labels or annotations of ours.
func metadataRules() []rule {
	var rules []rule
	for field, overlay := range map[string]string{"podMetadata.labels": "podMetadata: {labels: {%q: %q}}", "nodeSelector": "nodeSelector: {%q: %q}"} {
		label := func(key, value string) string { return runtimeSpec(fmt.Sprintf(overlay, key, value)) }
		r := rule{
			message: "a label is invalid: use a key [prefix/]name, and a name or nothing as value; a name has up to 63 letters, digits, '-', '_', and '.', and starts and ends with a letter or digit",
			field:   "spec.runtime.spec." + field,
			allowed: []string{label("k", ""), label("k", "v1.2_3-4"), label("k", strings.Repeat("a", 63))},
			denied:  []string{label("k", "a b"), label("k", "-"), label("k", "v1+build"), label("k", "a/b"), label("k", "v1."), label("k", "é")},
		}
		for _, key := range validNames {
			r.allowed = append(r.allowed, label(key, "v"))
		}
		for _, key := range append(invalidNames, "Example.com/a") {
			r.denied = append(r.denied, label(key, "v"))
		}
		rules = append(rules, r)
	}
	for field, annotation := range map[string]func(string) string{"podMetadata.annotations": annotations, "service.annotations": onService} {
		r := rule{
			message: "an annotation is invalid: use a key [prefix/]name; a name has up to 63 letters, digits, '-', '_', and '.', and starts and ends with a letter or digit",
			field:   "spec.runtime.spec." + field,
			allowed: []string{annotation("Example.com/Team")},
		}
		for _, key := range validNames {
			r.allowed = append(r.allowed, annotation(key))
		}
		for _, key := range invalidNames {
			r.denied = append(r.denied, annotation(key))
		}
		rules = append(rules, r)
	}
	return rules
}

// The API server refuses a child whose label has another value, and the pattern of the CRD refuses it first.
func TestLabelValuesAreCheckedWhereverAnAgentHasLabels(t *testing.T) {
	for field, overlay := range map[string]string{
		"affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchLabels": "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: k, labelSelector: {matchLabels: {k: %q}}}]}}",
		"topologySpreadConstraints[0].labelSelector.matchLabels":                                               "topologySpreadConstraints: [{topologyKey: k, maxSkew: 1, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {k: %q}}}]",
		"volumes[0].ephemeral.volumeClaimTemplate.metadata.labels":                                             "volumes: [{name: v, ephemeral: {volumeClaimTemplate: {metadata: {labels: {k: %q}}, spec: {}}}}]",
		"podMetadata.labels": "podMetadata: {labels: {k: %q}}",
		"nodeSelector":       "nodeSelector: {k: %q}",
	} {
		t.Run(field, func(t *testing.T) {
			for _, value := range []string{"", "v", "v1.2_3-4", strings.Repeat("a", 63)} {
				require.NoError(t, dryRun(t, manifest(t, runtimeSpec(fmt.Sprintf(overlay, value)))), value)
			}
			for _, value := range []string{"a b", "-", "v1+build", "a/b", "é", strings.Repeat("a", 64)} {
				all := causes(t, dryRun(t, manifest(t, runtimeSpec(fmt.Sprintf(overlay, value)))))
				require.Len(t, all, 1, value)
				require.True(t, strings.HasPrefix(all[0], "spec.runtime.spec."+field), all[0])
			}
		})
	}
}

var rolloutRules = []rule{
	{
		message: "strategy.maxSurge and strategy.maxUnavailable (default 0) must not both be 0, because the rollout could not progress: set maxSurge to 1 or more",
		field:   "spec.runtime.spec.strategy",
		allowed: []string{
			strategy(""), strategy("maxSurge: 1"), strategy("maxUnavailable: 0"), strategy("maxSurge: 1, maxUnavailable: 0"),
			strategy("maxSurge: 0, maxUnavailable: 1"), strategy("maxSurge: 0%, maxUnavailable: 25%"),
		},
		denied: []string{
			strategy("maxSurge: 0"), strategy("maxSurge: 0%"), strategy("maxSurge: 0, maxUnavailable: 0"), strategy("maxSurge: 0%, maxUnavailable: 0"),
			strategy("maxSurge: 0, maxUnavailable: 0%"), strategy("maxSurge: 0%, maxUnavailable: 0%"),
		},
	},
	{
		message: "strategy.maxSurge must be a count of 0 or more, or a percentage such as 25%",
		field:   "spec.runtime.spec.strategy.maxSurge",
		allowed: []string{strategy("maxSurge: 5"), strategy("maxSurge: 25%"), strategy("maxSurge: 100%"), strategy("maxSurge: 999%")},
		denied:  []string{strategy("maxSurge: -1"), strategy(`maxSurge: "1"`), strategy(`maxSurge: ""`), strategy("maxSurge: 1000%"), strategy("maxSurge: 05%"), strategy("maxSurge: -5%"), strategy("maxSurge: much")},
	},
	{
		message: "strategy.maxUnavailable must be a count of 0 or more, or a percentage up to 100%",
		field:   "spec.runtime.spec.strategy.maxUnavailable",
		allowed: []string{strategy("maxUnavailable: 5"), strategy("maxUnavailable: 0%"), strategy("maxUnavailable: 100%")},
		denied:  []string{strategy("maxUnavailable: -1"), strategy(`maxUnavailable: "1"`), strategy("maxUnavailable: 101%"), strategy("maxUnavailable: 05%")},
	},
	{
		message: "volumes: each volume needs exactly one source: set one of configMap, secret, projected, emptyDir, downwardAPI, persistentVolumeClaim, ephemeral, image, or csi",
		field:   "spec.runtime.spec.volumes[0]",
		allowed: []string{
			volume("configMap: {name: c}"), volume("secret: {secretName: s}"), volume("projected: {}"), volume("emptyDir: {}"), volume("downwardAPI: {}"),
			volume("persistentVolumeClaim: {claimName: c}"), volume("ephemeral: {}"), volume("image: {}"), volume("csi: {driver: d}"),
		},
		denied: []string{runtimeSpec("volumes: [{name: v}]"), volume("emptyDir: {}, secret: {secretName: s}"), volume("configMap: {name: c}, secret: {secretName: s}, emptyDir: {}")},
	},
}

func TestEveryRuleOfTheCRDLetsGoodAgentsThroughAndRefusesBadOnes(t *testing.T) {
	rules := slices.Concat(agentRules, availabilityRules, networkRules, portRules(), metadataRules(), rolloutRules)
	var tested []string
	for _, r := range rules {
		tested = append(tested, r.message)
		require.NotEmpty(t, r.allowed, r.message)
		require.NotEmpty(t, r.denied, r.message)
		for _, overlay := range r.allowed {
			t.Run("allowed: "+overlay, func(t *testing.T) {
				require.NoError(t, dryRun(t, manifest(t, overlay)))
			})
		}
		for _, overlay := range r.denied {
			t.Run("denied: "+overlay, func(t *testing.T) {
				err := dryRun(t, manifest(t, overlay))
				require.Error(t, err, r.message)
				all := causes(t, err)
				require.Len(t, all, 1, "%v", all)
				require.True(t, strings.HasPrefix(all[0], r.field+": Invalid value: "), all[0])
				require.True(t, strings.HasSuffix(all[0], r.message), all[0])
			})
		}
	}
	require.ElementsMatch(t, messages(schema(t)), tested, "every rule of the CRD has its rows here")
}

// messages are those of every rule in a schema.
func messages(s *apiextensionsv1.JSONSchemaProps) []string {
	var all []string
	for _, rule := range s.XValidations {
		all = append(all, rule.Message)
	}
	if s.Items != nil {
		all = append(all, messages(s.Items.Schema)...)
	}
	if s.AdditionalProperties != nil {
		all = append(all, messages(s.AdditionalProperties.Schema)...)
	}
	for _, property := range s.Properties {
		all = append(all, messages(&property)...)
	}
	return all
}
