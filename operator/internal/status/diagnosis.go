package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// severity orders the reasons of Ready=False, the most severe first. Of several, Ready names the most severe.
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

// compareSeverity is negative when reason a is more severe than b.
func compareSeverity(a, b string) int {
	return slices.Index(severity, a) - slices.Index(severity, b)
}

// cause is why a pod does not exist or is not ready.
type cause struct {
	reason, message string
	// pod is empty for a pod that could not be created.
	pod string
}

// diagnose replaces the reason of a Ready=False result by the most severe cause found, and keeps the replica counts behind it.
func diagnose(observed Observed, result conditionResult) conditionResult {
	causes := causes(observed)
	if len(causes) == 0 {
		return result
	}
	worst := slices.MinFunc(causes, func(a, b cause) int {
		return cmp.Or(compareSeverity(a.reason, b.reason), cmp.Compare(a.pod, b.pod))
	})
	text := worst.message
	if worst.pod != "" {
		text = fmt.Sprintf("pod %s: %s", worst.pod, worst.message)
	}
	return conditionFalse(worst.reason, "%s; %s", truncate(text, maxCause), result.message)
}

// causes returns at most one cause for each pod that should be ready and is not, and one for pods that could not be created. Pods that
// nodes reject are the cause only if nothing else is.
func causes(observed Observed) []cause {
	var all []cause
	if c, ok := creationFailure(observed); ok {
		all = append(all, c)
	}
	for i := range observed.Pods {
		pod := &observed.Pods[i]
		if !shouldBeReady(pod) {
			continue
		}
		c, ok := podCause(pod, observed)
		if !ok {
			c, ok = eventCause(pod, observed)
		}
		if ok {
			c.pod = pod.Name
			all = append(all, c)
		}
	}
	if c, ok := rejection(observed.Pods); ok && len(all) == 0 {
		all = append(all, c)
	}
	return all
}

// shouldBeReady reports whether a pod can still become ready, and is not. The ReplicaSet controller replaces a pod that has ended.
func shouldBeReady(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && !podReady(pod) &&
		pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded
}

// creationFailure is why the ReplicaSet cannot create pods, such as a quota, a policy, or a missing ServiceAccount.
func creationFailure(observed Observed) (cause, bool) {
	message := cmp.Or(podFailure(observed.Deployment), observed.HeldFailure)
	return cause{reason: admissionReason(message), message: "cannot create pods: " + message}, message != ""
}

// policyWords are in the answers of a ValidatingAdmissionPolicy and an admission webhook.
var policyWords = []string{"ValidatingAdmissionPolicy", "denied the request", "denied request"}

// permissionWords are in the API server's answer to an account that RBAC denies something: User "x" cannot create resource.
const permissionWords = `" cannot `

// admissionReasons map words of a message to the reason of an admission failure, because the API has no code for it. The first
// row that shares words with the message applies.
var admissionReasons = []struct {
	words  []string
	reason string
}{
	{[]string{permissionWords}, v1alpha1.ReasonApplyFailed},
	{[]string{"exceeded quota", "failed quota", "insufficient quota", "status unknown for quota", contentionWords}, v1alpha1.ReasonQuotaExceeded},
	{policyWords, v1alpha1.ReasonPolicyViolation},
	{[]string{
		"violates PodSecurity",
		"maximum cpu", "maximum memory", "minimum cpu", "minimum memory", "max limit to request ratio", // LimitRange
	}, v1alpha1.ReasonPolicyViolation},
	{[]string{"error looking up service account", "not found", "was found"}, v1alpha1.ReasonConfigMissing}, // ServiceAccount, PriorityClass, RuntimeClass
	{[]string{"forbidden"}, v1alpha1.ReasonPolicyViolation},
}

// admissionReason is the reason behind the API server's answer to an object that it does not admit.
func admissionReason(message string) string {
	for _, row := range admissionReasons {
		if containsAny(message, row.words) {
			return row.reason
		}
	}
	return v1alpha1.ReasonApplyFailed
}

func containsAny(text string, words []string) bool {
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(text, word) })
}

// podCause reads the cause from the pod's own status: the most severe of its containers', else why it is not scheduled.
func podCause(pod *corev1.Pod, observed Observed) (cause, bool) {
	var worst *cause
	for _, container := range containerStatuses(pod) {
		if c, ok := containerCause(container); ok && (worst == nil || compareSeverity(c.reason, worst.reason) < 0) {
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
	return ignoredByScheduler(pod, observed)
}

// waitingReasons map the kubelet's reasons for a waiting container. The first row that matches applies.
var waitingReasons = []struct {
	reasons []string
	// words narrow a row to messages that contain one of them; nil matches every message.
	words  []string
	reason string
	fix    string
}{
	{[]string{"CreateContainerConfigError"}, []string{"not found", "couldn't find key", "non-existent"}, v1alpha1.ReasonConfigMissing, ""},
	{[]string{"CreateContainerConfigError"}, []string{"runAsNonRoot"}, v1alpha1.ReasonContainerConfigError,
		"the image runs as root: set securityContext.runAsUser, or build the image with a numeric USER"},
	{[]string{"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "PreStartHookError", "PostStartHookError"}, nil, v1alpha1.ReasonContainerConfigError, ""},
	{[]string{"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"}, nil, v1alpha1.ReasonImagePullFailed, ""},
}

// containerCause is why one container does not run, or does not keep running.
func containerCause(container corev1.ContainerStatus) (cause, bool) {
	if waiting := container.State.Waiting; waiting != nil {
		for _, row := range waitingReasons {
			if slices.Contains(row.reasons, waiting.Reason) && (row.words == nil || containsAny(waiting.Message, row.words)) {
				return cause{reason: row.reason, message: containerText(container, row.fix, waiting.Reason, waiting.Message)}, true
			}
		}
	}
	return terminationCause(container)
}

// terminationCause evaluates a container by its last termination, also while it runs again without being ready. Otherwise the reason
// would come and go with every restart.
func terminationCause(container corev1.ContainerStatus) (cause, bool) {
	end := container.State.Terminated
	if end == nil {
		end = container.LastTerminationState.Terminated
	}
	crashLooping := container.State.Waiting != nil && container.State.Waiting.Reason == "CrashLoopBackOff"
	switch {
	case container.Ready:
		return cause{}, false
	case end == nil && crashLooping: // the kubelet no longer reports the termination
		return cause{reason: v1alpha1.ReasonCrashLooping, message: containerText(container, "", "CrashLoopBackOff", container.State.Waiting.Message)}, true
	case end == nil || end.ExitCode == 0 && !crashLooping:
		return cause{}, false // not terminated, or successful, as init containers are
	case end.Reason == "OOMKilled":
		return cause{reason: v1alpha1.ReasonOOMKilled, message: containerText(container, "the container exceeded its memory limit: raise resources.limits.memory",
			fmt.Sprintf("OOMKilled, exit code %d", end.ExitCode), end.Message)}, true
	default:
		return cause{reason: v1alpha1.ReasonCrashLooping, message: containerText(container, "",
			fmt.Sprintf("exited with code %d%s", end.ExitCode, exitDetail(end)), end.Message)}, true
	}
}

// exitDetail adds the kubelet's reason or the meaning of the exit code.
func exitDetail(end *corev1.ContainerStateTerminated) string {
	switch {
	case end.Reason != "" && end.Reason != "Error" && end.Reason != "Completed":
		return " (" + end.Reason + ")"
	case end.ExitCode == 0:
		return ", but an agent must keep running"
	case end.ExitCode > 128 && end.ExitCode <= 128+64:
		return fmt.Sprintf(" (signal %d)", end.ExitCode-128)
	default:
		return ""
	}
}

func containerText(container corev1.ContainerStatus, fix, what, detail string) string {
	text := fmt.Sprintf("container %s: %s", container.Name, what)
	if detail = strings.TrimSpace(detail); detail != "" {
		text += ": " + detail
	}
	if fix != "" {
		text += " (" + fix + ")"
	}
	return text
}
