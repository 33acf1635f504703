package cluster_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// hpaTimeout is how long an autoscaler may take to count: it looks every 15 s.
const hpaTimeout = 2 * time.Minute

// checkEvents reports how often an event about an Agent with a reason and words is there, if it is not this often.
func (s *fixture) checkEvents(agent, reason, words string, want int) error {
	s.Helper()
	count, others := 0, []string{}
	for _, object := range s.list(&eventsv1.EventList{}) {
		event := object.(*eventsv1.Event)
		if event.Regarding.Kind != v1alpha1.AgentKind || event.Regarding.Name != agent || event.Reason != reason {
			continue
		}
		if !strings.Contains(event.Note, words) {
			others = append(others, event.Note)
			continue
		}
		count++
		if event.Series != nil {
			count += int(event.Series.Count) - 1
		}
	}
	if count != want {
		return fmt.Errorf("%d times %s %q; others: %q", count, reason, words, others)
	}
	return nil
}

// lowestReplicas follows the count that an Agent's Deployment is given, and returns the lowest one seen.
func (s *fixture) lowestReplicas(deployment string) func() int32 {
	s.Helper()
	var mutex sync.Mutex
	least := int32(1 << 30)
	s.watchObjects(s.Context(), &appsv1.DeploymentList{}, func(_ watch.EventType, object client.Object) {
		mutex.Lock()
		defer mutex.Unlock()
		if object.GetName() == deployment {
			least = min(least, ptr.Deref(object.(*appsv1.Deployment).Spec.Replicas, 0))
		}
	})
	return func() int32 {
		mutex.Lock()
		defer mutex.Unlock()
		return least
	}
}

// apply applies a team's manifest by server-side apply: fields that it omits are removed.
func (s *fixture) apply(manifest string) {
	s.Helper()
	command := s.command(s.Context(), "apply", "--server-side", "-f", "-")
	command.Stdin = strings.NewReader(manifest)
	out, err := command.CombinedOutput()
	require.NoError(s, err, "%s", out)
}

func teamsManifest(replicas, rest string) string {
	return `
apiVersion: agent.flokoa.ai/v1alpha1
kind: Agent
metadata: {name: a}
spec:
  ` + rest + `
  runtime:
    spec:
      ` + replicas + `
      container: {image: "registry.example/agent:v1", ports: [{containerPort: 8080, name: http}]}
`
}

func TestAutoscalingTakesOverALiveAgentWithoutADip(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.apply(teamsManifest("replicas: 5", ""))
	s.waitReady("a")
	budget := read(s, "a", &policyv1.PodDisruptionBudget{})
	least := s.lowestReplicas("a")

	s.apply(teamsManifest("", "autoscaling: {minReplicas: 3, maxReplicas: 10}"))
	s.eventually("the autoscaler has taken over with the bounds of the spec", hpaTimeout, func() error {
		agent, scaler := read(s, "a", &v1alpha1.Agent{}), &autoscalingv2.HorizontalPodAutoscaler{}
		return firstError(
			api.Get(t.Context(), client.ObjectKeyFromObject(agent), scaler),
			checkEqual("replicas", 5, agent.Spec.Runtime.Spec.Replicas),
			checkEqual("minReplicas", 3, scaler.Spec.MinReplicas),
			checkEqual("target", autoscalingv2.CrossVersionObjectReference{APIVersion: "agent.flokoa.ai/v1alpha1", Kind: "Agent", Name: "a"}, scaler.Spec.ScaleTargetRef),
		)
	})
	require.EqualValues(t, 5, least(), "no dip while it took over")
	require.EqualValues(t, 5, s.waitReady("a").Status.AvailableReplicas)
	scaler := read(s, "a", &autoscalingv2.HorizontalPodAutoscaler{})

	s.apply(teamsManifest("", "autoscaling: {minReplicas: 6, maxReplicas: 10}"))
	require.EqualValues(t, 6, s.waitReady("a").Status.AvailableReplicas)
	s.eventually("the autoscaler writes it down", hpaTimeout, func() error {
		return checkEqual("replicas", 6, read(s, "a", &v1alpha1.Agent{}).Spec.Runtime.Spec.Replicas)
	})
	s.apply(teamsManifest("", "autoscaling: {minReplicas: 2, maxReplicas: 10}"))
	s.waitReady("a")
	require.EqualValues(t, 5, least(), "lower bounds took nothing away")

	s.apply(teamsManifest("", ""))
	s.eventually("the autoscaler is gone", waitTimeout, func() error { return s.checkDeleted("a", &autoscalingv2.HorizontalPodAutoscaler{}) })
	require.EqualValues(t, 6, s.waitReady("a").Status.AvailableReplicas, "its count stays")
	require.EqualValues(t, 5, least())
	require.Equal(t, budget.UID, read(s, "a", &policyv1.PodDisruptionBudget{}).UID, "the budget never came or went")
	require.NotEmpty(t, scaler.UID)
}

func TestTheOperatorNeverWritesReplicasWithAutoscaling(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a", replicas(1), func(a *v1alpha1.Agent) {
		a.Spec.Autoscaling = &v1alpha1.Autoscaling{MinReplicas: ptr.To[int32](1), MaxReplicas: 4}
	})
	s.waitReady("a")
	budget, scaler := read(s, "a", &policyv1.PodDisruptionBudget{}), read(s, "a", &autoscalingv2.HorizontalPodAutoscaler{})
	for _, count := range []int{3, 1, 4, 2} {
		s.kubectl("scale", "agent", "a", fmt.Sprintf("--replicas=%d", count))
		require.EqualValues(t, count, s.waitReady("a").Status.AvailableReplicas)
		require.Equal(t, budget.UID, read(s, "a", &policyv1.PodDisruptionBudget{}).UID)
		require.Equal(t, scaler.UID, read(s, "a", &autoscalingv2.HorizontalPodAutoscaler{}).UID)
	}
	s.kubectl("scale", "agent", "a", "--replicas=9")
	require.EqualValues(t, 4, s.waitReady("a").Status.AvailableReplicas, "never beyond the bounds")
	written := harness.Counts(s.requests())
	require.Zero(t, written["patch agents"]+written["update agents"]+written["patch agents/scale"]+written["update agents/scale"], "%v", written)
	require.Equal(t, 1, written["patch poddisruptionbudgets"], "%v", written)
	require.Equal(t, 1, written["patch horizontalpodautoscalers"], "%v", written)

	out, err := s.command(t.Context(), "scale", "agent", "a", "--replicas=0").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "runtime.spec.replicas must not be 0 with autoscaling")
}

func outsideAutoscaler(s *fixture, apiVersion, kind string, least int32) *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "outside"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: apiVersion, Kind: kind, Name: "a"},
			MinReplicas:    &least, MaxReplicas: 9,
		},
	}
}

func TestAnOutsideAutoscalerMayScaleTheAgent(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a", replicas(1))
	s.waitReady("a")
	require.NoError(t, api.Create(t.Context(), outsideAutoscaler(s, v1alpha1.GroupVersion.String(), v1alpha1.AgentKind, 3)))
	s.eventually("the autoscaler has written the Agent's count", hpaTimeout, func() error {
		return checkEqual("replicas", 3, read(s, "a", &v1alpha1.Agent{}).Spec.Runtime.Spec.Replicas)
	})
	require.EqualValues(t, 3, s.waitReady("a").Status.AvailableReplicas)
}

func TestAnAutoscalerThatTargetsTheDeploymentIsReported(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a", replicas(1))
	s.waitReady("a")
	require.NoError(t, api.Create(t.Context(), outsideAutoscaler(s, "apps/v1", "Deployment", 3)))
	const words = `kube-controller-manager scales Deployment "a" to 3, but the Agent asks for 1 and scales it back: point the autoscaler's scaleTargetRef at agent.flokoa.ai/v1alpha1 Agent a`
	s.eventually("an Event reports it", hpaTimeout, func() error { return s.checkEvents("a", "DeploymentScaled", words, 1) })
	s.eventually("the count is put back", waitTimeout, func() error {
		return checkEqual("replicas", 1, read(s, "a", &appsv1.Deployment{}).Spec.Replicas)
	})
	s.eventually("it is contested again", hpaTimeout, func() error {
		if patched := harness.Counts(s.requests())["patch deployments"]; patched < 3 {
			return fmt.Errorf("%d patches of the Deployment", patched)
		}
		return nil
	})
	require.NoError(t, s.checkEvents("a", "DeploymentScaled", words, 1), "reported once")
}

func TestASuspendedAgentKeepsEverythingButItsPods(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a", replicas(3))
	s.waitReady("a")
	before := versionsOf(s, &policyv1.PodDisruptionBudgetList{}, &corev1.ServiceList{})
	s.patch("a", `[{"op":"add","path":"/spec/suspend","value":true}]`)
	agent := s.waitReady("a")
	require.Equal(t, v1alpha1.ReasonSuspended, condition(agent, v1alpha1.ConditionReady).Reason)
	require.Equal(t, v1alpha1.ReasonSuspended, condition(agent, v1alpha1.ConditionAvailable).Reason)
	require.Contains(t, condition(agent, v1alpha1.ConditionHighlyAvailable).Message, "replicas: suspended, no replica runs")
	require.EqualValues(t, 3, *agent.Spec.Runtime.Spec.Replicas)
	s.eventually("no pod is left", waitTimeout, func() error { return checkEqual("pods", 0, len(s.list(&corev1.PodList{}))) })
	s.patch("a", `[{"op":"replace","path":"/spec/suspend","value":false}]`)
	require.EqualValues(t, 3, s.waitReady("a").Status.AvailableReplicas)
	require.Equal(t, before, versionsOf(s, &policyv1.PodDisruptionBudgetList{}, &corev1.ServiceList{}), "uids")
	require.Len(t, s.list(&appsv1.ReplicaSetList{}), 1, "the pods come back from the same template")
}

// versionsOf are the uids of all objects of some kinds.
func versionsOf(s *fixture, kinds ...client.ObjectList) map[string]string {
	s.Helper()
	all := map[string]string{}
	for _, kind := range kinds {
		for _, object := range s.list(kind) {
			all[fmt.Sprintf("%T %s", object, object.GetName())] = string(object.GetUID())
		}
	}
	return all
}

func TestAChangedAgentCardRollsThePods(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a", replicas(2), func(a *v1alpha1.Agent) { a.Spec.Card = &v1alpha1.Card{Description: "Answers.", Version: "1"} })
	s.waitReady("a")
	card := read(s, "a-card", &corev1.ConfigMap{}).Data
	require.Contains(t, card["agent-card.json"], `"version": "1"`)
	pods := uids(s, &corev1.PodList{})
	mounts := s.list(&corev1.PodList{})[0].(*corev1.Pod).Spec.Containers[0].VolumeMounts
	require.Equal(t, []corev1.VolumeMount{{Name: "flokoa-agent-card", MountPath: "/etc/flokoa/agent-card.json", SubPath: "agent-card.json", ReadOnly: true}}, mounts)

	s.kubectl("patch", "configmap", "a-card", "--type=merge", "-p", `{"data":{"agent-card.json":"{}"}}`)
	s.eventually("a manual change is reverted", waitTimeout, func() error { return checkEqual("card", card, read(s, "a-card", &corev1.ConfigMap{}).Data) })
	require.Equal(t, pods, uids(s, &corev1.PodList{}), "and restarts nothing")

	s.patch("a", `[{"op":"replace","path":"/spec/card/version","value":"2"}]`)
	s.waitReady("a")
	s.eventually("every pod is new", waitTimeout, func() error { return checkDisjoint(pods, uids(s, &corev1.PodList{})) })
	require.Contains(t, read(s, "a-card", &corev1.ConfigMap{}).Data["agent-card.json"], `"version": "2"`)

	s.patch("a", `[{"op":"remove","path":"/spec/card"}]`)
	s.waitReady("a")
	s.eventually("the ConfigMap is gone", waitTimeout, func() error { return s.checkDeleted("a-card", &corev1.ConfigMap{}) })
}

func TestAForeignConfigMapIsNotUsedAsTheAgentCard(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.kubectl("create", "configmap", "a-card", "--from-literal=agent-card.json=theirs")
	s.create("a", func(a *v1alpha1.Agent) { a.Spec.Card = &v1alpha1.Card{Description: "Answers.", Version: "1"} })
	agent := s.waitForAgent("a", "the conflict is reported", waitTimeout, func(a *v1alpha1.Agent) bool {
		return condition(a, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonNameConflict
	})
	require.Contains(t, condition(agent, v1alpha1.ConditionReady).Message, `a ConfigMap named "a-card" exists`)
	require.Equal(t, map[string]string{"agent-card.json": "theirs"}, read(s, "a-card", &corev1.ConfigMap{}).Data)
	s.kubectl("delete", "configmap", "a-card")
	s.eventually("it heals", recoveryTimeout, func() error {
		if !isReady(read(s, "a", &v1alpha1.Agent{})) {
			return errors.New("not yet")
		}
		return nil
	})
	require.Contains(t, read(s, "a-card", &corev1.ConfigMap{}).Data["agent-card.json"], "Answers.")
}
