package render

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	autoscalingv2ac "k8s.io/client-go/applyconfigurations/autoscaling/v2"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// defaultMinReplicas is Kubernetes' own.
const defaultMinReplicas = 1

// Live is what of the live children rendering depends on: it keeps a running Agent from losing replicas while an autoscaler
// takes over. Empty for an Agent that has no children yet.
type Live struct {
	// Replicas is the count of the live Deployment, 0 without one.
	Replicas int32
	// MinReplicas is the lower bound of the live HorizontalPodAutoscaler, 0 without one.
	MinReplicas int32
}

// Replicas is the number of pods an Agent wants: what its spec says, inside the bounds of its autoscaling, and not below the
// floor of a handover.
func Replicas(agent *v1alpha1.Agent, live Live) int32 {
	asked := ptr.Deref(agent.Spec.Runtime.Spec.Replicas, defaultReplicas)
	scaling := agent.Spec.Autoscaling
	switch {
	case agent.Spec.Suspend || asked == 0:
		return 0
	case scaling == nil:
		return asked
	default:
		return min(max(asked, LeastReplicas(agent), floor(agent, live)), scaling.MaxReplicas)
	}
}

// LeastReplicas is how many replicas an Agent has when there is nothing to do.
func LeastReplicas(agent *v1alpha1.Agent) int32 {
	if agent.Spec.Autoscaling == nil {
		return ptr.Deref(agent.Spec.Runtime.Spec.Replicas, defaultReplicas)
	}
	return ptr.Deref(agent.Spec.Autoscaling.MinReplicas, defaultMinReplicas)
}

// floor is below what the count must not fall while autoscaling takes over. Who turns it on takes replicas out of the
// manifest in the same breath, and then the API server fills in 1; the load is still what it was. So the autoscaler begins
// with the live count as its lower bound. It raises the Agent's replicas to that by itself, without any metric, and then the
// bound that the Agent asks for is set: the count is the autoscaler's alone from here on. 0 when there is nothing to hand over.
func floor(agent *v1alpha1.Agent, live Live) int32 {
	held := min(live.Replicas, agent.Spec.Autoscaling.MaxReplicas)
	if live.MinReplicas > 0 { // it is there already, and holds what it was given to hold
		held = min(held, live.MinReplicas)
	}
	if ptr.Deref(agent.Spec.Runtime.Spec.Replicas, defaultReplicas) >= held {
		return 0
	}
	return held
}

// autoscaler targets the Agent, not its Deployment: the Agent's replicas are the one truth, which the autoscaler writes through
// the scale subresource and the operator only reads.
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
		WithMinReplicas(max(LeastReplicas(agent), floor(agent, live))).
		WithMaxReplicas(scaling.MaxReplicas)
	return autoscalingv2ac.HorizontalPodAutoscaler(agent.Name, agent.Namespace).
		WithLabels(labels(agent)).
		WithOwnerReferences(owner(agent)).
		WithSpec(user), nil
}
