package agent

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// report writes the status of an Agent where it differs from what it was, and sends the events about it. What is not urgent waits
// a while for something else to be written with it, so that a rollout costs a few writes and not one for every step of every pod;
// report returns how long, 0 when there is nothing to wait for. What was not written is not lost: the next pass sees it again.
func (c *Controller) report(ctx context.Context, was, agent *v1alpha1.Agent, seen status.Seen) (time.Duration, error) {
	key := client.ObjectKeyFromObject(agent)
	if equality.Semantic.DeepEqual(was.Status, agent.Status) {
		c.withheld.forget(key)
		return 0, nil
	}
	since, ok := c.withheld.recall(key)
	if !ok {
		since = seen.Now
	}
	urgency := status.Urgency(&was.Status, &agent.Status, render.Replicas(agent, seen.Live()))
	if early := since.Add(urgency).Sub(seen.Now); early > 0 {
		c.withheld.keep(key, since)
		return early, nil
	}
	if err := c.client.Status().Patch(ctx, statusOf(agent), client.MergeFrom(statusOf(was)), FieldOwner); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	c.withheld.forget(key)
	c.tell(was, agent)
	return 0, nil
}

// statusOf is what the patch of a status is made from: all that is not in it would be encoded to find that it is the same.
func statusOf(agent *v1alpha1.Agent) *v1alpha1.Agent {
	return &v1alpha1.Agent{
		ObjectMeta: metav1.ObjectMeta{Namespace: agent.Namespace, Name: agent.Name, UID: agent.UID, ResourceVersion: agent.ResourceVersion},
		Status:     agent.Status,
	}
}
