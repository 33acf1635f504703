package app

import (
	"context"
	"runtime/debug"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

// A client's watch keeps the buffer of its largest event until the API server ends the watch after minutes: a megabyte or two for each
// kind. So the caches end such a watch earlier. They continue with a new watch from the last event, which costs one request.
const (
	// largeEvent is the size of an object whose watch is ended, in bytes.
	largeEvent = 64 << 10
	// endAfter is for how long a watch must have no event before it is ended.
	endAfter = 5 * time.Second
)

// newInformer returns an informer that ends its watch after large events.
func newInformer(source toolscache.ListerWatcher, object runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	if lists, ok := source.(*toolscache.ListWatch); ok {
		inner := lists.WatchFuncWithContext
		lists.WatchFuncWithContext = func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			events, err := inner(ctx, options)
			if err != nil {
				return nil, err
			}
			return shrink(events, ptr.Deref(options.SendInitialEvents, false)), nil
		}
	}
	return toolscache.NewSharedIndexInformer(source, object, resync, indexers)
}

// shrinking is a watch that ends after a large event, once it is idle. It does not refer to the inner watch, because a reflector may
// keep a watch that has ended, and with it the buffer.
type shrinking struct {
	events  chan watch.Event
	stopped chan struct{}
	stop    sync.Once
}

// shrink wraps a watch. One that first sends all objects must not end before it has sent them, or else the list starts again.
func shrink(inner watch.Interface, sendsList bool) watch.Interface {
	s := &shrinking{events: make(chan watch.Event), stopped: make(chan struct{})}
	go s.forward(inner, sendsList)
	return s
}

// ResultChan returns the events.
func (s *shrinking) ResultChan() <-chan watch.Event { return s.events }

// Stop ends the watch.
func (s *shrinking) Stop() { s.stop.Do(func() { close(s.stopped) }) }

func (s *shrinking) forward(inner watch.Interface, sendsList bool) {
	defer close(s.events)
	defer inner.Stop()
	large := false
	var idle <-chan time.Time
	for {
		select {
		case <-s.stopped:
			return
		case <-idle:
			time.AfterFunc(releaseInterval, debug.FreeOSMemory) // the buffer counts as no burst of allocations
			return
		case event, open := <-inner.ResultChan():
			if !open {
				return
			}
			sendsList = sendsList && !endsList(event)
			large = large || isLarge(event) // before the cache strips the object
			if large && !sendsList {
				idle = time.After(endAfter)
			}
			select {
			case s.events <- event:
			case <-s.stopped:
				return
			}
		}
	}
}

func isLarge(event watch.Event) bool {
	object, ok := event.Object.(interface{ Size() int })
	return ok && object.Size() > largeEvent
}

// endsList reports whether an event is the bookmark after the initial objects.
func endsList(event watch.Event) bool {
	object, err := meta.Accessor(event.Object)
	return err == nil && event.Type == watch.Bookmark && object.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true"
}
