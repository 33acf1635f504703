package status_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// pod returns an unready pod with these containers.
func pod(name string, containers ...corev1.ContainerStatus) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{NodeName: "n1"},
		Status: corev1.PodStatus{
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}},
			ContainerStatuses: containers,
		},
	}
}

func waiting(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: "agent", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func runningSince(ago time.Duration) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: "agent", Started: ptr.To(true), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now.Add(-ago))}}}
}

// terminated adds a last termination to the current status of a container.
func terminated(now corev1.ContainerStatus, code int32, reason, message string) corev1.ContainerStatus {
	now.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}
	return now
}

func unschedulable(message string) corev1.Pod {
	p := pod("a-1-x")
	p.Spec.NodeName = ""
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: message})
	return p
}

func creationFails(message string) deploymentOption {
	return func(d *appsv1.Deployment) {
		d.Status.Conditions = append(d.Status.Conditions, appsv1.DeploymentCondition{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: message})
	}
}

// probed adds probes to the containers of the Deployment.
func probed(d *appsv1.Deployment) {
	probe := func(path string, failures int32) *corev1.Probe {
		return &corev1.Probe{InitialDelaySeconds: 10, PeriodSeconds: 5, FailureThreshold: failures,
			ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(8080)}}}
	}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "agent", ReadinessProbe: probe("/ready", 3), StartupProbe: probe("/health", 60)}}
	d.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "proxy", ReadinessProbe: &corev1.Probe{PeriodSeconds: 5, FailureThreshold: 3}}}
}

// One row for each cause of an unready pod.
func TestReadyReportsTheCauseVerbatim(t *testing.T) {
	for _, r := range []struct {
		name string
		pod  corev1.Pod
		want string
	}{
		{"a Secret is missing", pod("a-1-x", waiting("CreateContainerConfigError", `secret "s" not found`)), `ConfigMissing: pod a-1-x: container agent: CreateContainerConfigError: secret "s" not found`},
		{"a key is missing", pod("a-1-x", waiting("CreateContainerConfigError", `couldn't find key k in ConfigMap team/c`)), `ConfigMissing: pod a-1-x: container agent: CreateContainerConfigError: couldn't find key k in ConfigMap team/c`},
		{"an image that runs as root", pod("a-1-x", waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")), "ContainerConfigError: pod a-1-x: container agent: CreateContainerConfigError: container has runAsNonRoot and image will run as root (the image runs as root: set securityContext.runAsUser, or build the image with a numeric USER)"},
		{"another configuration error", pod("a-1-x", waiting("CreateContainerConfigError", "bad")), "ContainerConfigError: pod a-1-x: container agent: CreateContainerConfigError: bad"},
		{"a missing executable", pod("a-1-x", waiting("RunContainerError", "exec: no such file")), "ContainerConfigError: pod a-1-x: container agent: RunContainerError: exec: no such file"},
		{"a container that cannot be created", pod("a-1-x", waiting("CreateContainerError", "")), "ContainerConfigError: pod a-1-x: container agent: CreateContainerError"},
		{"a missing image", pod("a-1-x", waiting("ErrImagePull", "manifest unknown")), "ImagePullFailed: pod a-1-x: container agent: ErrImagePull: manifest unknown"},
		{"an image pull in backoff", pod("a-1-x", waiting("ImagePullBackOff", "Back-off pulling")), "ImagePullFailed: pod a-1-x: container agent: ImagePullBackOff: Back-off pulling"},
		{"an invalid image name", pod("a-1-x", waiting("InvalidImageName", "bad")), "ImagePullFailed: pod a-1-x: container agent: InvalidImageName: bad"},
		{"out of memory, waiting", pod("a-1-x", terminated(waiting("CrashLoopBackOff", ""), 137, "OOMKilled", "")), "OOMKilled: pod a-1-x: container agent: OOMKilled, exit code 137 (the container exceeded its memory limit: raise resources.limits.memory)"},
		{"out of memory, running again", pod("a-1-x", terminated(runningSince(0), 137, "OOMKilled", "")), "OOMKilled: pod a-1-x: container agent: OOMKilled, exit code 137 (the container exceeded its memory limit: raise resources.limits.memory)"},
		{"a crash", pod("a-1-x", terminated(waiting("CrashLoopBackOff", ""), 3, "Error", "no API key\n")), "CrashLooping: pod a-1-x: container agent: exited with code 3: no API key"},
		{"a crash, running again", pod("a-1-x", terminated(runningSince(0), 3, "Error", "")), "CrashLooping: pod a-1-x: container agent: exited with code 3"},
		{"killed", pod("a-1-x", terminated(waiting("CrashLoopBackOff", ""), 137, "Error", "")), "CrashLooping: pod a-1-x: container agent: exited with code 137 (signal 9)"},
		{"a failed start", pod("a-1-x", terminated(waiting("CrashLoopBackOff", ""), 128, "StartError", "exec failed")), "CrashLooping: pod a-1-x: container agent: exited with code 128 (StartError): exec failed"},
		{"repeated successful exits", pod("a-1-x", terminated(waiting("CrashLoopBackOff", ""), 0, "Completed", "")), "CrashLooping: pod a-1-x: container agent: exited with code 0, but an agent must keep running"},
		{"a crash without a termination status", pod("a-1-x", waiting("CrashLoopBackOff", "")), "CrashLooping: pod a-1-x: container agent: CrashLoopBackOff"},
		{"no node", unschedulable("0/3 nodes are available: 3 Insufficient cpu."), "Unschedulable: pod a-1-x: 0/3 nodes are available: 3 Insufficient cpu."},

		{"starting", pod("a-1-x", waiting("ContainerCreating", "")), ""},
		{"initializing", pod("a-1-x", waiting("PodInitializing", "")), ""},
		{"running, not ready yet", pod("a-1-x", runningSince(time.Hour)), ""},
		{"a completed init container", pod("a-1-x", corev1.ContainerStatus{Name: "i", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed"}}}), ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			const numbers = "1 of 3 replicas updated, 3 available"
			want := "False RolloutInProgress: " + numbers
			if r.want != "" {
				want = "False " + r.want + "; " + numbers
			}
			observed := status.Observed{Now: now, Deployment: deployment(counts(4, 1, 3, 3)), Pods: []corev1.Pod{running("n2", "z2"), r.pod}}
			got := statusOf(agenttest.New("a", agenttest.Replicas(3)), observed, nil)
			require.Equal(t, want, conditionText(got, v1alpha1.ConditionReady))
			require.Equal(t, "True RolloutInProgress: "+numbers, conditionText(got, v1alpha1.ConditionReconciling), "progress is reported without the cause")
		})
	}
}

func TestReadyReportsPodCreationFailures(t *testing.T) {
	for _, r := range []struct{ message, reason string }{
		{`pods "a-1-" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2`, "QuotaExceeded"},
		{`pods "a-1-x" is forbidden: failed quota: q: must specify limits.cpu for: agent`, "QuotaExceeded"},
		{`pods "a-1-x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true`, "PolicyViolation"},
		{`pods "a-1-x" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no`, "PolicyViolation"},
		{`admission webhook "w.example" denied the request: no`, "PolicyViolation"},
		{`pods "a-1-x" is forbidden: maximum cpu usage per Container is 1, but limit is 2`, "PolicyViolation"},
		{`pods "a-1-x" is forbidden: error looking up service account team/s: serviceaccount "s" not found`, "ConfigMissing"},
		{`pods "a-1-x" is forbidden: no PriorityClass with name p was found`, "ConfigMissing"},
		{`pods "a-1-x" is forbidden: something new`, "PolicyViolation"},
		{`pods is forbidden: User "system:serviceaccount:kube-system:replicaset-controller" cannot create resource "pods"`, "ApplyFailed"},
		{`Internal error occurred: try again`, "ApplyFailed"},
	} {
		observed := status.Observed{Now: now, Deployment: deployment(counts(2, 2, 2, 2), progressing("ReplicaSetUpdated"), creationFails(r.message))}
		got := statusOf(agenttest.New("a", agenttest.Replicas(3)), observed, nil)
		require.Equal(t, "False "+r.reason+": cannot create pods: "+r.message+"; 2 of 3 replicas updated, 2 available", conditionText(got, v1alpha1.ConditionReady))
	}
}

// The Deployment controller does not note the generation that it could not roll out.
func TestReadyReportsAReplicaSetThatCannotBeCreated(t *testing.T) {
	const message = `Failed to create new replica set "a-1": replicasets.apps "a-1" is forbidden: exceeded quota: flokoa, requested: count/replicasets.apps=1`
	d := deployment(counts(3, 0, 3, 3), func(d *appsv1.Deployment) {
		d.Generation, d.Status.ObservedGeneration = 2, 1
		d.Status.Conditions = []appsv1.DeploymentCondition{{
			Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ReplicaSetCreateError", Message: message}}
	})
	got := statusOf(agenttest.New("a", agenttest.Replicas(3)), status.Observed{Now: now, Deployment: d}, nil)
	require.Contains(t, conditionText(got, v1alpha1.ConditionReady), "False QuotaExceeded: cannot create pods: "+message)
}

func TestHeldPodCreationFailureIsStillReported(t *testing.T) {
	observed := status.Observed{Now: now, Deployment: deployment(counts(2, 2, 2, 2)), HeldFailure: "exceeded quota: q", Pods: []corev1.Pod{pod("a-1-x", runningSince(0))}}
	agent := agenttest.New("a", agenttest.Replicas(3))
	require.Equal(t, "False QuotaExceeded: cannot create pods: exceeded quota: q; 2 of 3 replicas updated, 2 available", conditionText(statusOf(agent, observed, nil), v1alpha1.ConditionReady))
	require.Nil(t, status.UnexplainedPod(agent, observed), "no query is needed")
	observed.Deployment = deployment(counts(2, 2, 2, 2), creationFails("exceeded quota: later"))
	require.Contains(t, conditionText(statusOf(agent, observed, nil), v1alpha1.ConditionReady), "exceeded quota: later;")
}

func TestApplyFailureReasonFollowsTheError(t *testing.T) {
	resource := schema.GroupResource{Group: "apps", Resource: "deployments"}
	for _, r := range []struct {
		err    error
		reason string
	}{
		{apierrors.NewForbidden(resource, "a", errors.New("exceeded quota: q")), v1alpha1.ReasonQuotaExceeded},
		{apierrors.NewForbidden(resource, "a", errors.New("ValidatingAdmissionPolicy 'p' denied request: no")), v1alpha1.ReasonPolicyViolation},
		{apierrors.NewForbidden(resource, "a", errors.New(`User "u" cannot patch resource "deployments"`)), v1alpha1.ReasonApplyFailed},
		{apierrors.NewInternalError(errors.New("exceeded quota")), v1alpha1.ReasonApplyFailed},
		{errors.New("connection refused"), v1alpha1.ReasonApplyFailed},
		{apierrors.NewInvalid(schema.GroupKind{Kind: "Deployment"}, "a", field.ErrorList{field.NotFound(field.NewPath("spec"), "x"), field.Forbidden(field.NewPath("spec"), "not found")}), v1alpha1.ReasonInvalidSpec},
		{apierrors.NewInvalid(schema.GroupKind{Kind: "Deployment"}, "a", field.ErrorList{field.Invalid(nil, "", "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no")}), v1alpha1.ReasonPolicyViolation},
		{apierrors.NewBadRequest(`admission webhook "w" denied the request: no`), v1alpha1.ReasonPolicyViolation},
	} {
		failure := status.ApplyFailure("Deployment", r.err)
		require.Equal(t, r.reason, failure.Reason, "%v", r.err)
		require.ErrorIs(t, failure, r.err)
		require.Equal(t, "Deployment: "+r.err.Error(), failure.Message)
	}
	require.Nil(t, status.ApplyFailure("Deployment", nil))
}

// RBAC denies each child with a long message of its own, so the fix comes first, and once.
func TestMissingPermissionIsReportedWithItsFix(t *testing.T) {
	denied := func(resource string) error {
		return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "a", errors.New(`User "u" cannot patch resource "`+resource+`" in the namespace "x"`))
	}
	const fix = "the operator may not write in this namespace, which has no RoleBinding flokoa-operator-writer: install the chart flokoa-environment for it, or set permissions: Cluster in the chart flokoa-operator"
	deployment, service := status.ApplyFailure("Deployment", denied("deployments")), status.ApplyFailure("Service", denied("services"))
	invalid := &status.Failure{Reason: v1alpha1.ReasonApplyFailed, Message: "ConfigMap: invalid"}
	quota := status.ApplyFailure("Service", apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "a", errors.New("exceeded quota: q")))
	for _, r := range []struct {
		err  error
		want string
	}{
		{deployment, "ApplyFailed: " + fix + " (" + deployment.Message + ")"},
		{errors.Join(deployment, service), "ApplyFailed: " + fix + " (" + deployment.Message + "; " + service.Message + ")"},
		{errors.Join(invalid, service), "ApplyFailed: " + fix + " (" + invalid.Message + "; " + service.Message + ")"},
		{errors.Join(deployment, quota), "QuotaExceeded: " + quota.Message},
		{invalid, "ApplyFailed: " + invalid.Message},
	} {
		got := statusOf(agenttest.New("a"), status.Observed{Now: now}, r.err)
		require.Equal(t, "False "+r.want, conditionText(got, v1alpha1.ConditionReady))
	}
}

func TestReadyReportsTheWorstCauseOfTheFirstPod(t *testing.T) {
	crash := terminated(waiting("CrashLoopBackOff", ""), 1, "Error", "")
	sidecar := waiting("ErrImagePull", "no")
	sidecar.Name = "proxy"
	recovered := terminated(runningSince(time.Hour), 1, "Error", "")
	recovered.Ready = true
	ready := running("n1", "z1")
	terminatingPod := pod("a-0-x", waiting("InvalidImageName", "old"))
	terminatingPod.DeletionTimestamp = &metav1.Time{Time: now}
	for _, r := range []struct {
		name string
		pods []corev1.Pod
		want string
	}{
		{"two pods", []corev1.Pod{pod("a-1-y", crash), pod("a-1-z", waiting("ErrImagePull", "no"))}, "ImagePullFailed: pod a-1-z:"},
		{"two pods with the same cause", []corev1.Pod{pod("a-1-y", crash), pod("a-1-x", crash)}, "CrashLooping: pod a-1-x:"},
		{"two containers, the worse one first", []corev1.Pod{pod("a-1-x", sidecar, crash)}, "ImagePullFailed: pod a-1-x: container proxy: ErrImagePull"},
		{"a recovered container", []corev1.Pod{pod("a-1-x", recovered, sidecar)}, "ImagePullFailed: pod a-1-x: container proxy: ErrImagePull"},
		{"only a recovered container", []corev1.Pod{pod("a-1-x", recovered)}, "RolloutInProgress: 1 of 3"},
		{"two containers, the worse one last", []corev1.Pod{pod("a-1-x", crash, sidecar)}, "ImagePullFailed: pod a-1-x: container proxy: ErrImagePull"},
		{"ready and terminating pods do not count", []corev1.Pod{ready, terminatingPod, pod("a-1-y", crash)}, "CrashLooping: pod a-1-y:"},
	} {
		t.Run(r.name, func(t *testing.T) {
			got := statusOf(agenttest.New("a", agenttest.Replicas(3)), status.Observed{Now: now, Deployment: deployment(counts(4, 1, 3, 3)), Pods: r.pods}, nil)
			require.Contains(t, conditionText(got, v1alpha1.ConditionReady), "False "+r.want)
		})
	}
}

func TestReadyReportsTheWorseOfCauseAndFailure(t *testing.T) {
	observed := status.Observed{Now: now, Deployment: deployment(counts(3, 3, 2, 2)), Pods: []corev1.Pod{pod("a-1-x", waiting("ErrImagePull", "no"))}}
	agent := agenttest.New("a", agenttest.Replicas(3))
	waitingFor := &status.Failure{Reason: v1alpha1.ReasonRolloutInProgress, Message: "waiting"}
	require.Contains(t, conditionText(statusOf(agent, observed, waitingFor), v1alpha1.ConditionReady), "False ImagePullFailed")
	require.Equal(t, "False ApplyFailed: boom", conditionText(statusOf(agent, observed, errors.New("boom")), v1alpha1.ConditionReady))
}

func TestCompleteRolloutIsNotDiagnosed(t *testing.T) {
	observed := status.Observed{Now: now, Deployment: deployment(creationFails("exceeded quota")), Pods: []corev1.Pod{pod("a-1-x", waiting("ErrImagePull", "no"))}}
	got := statusOf(agenttest.New("a", agenttest.Replicas(3)), observed, nil)
	require.Equal(t, "True RolloutComplete: 3 of 3 replicas available", conditionText(got, v1alpha1.ConditionReady))
}

// A stuck rollout is stalled, whatever the cause: nothing progresses without a change.
func TestStuckRolloutIsStalledAndReportsTheCause(t *testing.T) {
	observed := status.Observed{Now: now, Deployment: deployment(counts(4, 1, 3, 3), progressing("ProgressDeadlineExceeded")), Pods: []corev1.Pod{pod("a-1-x", waiting("ErrImagePull", "no"))}}
	got := statusOf(agenttest.New("a", agenttest.Replicas(3)), observed, nil)
	require.Contains(t, conditionText(got, v1alpha1.ConditionReady), "False ImagePullFailed: pod a-1-x: container agent: ErrImagePull: no; no progress for 600 s")
	require.Contains(t, conditionText(got, v1alpha1.ConditionStalled), "True ProgressDeadlineExceeded: no progress for 600 s")
	require.Empty(t, conditionText(got, v1alpha1.ConditionReconciling))
}

func TestLostReplicaStaysLostAfterItsCauseIsReported(t *testing.T) {
	agent := agenttest.New("a", agenttest.Replicas(3))
	observed := status.Observed{Now: now, Deployment: deployment()}
	for _, step := range []struct {
		observed status.Observed
		want     string
	}{
		{observed, "True RolloutComplete"},
		{status.Observed{Now: now, Deployment: deployment(counts(3, 3, 2, 2)), Pods: []corev1.Pod{pod("a-1-x", terminated(waiting("CrashLoopBackOff", ""), 1, "Error", ""))}}, "False CrashLooping"},
		{status.Observed{Now: now, Deployment: deployment(counts(3, 3, 2, 2))}, "False ReplicasUnavailable: 2 of 3 replicas available"},
		{observed, "True RolloutComplete"},
	} {
		agent.Status = statusOf(agent, step.observed, nil)
		require.Contains(t, conditionText(agent.Status, v1alpha1.ConditionReady), step.want)
	}
}

func TestLongCauseLeavesRoomForTheReplicaCounts(t *testing.T) {
	observed := status.Observed{Now: now, Deployment: deployment(counts(4, 1, 3, 3)), Pods: []corev1.Pod{pod("a-1-x", waiting("ErrImagePull", strings.Repeat("é", 4000)))}}
	message := conditionText(statusOf(agenttest.New("a", agenttest.Replicas(3)), observed, nil), v1alpha1.ConditionReady)
	require.LessOrEqual(t, len(message), maxMessage)
	require.Contains(t, message, "...; 1 of 3 replicas updated, 3 available")
}

// --- causes from Events -------------------------------------------------------------------------------------------------

func podEvent(podName, reason, message string, ago time.Duration) status.PodEvent {
	return status.PodEvent{Pod: podName, Reason: reason, Message: message, Last: now.Add(-ago)}
}

func TestEventsExplainOnlyTheCurrentStateOfThePod(t *testing.T) {
	starting, up := pod("a-1-x", waiting("ContainerCreating", "")), pod("a-1-x", runningSince(20*time.Second))
	missing := `MountVolume.SetUp failed for volume "v" : secret "s" not found`
	initializing := pod("a-1-x", waiting("PodInitializing", ""))
	initializing.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "proxy", State: runningSince(0).State}}
	twoContainers := pod("a-1-x", runningSince(0), corev1.ContainerStatus{Name: "other", Ready: true, State: runningSince(0).State})
	of := func(container string, event status.PodEvent) []status.PodEvent {
		event.Container = container
		return []status.PodEvent{event}
	}
	for _, r := range []struct {
		name   string
		pod    corev1.Pod
		events []status.PodEvent
		want   string
	}{
		{"a volume's Secret is missing", starting, []status.PodEvent{podEvent("a-1-x", "FailedMount", missing, 0)}, "ConfigMissing: pod a-1-x: " + missing},
		{"a volume that cannot be mounted", starting, []status.PodEvent{podEvent("a-1-x", "FailedMount", "timed out", 0)}, "ContainerConfigError: pod a-1-x: timed out"},
		{"no sandbox", starting, []status.PodEvent{podEvent("a-1-x", "FailedCreatePodSandBox", "no network", 0)}, "ContainerConfigError: pod a-1-x: no network"},
		{"a probe fails", up, []status.PodEvent{podEvent("a-1-x", "Unhealthy", "Readiness probe failed: 503", 0)}, "ProbeFailing: pod a-1-x: Readiness probe failed: 503"},
		{"a probe of a container fails", up, of("agent", podEvent("a-1-x", "Unhealthy", "Readiness probe failed: 503", 0)), "ProbeFailing: pod a-1-x: container agent: Readiness probe failed: 503"},
		{"a probe of a sidecar that the agent waits for", initializing, of("proxy", podEvent("a-1-x", "Unhealthy", "Startup probe failed", 0)), "ProbeFailing: pod a-1-x: container proxy: Startup probe failed"},
		{"a probe of a container that is ready now", twoContainers, of("other", podEvent("a-1-x", "Unhealthy", "old", 0)), ""},
		{"a mount that succeeded before the init containers", initializing, []status.PodEvent{podEvent("a-1-x", "FailedMount", missing, 0)}, ""},
		{"the latest Event", up, []status.PodEvent{podEvent("a-1-x", "Unhealthy", "first", time.Minute), podEvent("a-1-x", "Unhealthy", "last", 0), podEvent("a-1-x", "Unhealthy", "between", time.Second)}, "ProbeFailing: pod a-1-x: last"},
		{"an Event of another pod", up, []status.PodEvent{podEvent("a-1-z", "Unhealthy", "theirs", 0)}, ""},
		{"a mount that succeeded later", up, []status.PodEvent{podEvent("a-1-x", "FailedMount", missing, 0)}, ""},
		{"a probe of a previous container", starting, []status.PodEvent{podEvent("a-1-x", "Unhealthy", "old", 0)}, ""},
		{"an irrelevant Event", starting, []status.PodEvent{podEvent("a-1-x", "Pulling", "image", 0)}, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			observed := status.Observed{Now: now, Deployment: deployment(counts(3, 3, 2, 2), probed), Pods: []corev1.Pod{r.pod}, PodEvents: r.events, QueriedPod: "a-1-x"}
			got := conditionText(statusOf(agenttest.New("a", agenttest.Replicas(3)), observed, nil), v1alpha1.ConditionReady)
			want := "False RolloutInProgress: 2 of 3 updated replicas available"
			if r.want != "" {
				want = "False " + r.want + "; 2 of 3 updated replicas available"
			}
			require.Equal(t, want, got)
			for _, event := range r.events {
				require.Equal(t, event.Reason != "Pulling", status.Explains(event.Reason))
			}
		})
	}
}

func TestFailingProbeIsInferredAfterItsTimeout(t *testing.T) {
	unstarted := runningSince(2 * time.Minute)
	unstarted.Started = ptr.To(false)
	sidecar := func(status corev1.ContainerStatus) corev1.ContainerStatus { status.Name = "proxy"; return status }
	// of returns a pod with this container. If it is a sidecar, the agent waits for it.
	of := func(container corev1.ContainerStatus) corev1.Pod {
		if container.Name == "agent" {
			return pod("a-1-x", container)
		}
		waiting := pod("a-1-x", waiting("PodInitializing", ""))
		waiting.Status.InitContainerStatuses = []corev1.ContainerStatus{container}
		return waiting
	}
	stuck := unstarted
	stuck.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now.Add(-311 * time.Second))}
	for _, r := range []struct {
		name      string
		container corev1.ContainerStatus
		queried   string
		want      string
	}{
		{"before the timeout", runningSince(24 * time.Second), "a-1-x", ""},
		{"after the timeout", runningSince(25 * time.Second), "a-1-x", "container agent runs but is not ready, so its readiness probe (GET /ready on port 8080) is probably failing (no Event confirms it)"},
		{"after the timeout, without a query for Events", runningSince(time.Hour), "", ""},
		{"after the timeout, with a query for another pod", runningSince(time.Hour), "a-1-z", ""},
		{"not started, before the timeout", unstarted, "a-1-x", ""},
		{"a sidecar, after the timeout", sidecar(runningSince(time.Hour)), "a-1-x", "container proxy runs but is not ready, so its readiness probe is probably failing (no Event confirms it)"},
		{"not started, after the timeout", stuck, "a-1-x", "container agent runs but is not ready, so its startup probe (GET /health on port 8080) is probably failing (no Event confirms it)"},
	} {
		t.Run(r.name, func(t *testing.T) {
			observed := status.Observed{Now: now, Deployment: deployment(counts(3, 3, 2, 2), probed), Pods: []corev1.Pod{of(r.container)}, QueriedPod: r.queried}
			got := conditionText(statusOf(agenttest.New("a", agenttest.Replicas(3)), observed, nil), v1alpha1.ConditionReady)
			if r.want == "" {
				require.Contains(t, got, "False RolloutInProgress")
				return
			}
			require.Contains(t, got, "False ProbeFailing: pod a-1-x: "+r.want)
		})
	}
}

func TestUnexplainedPodIsTheFirstOneWithoutAnyCause(t *testing.T) {
	unexplained := func(name string) corev1.Pod { return pod(name, runningSince(time.Hour)) }
	agent := agenttest.New("a", agenttest.Replicas(3))
	rolling := deployment(counts(3, 3, 1, 1))
	for _, r := range []struct {
		name     string
		observed status.Observed
		want     string
	}{
		{"the first of two", status.Observed{Deployment: rolling, Pods: []corev1.Pod{unexplained("a-1-y"), unexplained("a-1-x"), readyPod("n1", "z1")}}, "a-1-x"},
		{"another pod has a cause", status.Observed{Deployment: rolling, Pods: []corev1.Pod{unexplained("a-1-y"), pod("a-1-z", waiting("ErrImagePull", ""))}}, ""},
		{"pods cannot be created", status.Observed{Deployment: deployment(counts(3, 1, 1, 1), creationFails("quota")), Pods: []corev1.Pod{unexplained("a-1-y")}}, ""},
		{"not on a node", status.Observed{Deployment: rolling, Pods: []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "a-1-x"}}}}, ""},
		{"all are ready", status.Observed{Deployment: rolling, Pods: []corev1.Pod{readyPod("n1", "z1")}}, ""},
		{"the rollout is complete", status.Observed{Deployment: deployment(), Pods: []corev1.Pod{unexplained("a-1-x")}}, ""},
		{"no Deployment", status.Observed{}, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			got := ""
			if pod := status.UnexplainedPod(agent, r.observed); pod != nil {
				got = pod.Name
			}
			require.Equal(t, r.want, got)
		})
	}
}

func TestReasonsAreOrderedBySeverity(t *testing.T) {
	reasons := []string{
		"InvalidSpec", "NameConflict", "PolicyViolation", "QuotaExceeded", "ApplyFailed", "ConfigMissing", "ContainerConfigError", "ImagePullFailed",
		"OOMKilled", "CrashLooping", "Unschedulable", "ProbeFailing", "ProgressDeadlineExceeded", "RolloutInProgress", "ReplicasUnavailable",
	}
	for i, reason := range reasons[:len(reasons)-1] {
		pair := errors.Join(&status.Failure{Reason: reasons[i+1], Message: "less"}, &status.Failure{Reason: reason, Message: "worse"})
		got := statusOf(agenttest.New("a", agenttest.Replicas(3)), status.Observed{Now: now, Deployment: deployment()}, pair)
		require.Equal(t, "False "+reason+": worse", conditionText(got, v1alpha1.ConditionReady))
	}
}
