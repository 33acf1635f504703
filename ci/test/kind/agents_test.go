package kind_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// What is done to one Agent leaves the others alone, so these run side by side, each with its own callers.
func TestAnAgentLosesNoRequestDuringDisruptions(t *testing.T) {
	for _, row := range []struct {
		name, environment string
		test              func(*fixture)
	}{
		{"long streams during a rolling update", "production", streamsDuringRollout},
		{"a full quota, rolled", "dev", rolloutInFullQuota},
		{"changes that do not work", "production", failingChanges},
		{"scaled by its CPU", "staging", scaledByCPU}, // production refuses fewer than three replicas
		{"the guide's manifest, rolled", "production", guideImageUpdated},
		{"the guide's configuration, changed", configEnvironment, guideConfigurationChanged},
		{"four replicas, rolled", "production", fourReplicasUpdated},
		{"scaled by hand", "staging", scaledByHand},
		{"a pod deleted and a container killed", "production", podsKilled},
		{"a port's number changed", "production", portNumberChanged},
		{"an unnamed port's number changed", "staging", unnamedPortNumberChanged},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.test(newFixture(t, row.environment))
		})
	}
}

// guideAgent is the name of the Agent in the guide's manifest.
const guideAgent = "production-agent"

// applyGuide applies the guide's manifest unchanged.
func (s *fixture) applyGuide() {
	s.Helper()
	s.kubectl("apply", "--filename", "examples/agents/production-agent.yaml")
	s.cleanUpAgent(guideAgent)
	if cluster.kind == "" {
		s.Logf("the guide's image is not here: it is replaced by %s", oldImage())
		s.setImage(guideAgent, oldImage())
	}
}

// The guide's Agent is changed by the guide's patch.
func guideImageUpdated(s *fixture) {
	s.applyGuide()
	s.waitReady(guideAgent)
	l := s.startLoad(guideAgent)
	o := l.measure("its image is patched, 3 replicas (the guide's Agent)", 3, neverBelow(3), func() {
		s.kubectl("patch", "agent", guideAgent, "--type=json",
			"-p", `[{"op": "replace", "path": "/spec/runtime/spec/container/image", "value": "`+newImage()+`"}]`)
		s.waitReady(guideAgent)
	})
	requireVersions(s.T, o, "v2.0.0", "v2.1.0")
}

// requireVersions is met when both builds answered, which proves that the pods really changed under the calls.
func requireVersions(t *testing.T, o outcome, versions ...string) {
	t.Helper()
	require.Equal(t, versions, slices.Sorted(maps.Keys(o.Versions)))
}

func fourReplicasUpdated(s *fixture) {
	s.create("four", 4)
	l := s.startLoad("four")
	o := l.measure("its image is patched, 4 replicas", 4, neverBelow(4), func() {
		s.setImage("four", newImage())
		s.waitReady("four")
	})
	requireVersions(s.T, o, "v2.0.0", "v2.1.0")
}

// Each of these keeps the new pods from ever being ready; the old ones go on, the status names the cause, and the old spec heals.
func failingChanges(s *fixture) {
	s.create("broken", 3)
	l := s.startLoad("broken")
	container := "/spec/runtime/spec/container/"
	for _, row := range []struct {
		what, patch, undo, reason string
		words                     []string
	}{
		{"an image that does not exist is patched in",
			`[{"op":"replace","path":"` + container + `image","value":"` + image("my-agent", "v9.9.9") + `"}]`,
			`[{"op":"replace","path":"` + container + `image","value":"` + oldImage() + `"}]`,
			v1alpha1.ReasonImagePullFailed, []string{image("my-agent", "v9.9.9")}},
		{"a Secret that does not exist is referred to",
			`[{"op":"add","path":"` + container + `env","value":[{"name":"API_KEY","valueFrom":{"secretKeyRef":{"name":"nowhere","key":"api-key"}}}]}]`,
			`[{"op":"remove","path":"` + container + `env"}]`,
			v1alpha1.ReasonConfigMissing, []string{`"nowhere"`}},
		{"an image that runs as root is patched in",
			`[{"op":"replace","path":"` + container + `image","value":"` + image("my-agent", "v2.0.0-root") + `"}]`,
			`[{"op":"replace","path":"` + container + `image","value":"` + oldImage() + `"}]`,
			v1alpha1.ReasonContainerConfigError, []string{"root"}},
		{"a readiness probe that fails is patched in",
			`[{"op":"add","path":"` + container + `readinessProbe","value":{"httpGet":{"path":"/nowhere","port":8080},"periodSeconds":1}}]`,
			`[{"op":"remove","path":"` + container + `readinessProbe"}]`,
			v1alpha1.ReasonProbeFailing, []string{"404"}},
	} {
		expected := criterion{neverBelow(3).text + "; Ready reports " + row.reason, neverBelow(3).holds}
		l.measure(row.what+", then taken back", 3, expected, func() {
			s.patch("broken", row.patch)
			s.waitNotReady("broken", row.reason, row.words...)
			s.patch("broken", row.undo)
			s.waitReady("broken")
		})
	}
}

func podsKilled(s *fixture) {
	s.create("hit", 3)
	l := s.startLoad("hit")
	l.measure("one pod is deleted", 3, noFailures, func() {
		victim := s.pods("hit")[0].Name
		s.kubectl("delete", "pod", victim)
		s.waitReady("hit")
	})
	s.Run("killed", func(t *testing.T) {
		needsKind(t, "killing a container with no warning")
		containerKilled(l.forSubtest(t))
	})
}

// containerKilled ends a container as nothing in Kubernetes would, without a signal that it could answer. What was in flight is lost, and
// what is sent until its endpoint is withdrawn is refused.
func containerKilled(l *load) {
	s := l.fixture
	counted := criterion{"counted: what was in flight there, and until its endpoint is withdrawn", func(o outcome) (string, error) {
		lasted := max(0, o.LastFailure-o.began)
		if o.Failures > rate*5 || lasted > 10_000 {
			return "", fmt.Errorf("failures for %d ms: %s", lasted, o.Summary)
		}
		return fmt.Sprintf("the last failed after %.1f s", float64(lasted)/1000), nil
	}}
	l.measure("one container is killed (kill -9)", 3, counted, func() {
		victim := s.pods("hit")[0]
		id := strings.TrimPrefix(victim.Status.ContainerStatuses[0].ContainerID, "containerd://")
		_, err := onNode(s.Context(), victim.Spec.NodeName, "ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id)
		require.NoError(s, err)
		s.eventually("its container was started again", waitTimeout, func() error {
			if restarts := s.containerRestarts("hit")[victim.UID]; restarts == 0 {
				return fmt.Errorf("%d restarts", restarts)
			}
			return nil
		})
		s.waitReady("hit")
	})
}

func scaledByHand(s *fixture) {
	s.create("scaled", 3)
	l := s.startLoad("scaled")
	before := s.containerRestarts("scaled")
	l.measure("it is scaled from 3 to 6 to 2", 2, neverBelow(2), func() {
		for _, replicas := range []int32{6, 2} {
			s.kubectl("scale", "agent", "scaled", fmt.Sprintf("--replicas=%d", replicas))
			s.waitReady("scaled")
			require.Equal(s, replicas, s.agent("scaled").Status.AvailableReplicas)
		}
	})
	for id, restarts := range s.containerRestarts("scaled") {
		require.Equal(s, before[id], restarts, "no container was started again")
	}
}

func scaledByCPU(s *fixture) {
	if !hasCPUMetrics(s.Context()) {
		s.Skip("skipped: no metrics.k8s.io API on this cluster: install metrics-server")
	}
	s.create("elastic", 2, func(a *v1alpha1.Agent) {
		a.Spec.Runtime.Spec.Replicas = nil
		quick := &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](15)}
		a.Spec.Autoscaling = &v1alpha1.Autoscaling{MinReplicas: ptr.To[int32](2), MaxReplicas: 5, Metrics: []autoscalingv2.MetricSpec{cpuOf(30)}, Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: quick}}
	})
	l := s.startLoad("elastic")
	before := s.containerRestarts("elastic")
	l.measure("an autoscaler follows its CPU up from 2 and down again", 2, neverBelow(2), func() {
		extraLoads := s.extraLoad("elastic")
		for _, extraLoad := range extraLoads {
			require.NoError(s, api.Delete(s.Context(), extraLoad))
		}
		s.eventually("there are two again", 2*waitTimeout, func() error {
			if wanted := ptr.Deref(s.agent("elastic").Spec.Runtime.Spec.Replicas, 0); wanted != 2 {
				return fmt.Errorf("%d wanted", wanted)
			}
			return nil
		})
		s.waitReady("elastic")
	})
	for id, restarts := range s.containerRestarts("elastic") {
		require.Equal(s, before[id], restarts, "no container was started again")
	}
}

// extraLoad sends more and more callers to an Agent of two replicas until it has more: how many that takes is the machine's affair.
func (s *fixture) extraLoad(agent string) []*corev1.Pod {
	s.Helper()
	const most, reaction = 6, time.Minute // an autoscaler looks every 15 s at what was measured every 15 s
	var extraLoads []*corev1.Pod
	more := func(context.Context) error {
		if available := s.agent(agent).Status.AvailableReplicas; available <= 2 {
			return fmt.Errorf("%d available", available)
		}
		return nil
	}
	for {
		extraLoad := trafficPod("live-gateway", fmt.Sprintf("rush-%d", len(extraLoads)), "gateway",
			[]string{"load", "--target", serviceURL(agent, s.namespace, servicePort), "--rate", "200", "--connections", "16", "--new-connections", "0"}, onCallerNode)
		s.Cleanup(func() { _ = api.Delete(context.Background(), extraLoad) })
		require.NoError(s, startPods(s.Context(), extraLoad))
		extraLoads = append(extraLoads, extraLoad)
		err := waitFor(s.Context(), fmt.Sprintf("%d rushes have made more than two replicas", len(extraLoads)), reaction, more)
		if err == nil || len(extraLoads) == most {
			require.NoError(s, err)
			return extraLoads
		}
	}
}

// cpuOf is a target for CPU utilization, in percent of the pods' requests.
func cpuOf(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To(percent)}}}
}

// Streams of 30 seconds need a pod that goes to have longer than that.
func streamsDuringRollout(s *fixture) {
	s.create("streams", 3, withEnv("OPENAI_BASE_URL", fmt.Sprintf("http://%s:%d/v1", providerAddress, providerPort)), withEnv("FLOKOA_MODEL", "stub-30s"),
		func(a *v1alpha1.Agent) {
			a.Spec.Runtime.Spec.TerminationGracePeriodSeconds = ptr.To[int64](60)
		}, withCredential("OPENAI_API_KEY"))
	l := s.startLoad("streams", "--post-path=", "--streams", "8", "--stream-seconds", "30")
	whole := criterion{"no stream cut, 0 failed, never fewer available than wanted", func(o outcome) (string, error) {
		if o.StreamsCut > 0 || o.StreamsFinished < 16 {
			return "", fmt.Errorf("%s", o.Summary)
		}
		measured, err := neverBelow(3).holds(o)
		return fmt.Sprintf("%d streams of 30 s whole%s", o.StreamsFinished, measured), err
	}}
	o := l.measure("its image is patched while 8 streams of 30 s are read", 3, whole, func() {
		s.setImage("streams", newImage())
		s.waitReady("streams")
		l.wait(35 * time.Second) // until the streams that began last are over
	})
	requireVersions(s.T, o, "v2.0.0", "v2.1.0")
}

// withCredential gives the container the provider's key, from the Secret of the guide's Agent, as a variable.
func withCredential(name string) change {
	return func(a *v1alpha1.Agent) {
		container := &a.Spec.Runtime.Spec.Container
		container.Env = append(container.Env, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "agent-secrets"}, Key: "api-key"}}})
	}
}
