package apitest_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

// containerSpellings are fields of a container that the API server drops, defaults, or writes differently. Each is a block of YAML
// beside name, image, and ports.
var containerSpellings = []string{
	`resources: {}`,
	`resources: {limits: {}}`,
	`resources: {requests: {}}`,
	`resources: {limits: {}, requests: {}}`,
	`resources: {limits: {cpu: 1000m}}`,
	`resources: {limits: {cpu: "1.0"}}`,
	`resources: {limits: {cpu: "0.5"}}`,
	`resources: {limits: {cpu: "1e0"}}`,
	`resources: {limits: {cpu: 100u}}`,
	`resources: {limits: {cpu: 1500000u}}`,
	`resources: {limits: {cpu: "0"}}`,
	`resources: {limits: {memory: 1024Mi}}`,
	`resources: {limits: {memory: 1.5Gi}}`,
	`resources: {limits: {memory: "1073741824"}}`,
	`resources: {limits: {memory: 1e9}}`,
	`resources: {limits: {memory: 1000000k}}`,
	`resources: {limits: {memory: 0.1Gi}}`,
	`resources: {requests: {memory: 1500m}}`,
	`resources: {limits: {ephemeral-storage: 1G}, requests: {ephemeral-storage: 1000M}}`,
	`resources: {limits: {example.com/gpu: 2}, requests: {example.com/gpu: 2}}`,
	`resources: {claims: []}`,
	`env: []`,
	`env: [{name: A, value: ""}]`,
	`env: [{name: A}]`,
	`env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]`,
	`env: [{name: A, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.name}}}]`,
	`env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]`,
	`env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: "0"}}}]`,
	`env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1000m}}}]`,
	`env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: k, optional: false}}}]`,
	`env: [{name: B, value: "1"}, {name: A, value: $(B)}]`,
	`envFrom: []`,
	`envFrom: [{prefix: "", configMapRef: {name: c}}]`,
	`envFrom: [{configMapRef: {name: c, optional: true}}, {prefix: P_, configMapRef: {name: c}}]`,
	`command: []`,
	`args: []`,
	`args: [""]`,
	`workingDir: ""`,
	`imagePullPolicy: Always`,
	`imagePullPolicy: ""`,
	`terminationMessagePath: ""`,
	`terminationMessagePath: /dev/termination-log`,
	`terminationMessagePolicy: FallbackToLogsOnError`,
	`stdin: false`,
	`tty: true`,
	`volumeMounts: []`,
	`lifecycle: {}`,
	`lifecycle: {preStop: {exec: {command: [sleep, "5"]}}}`,
	`lifecycle: {preStop: {httpGet: {port: http}}}`,
	`lifecycle: {postStart: {httpGet: {port: 8080, scheme: "", path: ""}}}`,
	`livenessProbe: {httpGet: {port: http}}`,
	`livenessProbe: {httpGet: {port: "http", path: /live, scheme: HTTP}, successThreshold: 0, timeoutSeconds: 0}`,
	`livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 0, failureThreshold: 0}`,
	`livenessProbe: {grpc: {port: 8080}}`,
	`livenessProbe: {grpc: {port: 8080, service: ""}, terminationGracePeriodSeconds: 10}`,
	`readinessProbe: {exec: {command: ["true"]}, initialDelaySeconds: 0}`,
	`readinessProbe: {httpGet: {port: http, httpHeaders: []}}`,
	`startupProbe: {httpGet: {port: 8080}, failureThreshold: 30}`,
	`securityContext: {}`,
	`securityContext: {capabilities: {}}`,
	`securityContext: {capabilities: {drop: [], add: []}}`,
	`securityContext: {privileged: false, readOnlyRootFilesystem: false}`,
	`securityContext: {runAsUser: 0, runAsNonRoot: false}`,
	`securityContext: {seLinuxOptions: {}}`,
	`ports: [{containerPort: 8080}]`,
	`ports: [{containerPort: 8080, protocol: TCP, hostPort: 0, hostIP: ""}, {containerPort: 8080, protocol: UDP}]`,
	`ports: [{name: http, containerPort: 8080}, {name: metrics, containerPort: 9090}]`,
}

// podSpellings are the same for spec.runtime.spec.
var podSpellings = []string{
	`initContainers: []`,
	`initContainers: [{name: i, image: "i:v1"}]`,
	`initContainers: [{name: i, image: "i:latest", resources: {limits: {}}, env: [{name: A, value: ""}]}]`,
	`sidecars: [{name: s, image: "s:v1", ports: [{containerPort: 9090}]}]`,
	`sidecars: [{name: s, image: "s:v1", livenessProbe: {httpGet: {port: 9090}}, securityContext: {}}]`,
	`nodeSelector: {}`,
	`tolerations: []`,
	`tolerations: [{operator: Exists}]`,
	`tolerations: [{key: a, value: b}, {key: a, operator: Equal, value: b, effect: NoSchedule}]`,
	`tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 0}]`,
	`affinity: {}`,
	`affinity: {nodeAffinity: {}}`,
	`affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}`,
	`affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {a: b}}, namespaces: []}]}}`,
	`topologySpreadConstraints: []`,
	`topologySpreadConstraints: [{maxSkew: 1, topologyKey: rack, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {a: b}}}]`,
	`securityContext: {}`,
	`securityContext: {supplementalGroups: [], sysctls: []}`,
	`securityContext: {fsGroup: 0, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}`,
	`serviceAccountName: ""`,
	`serviceAccountName: agent`,
	`automountServiceAccountToken: true`,
	`terminationGracePeriodSeconds: 30`,
	`dnsPolicy: ClusterFirst`,
	`dnsConfig: {}`,
	`dnsConfig: {nameservers: [], options: [{name: ndots, value: "2"}, {name: edns0}]}`,
	`hostAliases: []`,
	`schedulerName: ""`,
	`schedulerName: default-scheduler`,
	`priorityClassName: ""`,
	`imagePullSecrets: []`,
	`podMetadata: {labels: {}, annotations: {}}`,
	`podMetadata: {annotations: {a: ""}}`,
	`volumes: []`,
	`volumes: [{name: v, emptyDir: {}}]`,
	`volumes: [{name: v, emptyDir: {medium: "", sizeLimit: 1024Mi}}]`,
	`volumes: [{name: v, emptyDir: {sizeLimit: 1.5Gi}}]`,
	`volumes: [{name: v, configMap: {name: c}}]`,
	`volumes: [{name: v, configMap: {name: c, items: [], optional: false, defaultMode: 0}}]`,
	`volumes: [{name: v, configMap: {name: c, items: [{key: k, path: p}]}}]`,
	`volumes: [{name: v, secret: {secretName: s}}]`,
	`volumes: [{name: v, projected: {sources: [{configMap: {name: c}}, {serviceAccountToken: {path: t}}, {downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.labels}}]}}]}}]`,
	`volumes: [{name: v, projected: {sources: []}}]`,
	`volumes: [{name: v, downwardAPI: {items: [{path: p, resourceFieldRef: {containerName: agent, resource: limits.cpu}}]}}]`,
	`volumes: [{name: v, downwardAPI: {}}]`,
	`volumes: [{name: v, persistentVolumeClaim: {claimName: c, readOnly: false}}]`,
	`volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}}}}}]`,
	`volumes: [{name: v, ephemeral: {volumeClaimTemplate: {metadata: {labels: {a: b}}, spec: {accessModes: [ReadWriteOnce], volumeMode: Filesystem, resources: {requests: {storage: 0.5Gi}}}}}}]`,
	`volumes: [{name: v, image: {reference: "m:v1"}}]`,
	`volumes: [{name: v, csi: {driver: d, readOnly: false, volumeAttributes: {}}}]`,
	`strategy: {maxSurge: 1}`,
	`strategy: {maxSurge: 25%, maxUnavailable: 0}`,
	`minReadySeconds: 0`,
	`service: {}`,
	`service: {annotations: {}}`,
	`service: {type: Headless}`,
	`service: {annotations: {a: ""}, appProtocol: "", trafficDistribution: ""}`,
}

// agentSpellings are the same for spec.
var agentSpellings = []string{
	`availability: {}`,
	`availability: {drainSeconds: 0, spread: None, probes: None}`,
	`availability: {podDisruptionBudget: {}}`,
	`availability: {podDisruptionBudget: {minAvailable: 50%}}`,
	`availability: {podDisruptionBudget: {maxUnavailable: 100%}}`,
	`autoscaling: {maxReplicas: 3}`,
	`autoscaling: {minReplicas: 1, maxReplicas: 3, metrics: [], behavior: {}}`,
	`autoscaling: {maxReplicas: 3, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]}`,
	`autoscaling: {maxReplicas: 3, metrics: [{type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 1024Mi}}}, {type: Resource, resource: {name: cpu, target: {type: AverageValue, averageValue: 1000m}}}]}`,
	`autoscaling: {maxReplicas: 3, behavior: {scaleDown: {}, scaleUp: {policies: []}}}`,
	`autoscaling: {maxReplicas: 3, behavior: {scaleDown: {stabilizationWindowSeconds: 0, policies: [{type: Pods, value: 1, periodSeconds: 60}]}}}`,
	`autoscaling: {maxReplicas: 3, metrics: [{type: Pods, pods: {metric: {name: m, selector: {}}, target: {type: AverageValue, averageValue: "0.1"}}}]}`,
	`card: {description: d, version: "1"}`,
	`card: {description: d, version: "1", skills: [], capabilities: {}, defaultInputModes: []}`,
	`suspend: false`,
}

// A needless write per pass and Agent is what a spelling costs that looks like drift. Values that the API refuses are no row here.
func TestNoSpellingOfASpecLooksLikeDrift(t *testing.T) {
	b, n := newBench(t), 0
	try := func(spelling, field string) {
		n++
		name := fmt.Sprintf("a%d", n)
		t.Run(spelling, func(t *testing.T) {
			stored := agenttest.New(name, agenttest.In(b.namespace))
			require.NoError(t, api.Create(t.Context(), spell(t, stored, spelling, field)))
			for range 2 {
				_, _, err := b.pass(t, stored)
				require.NoError(t, err)
			}
			b.writes.Store(0)
			for range 3 {
				b.place(t, stored)
			}
			require.Zero(t, b.writes.Load())
		})
	}
	for _, spelling := range containerSpellings {
		try(spelling, "container")
	}
	for _, spelling := range podSpellings {
		try(spelling, "pod")
	}
	for _, spelling := range agentSpellings {
		try(spelling, "agent")
	}
}

// spell returns an Agent with a block of YAML in one of its structs, exactly as a user wrote it.
func spell(t *testing.T, of *v1alpha1.Agent, block, in string) *unstructured.Unstructured {
	t.Helper()
	container := map[string]any{"name": "agent", "image": "i:v1", "ports": []any{map[string]any{"name": "http", "containerPort": int64(8080)}}}
	pod := map[string]any{"container": container}
	spec := map[string]any{"runtime": map[string]any{"spec": pod}}
	into := map[string]map[string]any{"container": container, "pod": pod, "agent": spec}[in]
	require.NotNil(t, into)
	require.NoError(t, yaml.Unmarshal([]byte(block), &into))
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "agent.flokoa.ai/v1alpha1", "kind": "Agent",
		"metadata": map[string]any{"namespace": of.Namespace, "name": of.Name}, "spec": spec,
	}}
}
