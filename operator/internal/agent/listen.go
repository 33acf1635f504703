package agent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/status"
)

const (
	// unheardFor is how long an Agent is not ready before Events are asked for, and goodFor how long the answer is good for: an
	// Agent costs one request a minute at most.
	unheardFor = 15 * time.Second
	goodFor    = time.Minute
	// mostEvents bounds one answer.
	mostEvents = 100
)

// look is what Events said when they were last asked for.
type look struct {
	at   time.Time
	told []status.Told
}

// listen asks for Events about a pod that is not ready and does not say why: some causes, such as a Secret that a volume
// needs or a failing probe, are told nowhere else. It reads them from the API server, about one pod at a time; they are in no
// cache. It returns when to look at the Agent again, 0 when there is nothing to wait for.
func (c *Controller) listen(ctx context.Context, agent *v1alpha1.Agent, seen *status.Seen) time.Duration {
	key := client.ObjectKeyFromObject(agent)
	suspect := status.Suspect(agent, *seen)
	if suspect == nil {
		c.looks.forget(key)
		return 0
	}
	ready := meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionReady)
	if early := ready.LastTransitionTime.Add(unheardFor).Sub(seen.Now); early > 0 {
		return early
	}
	last, ok := c.looks.recall(key)
	if !ok || seen.Now.Sub(last.at) >= goodFor {
		told, err := c.eventsAbout(ctx, suspect)
		if err != nil {
			log.FromContext(ctx).Error(err, "listing events")
		}
		last = look{at: seen.Now, told: told}
		c.looks.keep(key, last)
	}
	seen.Told, seen.Asked = last.told, true
	return last.at.Add(goodFor).Sub(seen.Now)
}

// eventsAbout are the Events about a pod that could explain why it is not ready.
func (c *Controller) eventsAbout(ctx context.Context, pod *corev1.Pod) ([]status.Told, error) {
	events := &corev1.EventList{}
	err := c.live.List(ctx, events, client.InNamespace(pod.Namespace),
		client.MatchingFields{"involvedObject.uid": string(pod.UID)}, client.Limit(mostEvents))
	if err != nil {
		return nil, err
	}
	var told []status.Told
	for _, event := range events.Items {
		if status.Explains(event.Reason) {
			told = append(told, status.Told{Pod: pod.Name, Reason: event.Reason, Message: event.Message, Last: lastSaid(event)})
		}
	}
	return told, nil
}

// lastSaid is when an Event was last said, which its two generations of the API write in different fields.
func lastSaid(event corev1.Event) time.Time {
	last := event.EventTime.Time
	if event.LastTimestamp.After(last) {
		last = event.LastTimestamp.Time
	}
	if said := ptr.Deref(event.Series, corev1.EventSeries{}).LastObservedTime; said.After(last) {
		last = said.Time
	}
	return last
}
