package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// severity orders the reasons of Ready=False, the worst first (agent-api.md, "Status"): where there are several, the worst
// one is said.
var severity = []string{
	v1alpha1.ReasonInvalidSpec,
	v1alpha1.ReasonNameConflict,
	v1alpha1.ReasonPolicyViolation,
	v1alpha1.ReasonQuotaExceeded,
	v1alpha1.ReasonApplyFailed,
	v1alpha1.ReasonConfigMissing,
	v1alpha1.ReasonContainerConfigError,
	v1alpha1.ReasonImagePullFailed,
	v1alpha1.ReasonOOMKilled,
	v1alpha1.ReasonCrashLooping,
	v1alpha1.ReasonUnschedulable,
	v1alpha1.ReasonProbeFailing,
	v1alpha1.ReasonProgressDeadlineExceeded,
	v1alpha1.ReasonRolloutInProgress,
	v1alpha1.ReasonReplicasUnavailable,
}

func worseFirst(a, b string) int {
	return slices.Index(severity, a) - slices.Index(severity, b)
}

// Told is an Event about a pod, as far as it says why the pod is not ready.
type Told struct {
	// Pod is the name of the pod, and Container that of the container, empty where the Event is about the whole pod.
	Pod, Container string
	// Reason and Message are the Event's.
	Reason, Message string
	// Last is when it was last said.
	Last time.Time
}

// cause is why a pod is not there or not ready.
type cause struct {
	reason, message string
	// pod is empty for a pod that could not be created.
	pod string
}

// diagnose gives a verdict of Ready=False the worst cause that can be found for it, and keeps the numbers behind it. Every
// cause says more than the numbers do.
func diagnose(seen Seen, judged verdict) verdict {
	causes := causes(seen)
	if len(causes) == 0 {
		return judged
	}
	worst := slices.MinFunc(causes, func(a, b cause) int {
		return cmp.Or(worseFirst(a.reason, b.reason), cmp.Compare(a.pod, b.pod))
	})
	text := worst.message
	if worst.pod != "" {
		text = fmt.Sprintf("pod %s: %s", worst.pod, worst.message)
	}
	return no(worst.reason, "%s; %s", shorten(text, longestCause), judged.message)
}

// causes has at most one for each pod that should be ready and is not, and one for pods that could not be created.
func causes(seen Seen) []cause {
	var all []cause
	if c, ok := refusedPods(seen); ok {
		all = append(all, c)
	}
	for i := range seen.Pods {
		pod := &seen.Pods[i]
		if !shouldBeReady(pod) {
			continue
		}
		c, ok := podCause(pod)
		if !ok {
			c, ok = toldCause(pod, seen)
		}
		if ok {
			c.pod = pod.Name
			all = append(all, c)
		}
	}
	return all
}

func shouldBeReady(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && !podReady(pod)
}

// refusedPods is about pods that the API server does not let the ReplicaSet create: quota, policy, a missing ServiceAccount.
func refusedPods(seen Seen) (cause, bool) {
	said := cmp.Or(Refusal(seen.Deployment), seen.Refused)
	return cause{reason: refusal(said), message: "pods are refused: " + said}, said != ""
}

// Refusal is the word of the API server on pods that it refuses, empty when it refuses none. Contention is no refusal.
func Refusal(deployment *appsv1.Deployment) string {
	if said := failureOf(deployment); !strings.Contains(said, contention) {
		return said
	}
	return ""
}

// Contention is what to say of pods that came too late for a quota if it lets none through at all, empty when the Deployment
// does not tell of any.
func Contention(deployment *appsv1.Deployment) string {
	if said := failureOf(deployment); strings.Contains(said, contention) {
		return `no pod gets past a ResourceQuota (see "kubectl describe resourcequotas"): ` + said
	}
	return ""
}

// failureOf is why pods of a Deployment could not be made or removed. The Deployment controller copies it from the ReplicaSet.
func failureOf(deployment *appsv1.Deployment) string {
	for _, condition := range deployment.Status.Conditions {
		if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
			return condition.Message
		}
	}
	return ""
}

// contention is in the answer to a pod that was counted against a quota at the same instant as others. It refuses nothing yet: the
// ReplicaSet controller asks again. But it keeps these words until a try succeeds, whatever the later answers are.
const contention = `cannot be fulfilled on resourcequotas "`

// policyWords are in what a ValidatingAdmissionPolicy and a webhook say.
var policyWords = []string{"ValidatingAdmissionPolicy", "denied the request", "denied request"}

// refusals tell what an admission refusal is about, by words of its text: the API has no code for it. The first row that
// has words in common with the text counts.
var refusals = []struct {
	words  []string
	reason string
}{
	{[]string{`" cannot `}, v1alpha1.ReasonApplyFailed}, // RBAC: User "x" cannot create resource
	{[]string{"exceeded quota", "failed quota", "insufficient quota", "status unknown for quota", contention}, v1alpha1.ReasonQuotaExceeded},
	{policyWords, v1alpha1.ReasonPolicyViolation},
	{[]string{
		"violates PodSecurity",
		"maximum cpu", "maximum memory", "minimum cpu", "minimum memory", "max limit to request ratio", // LimitRange
	}, v1alpha1.ReasonPolicyViolation},
	{[]string{"error looking up service account", "not found", "was found"}, v1alpha1.ReasonConfigMissing}, // ServiceAccount, PriorityClass, RuntimeClass
	{[]string{"forbidden"}, v1alpha1.ReasonPolicyViolation},
}

// refusal is the reason behind what the API server says when it refuses an object.
func refusal(message string) string {
	for _, row := range refusals {
		if containsAny(message, row.words) {
			return row.reason
		}
	}
	return v1alpha1.ReasonApplyFailed
}

func containsAny(text string, words []string) bool {
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(text, word) })
}

// podCause is what a pod's own status says: the worst of its containers, else what keeps it from being scheduled.
func podCause(pod *corev1.Pod) (cause, bool) {
	var worst *cause
	for _, container := range containersOf(pod) {
		if c, ok := containerCause(container); ok && (worst == nil || worseFirst(c.reason, worst.reason) < 0) {
			worst = &c
		}
	}
	if worst != nil {
		return *worst, true
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return cause{reason: v1alpha1.ReasonUnschedulable, message: condition.Message}, true
		}
	}
	return cause{}, false
}

// waits are the reasons for which the kubelet lets a container wait, and what they mean. "" is for every other row.
var waits = []struct {
	reasons []string
	// words in the message narrow a row; none match every message.
	words  []string
	reason string
	fix    string
}{
	{[]string{"CreateContainerConfigError"}, []string{"not found", "couldn't find key", "non-existent"}, v1alpha1.ReasonConfigMissing, ""},
	{[]string{"CreateContainerConfigError"}, []string{"runAsNonRoot"}, v1alpha1.ReasonContainerConfigError,
		"the image runs as root: set securityContext.runAsUser to a user it can run as, or build it with a numeric USER"},
	{[]string{"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "PreStartHookError", "PostStartHookError"}, nil, v1alpha1.ReasonContainerConfigError, ""},
	{[]string{"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"}, nil, v1alpha1.ReasonImagePullFailed, ""},
}

// containerCause is why one container does not run, or not for long.
func containerCause(container corev1.ContainerStatus) (cause, bool) {
	if waiting := container.State.Waiting; waiting != nil {
		for _, row := range waits {
			if slices.Contains(row.reasons, waiting.Reason) && (row.words == nil || containsAny(waiting.Message, row.words)) {
				return cause{reason: row.reason, message: containerText(container, row.fix, waiting.Reason, waiting.Message)}, true
			}
		}
	}
	return endedCause(container)
}

// endedCause is about a container that ended and that should run: by its last end, also while it runs again without being
// ready, or the reason would come and go with every restart.
func endedCause(container corev1.ContainerStatus) (cause, bool) {
	end := container.State.Terminated
	if end == nil {
		end = container.LastTerminationState.Terminated
	}
	loops := container.State.Waiting != nil && container.State.Waiting.Reason == "CrashLoopBackOff"
	switch {
	case container.Ready:
		return cause{}, false
	case end == nil && loops: // the kubelet forgot the end
		return cause{reason: v1alpha1.ReasonCrashLooping, message: containerText(container, "", "CrashLoopBackOff", container.State.Waiting.Message)}, true
	case end == nil || end.ExitCode == 0 && !loops:
		return cause{}, false // not ended, or ended well, as init containers do
	case end.Reason == "OOMKilled":
		return cause{reason: v1alpha1.ReasonOOMKilled, message: containerText(container, "it needs more memory than its limit: raise resources.limits.memory",
			fmt.Sprintf("OOMKilled, exit code %d", end.ExitCode), end.Message)}, true
	default:
		return cause{reason: v1alpha1.ReasonCrashLooping, message: containerText(container, "",
			fmt.Sprintf("ended with exit code %d%s", end.ExitCode, reasonOfEnd(end)), end.Message)}, true
	}
}

// reasonOfEnd adds the kubelet's word for an end where it has more to say than that it was one.
func reasonOfEnd(end *corev1.ContainerStateTerminated) string {
	switch {
	case end.Reason != "" && end.Reason != "Error" && end.Reason != "Completed":
		return " (" + end.Reason + ")"
	case end.ExitCode == 0:
		return ", but an agent must go on"
	case end.ExitCode > 128 && end.ExitCode <= 128+64:
		return fmt.Sprintf(" (signal %d)", end.ExitCode-128)
	default:
		return ""
	}
}

func containerText(container corev1.ContainerStatus, fix, what, words string) string {
	text := fmt.Sprintf("container %s: %s", container.Name, what)
	if words = strings.TrimSpace(words); words != "" {
		text += ": " + words
	}
	if fix != "" {
		text += " (" + fix + ")"
	}
	return text
}
