package status_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/status"
)

var now = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// deploymentOption changes the Deployment of an Agent named "a", which by default has three available replicas.
type deploymentOption func(*appsv1.Deployment)

func deployment(options ...deploymentOption) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Generation: 4},
		Spec:       appsv1.DeploymentSpec{ProgressDeadlineSeconds: ptr.To[int32](600)},
		Status:     appsv1.DeploymentStatus{ObservedGeneration: 4},
	}
	counts(3, 3, 3, 3)(d)
	progressing("NewReplicaSetAvailable")(d)
	for _, option := range options {
		option(d)
	}
	return d
}

func counts(replicas, updated, ready, available int32) deploymentOption {
	return func(d *appsv1.Deployment) {
		d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas = replicas, updated, ready, available
	}
}

// progressing sets the reason of the Deployment's condition Progressing, among other conditions.
func progressing(reason string) deploymentOption {
	return func(d *appsv1.Deployment) {
		d.Status.Conditions = []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "ProgressDeadlineExceeded"},
			{Type: appsv1.DeploymentProgressing, Reason: reason},
		}
	}
}

func paused(d *appsv1.Deployment) { d.Spec.Paused = true }

func unobserved(d *appsv1.Deployment) { d.Generation++ }

// statusOf returns only the status.
func statusOf(agent *v1alpha1.Agent, observed status.Observed, err error) v1alpha1.AgentStatus {
	result, _ := status.Of(agent, observed, err)
	return result
}

// missingIn returns only the ids of the missing requirements.
func missingIn(agent *v1alpha1.Agent, observed status.Observed, err error) []string {
	_, missing := status.Of(agent, observed, err)
	return missing
}

// conditionText returns a condition on one line, empty if it is absent.
func conditionText(s v1alpha1.AgentStatus, kind string) string {
	c := meta.FindStatusCondition(s.Conditions, kind)
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
}

func TestReadyReportsWhetherTheSpecIsRolledOut(t *testing.T) {
	conflict := &status.Failure{Reason: v1alpha1.ReasonNameConflict, Message: "a conflict"}
	for _, r := range []struct {
		name       string
		replicas   int32
		deployment *appsv1.Deployment
		err        error
		want       string
	}{
		{"a failure of this pass comes first", 3, deployment(), conflict, "False NameConflict: a conflict"},
		{"no Deployment yet", 3, nil, nil, `False RolloutInProgress: creating Deployment "a"`},
		{"no Deployment yet, none desired", 0, nil, nil, `False RolloutInProgress: creating Deployment "a"`},
		{"an unobserved spec", 3, deployment(unobserved), nil, `False RolloutInProgress: waiting for the Deployment controller to observe Deployment "a"`},
		{"an unobserved spec reports no old deadline", 3, deployment(unobserved, progressing("ProgressDeadlineExceeded")), nil, `False RolloutInProgress: waiting for the Deployment controller to observe Deployment "a"`},
		{"the deadline exceeded", 3, deployment(counts(4, 1, 3, 3), progressing("ProgressDeadlineExceeded")), nil, "False ProgressDeadlineExceeded: no progress for 600 s: 1 of 3 replicas updated, 3 available; old replicas keep running until the rollout proceeds"},
		{"the deadline exceeded while paused", 3, deployment(paused, counts(4, 1, 3, 3), progressing("ProgressDeadlineExceeded")), nil, "False ProgressDeadlineExceeded: no progress for 600 s: 1 of 3 replicas updated, 3 available; old replicas keep running until the rollout proceeds"},
		{"paused during a rollout", 3, deployment(paused, counts(3, 1, 3, 3), progressing("DeploymentPaused")), nil, "False RolloutInProgress: the Deployment is paused: resume it with kubectl rollout resume deployment/a"},
		{"paused, and complete", 3, deployment(paused, progressing("DeploymentPaused")), nil, "True RolloutComplete: 3 of 3 replicas available"},
		{"none started", 3, deployment(counts(0, 0, 0, 0), progressing("NewReplicaSetCreated")), nil, "False RolloutInProgress: 0 of 3 replicas updated, 0 available"},
		{"no condition at all yet", 3, deployment(counts(0, 0, 0, 0), func(d *appsv1.Deployment) { d.Status.Conditions = nil }), nil, "False RolloutInProgress: 0 of 3 replicas updated, 0 available"},
		{"some started", 3, deployment(counts(4, 1, 3, 3), progressing("ReplicaSetUpdated")), nil, "False RolloutInProgress: 1 of 3 replicas updated, 3 available"},
		{"old ones left", 3, deployment(counts(4, 3, 4, 4), progressing("ReplicaSetUpdated")), nil, "False RolloutInProgress: 1 old replica pending termination"},
		{"too many", 3, deployment(counts(5, 5, 5, 5)), nil, "False RolloutInProgress: 2 replicas pending termination"},
		{"new ones not available yet", 3, deployment(counts(3, 3, 2, 2), progressing("ReplicaSetUpdated")), nil, "False RolloutInProgress: 2 of 3 updated replicas available"},
		{"new ones ready, but not for minReadySeconds", 3, deployment(counts(3, 3, 3, 2)), nil, "False RolloutInProgress: 2 of 3 updated replicas available"},
		{"scaled to zero", 0, deployment(counts(0, 0, 0, 0)), nil, "True ScaledToZero: zero replicas are asked for, and none runs"},
		{"scaling to zero", 0, deployment(counts(2, 2, 2, 2)), nil, "False RolloutInProgress: 2 replicas pending termination"},
		{"complete", 3, deployment(), nil, "True RolloutComplete: 3 of 3 replicas available"},
		{"complete with one", 1, deployment(counts(1, 1, 1, 1)), nil, "True RolloutComplete: 1 of 1 replicas available"},
	} {
		t.Run(r.name, func(t *testing.T) {
			got := statusOf(agenttest.New("a", agenttest.Replicas(r.replicas)), status.Observed{Deployment: r.deployment}, r.err)
			require.Equal(t, r.want, conditionText(got, v1alpha1.ConditionReady))
			if r.deployment != nil {
				r.deployment.Spec.Replicas = &r.replicas
			}
			require.Equal(t, strings.HasPrefix(r.want, "True") || r.err != nil, status.RolledOut(r.deployment))
		})
	}
}

// A missing replica is lost if the rollout was complete before, and still to come if it was not.
func TestMissingReplicasAreLostOrStillRollingOut(t *testing.T) {
	complete := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRolloutComplete, ObservedGeneration: 1}
	missing := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonReplicasUnavailable, ObservedGeneration: 1}
	rolling := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRolloutInProgress, ObservedGeneration: 1}
	for _, r := range []struct {
		name       string
		old        metav1.Condition
		generation int64
		counts     deploymentOption
		want       string
	}{
		{"lost", complete, 1, counts(3, 3, 2, 2), "False ReplicasUnavailable: 2 of 3 replicas available"},
		{"all lost", complete, 1, counts(3, 3, 0, 0), "False ReplicasUnavailable: 0 of 3 replicas available"},
		{"lost, and the pod is gone too", complete, 1, counts(2, 2, 2, 2), "False ReplicasUnavailable: 2 of 3 replicas available"},
		{"still lost", missing, 1, counts(3, 3, 2, 2), "False ReplicasUnavailable: 2 of 3 replicas available"},
		{"back", missing, 1, counts(3, 3, 3, 3), "True RolloutComplete: 3 of 3 replicas available"},
		{"the last step of a rollout", rolling, 1, counts(3, 3, 2, 2), "False RolloutInProgress: 2 of 3 updated replicas available"},
		{"scaled up since", complete, 2, counts(3, 3, 2, 2), "False RolloutInProgress: 2 of 3 updated replicas available"},
		{"kubectl rollout restart since", complete, 1, counts(4, 1, 3, 3), "False RolloutInProgress: 1 of 3 replicas updated, 3 available"},
		{"the Deployment was scaled up", complete, 1, counts(5, 5, 2, 2), "False RolloutInProgress: 2 replicas pending termination"},
	} {
		t.Run(r.name, func(t *testing.T) {
			agent := agenttest.New("a", agenttest.Replicas(3))
			agent.Generation, agent.Status.Conditions = r.generation, []metav1.Condition{r.old}
			if step := r.old; step.Status == metav1.ConditionFalse {
				step.Type, step.Status = v1alpha1.ConditionReconciling, metav1.ConditionTrue
				agent.Status.Conditions = append(agent.Status.Conditions, step)
			}
			got := statusOf(agent, status.Observed{Deployment: deployment(r.counts)}, nil)
			require.Equal(t, r.want, conditionText(got, v1alpha1.ConditionReady))
		})
	}
}

func TestReplicasDefaultToOne(t *testing.T) {
	agent := agenttest.New("a", agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) { s.Replicas = nil }))
	got := statusOf(agent, status.Observed{Deployment: deployment(counts(1, 1, 1, 1))}, nil)
	require.Equal(t, "True RolloutComplete: 1 of 1 replicas available", conditionText(got, v1alpha1.ConditionReady))
}

func TestAvailableReportsWhetherAnyReplicaIsAvailable(t *testing.T) {
	for _, r := range []struct {
		name       string
		replicas   int32
		deployment *appsv1.Deployment
		want       string
	}{
		{"all", 3, deployment(), "True ReplicasAvailable: 3 of 3 replicas available"},
		{"one of many, although the Deployment is not Available", 3, deployment(counts(3, 3, 1, 1)), "True ReplicasAvailable: 1 of 3 replicas available"},
		{"none", 3, deployment(counts(3, 3, 3, 0)), "False NoReplicasAvailable: 0 of 3 replicas available"},
		{"no Deployment", 3, nil, "False NoReplicasAvailable: 0 of 3 replicas available"},
		{"none desired", 0, deployment(counts(0, 0, 0, 0)), "False ScaledToZero: zero replicas are asked for"},
		{"none desired, no Deployment", 0, nil, "False ScaledToZero: zero replicas are asked for"},
		{"none desired, one still available", 0, deployment(counts(1, 1, 1, 1)), "True ReplicasAvailable: 1 replica available, 0 desired"},
	} {
		t.Run(r.name, func(t *testing.T) {
			agent := agenttest.New("a", agenttest.Replicas(r.replicas))
			require.Equal(t, r.want, conditionText(statusOf(agent, status.Observed{Deployment: r.deployment}, nil), v1alpha1.ConditionAvailable))
			failed := statusOf(agent, status.Observed{Deployment: r.deployment}, errors.New("refused"))
			require.Equal(t, r.want, conditionText(failed, v1alpha1.ConditionAvailable), "a failed pass removes no replica")
		})
	}
}

func TestModelResolvedSaysWhatTheAgentRunsWith(t *testing.T) {
	agent := agenttest.New("a", agenttest.In("team"))
	require.Empty(t, conditionText(statusOf(agent, status.Observed{}, nil), v1alpha1.ConditionModelResolved))
	agent.Spec.Model = &v1alpha1.ModelReference{Name: "m"}
	found := []corev1.EnvVar{{Name: v1alpha1.EnvModel, Value: "gpt-4o"}, {Name: v1alpha1.EnvModelProvider, Value: "OpenAI"}}
	const missing = `False ModelNotFound: Model "m" does not exist in namespace "team": `
	const fix = ": create it there, or correct spec.model.name"
	for _, r := range []struct {
		name  string
		model status.Model
		want  string
	}{
		{"it exists", status.Model{Exists: true, Environment: found}, `True Resolved: Model "m" is gpt-4o of OpenAI`},
		{"it never existed", status.Model{}, missing + "the pods run without its environment, and roll when it exists" + fix},
		{"it was deleted", status.Model{Kept: true}, missing + "the pods keep the environment that they had" + fix},
		{"it may be about to appear", status.Model{Awaited: true}, missing + "the Agent is applied when it does, or without its environment after 10 s" + fix},
	} {
		t.Run(r.name, func(t *testing.T) {
			current := statusOf(agent, status.Observed{Config: status.Config{Model: r.model}}, nil)
			require.Equal(t, r.want, conditionText(current, v1alpha1.ConditionModelResolved))
		})
	}
	waiting := statusOf(agent, status.Observed{Config: status.Config{Model: status.Model{Awaited: true}}}, nil)
	require.Equal(t, `False RolloutInProgress: waiting up to 10 s for Model "m" before applying Deployment "a"`, conditionText(waiting, v1alpha1.ConditionReady))
}

func TestReadyHasTheReasonOfTheWorstFailure(t *testing.T) {
	failure := func(reason string) error { return &status.Failure{Reason: reason, Message: reason} }
	invalid, conflict := failure(v1alpha1.ReasonInvalidSpec), failure(v1alpha1.ReasonNameConflict)
	rejected, waiting := failure(v1alpha1.ReasonApplyFailed), failure(v1alpha1.ReasonRolloutInProgress)
	for _, r := range []struct {
		name string
		err  error
		want string
	}{
		{"one", conflict, "False NameConflict: NameConflict"},
		{"joined, the worst last", errors.Join(waiting, rejected, conflict, invalid), "False InvalidSpec: InvalidSpec"},
		{"joined, the worst first", errors.Join(conflict, rejected, waiting), "False NameConflict: NameConflict"},
		{"a rejected apply is worse than waiting", errors.Join(waiting, rejected), "False ApplyFailed: ApplyFailed"},
		{"joins in joins", errors.Join(waiting, errors.Join(rejected, errors.Join(conflict))), "False NameConflict: NameConflict"},
		{"two of the same reason", errors.Join(rejected, errors.New("later")), "False ApplyFailed: ApplyFailed; later"},
		{"another error is a failed apply", errors.New("boom"), "False ApplyFailed: boom"},
		{"another error and a worse one", errors.Join(errors.New("boom"), conflict), "False NameConflict: NameConflict"},
		{"another error and a lesser one", errors.Join(waiting, errors.New("boom")), "False ApplyFailed: boom"},
		{"a message with a percent sign", errors.New("50% d"), "False ApplyFailed: 50% d"},
	} {
		t.Run(r.name, func(t *testing.T) {
			got := statusOf(agenttest.New("a"), status.Observed{Deployment: deployment()}, r.err)
			require.Equal(t, r.want, conditionText(got, v1alpha1.ConditionReady))
		})
	}
}

// The API server rejects a condition whose message exceeds 32768 characters, and an Event whose note exceeds 1024. A long error
// must not keep the status from being written.
func TestLongMessageIsTruncated(t *testing.T) {
	for _, text := range []string{strings.Repeat("why ", 10000), strings.Repeat("é", 10000)} {
		got := statusOf(agenttest.New("a"), status.Observed{}, errors.New(text))
		require.Len(t, got.Conditions, 4)
		for _, c := range got.Conditions {
			require.LessOrEqual(t, len(c.Message), maxMessage, c.Type)
			require.True(t, utf8.ValidString(c.Message), c.Type)
		}
		require.Contains(t, conditionText(got, v1alpha1.ConditionReady), "False ApplyFailed: "+text[:800])
	}
}

func TestFailureWrapsItsCause(t *testing.T) {
	cause := errors.New("cause")
	require.ErrorIs(t, &status.Failure{Cause: cause}, cause)
	require.EqualError(t, &status.Failure{Message: "text"}, "text")
	require.Empty(t, status.Failures(nil))
	require.Equal(t, []*status.Failure{{Reason: v1alpha1.ReasonApplyFailed, Message: "cause", Cause: cause}}, status.Failures(cause))
}

func TestUnreadyAgentIsEitherReconcilingOrStalled(t *testing.T) {
	failure := func(reason string) error { return &status.Failure{Reason: reason, Message: "why"} }
	for _, r := range []struct {
		name                 string
		deployment           *appsv1.Deployment
		err                  error
		reconciling, stalled string
	}{
		{"ready", deployment(), nil, "", ""},
		{"rolling", deployment(counts(4, 1, 3, 3)), nil, "True RolloutInProgress: 1 of 3 replicas updated, 3 available", ""},
		{"no Deployment", nil, nil, `True RolloutInProgress: creating Deployment "a"`, ""},
		{"waiting for a deletion", nil, failure(v1alpha1.ReasonRolloutInProgress), "True RolloutInProgress: why", ""},
		{"rejected, and retried", deployment(), failure(v1alpha1.ReasonApplyFailed), "True ApplyFailed: why", ""},
		{"invalid", deployment(), failure(v1alpha1.ReasonInvalidSpec), "", "True InvalidSpec: why"},
		{"a name conflict", deployment(), failure(v1alpha1.ReasonNameConflict), "", "True NameConflict: why"},
		{"the deadline exceeded", deployment(counts(4, 1, 3, 3), progressing("ProgressDeadlineExceeded")), nil, "", "True ProgressDeadlineExceeded: no progress for 600 s: 1 of 3 replicas updated, 3 available; old replicas keep running until the rollout proceeds"},
	} {
		t.Run(r.name, func(t *testing.T) {
			got := statusOf(agenttest.New("a", agenttest.Replicas(3)), status.Observed{Deployment: r.deployment}, r.err)
			require.Equal(t, r.reconciling, conditionText(got, v1alpha1.ConditionReconciling))
			require.Equal(t, r.stalled, conditionText(got, v1alpha1.ConditionStalled))
		})
	}
}

func TestTransitionTimeChangesOnlyWithTheStatus(t *testing.T) {
	agent := agenttest.New("a", agenttest.Replicas(3))
	agent.Generation = 7
	before := metav1.NewTime(now.Add(-time.Hour))
	agent.Status.Conditions = []metav1.Condition{
		{Type: v1alpha1.ConditionAvailable, Status: metav1.ConditionTrue, Reason: "Another", LastTransitionTime: before},
		{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRolloutInProgress, LastTransitionTime: before},
		{Type: v1alpha1.ConditionReconciling, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRolloutInProgress, LastTransitionTime: before},
		{Type: "Foreign", Status: metav1.ConditionTrue, Reason: "Left", LastTransitionTime: before},
	}
	got := statusOf(agent, status.Observed{Now: now, Deployment: deployment()}, nil)
	require.Equal(t, []metav1.Condition{
		{Type: v1alpha1.ConditionAvailable, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReplicasAvailable, Message: "3 of 3 replicas available", ObservedGeneration: 7, LastTransitionTime: before},
		{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRolloutComplete, Message: "3 of 3 replicas available", ObservedGeneration: 7, LastTransitionTime: metav1.NewTime(now)},
		{Type: v1alpha1.ConditionHighlyAvailable, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRequirementsMet, Message: "3 replicas available on 0 nodes in 0 zones", ObservedGeneration: 7, LastTransitionTime: metav1.NewTime(now)},
	}, got.Conditions)
	again := agent.DeepCopy()
	again.Status = got
	require.Equal(t, got, statusOf(again, status.Observed{Now: now.Add(time.Minute), Deployment: deployment()}, nil), "a second pass changes nothing")
}

func TestStatusIsCompleteForTheCurrentGeneration(t *testing.T) {
	agent := agenttest.New("a", agenttest.In("team"), agenttest.Replicas(3))
	agent.Generation = 7
	agent.Status = v1alpha1.AgentStatus{ObservedGeneration: 3, Replicas: 9, Image: "old", URL: "old", Placement: &v1alpha1.Placement{Nodes: 9}}
	d := deployment(counts(5, 4, 3, 2))
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "injected", Image: "mesh"}, {Name: "agent", Image: "rolled/out:v1"}}
	got := statusOf(agent, status.Observed{Now: now, Deployment: d, Pods: []corev1.Pod{running("n1", "z1")}}, nil)
	got.Conditions = nil
	require.Equal(t, v1alpha1.AgentStatus{
		ObservedGeneration: 7,
		Replicas:           5, UpdatedReplicas: 4, ReadyReplicas: 3, AvailableReplicas: 2,
		Selector:  "flokoa.ai/agent=a",
		URL:       "http://a.team.svc:8080",
		Image:     "rolled/out:v1",
		Placement: &v1alpha1.Placement{Nodes: 1, Zones: 1},
	}, got)
}

func TestImageIsThatOfTheAgentContainer(t *testing.T) {
	d := deployment()
	require.Empty(t, statusOf(agenttest.New("a"), status.Observed{Deployment: d}, nil).Image)
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "agent", Image: "one"}, {Name: "main", Image: "two"}}
	named := agenttest.New("a", agenttest.Container(func(c *corev1.Container) { c.Name = "main" }))
	unnamed := agenttest.New("a", agenttest.Container(func(c *corev1.Container) { c.Name = "" }))
	require.Equal(t, "two", statusOf(named, status.Observed{Deployment: d}, nil).Image)
	require.Equal(t, "one", statusOf(unnamed, status.Observed{Deployment: d}, nil).Image)
}

func running(node, zone string) corev1.Pod {
	pod := corev1.Pod{Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	if zone != "" {
		pod.Labels = map[string]string{corev1.LabelTopologyZone: zone}
	}
	return pod
}

func TestPlacementCountsTheNodesAndZonesOfRunningPods(t *testing.T) {
	in := func(phase corev1.PodPhase) corev1.Pod {
		pod := running("other", "other")
		pod.Status.Phase = phase
		return pod
	}
	terminating := running("other", "other")
	terminating.DeletionTimestamp = &metav1.Time{Time: now}
	for _, r := range []struct {
		name         string
		pods         []corev1.Pod
		nodes, zones int32
	}{
		{"no pod", nil, 0, 0},
		{"one", []corev1.Pod{running("n1", "z1")}, 1, 1},
		{"two on one node", []corev1.Pod{running("n1", "z1"), running("n1", "z1")}, 1, 1},
		{"two nodes in one zone", []corev1.Pod{running("n1", "z1"), running("n2", "z1")}, 2, 1},
		{"three zones", []corev1.Pod{running("n1", "z1"), running("n2", "z2"), running("n3", "z3")}, 3, 3},
		{"nodes without a zone", []corev1.Pod{running("n1", ""), running("n2", "")}, 2, 0},
		{"pending, failed and succeeded pods do not count", []corev1.Pod{running("n1", "z1"), in(corev1.PodPending), in(corev1.PodFailed), in(corev1.PodSucceeded), in("")}, 1, 1},
		{"a terminating pod does not count", []corev1.Pod{running("n1", "z1"), terminating}, 1, 1},
	} {
		t.Run(r.name, func(t *testing.T) {
			got := statusOf(agenttest.New("a"), status.Observed{Deployment: deployment(), Pods: r.pods}, nil)
			require.Equal(t, &v1alpha1.Placement{Nodes: r.nodes, Zones: r.zones}, got.Placement)
		})
	}
}

// kubectl prints nothing for an absent number, so a 0 is written.
func TestZeroCountsAreWritten(t *testing.T) {
	agent := agenttest.New("a", agenttest.Replicas(0), agenttest.Container(func(c *corev1.Container) { c.Ports = nil }))
	missing := []status.Requirement{{ID: "replicas", Text: "0, high availability needs three or more"}}
	raw, err := yaml.Marshal(statusOf(agent, status.Observed{Now: now, Missing: missing}, nil))
	require.NoError(t, err)
	require.Equal(t, `availableReplicas: 0
conditions:
- lastTransitionTime: "2030-01-02T03:04:05Z"
  message: zero replicas are asked for
  observedGeneration: 1
  reason: ScaledToZero
  status: "False"
  type: Available
- lastTransitionTime: "2030-01-02T03:04:05Z"
  message: creating Deployment "a"
  observedGeneration: 1
  reason: RolloutInProgress
  status: "False"
  type: Ready
- lastTransitionTime: "2030-01-02T03:04:05Z"
  message: 'replicas: 0, high availability needs three or more'
  observedGeneration: 1
  reason: MissingRequirements
  status: "False"
  type: HighlyAvailable
- lastTransitionTime: "2030-01-02T03:04:05Z"
  message: creating Deployment "a"
  observedGeneration: 1
  reason: RolloutInProgress
  status: "True"
  type: Reconciling
observedGeneration: 1
placement:
  nodes: 0
  zones: 0
readyReplicas: 0
replicas: 0
selector: flokoa.ai/agent=a
updatedReplicas: 0
`, string(raw))
	bare, err := json.Marshal(v1alpha1.AgentStatus{})
	require.NoError(t, err)
	require.JSONEq(t, `{"replicas":0,"updatedReplicas":0,"readyReplicas":0,"availableReplicas":0}`, string(bare))
}

// A new template may well complete, so the Agent is not stalled while it waits.
func TestAPodTemplateThatWaitsIsReported(t *testing.T) {
	const waits = "the new pod template waits until 2030-01-02T03:04:15Z, because"
	for _, r := range []struct {
		name       string
		deployment *appsv1.Deployment
		reason     string
	}{
		{"a rollout in progress", deployment(counts(4, 1, 3, 3)), v1alpha1.ReasonRolloutInProgress},
		{"a rollout without progress", deployment(counts(4, 1, 3, 3), progressing("ProgressDeadlineExceeded")), v1alpha1.ReasonProgressDeadlineExceeded},
		{"a rollout that has just completed", deployment(), v1alpha1.ReasonRolloutInProgress},
	} {
		t.Run(r.name, func(t *testing.T) {
			observed := status.Observed{Deployment: r.deployment, TemplateDue: now.Add(10 * time.Second), Now: now}
			got := statusOf(agenttest.New("a", agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) { s.Replicas = ptr.To[int32](3) })), observed, nil)
			ready := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionReady)
			require.Equal(t, metav1.ConditionFalse, ready.Status)
			require.Equal(t, r.reason, ready.Reason)
			require.Contains(t, ready.Message, waits)
			require.NotNil(t, meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionReconciling))
			require.Equal(t, 10*time.Second, observed.TemplateDelay())
		})
	}
}
