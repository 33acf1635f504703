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

// computed returns the kstatus of an Agent, which tools such as Flux wait for.
func computed(t *testing.T, agent *v1alpha1.Agent) *kstatus.Result {
	t.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(agent)
	require.NoError(t, err)
	result, err := kstatus.Compute(&unstructured.Unstructured{Object: object})
	require.NoError(t, err)
	return result
}

// withStatusOf returns an Agent with the status of an observation.
func withStatusOf(agent *v1alpha1.Agent, observed status.Observed, err error) *v1alpha1.Agent {
	observed.Now = now
	agent.Status = statusOf(agent, observed, err)
	return agent
}

// unreconciled returns an Agent with the CRD's default status.
func unreconciled(t *testing.T) *v1alpha1.Agent {
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
	agent := threeReplicas()
	agent.Status = crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties.Status.Default
	require.EqualValues(t, -1, agent.Status.ObservedGeneration)
	return agent
}

func threeReplicas(options ...agenttest.Option) *v1alpha1.Agent {
	return agenttest.New("a", append([]agenttest.Option{agenttest.Replicas(3)}, options...)...)
}

func suspended(a *v1alpha1.Agent) { a.Spec.Suspend = true }

// previously sets the status of an earlier observation of a Deployment.
func previously(d *appsv1.Deployment) agenttest.Option {
	return func(a *v1alpha1.Agent) { withStatusOf(a, status.Observed{Deployment: d}, nil) }
}

// One row for each state of an Agent whose children are all applied.
func TestKstatusComputesEveryStateOfARollout(t *testing.T) {
	const current, inProgress, failed = kstatus.CurrentStatus, kstatus.InProgressStatus, kstatus.FailedStatus
	stuck := progressing("ProgressDeadlineExceeded")
	none := counts(0, 0, 0, 0)
	for _, r := range []struct {
		name       string
		agent      *v1alpha1.Agent
		deployment *appsv1.Deployment
		want       kstatus.Status
	}{
		{"its Deployment is being created", threeReplicas(), nil, inProgress},
		{"its Deployment is not observed yet", threeReplicas(), deployment(unobserved), inProgress},
		{"its first pods start", threeReplicas(), deployment(counts(3, 3, 0, 0), progressing("ReplicaSetUpdated")), inProgress},
		{"in the middle of a rollout", threeReplicas(previously(deployment())), deployment(counts(4, 1, 3, 3), progressing("ReplicaSetUpdated")), inProgress},
		{"old pods terminate", threeReplicas(), deployment(counts(4, 3, 4, 4)), inProgress},
		{"rolled out", threeReplicas(), deployment(), current},
		{"rolled out, with a reference to a Model", threeReplicas(func(a *v1alpha1.Agent) { a.Spec.Model = &v1alpha1.ModelReference{Name: "m"} }), deployment(), current},
		{"rolled out, and not highly available", agenttest.New("a"), deployment(counts(1, 1, 1, 1)), current},
		{"a replica is lost", threeReplicas(previously(deployment())), deployment(counts(3, 3, 2, 2)), inProgress},
		{"every replica is lost", threeReplicas(previously(deployment())), deployment(none), inProgress},
		{"the rollout is paused", threeReplicas(), deployment(paused, counts(4, 1, 3, 3)), inProgress},
		{"the rollout is stuck", threeReplicas(), deployment(counts(4, 1, 3, 3), stuck), failed},
		{"a stuck rollout with a new spec", threeReplicas(previously(deployment(counts(4, 1, 3, 3), stuck))), deployment(unobserved, stuck), inProgress},
		{"scaled up", threeReplicas(previously(deployment())), deployment(counts(3, 3, 1, 1)), inProgress},
		{"on the way to zero", agenttest.New("a", agenttest.Replicas(0)), deployment(counts(2, 2, 2, 2)), inProgress},
		{"scaled to zero", agenttest.New("a", agenttest.Replicas(0)), deployment(none), current},
		{"suspended, and stopping", threeReplicas(suspended), deployment(counts(2, 2, 2, 2)), inProgress},
		{"suspended", threeReplicas(suspended), deployment(none), current},
		{"suspended during a stuck rollout", threeReplicas(suspended), deployment(none, stuck), current},
		{"resumed", threeReplicas(previously(deployment(none))), deployment(none), inProgress},
	} {
		t.Run(r.name, func(t *testing.T) {
			got := computed(t, withStatusOf(r.agent, status.Observed{Deployment: r.deployment}, nil))
			require.Equal(t, r.want, got.Status, got.Message)
		})
	}
}

func TestKstatusWaitsForAnUnreconciledAgent(t *testing.T) {
	require.Equal(t, kstatus.InProgressStatus, computed(t, unreconciled(t)).Status)
	for name, before := range map[string]*v1alpha1.Agent{
		"ready":     withStatusOf(threeReplicas(), status.Observed{Deployment: deployment()}, nil),
		"suspended": withStatusOf(threeReplicas(suspended), status.Observed{Deployment: deployment(counts(0, 0, 0, 0))}, nil),
		"stuck":     withStatusOf(threeReplicas(), status.Observed{Deployment: deployment(progressing("ProgressDeadlineExceeded"))}, nil),
	} {
		before.Generation++
		require.Equal(t, kstatus.InProgressStatus, computed(t, before).Status, "%s, with a new spec", name)
	}
}

func TestKstatusReportsATerminatingAgent(t *testing.T) {
	agent := withStatusOf(threeReplicas(), status.Observed{Deployment: deployment()}, nil)
	agent.DeletionTimestamp = &metav1.Time{Time: now}
	require.Equal(t, kstatus.TerminatingStatus, computed(t, agent).Status)
}

// retried has, for each reason of Ready=False, whether the operator or Kubernetes retries without a change of the spec. A tool that
// waits must not give up on these.
var retried = map[string]bool{
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

func TestKstatusFailsOnlyWhatIsNotRetried(t *testing.T) {
	source, err := os.ReadFile("../../api/v1alpha1/conditions.go")
	require.NoError(t, err)
	declared := regexp.MustCompile(`// Reason(\w+) is Ready=False`).FindAllStringSubmatch(string(source), -1)
	require.Len(t, declared, len(retried))
	for _, match := range declared {
		require.Contains(t, retried, match[1])
	}
	for reason, retried := range retried {
		t.Run(reason, func(t *testing.T) {
			want := kstatus.FailedStatus
			if retried {
				want = kstatus.InProgressStatus
			}
			got := computed(t, withStatusOf(threeReplicas(), status.Observed{Deployment: deployment()}, &status.Failure{Reason: reason, Message: "why"}))
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
		{v1alpha1.ReasonOOMKilled, pod("a-1-x", terminated(waiting("CrashLoopBackOff", ""), 137, "OOMKilled", ""))},
		{v1alpha1.ReasonCrashLooping, pod("a-1-x", terminated(waiting("CrashLoopBackOff", ""), 3, "Error", ""))},
		{v1alpha1.ReasonUnschedulable, unschedulable("0/3 nodes are available")},
	} {
		t.Run(cause.reason, func(t *testing.T) {
			pods := []corev1.Pod{cause.pod}
			rolling := withStatusOf(threeReplicas(), status.Observed{Deployment: deployment(counts(4, 1, 3, 3)), Pods: pods}, nil)
			lost := withStatusOf(threeReplicas(previously(deployment())), status.Observed{Deployment: deployment(counts(3, 3, 2, 2)), Pods: pods}, nil)
			stuck := withStatusOf(threeReplicas(), status.Observed{Deployment: deployment(counts(4, 1, 3, 3), progressing("ProgressDeadlineExceeded")), Pods: pods}, nil)
			for _, agent := range []*v1alpha1.Agent{rolling, lost, stuck} {
				require.Contains(t, conditionText(agent.Status, v1alpha1.ConditionReady), "False "+cause.reason)
			}
			require.Equal(t, kstatus.InProgressStatus, computed(t, rolling).Status)
			require.Equal(t, kstatus.InProgressStatus, computed(t, lost).Status)
			require.Equal(t, kstatus.FailedStatus, computed(t, stuck).Status)
		})
	}
}

// A failed apply is retried also during a stuck rollout, so there is something to wait for.
func TestKstatusWaitsWhileARejectedChildIsRetried(t *testing.T) {
	stuck := status.Observed{Deployment: deployment(counts(4, 1, 3, 3), progressing("ProgressDeadlineExceeded"))}
	require.Equal(t, kstatus.InProgressStatus, computed(t, withStatusOf(threeReplicas(), stuck, errors.New("boom"))).Status)
	require.Equal(t, kstatus.FailedStatus, computed(t, withStatusOf(threeReplicas(), stuck, nil)).Status)
}
