package agent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
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

// podEvents finds Events about a pod that is not ready and whose status does not say why: some causes, such as a missing Secret of a
// volume or a failing probe, exist only as Events. It returns when to reconcile again, 0 if there is no such pod.
func (c *Controller) podEvents(ctx context.Context, agent *v1alpha1.Agent, observed *status.Observed, state *state) time.Duration {
	query := &state.query
	pod := status.UnexplainedPod(agent, *observed)
	if observed.Now.Sub(query.at) >= eventTTL && (pod == nil || pod.UID != query.pod) {
		*query = eventQuery{}
	}
	if pod == nil { // an answer is kept, because the same pod may be unexplained again before the next query is due
		query.pod = ""
		return 0
	}
	if pod.UID != query.pod {
		query.pod, query.since = pod.UID, observed.Now
	}
	next := latest(query.since.Add(eventDelay), query.at.Add(eventTTL)).Sub(observed.Now)
	if next <= 0 {
		next = c.queryEvents(ctx, pod, query, observed.Now)
	}
	if query.answered == pod.UID {
		observed.PodEvents, observed.QueriedPod = query.events, pod.Name
	}
	return next
}

// queryEvents asks for the Events about a pod, listed since it has been unexplained for long enough, and returns when to ask again. If there
// is no answer, an earlier one about the same pod stays in use.
func (c *Controller) queryEvents(ctx context.Context, pod *corev1.Pod, query *eventQuery, now time.Time) time.Duration {
	after := latest(query.since.Add(eventDelay), now.Add(-eventTTL))
	list, retry, err := c.eventLists.After(ctx, pod.Namespace, after, now)
	switch {
	case err != nil:
		log.FromContext(ctx).Error(err, "listing events")
		query.at = now
	case list == nil:
		return retry
	default:
		query.at, query.answered, query.events = list.at, pod.UID, list.events[pod.UID]
	}
	return query.at.Add(eventTTL).Sub(now)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
