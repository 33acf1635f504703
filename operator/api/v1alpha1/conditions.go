package v1alpha1

// Condition types of an Agent. Available, Ready, and HighlyAvailable are present from the first reconcile on. Reconciling and
// Stalled are present only while they are True (the kstatus convention), and never both. ConfigOutdated is present only while it is
// not False.
const (
	// ConditionAvailable is True while at least one replica is available, so that the Agent can serve.
	ConditionAvailable = "Available"
	// ConditionReady is True when the current generation is applied and fully rolled out, and all desired replicas are
	// available. It is also True when the Agent is scaled to zero on request.
	ConditionReady = "Ready"
	// ConditionHighlyAvailable is True while the Agent meets every requirement of high availability, evaluated on the rendered spec and
	// on the placement of the available pods.
	ConditionHighlyAvailable = "HighlyAvailable"
	// ConditionModelResolved is True while the Model that spec.model names exists. It is present only with spec.model.
	ConditionModelResolved = "ModelResolved"
	// ConditionConfigOutdated is True while the running pods have another configuration than the ConfigMaps and Secrets that they read,
	// and Unknown if the operator cannot tell.
	ConditionConfigOutdated = "ConfigOutdated"
	// ConditionReconciling is True while the operator, or Kubernetes on its behalf, still works toward the spec.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when nothing progresses without an outside change.
	ConditionStalled = "Stalled"
)

// Reasons of the conditions. A failure is the reason of Ready=False; Available depends on the replicas alone. The message
// names the object, the numbers, and the fix if there is one.
const (
	// ReasonPending is Ready=Unknown before the first reconcile: the CRD's default.
	ReasonPending = "Pending"

	// ReasonReplicasAvailable is Available=True: at least one replica is available.
	ReasonReplicasAvailable = "ReplicasAvailable"
	// ReasonNoReplicasAvailable is Available=False: replicas are desired and none is available.
	ReasonNoReplicasAvailable = "NoReplicasAvailable"

	// ReasonRolloutComplete is Ready=True: the rules of `kubectl rollout status` hold and all replicas are available.
	ReasonRolloutComplete = "RolloutComplete"
	// ReasonMutatedByAdmission is Ready=True: the rollout is complete, but a mutating admission policy or webhook gives the fields in
	// the message another value than the Agent asks for.
	ReasonMutatedByAdmission = "MutatedByAdmission"
	// ReasonScaledToZero is Ready=True and Available=False: zero replicas are desired and none runs.
	ReasonScaledToZero = "ScaledToZero"
	// ReasonSuspended is Ready=True and Available=False: spec.suspend is true and no replica runs.
	ReasonSuspended = "Suspended"

	// ReasonRequirementsMet is HighlyAvailable=True.
	ReasonRequirementsMet = "RequirementsMet"
	// ReasonMissingRequirements is HighlyAvailable=False; the message lists every unmet requirement.
	ReasonMissingRequirements = "MissingRequirements"

	// ReasonInvalidSpec is Ready=False: the spec cannot be rendered, or the API server calls a child of it invalid. Only a change of the
	// spec helps. A spec that cannot be rendered is not retried.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonNameConflict is Ready=False: an object with a child's name exists and this Agent does not control it.
	ReasonNameConflict = "NameConflict"
	// ReasonPolicyViolation is Ready=False: an admission policy or webhook, Pod Security, or a LimitRange denies a child or
	// its pods.
	ReasonPolicyViolation = "PolicyViolation"
	// ReasonQuotaExceeded is Ready=False: a ResourceQuota of the namespace denies a child or its pods.
	ReasonQuotaExceeded = "QuotaExceeded"
	// ReasonApplyFailed is Ready=False: the API server rejected a child, for the reason in the message; retried with backoff.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonConfigMissing is Ready=False: a Secret, a ConfigMap, one of their keys, or the ServiceAccount does not exist. It is also
	// ConfigOutdated=True: running pods have what was deleted since.
	ReasonConfigMissing = "ConfigMissing"
	// ReasonContainerConfigError is Ready=False: the kubelet cannot create or start a container from its spec.
	ReasonContainerConfigError = "ContainerConfigError"
	// ReasonImagePullFailed is Ready=False: an image cannot be pulled.
	ReasonImagePullFailed = "ImagePullFailed"
	// ReasonOOMKilled is Ready=False: a container exceeded its memory limit.
	ReasonOOMKilled = "OOMKilled"
	// ReasonCrashLooping is Ready=False: a container exits repeatedly.
	ReasonCrashLooping = "CrashLooping"
	// ReasonUnschedulable is Ready=False: no node fits a pod, no scheduler considers it, or nodes reject it.
	ReasonUnschedulable = "Unschedulable"
	// ReasonProbeFailing is Ready=False: a container runs, but a failing probe keeps it from being ready.
	ReasonProbeFailing = "ProbeFailing"
	// ReasonProgressDeadlineExceeded is Ready=False: the rollout made no progress for progressDeadlineSeconds.
	ReasonProgressDeadlineExceeded = "ProgressDeadlineExceeded"
	// ReasonRolloutInProgress is Ready=False: new pods are starting, or old ones are terminating.
	ReasonRolloutInProgress = "RolloutInProgress"
	// ReasonReplicasUnavailable is Ready=False: the rollout is complete, but fewer replicas than desired are available.
	ReasonReplicasUnavailable = "ReplicasUnavailable"

	// ReasonConfigRolloutPending is ConfigOutdated=True: the pods roll after other Agents.
	ReasonConfigRolloutPending = "ConfigRolloutPending"
	// ReasonConfigRolloutHalted is ConfigOutdated=True: the change failed on another Agent, so these pods do not roll. It is also the
	// reason of the Event on the Agent that failed.
	ReasonConfigRolloutHalted = "ConfigRolloutHalted"
	// ReasonOnNextRollout is ConfigOutdated=True: spec.configRollout is OnNextRollout.
	ReasonOnNextRollout = "OnNextRollout"
	// ReasonSecretsNotObserved is ConfigOutdated=Unknown: the operator may not read the Secrets in the message.
	ReasonSecretsNotObserved = "SecretsNotObserved"

	// ReasonResolved is ModelResolved=True: the Model exists.
	ReasonResolved = "Resolved"
	// ReasonModelNotFound is ModelResolved=False: no Model has that name in the Agent's namespace. A running Agent keeps its environment.
	ReasonModelNotFound = "ModelNotFound"
)
