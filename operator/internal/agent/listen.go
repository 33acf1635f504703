package agent

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/status"
)

const (
	// unheardFor is how long a pod is not ready, without saying why, before Events are asked for, and goodFor how long the answer
	// is good for: an Agent costs one request a minute at most.
	unheardFor = 15 * time.Second
	goodFor    = time.Minute
	// mostEvents bounds one answer.
	mostEvents = 100
)

// look is what is known of the pod under suspicion, and what Events said when they were last asked for.
type look struct {
	suspect types.UID
	since   time.Time
	// asked is zero until then; about is the pod that they were asked for about, empty when there was no answer.
	asked time.Time
	about types.UID
	told  []status.Told
}

// listen asks for Events about a pod that is not ready and does not say why: some causes, such as a Secret that a volume
// needs or a failing probe, are told nowhere else. It reads them from the API server, about one pod at a time; they are in no
// cache. A pod gets its time first, or every rollout would cost a question. It returns when to look at the Agent again, 0 when
// there is nothing to wait for.
func (c *Controller) listen(ctx context.Context, agent *v1alpha1.Agent, seen *status.Seen) time.Duration {
	key := client.ObjectKeyFromObject(agent)
	last, _ := c.looks.recall(key)
	good := seen.Now.Sub(last.asked) < goodFor
	suspect := status.Suspect(agent, *seen)
	switch {
	case suspect == nil && !good:
		c.looks.forget(key)
		return 0
	case suspect == nil: // what was heard is kept: there may be a suspect again, and no other question so soon
		last.suspect = ""
		c.looks.keep(key, last)
		return 0
	case last.suspect != suspect.UID:
		last.suspect, last.since = suspect.UID, seen.Now
	}
	early := last.since.Add(unheardFor).Sub(seen.Now)
	if early <= 0 && !good {
		last, good = c.ask(ctx, suspect, last, seen.Now), true
	}
	c.looks.keep(key, last)
	if good && last.about == suspect.UID {
		seen.Told, seen.Asked = last.told, suspect.Name
	}
	if early > 0 {
		return early
	}
	return last.asked.Add(goodFor).Sub(seen.Now)
}

// ask asks for Events about a pod. Without an answer, what was heard about it before stands.
func (c *Controller) ask(ctx context.Context, pod *corev1.Pod, last look, now time.Time) look {
	last.asked = now
	told, err := c.eventsAbout(ctx, pod)
	switch {
	case err == nil:
		last.about, last.told = pod.UID, told
		return last
	case last.about != pod.UID:
		last.about, last.told = "", nil
	}
	log.FromContext(ctx).Error(err, "listing events")
	return last
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
			told = append(told, status.Told{Pod: pod.Name, Container: containerIn(event.InvolvedObject.FieldPath),
				Reason: event.Reason, Message: event.Message, Last: lastSaid(event)})
		}
	}
	return told, nil
}

// containerIn is the container that a field path such as spec.containers{agent} names, empty for none.
func containerIn(fieldPath string) string {
	_, rest, _ := strings.Cut(fieldPath, "{")
	name, _, _ := strings.Cut(rest, "}")
	return name
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
