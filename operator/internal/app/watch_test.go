package app

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

var (
	small    = watch.Event{Type: watch.Added, Object: &corev1.ConfigMap{}}
	large    = watch.Event{Type: watch.Added, Object: &corev1.ConfigMap{Data: map[string]string{"k": strings.Repeat("x", largeEvent)}}}
	listSent = watch.Event{Type: watch.Bookmark, Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}}
)

func TestAWatchEndsOnceItIsIdleAfterALargeEvent(t *testing.T) {
	for name, row := range map[string]struct {
		sendsList bool
		events    []watch.Event
		ends      bool
	}{
		"no event":                             {},
		"small events":                         {false, []watch.Event{small, small}, false},
		"a large event":                        {false, []watch.Event{large}, true},
		"a small event after a large one":      {false, []watch.Event{large, small}, true},
		"a large event in an unfinished list":  {true, []watch.Event{large, small}, false},
		"a large event in a list that is sent": {true, []watch.Event{large, listSent}, true},
		"a large event after the list":         {true, []watch.Event{listSent, large}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := watch.NewFake()
				outer := shrink(inner, row.sendsList)
				for _, event := range row.events {
					inner.Action(event.Type, event.Object)
					require.Equal(t, event, <-outer.ResultChan())
					advance(endAfter - time.Millisecond)
				}
				advance(2 * endAfter)
				synctest.Wait()
				require.Equal(t, row.ends, inner.IsStopped())
				outer.Stop()
				_, open := <-outer.ResultChan()
				require.False(t, open)
				require.True(t, inner.IsStopped())
			})
		})
	}
}

func TestAStoppedWatchWithAnUnreadEventEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := watch.NewFake()
		outer := shrink(inner, false)
		inner.Action(small.Type, small.Object)
		outer.Stop()
		outer.Stop()
		synctest.Wait()
		require.True(t, inner.IsStopped())
	})
}
