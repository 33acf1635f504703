package agent

import (
	"time"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// lingering is how long a refusal of pods is still told when the Deployment no longer tells it.
const lingering = 10 * time.Second

// refusal is what the API server last said when it refused a pod, and of which generation of the Agent's.
type refusal struct {
	at         time.Time
	generation int64
	said       string
}

// linger goes on telling that pods are refused for a while, as long as pods are still to be made. The ReplicaSet controller takes
// it back whenever it looks while it waits to see pods that it did make, and says it again at its next try: without this, an
// Agent of which a quota lets some pods through would say so, take it back and say so again. It returns when to look at the
// Agent again, 0 when there is nothing to wait for.
func (c *Controller) linger(agent *v1alpha1.Agent, seen *status.Seen) time.Duration {
	key, deployment := client.ObjectKeyFromObject(agent), seen.Deployment
	if deployment == nil {
		return 0
	}
	if said := status.Refusal(deployment); said != "" {
		c.refusals.keep(key, refusal{seen.Now, agent.Generation, said})
		return 0
	}
	last, ok := c.refusals.recall(key)
	left := last.at.Add(lingering).Sub(seen.Now)
	complete := deployment.Status.UpdatedReplicas >= ptr.Deref(deployment.Spec.Replicas, 0)
	if !ok || left <= 0 || complete || last.generation != agent.Generation {
		c.refusals.forget(key)
		return 0
	}
	seen.Refused = last.said
	return left
}
