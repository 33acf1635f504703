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

// reasonDeploymentScaled is the reason of the Event about somebody who scales an Agent's Deployment instead of the Agent.
const reasonDeploymentScaled = "DeploymentScaled"

// sayAgain is how often that is said, while it goes on: about as long as an Event is kept.
const sayAgain = time.Hour

// tellContest says who scales the Deployment, where the Agent wants another count: an autoscaler aimed at the Deployment
// would be corrected, and correct again, for ever. Only where the operator wants nothing else than it last applied can the
// count be somebody else's; only then is the object read from the API server, for the managed fields that the cache drops.
func (c *Controller) tellContest(ctx context.Context, agent *v1alpha1.Agent, live *appsv1.Deployment, want *appsv1ac.DeploymentApplyConfiguration) {
	if live == nil || live.Annotations[v1alpha1.AnnotationDigest] != want.Annotations[v1alpha1.AnnotationDigest] ||
		ptr.Deref(live.Spec.Replicas, 0) == *want.Spec.Replicas {
		return
	}
	key := client.ObjectKeyFromObject(agent)
	if last, ok := c.contest.recall(key); ok && c.now().Sub(last) < sayAgain {
		return
	}
	whole := &appsv1.Deployment{}
	if err := c.live.Get(ctx, key, whole); err != nil {
		return // the apply that follows says what is wrong
	}
	manager := scaledBy(whole)
	if manager == "" {
		return
	}
	c.contest.keep(key, c.now())
	c.events.Eventf(agent, nil, corev1.EventTypeWarning, reasonDeploymentScaled, "Reconcile",
		"%s scales the Deployment %q to %d, and the Agent, which wants %d, puts it back: aim an autoscaler's scaleTargetRef at %s %s %s, or use spec.autoscaling, or kubectl scale agent",
		manager, whole.Name, ptr.Deref(whole.Spec.Replicas, 0), *want.Spec.Replicas, v1alpha1.GroupVersion, v1alpha1.AgentKind, agent.Name)
}

// scaledBy is who last wrote a Deployment's count through its scale subresource, empty when nobody did.
func scaledBy(deployment *appsv1.Deployment) string {
	for _, entry := range deployment.ManagedFields {
		if entry.Subresource == "scale" && entry.FieldsV1 != nil && strings.Contains(entry.FieldsV1.GetRawString(), `"f:replicas"`) {
			return entry.Manager
		}
	}
	return ""
}
