package agent

import (
	"context"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// reasonDeploymentScaled is the reason of the Event about a field manager that scales an Agent's Deployment instead of the Agent.
const reasonDeploymentScaled = "DeploymentScaled"

// eventInterval is how often that Event repeats while the conflict lasts: about as long as the API server keeps an Event.
const eventInterval = time.Hour

// scaleConflict is a replica count that another field manager wrote to the Deployment.
type scaleConflict struct {
	manager       string
	live, desired int32
}

// findScaleConflict finds a field manager that scales the Deployment, nil without one. An autoscaler that targets the Deployment
// would fight the operator forever. The count can only be foreign if the rest is as last applied. Only then does it read the
// Deployment from the API server, because the cache drops managed fields.
func (c *Controller) findScaleConflict(ctx context.Context, live *appsv1.Deployment, desired *appsv1ac.DeploymentApplyConfiguration, state *state) *scaleConflict {
	if live == nil || live.Annotations[v1alpha1.AnnotationDigest] != desired.Annotations[v1alpha1.AnnotationDigest] ||
		ptr.Deref(live.Spec.Replicas, 0) == *desired.Spec.Replicas || c.now().Sub(state.conflictReported) < eventInterval {
		return nil
	}
	current := &appsv1.Deployment{}
	if err := c.live.Get(ctx, client.ObjectKeyFromObject(live), current); err != nil {
		return nil // the apply that follows reports the error
	}
	manager := scaleManager(current)
	if manager == "" {
		return nil
	}
	return &scaleConflict{manager, ptr.Deref(current.Spec.Replicas, 0), *desired.Spec.Replicas}
}

// warnScaleConflict records an Event about a conflict, if there is one.
func (c *Controller) warnScaleConflict(agent *v1alpha1.Agent, conflict *scaleConflict, state *state) {
	if conflict == nil {
		return
	}
	state.conflictReported = c.now()
	c.record(agent, corev1.EventTypeWarning, reasonDeploymentScaled,
		"%s scales Deployment %q to %d, but the Agent asks for %d and scales it back: point the autoscaler's scaleTargetRef at %s %s %s, set spec.autoscaling, or run kubectl scale agent",
		conflict.manager, agent.Name, conflict.live, conflict.desired, v1alpha1.GroupVersion, v1alpha1.AgentKind, agent.Name)
}

// scaleManager returns the field manager that last wrote the replica count through the scale subresource, empty if there is none.
func scaleManager(deployment *appsv1.Deployment) string {
	for _, entry := range deployment.ManagedFields {
		if entry.Subresource == "scale" && entry.FieldsV1 != nil && strings.Contains(entry.FieldsV1.GetRawString(), `"f:replicas"`) {
			return entry.Manager
		}
	}
	return ""
}
