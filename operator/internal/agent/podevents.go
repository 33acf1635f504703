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
	// eventDelay is how long a pod is unready and unexplained before its Events are listed. Without it, every rollout would cost a
	// query.
	eventDelay = 15 * time.Second
	// eventTTL is how long an answer is used: an Agent costs at most one query a minute.
	eventTTL = time.Minute
	// maxEvents bounds one answer.
	maxEvents = 100
)

// eventQuery is the last query for Events about a pod, and the pod that the next one is for.
type eventQuery struct {
	// pod is unready and unexplained since then; empty if there is none.
	pod   types.UID
	since time.Time
	// at is zero before the first query. answered is the pod that the events are about, empty if there was no answer.
	at       time.Time
	answered types.UID
	events   []status.PodEvent
}

// podEvents lists Events about a pod that is not ready and whose status does not say why: some causes, such as a missing Secret of a
// volume or a failing probe, exist only as Events. It reads them from the API server, about one pod at a time, and caches none. It
// returns when to reconcile again, 0 if there is no such pod.
func (c *Controller) podEvents(ctx context.Context, agent *v1alpha1.Agent, observed *status.Observed, state *state) time.Duration {
	query := &state.query
	fresh := observed.Now.Sub(query.at) < eventTTL
	pod := status.UnexplainedPod(agent, *observed)
	switch {
	case pod == nil && !fresh:
		*query = eventQuery{}
		return 0
	case pod == nil: // the answer is kept, because the same pod may be unexplained again before the next query is due
		query.pod = ""
		return 0
	case query.pod != pod.UID:
		query.pod, query.since = pod.UID, observed.Now
	}
	early := query.since.Add(eventDelay).Sub(observed.Now)
	if early <= 0 && !fresh {
		c.queryEvents(ctx, pod, query, observed.Now)
		fresh = true
	}
	if fresh && query.answered == pod.UID {
		observed.PodEvents, observed.QueriedPod = query.events, pod.Name
	}
	if early > 0 {
		return early
	}
	return query.at.Add(eventTTL).Sub(observed.Now)
}

// queryEvents lists the Events about a pod. If that fails, an earlier answer about the same pod stays in use.
func (c *Controller) queryEvents(ctx context.Context, pod *corev1.Pod, query *eventQuery, now time.Time) {
	query.at = now
	events, err := c.listEvents(ctx, pod)
	if err == nil {
		query.answered, query.events = pod.UID, events
		return
	}
	if query.answered != pod.UID {
		query.answered, query.events = "", nil
	}
	log.FromContext(ctx).Error(err, "listing events")
}

// listEvents returns the Events about a pod that can explain why it is not ready.
func (c *Controller) listEvents(ctx context.Context, pod *corev1.Pod) ([]status.PodEvent, error) {
	list := &corev1.EventList{}
	err := c.live.List(ctx, list, client.InNamespace(pod.Namespace),
		client.MatchingFields{"involvedObject.uid": string(pod.UID)}, client.Limit(maxEvents))
	if err != nil {
		return nil, err
	}
	var events []status.PodEvent
	for _, event := range list.Items {
		if status.Explains(event.Reason) {
			events = append(events, status.PodEvent{Pod: pod.Name, Container: containerIn(event.InvolvedObject.FieldPath),
				Reason: event.Reason, Message: event.Message, Last: lastObserved(event)})
		}
	}
	return events, nil
}

// containerIn returns the container in a field path such as spec.containers{agent}, empty if there is none.
func containerIn(fieldPath string) string {
	_, rest, _ := strings.Cut(fieldPath, "{")
	name, _, _ := strings.Cut(rest, "}")
	return name
}

// lastObserved is when an Event last occurred. The two versions of the Events API write that to different fields.
func lastObserved(event corev1.Event) time.Time {
	last := event.EventTime.Time
	if event.LastTimestamp.After(last) {
		last = event.LastTimestamp.Time
	}
	if observed := ptr.Deref(event.Series, corev1.EventSeries{}).LastObservedTime; observed.After(last) {
		last = observed.Time
	}
	return last
}
