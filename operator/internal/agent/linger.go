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

// refusal is what the API server last said when it refused a pod, of which generation of the Agent's, and how many pods there
// were by then. Nothing is said yet of pods that contend for a quota.
type refusal struct {
	at         time.Time
	generation int64
	said       string
	made       int32
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
	now := refusal{seen.Now, agent.Generation, status.Refusal(deployment), deployment.Status.UpdatedReplicas}
	if now.said != "" {
		c.refusals.keep(key, now)
		return 0
	}
	last, ok := c.refusals.recall(key)
	complete := now.made >= ptr.Deref(deployment.Spec.Replicas, 0)
	if !ok || complete || last.generation != now.generation {
		last = refusal{}
	}
	if contention := status.Contention(deployment); contention != "" && !complete {
		return c.contend(key, last, now, contention, seen)
	}
	left := last.at.Add(lingering).Sub(now.at)
	if last.said == "" || left <= 0 {
		c.refusals.forget(key)
		return 0
	}
	seen.Refused = last.said
	return left
}

// contend is for pods that came too late for a quota. What was said before still holds: the words on a Deployment are not
// replaced until a pod gets through. Otherwise they are believed when no pod was made for as long as a refusal lingers.
func (c *Controller) contend(key client.ObjectKey, last, now refusal, contention string, seen *status.Seen) time.Duration {
	if last.said == "" {
		if last.at.IsZero() || last.made != now.made {
			last = now
		}
		if left := last.at.Add(lingering).Sub(now.at); left > 0 {
			c.refusals.keep(key, last)
			return left
		}
		last.said = contention
	}
	now.said = last.said
	c.refusals.keep(key, now)
	seen.Refused = now.said
	return 0
}
