package guardrails_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

// The pods that the operator makes of the examples, as its own tests fix them, are let into every environment without a warning.
func TestEveryEnvironmentLetsTheOperatorsPodsIn(t *testing.T) {
	for _, agent := range []string{"first-agent", "production-agent", "autoscaled", "spread-required"} {
		pod := renderedPod(t, agent)
		for _, environment := range manifests.Environments {
			t.Run(environment+" "+agent, func(t *testing.T) {
				levels := podSecurity(t, environment)
				for mode, level := range map[string]podsecurity.LevelVersion{"enforce": levels.Enforce, "warn": levels.Warn, "audit": levels.Audit} {
					allowed, why := verdict(t, level, pod)
					require.True(t, allowed, "%s: %s", mode, why)
				}
			})
		}
	}
}

// The same pod with one thing more that it may do.
func TestEnvironmentsRejectPrivilegedPods(t *testing.T) {
	for name, row := range map[string]struct {
		change          func(*corev1.PodSpec)
		dev, elsewhere  bool // let in
		warnedOfInDev   bool
		reasonElsewhere string
	}{
		"root": {
			change:        func(spec *corev1.PodSpec) { spec.SecurityContext.RunAsNonRoot = nil },
			dev:           true,
			warnedOfInDev: true, reasonElsewhere: "runAsNonRoot",
		},
		"more than its parent may": {
			change:        func(spec *corev1.PodSpec) { spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = new(true) },
			dev:           true,
			warnedOfInDev: true, reasonElsewhere: "allowPrivilegeEscalation",
		},
		"every capability": {
			change: func(spec *corev1.PodSpec) {
				spec.Containers[0].SecurityContext.Capabilities.Add = []corev1.Capability{"SYS_ADMIN"}
			},
			warnedOfInDev: true, reasonElsewhere: "capabilities",
		},
		"privileged": {
			change:        func(spec *corev1.PodSpec) { spec.Containers[0].SecurityContext.Privileged = new(true) },
			warnedOfInDev: true, reasonElsewhere: "privileged",
		},
		"the node's network": {
			change:        func(spec *corev1.PodSpec) { spec.HostNetwork = true },
			warnedOfInDev: true, reasonElsewhere: "host namespaces",
		},
		"the node's files": {
			change: func(spec *corev1.PodSpec) {
				spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "root", VolumeSource: corev1.VolumeSource{
					HostPath: &corev1.HostPathVolumeSource{Path: "/"},
				}})
			},
			warnedOfInDev: true, reasonElsewhere: "hostPath",
		},
	} {
		for _, environment := range manifests.Environments {
			t.Run(environment+" "+name, func(t *testing.T) {
				pod := renderedPod(t, "production-agent")
				row.change(&pod.Spec)
				levels := podSecurity(t, environment)
				allowed, why := verdict(t, levels.Enforce, pod)
				if environment == "dev" {
					require.Equal(t, row.dev, allowed, why)
					silent, _ := verdict(t, levels.Warn, pod)
					require.Equal(t, row.warnedOfInDev, !silent)
					return
				}
				require.Equal(t, row.elsewhere, allowed, why)
				require.Contains(t, why, row.reasonElsewhere)
			})
		}
	}
}

// podSecurity is the Pod Security policy of an environment's namespace labels; without labels, every level is privileged.
func podSecurity(t *testing.T, environment string) podsecurity.Policy {
	t.Helper()
	namespace := all[corev1.Namespace](t, render(t, environment, nil), "Namespace")[0]
	nothing := podsecurity.LevelVersion{Level: podsecurity.LevelPrivileged, Version: podsecurity.LatestVersion()}
	levels, errs := podsecurity.PolicyToEvaluate(namespace.Labels, podsecurity.Policy{Enforce: nothing, Warn: nothing, Audit: nothing})
	require.Empty(t, errs)
	return levels
}

func verdict(t *testing.T, level podsecurity.LevelVersion, pod corev1.PodTemplateSpec) (allowed bool, why string) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	require.NoError(t, err)
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec))
	return result.Allowed, result.ForbiddenReason() + ": " + result.ForbiddenDetail()
}

// renderedPod is the pod template in the golden file of the operator's render tests.
func renderedPod(t *testing.T, agent string) corev1.PodTemplateSpec {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../../../operator/internal/render/testdata", agent, "want.yaml"))
	require.NoError(t, err)
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var deployment appsv1.Deployment
		require.NoError(t, yaml.Unmarshal([]byte(document), &deployment))
		if deployment.Kind == "Deployment" {
			require.NotEmpty(t, deployment.Spec.Template.Spec.Containers)
			return deployment.Spec.Template
		}
	}
	require.Fail(t, "no Deployment", agent)
	return corev1.PodTemplateSpec{}
}
