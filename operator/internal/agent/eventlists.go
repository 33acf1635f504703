package agent

import (
	"context"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/internal/status"
)

const (
	// eventPageSize is how many Events one request returns, maxEvents how many are read of one namespace, and maxEventMessage how many bytes
	// of a message are kept. The API server accepts Events of more than 1 MiB from whoever may create them.
	eventPageSize, maxEvents, maxEventMessage = 100, 5000, 1024
	// eventPause is how long no Events are listed after a list, as a multiple of the time that the list took: lists take at most a tenth
	// of the time.
	eventPause = 9
	// eventRetry is the shortest time after which to try again. While another list is under way, that is as long as it has taken so far.
	eventRetry = time.Second
)

// eventLists lists Events about pods for all Agents of a namespace at once. The API server keeps no index of Events: to select some, it
// reads all Events of the namespace from etcd, which takes seconds if there are thousands. If every Agent of a big rollout listed its
// own, these reads would slow the rollout down, and thereby cause more of them. For the same reason there is one list at a time, and a
// pause after each.
type eventLists struct {
	reader client.Reader

	mutex      sync.Mutex
	began      time.Time // of the list under way, zero if there is none
	next       time.Time // the end of the pause
	namespaces map[string]*eventList
}

// eventList is what a list found, by the UID of the pod. It is never changed.
type eventList struct {
	at     time.Time
	events map[types.UID][]status.PodEvent
}

// After returns Events of a namespace that were listed after a time, by this call if need be. It returns no list if none may be requested
// yet, and when to try again.
func (l *eventLists) After(ctx context.Context, namespace string, after, now time.Time) (list *eventList, retry time.Duration, err error) {
	list, retry = l.begin(namespace, after, now)
	if list != nil || retry > 0 {
		return list, retry, nil
	}
	began := time.Now()
	defer func() { l.end(namespace, list, now, time.Since(began)) }()
	list, err = l.list(ctx, namespace, now)
	return list, 0, err
}

// begin returns a list that is recent enough, or when to try again. If it returns neither, the caller lists, and calls end.
func (l *eventLists) begin(namespace string, after, now time.Time) (*eventList, time.Duration) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if list := l.namespaces[namespace]; list != nil && list.at.After(after) {
		return list, 0
	}
	later := l.next.Sub(now)
	if !l.began.IsZero() {
		later = max(now.Sub(l.began), eventRetry)
	}
	if later > 0 {
		return nil, wait.Jitter(max(later, eventRetry), 1) // not all who wait at the same time
	}
	l.began = now
	return nil, 0
}

// end keeps a list, unless it failed and is nil, and drops those that nobody will use again.
func (l *eventLists) end(namespace string, list *eventList, now time.Time, took time.Duration) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.began, l.next = time.Time{}, now.Add((1+eventPause)*took)
	for other, old := range l.namespaces {
		if now.Sub(old.at) > eventTTL {
			delete(l.namespaces, other)
		}
	}
	if list != nil {
		if l.namespaces == nil {
			l.namespaces = map[string]*eventList{}
		}
		l.namespaces[namespace] = list
	}
}

// podWarnings selects warnings about pods. All Events that can explain why a pod is not ready are warnings.
var podWarnings = fields.AndSelectors(fields.OneTermEqualSelector("involvedObject.kind", "Pod"), fields.OneTermEqualSelector("type", corev1.EventTypeWarning))

// list reads the Events of a namespace that can explain why a pod is not ready.
func (l *eventLists) list(ctx context.Context, namespace string, now time.Time) (*eventList, error) {
	found := &eventList{at: now, events: map[types.UID][]status.PodEvent{}}
	for read, next := 0, ""; read < maxEvents; read += eventPageSize {
		page := &corev1.EventList{}
		err := l.reader.List(ctx, page, client.InNamespace(namespace), client.Limit(eventPageSize), client.Continue(next),
			client.MatchingFieldsSelector{Selector: podWarnings})
		if err != nil {
			return nil, err
		}
		for _, event := range page.Items {
			if pod := event.InvolvedObject; status.Explains(event.Reason) {
				found.events[pod.UID] = append(found.events[pod.UID], podEvent(event))
			}
		}
		if next = page.Continue; next == "" {
			break
		}
	}
	return found, nil
}

func podEvent(event corev1.Event) status.PodEvent {
	pod, message := event.InvolvedObject, event.Message
	if len(message) > maxEventMessage {
		message = strings.Clone(strings.ToValidUTF8(message[:maxEventMessage], ""))
	}
	return status.PodEvent{Pod: pod.Name, Container: containerIn(pod.FieldPath), Reason: event.Reason, Message: message, Last: lastObserved(event)}
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
