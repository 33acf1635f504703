package render

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	autoscalingv2ac "k8s.io/client-go/applyconfigurations/autoscaling/v2"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// defaultMinReplicas is the default of autoscaling/v2.
const defaultMinReplicas = 1

// Live is the state of the live children that rendering depends on. It keeps a running Agent from losing replicas when
// autoscaling is turned on, and from losing traffic when its ports change. It is zero for an Agent without children.
type Live struct {
	// Replicas is spec.replicas of the live Deployment, 0 without one.
	Replicas int32
	// MinReplicas is spec.minReplicas of the live HorizontalPodAutoscaler, 0 without one.
	MinReplicas int32
	// Ports are the operator's ports of the live Service, nil without one.
	Ports []corev1.ServicePort
	// RolledOut is the digest of the live Deployment if its rollout is complete, empty otherwise.
	RolledOut string
}

// Replicas is the desired number of pods: that of the spec, within the limits of autoscaling, and not below handoverReplicas.
func Replicas(agent *v1alpha1.Agent, live Live) int32 {
	desired := ptr.Deref(agent.Spec.Runtime.Spec.Replicas, defaultReplicas)
	scaling := agent.Spec.Autoscaling
	switch {
	case agent.Spec.Suspend || desired == 0:
		return 0
	case scaling == nil:
		return desired
	default:
		return min(max(desired, LeastReplicas(agent), handoverReplicas(agent, live)), scaling.MaxReplicas)
	}
}

// LeastReplicas is the number of replicas of an idle Agent: the lower limit of autoscaling, or the replicas of the spec.
func LeastReplicas(agent *v1alpha1.Agent) int32 {
	if agent.Spec.Autoscaling == nil {
		return ptr.Deref(agent.Spec.Runtime.Spec.Replicas, defaultReplicas)
	}
	return ptr.Deref(agent.Spec.Autoscaling.MinReplicas, defaultMinReplicas)
}

// handoverReplicas is the lower limit of the replica count while autoscaling takes over, 0 if there is nothing to hand over.
// The user who turns autoscaling on removes replicas from the manifest at the same time, so the API server defaults it to 1
// although the load is unchanged. So the autoscaler starts with the live count as minReplicas, and raises the Agent's replicas
// to it without any metric. Then minReplicas becomes that of the spec, and only the autoscaler controls the count.
func handoverReplicas(agent *v1alpha1.Agent, live Live) int32 {
	held := min(live.Replicas, agent.Spec.Autoscaling.MaxReplicas)
	if live.MinReplicas > 0 { // the handover is under way
		held = min(held, live.MinReplicas)
	}
	if ptr.Deref(agent.Spec.Runtime.Spec.Replicas, defaultReplicas) >= held {
		return 0
	}
	return held
}

// autoscaler targets the Agent, not its Deployment: the Agent's replicas are the single source of truth, which the autoscaler
// writes through the scale subresource and the operator only reads.
func autoscaler(agent *v1alpha1.Agent, live Live) (*autoscalingv2ac.HorizontalPodAutoscalerApplyConfiguration, error) {
	scaling := agent.Spec.Autoscaling
	if scaling == nil {
		return nil, nil
	}
	user, err := convert[autoscalingv2ac.HorizontalPodAutoscalerSpecApplyConfiguration](autoscalingv2.HorizontalPodAutoscalerSpec{
		Metrics:  scaling.Metrics,
		Behavior: scaling.Behavior,
	})
	if err != nil {
		return nil, err
	}
	user.WithScaleTargetRef(autoscalingv2ac.CrossVersionObjectReference().
		WithAPIVersion(v1alpha1.GroupVersion.String()).
		WithKind(v1alpha1.AgentKind).
		WithName(agent.Name)).
		WithMinReplicas(max(LeastReplicas(agent), handoverReplicas(agent, live))).
		WithMaxReplicas(scaling.MaxReplicas)
	return autoscalingv2ac.HorizontalPodAutoscaler(agent.Name, agent.Namespace).
		WithLabels(labels(agent)).
		WithOwnerReferences(owner(agent)).
		WithSpec(user), nil
}
