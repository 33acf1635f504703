package v1alpha1

// Condition types of an Agent. Available, Ready and HighlyAvailable are always present once the operator has looked at the Agent;
// Reconciling and Stalled are present only while they are True (the kstatus convention), and never both.
const (
	// ConditionAvailable is True while at least one replica is available: someone answers.
	ConditionAvailable = "Available"
	// ConditionReady is True when this generation is applied and fully rolled out, and every wanted replica is
	// available: what was asked for is what runs. Zero replicas, asked for and reached, is Ready too.
	ConditionReady = "Ready"
	// ConditionHighlyAvailable is True while nothing is missing of what the guide asks for, judged on the effective spec and
	// on where the available pods are.
	ConditionHighlyAvailable = "HighlyAvailable"
	// ConditionModelResolved is present only with spec.model.
	ConditionModelResolved = "ModelResolved"
	// ConditionReconciling is True while the operator, or Kubernetes on its behalf, is still working towards the spec.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when there is no progress without a change from outside.
	ConditionStalled = "Stalled"
)

// Reasons of the conditions. A reason that says what is wrong stands on Ready=False (with Available as the replicas
// tell); the message beside it has the object, the numbers and, where there is one, the fix.
const (
	// ReasonPending is Ready=Unknown before the operator has looked at the Agent: the default of the CRD.
	ReasonPending = "Pending"

	// ReasonReplicasAvailable is Available=True: at least one replica is available.
	ReasonReplicasAvailable = "ReplicasAvailable"
	// ReasonNoReplicasAvailable is Available=False: replicas are wanted and none is available.
	ReasonNoReplicasAvailable = "NoReplicasAvailable"

	// ReasonRolloutComplete is Ready=True: the rules of `kubectl rollout status` hold and all replicas are available.
	ReasonRolloutComplete = "RolloutComplete"
	// ReasonScaledToZero is Ready=True and Available=False: zero replicas were asked for and none runs.
	ReasonScaledToZero = "ScaledToZero"

	// ReasonSuspended is Ready=True and Available=False: spec.suspend was asked for and no replica runs.
	ReasonSuspended = "Suspended"

	// ReasonRequirementsMet is HighlyAvailable=True.
	ReasonRequirementsMet = "RequirementsMet"
	// ReasonMissingRequirements is HighlyAvailable=False; the message lists everything that is missing.
	ReasonMissingRequirements = "MissingRequirements"

	// ReasonInvalidSpec is Ready=False: this spec cannot be rendered. Retrying does not help, a new spec does.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonNameConflict is Ready=False: an object with a child's name exists that this Agent does not control.
	ReasonNameConflict = "NameConflict"
	// ReasonPolicyViolation is Ready=False: an admission policy or webhook, Pod Security or a LimitRange refuses a child or
	// its pods.
	ReasonPolicyViolation = "PolicyViolation"
	// ReasonQuotaExceeded is Ready=False: a ResourceQuota of the namespace refuses a child or its pods.
	ReasonQuotaExceeded = "QuotaExceeded"
	// ReasonApplyFailed is Ready=False: the API server refused a child, in its own words; retried with backoff.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonConfigMissing is Ready=False: a Secret, a ConfigMap, a key of one, or the ServiceAccount does not exist.
	ReasonConfigMissing = "ConfigMissing"
	// ReasonContainerConfigError is Ready=False: the kubelet cannot make or start a container as it is described.
	ReasonContainerConfigError = "ContainerConfigError"
	// ReasonImagePullFailed is Ready=False: an image cannot be pulled.
	ReasonImagePullFailed = "ImagePullFailed"
	// ReasonOOMKilled is Ready=False: a container needed more memory than its limit.
	ReasonOOMKilled = "OOMKilled"
	// ReasonCrashLooping is Ready=False: a container ends again and again.
	ReasonCrashLooping = "CrashLooping"
	// ReasonUnschedulable is Ready=False: the scheduler finds no node for a pod.
	ReasonUnschedulable = "Unschedulable"
	// ReasonProbeFailing is Ready=False: a container runs, and a probe keeps it from being ready.
	ReasonProbeFailing = "ProbeFailing"
	// ReasonProgressDeadlineExceeded is Ready=False: the rollout made no progress for progressDeadlineSeconds.
	ReasonProgressDeadlineExceeded = "ProgressDeadlineExceeded"
	// ReasonRolloutInProgress is Ready=False: pods of this generation are still being brought up or old ones taken down.
	ReasonRolloutInProgress = "RolloutInProgress"
	// ReasonReplicasUnavailable is Ready=False: the rollout is complete, and fewer replicas than wanted are available.
	ReasonReplicasUnavailable = "ReplicasUnavailable"

	// ReasonNotResolved is ModelResolved=Unknown: nothing in this version resolves a Model.
	ReasonNotResolved = "NotResolved"
)
