package v1alpha1

// Condition types of an Agent. Available and Ready are always present once the operator has looked at the Agent;
// Reconciling and Stalled are present only while they are True (the kstatus convention), and never both.
const (
	// ConditionAvailable is True while at least one replica is available: someone answers.
	ConditionAvailable = "Available"
	// ConditionReady is True when this generation is applied and fully rolled out, and every wanted replica is
	// available: what was asked for is what runs. Zero replicas, asked for and reached, is Ready too.
	ConditionReady = "Ready"
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

	// ReasonInvalidSpec is Ready=False: this spec cannot be rendered. Retrying does not help, a new spec does.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonNameConflict is Ready=False: an object with a child's name exists that this Agent does not control.
	ReasonNameConflict = "NameConflict"
	// ReasonApplyFailed is Ready=False: the API server refused a child, in its own words; retried with backoff.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonProgressDeadlineExceeded is Ready=False: the rollout made no progress for progressDeadlineSeconds.
	ReasonProgressDeadlineExceeded = "ProgressDeadlineExceeded"
	// ReasonRolloutInProgress is Ready=False: pods of this generation are still being brought up or old ones taken down.
	ReasonRolloutInProgress = "RolloutInProgress"
	// ReasonReplicasUnavailable is Ready=False: the rollout is complete, and fewer replicas than wanted are available.
	ReasonReplicasUnavailable = "ReplicasUnavailable"

	// ReasonNotResolved is ModelResolved=Unknown: nothing in this version resolves a Model.
	ReasonNotResolved = "NotResolved"
)
