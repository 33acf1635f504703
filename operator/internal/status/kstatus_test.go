package status_test

import (
	"errors"
	"os"
	"regexp"
	"testing"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/crds"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// computed is what tools that wait for an object, such as Flux, make of an Agent as the API server returns it.
func computed(t *testing.T, agent *v1alpha1.Agent) *kstatus.Result {
	t.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(agent)
	require.NoError(t, err)
	result, err := kstatus.Compute(&unstructured.Unstructured{Object: object})
	require.NoError(t, err)
	return result
}

// judged is an Agent with the status that was judged from what was observed.
func judged(agent *v1alpha1.Agent, observed status.Observed, err error) *v1alpha1.Agent {
	observed.Now = now
	agent.Status = statusOf(agent, observed, err)
	return agent
}

// asStored is an Agent that the operator has not looked at: its status is the CRD's default.
func asStored(t *testing.T) *v1alpha1.Agent {
	t.Helper()
	crd := struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema struct {
						Properties struct {
							Status struct{ Default v1alpha1.AgentStatus }
						}
					}
				}
			}
		}
	}{}
	require.NoError(t, yaml.Unmarshal(crds.Agents, &crd))
	agent := three()
	agent.Status = crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties.Status.Default
	require.EqualValues(t, -1, agent.Status.ObservedGeneration)
	return agent
}

func three(options ...agenttest.Option) *v1alpha1.Agent {
	return agenttest.New("a", append([]agenttest.Option{agenttest.Replicas(3)}, options...)...)
}

func suspended(a *v1alpha1.Agent) { a.Spec.Suspend = true }

// was has the Agent be judged before, as what was observed then.
func was(d *appsv1.Deployment) agenttest.Option {
	return func(a *v1alpha1.Agent) { judged(a, status.Observed{Deployment: d}, nil) }
}

// One row for each state that an Agent can be in when all that is asked for is put in place.
func TestKstatusComputesWhereAnAgentStands(t *testing.T) {
	const current, inProgress, failed = kstatus.CurrentStatus, kstatus.InProgressStatus, kstatus.FailedStatus
	stuck := progressing("ProgressDeadlineExceeded")
	none := counts(0, 0, 0, 0)
	for _, r := range []struct {
		name       string
		agent      *v1alpha1.Agent
		deployment *appsv1.Deployment
		want       kstatus.Status
	}{
		{"its Deployment is being created", three(), nil, inProgress},
		{"its Deployment is not observed yet", three(), deployment(unobserved), inProgress},
		{"its first pods start", three(), deployment(counts(3, 3, 0, 0), progressing("ReplicaSetUpdated")), inProgress},
		{"in the middle of a rollout", three(was(deployment())), deployment(counts(4, 1, 3, 3), progressing("ReplicaSetUpdated")), inProgress},
		{"old pods still stop", three(), deployment(counts(4, 3, 4, 4)), inProgress},
		{"rolled out", three(), deployment(), current},
		{"rolled out, with a reference to a Model", three(func(a *v1alpha1.Agent) { a.Spec.Model = &v1alpha1.ModelReference{Name: "m"} }), deployment(), current},
		{"rolled out, and not highly available", agenttest.New("a"), deployment(counts(1, 1, 1, 1)), current},
		{"a replica is lost", three(was(deployment())), deployment(counts(3, 3, 2, 2)), inProgress},
		{"every replica is lost", three(was(deployment())), deployment(none), inProgress},
		{"the rollout is paused", three(), deployment(paused, counts(4, 1, 3, 3)), inProgress},
		{"the rollout is stuck", three(), deployment(counts(4, 1, 3, 3), stuck), failed},
		{"a stuck rollout is given another spec", three(was(deployment(counts(4, 1, 3, 3), stuck))), deployment(unobserved, stuck), inProgress},
		{"scaled up", three(was(deployment())), deployment(counts(3, 3, 1, 1)), inProgress},
		{"on the way to zero", agenttest.New("a", agenttest.Replicas(0)), deployment(counts(2, 2, 2, 2)), inProgress},
		{"scaled to zero", agenttest.New("a", agenttest.Replicas(0)), deployment(none), current},
		{"suspended, and stopping", three(suspended), deployment(counts(2, 2, 2, 2)), inProgress},
		{"suspended", three(suspended), deployment(none), current},
		{"suspended in the middle of a rollout that was stuck", three(suspended), deployment(none, stuck), current},
		{"resumed", three(was(deployment(none))), deployment(none), inProgress},
	} {
		t.Run(r.name, func(t *testing.T) {
			got := computed(t, judged(r.agent, status.Observed{Deployment: r.deployment}, nil))
			require.Equal(t, r.want, got.Status, got.Message)
		})
	}
}

func TestKstatusWaitsForAnAgentThatTheOperatorHasNotLookedAt(t *testing.T) {
	require.Equal(t, kstatus.InProgressStatus, computed(t, asStored(t)).Status)
	for name, before := range map[string]*v1alpha1.Agent{
		"ready":     judged(three(), status.Observed{Deployment: deployment()}, nil),
		"suspended": judged(three(suspended), status.Observed{Deployment: deployment(counts(0, 0, 0, 0))}, nil),
		"stuck":     judged(three(), status.Observed{Deployment: deployment(progressing("ProgressDeadlineExceeded"))}, nil),
	} {
		before.Generation++
		require.Equal(t, kstatus.InProgressStatus, computed(t, before).Status, "%s, and then given another spec", name)
	}
}

func TestKstatusSaysThatAnAgentIsOnItsWayOut(t *testing.T) {
	agent := judged(three(), status.Observed{Deployment: deployment()}, nil)
	agent.DeletionTimestamp = &metav1.Time{Time: now}
	require.Equal(t, kstatus.TerminatingStatus, computed(t, agent).Status)
}

// heals tells, for each reason of Ready=False, whether nothing has to be changed for the Agent to go on: the operator or
// Kubernetes tries again. A tool that waits must not give up on these.
var heals = map[string]bool{
	v1alpha1.ReasonInvalidSpec:              false,
	v1alpha1.ReasonNameConflict:             false,
	v1alpha1.ReasonPolicyViolation:          true,
	v1alpha1.ReasonQuotaExceeded:            true,
	v1alpha1.ReasonApplyFailed:              true,
	v1alpha1.ReasonConfigMissing:            true,
	v1alpha1.ReasonContainerConfigError:     true,
	v1alpha1.ReasonImagePullFailed:          true,
	v1alpha1.ReasonOOMKilled:                true,
	v1alpha1.ReasonCrashLooping:             true,
	v1alpha1.ReasonUnschedulable:            true,
	v1alpha1.ReasonProbeFailing:             true,
	v1alpha1.ReasonProgressDeadlineExceeded: false,
	v1alpha1.ReasonRolloutInProgress:        true,
	v1alpha1.ReasonReplicasUnavailable:      true,
}

func TestKstatusFailsOnlyWhatDoesNotHealByItself(t *testing.T) {
	source, err := os.ReadFile("../../api/v1alpha1/conditions.go")
	require.NoError(t, err)
	for _, declared := range regexp.MustCompile(`// Reason(\w+) is Ready=False`).FindAllStringSubmatch(string(source), -1) {
		require.Contains(t, heals, declared[1])
	}
	for reason, heals := range heals {
		t.Run(reason, func(t *testing.T) {
			want := kstatus.FailedStatus
			if heals {
				want = kstatus.InProgressStatus
			}
			got := computed(t, judged(three(), status.Observed{Deployment: deployment()}, &status.Failure{Reason: reason, Message: "why"}))
			require.Equal(t, want, got.Status)
			require.Equal(t, "why", got.Message)
		})
	}
}

// What keeps a pod from being ready fails an Agent only together with a rollout that makes no progress.
func TestKstatusWaitsForPodsUntilTheRolloutIsStuck(t *testing.T) {
	for _, cause := range []struct {
		reason string
		pod    corev1.Pod
	}{
		{v1alpha1.ReasonConfigMissing, pod("a-1-x", waiting("CreateContainerConfigError", `secret "s" not found`))},
		{v1alpha1.ReasonContainerConfigError, pod("a-1-x", waiting("RunContainerError", "no such file"))},
		{v1alpha1.ReasonImagePullFailed, pod("a-1-x", waiting("ImagePullBackOff", ""))},
		{v1alpha1.ReasonOOMKilled, pod("a-1-x", ended(waiting("CrashLoopBackOff", ""), 137, "OOMKilled", ""))},
		{v1alpha1.ReasonCrashLooping, pod("a-1-x", ended(waiting("CrashLoopBackOff", ""), 3, "Error", ""))},
		{v1alpha1.ReasonUnschedulable, unschedulable("0/3 nodes are available")},
	} {
		t.Run(cause.reason, func(t *testing.T) {
			pods := []corev1.Pod{cause.pod}
			rolling := judged(three(), status.Observed{Deployment: deployment(counts(4, 1, 3, 3)), Pods: pods}, nil)
			lost := judged(three(was(deployment())), status.Observed{Deployment: deployment(counts(3, 3, 2, 2)), Pods: pods}, nil)
			stuck := judged(three(), status.Observed{Deployment: deployment(counts(4, 1, 3, 3), progressing("ProgressDeadlineExceeded")), Pods: pods}, nil)
			for _, agent := range []*v1alpha1.Agent{rolling, lost, stuck} {
				require.Contains(t, said(agent.Status, v1alpha1.ConditionReady), "False "+cause.reason)
			}
			require.Equal(t, kstatus.InProgressStatus, computed(t, rolling).Status)
			require.Equal(t, kstatus.InProgressStatus, computed(t, lost).Status)
			require.Equal(t, kstatus.FailedStatus, computed(t, stuck).Status)
		})
	}
}

// A try that fails beside a rollout that is stuck is repeated, so there is something to wait for.
func TestKstatusWaitsWhileARefusedChildIsTriedAgain(t *testing.T) {
	stuck := status.Observed{Deployment: deployment(counts(4, 1, 3, 3), progressing("ProgressDeadlineExceeded"))}
	require.Equal(t, kstatus.InProgressStatus, computed(t, judged(three(), stuck, errors.New("boom"))).Status)
	require.Equal(t, kstatus.FailedStatus, computed(t, judged(three(), stuck, nil)).Status)
}
