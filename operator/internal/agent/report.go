package agent

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/render"
	"github.com/flokoa/flokoa/operator/internal/status"
)

// report writes the status of an Agent where it differs from what it was, and sends the events about it. What is not urgent waits
// for the next write, so that a rollout costs a few and not one for every step of every pod; it returns how long, 0 when there is
// nothing to wait for. What was not written is not lost: the next pass sees all of it again.
func (c *Controller) report(ctx context.Context, was, agent *v1alpha1.Agent, seen status.Seen) (time.Duration, error) {
	if equality.Semantic.DeepEqual(was.Status, agent.Status) {
		return 0, nil
	}
	key := client.ObjectKeyFromObject(agent)
	last, _ := c.reports.recall(key)
	wait := status.Urgency(&was.Status, &agent.Status, render.Replicas(agent, seen.Live()))
	if early := last.Add(wait).Sub(seen.Now); early > 0 {
		return early, nil
	}
	if err := c.client.Status().Patch(ctx, agent, client.MergeFrom(was), FieldOwner); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	c.reports.keep(key, seen.Now)
	c.tell(was, agent)
	return 0, nil
}
