package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/internal/status"
)

// pagedReader is an API server with pages of Events, one for each request; with endless, the last page has a successor, too. It takes some
// time for each.
type pagedReader struct {
	client.Reader
	took    time.Duration
	pages   [][]corev1.Event
	endless bool
	err     error

	mutex sync.Mutex
	reads []string // the namespaces
}

func (r *pagedReader) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	chosen := client.ListOptions{}
	chosen.ApplyOptions(options)
	r.mutex.Lock()
	r.reads = append(r.reads, chosen.Namespace)
	r.mutex.Unlock()
	<-time.After(r.took)
	page, list := 0, into.(*corev1.EventList)
	if chosen.Continue != "" {
		if _, err := fmt.Sscan(chosen.Continue, &page); err != nil {
			return err
		}
	}
	list.Items = r.pages[min(page, len(r.pages)-1)]
	if r.endless || page+1 < len(r.pages) {
		list.Continue = fmt.Sprint(page + 1)
	}
	return r.err
}

func TestOneListOfEventsAnswersForAllPodsOfANamespace(t *testing.T) {
	reader := &pagedReader{pages: [][]corev1.Event{{unhealthy("x"), {Reason: "BackOff"}}, {unhealthy("y"), unhealthy("x")}}}
	lists := &eventLists{reader: reader}
	list, _, err := lists.After(t.Context(), "team", start.Add(-time.Second), start)
	require.NoError(t, err)
	no := func(pod string) status.PodEvent { return status.PodEvent{Pod: pod, Reason: "Unhealthy", Message: "no"} }
	require.Equal(t, map[types.UID][]status.PodEvent{"x": {no("x"), no("x")}, "y": {no("y")}}, list.events)
	require.Equal(t, []string{"team", "team"}, reader.reads, "two pages")

	again, _, err := lists.After(t.Context(), "team", start.Add(-time.Second), start.Add(50*time.Second))
	require.NoError(t, err)
	require.Same(t, list, again)
	require.Len(t, reader.reads, 2)
	later, _, err := lists.After(t.Context(), "team", start, start.Add(50*time.Second))
	require.NoError(t, err)
	require.NotSame(t, list, later, "a pod that has been unready for too short a time then needs another list")
	other, _, err := lists.After(t.Context(), "other", start, start.Add(111*time.Second))
	require.NoError(t, err)
	require.Equal(t, map[string]*eventList{"other": other}, lists.namespaces, "what is older than a minute is dropped")
}

func TestEventsOfOneNamespaceAreBounded(t *testing.T) {
	long := unhealthy("x")
	long.Message = "a" + strings.Repeat("\u00e9", 1<<19)
	reader := &pagedReader{pages: [][]corev1.Event{{long}}, endless: true}
	list, _, err := (&eventLists{reader: reader}).After(t.Context(), "team", start, start.Add(time.Second))
	require.NoError(t, err)
	require.Len(t, reader.reads, 50)
	require.Equal(t, "a"+strings.Repeat("\u00e9", 511), list.events["x"][0].Message, "no half of a character")
}

// A list is slow if the namespace has thousands of Events, or if the API server is busy. Neither may get worse by more lists.
func TestListsOfEventsTakeATenthOfTheTime(t *testing.T) {
	for _, failure := range []error{nil, errors.New("busy")} {
		synctest.Test(t, func(t *testing.T) {
			reader := &pagedReader{took: 8 * time.Second, pages: [][]corev1.Event{{}}, err: failure}
			lists := &eventLists{reader: reader}
			ask := func(namespace string) (*eventList, time.Duration, error) {
				return lists.After(t.Context(), namespace, time.Now().Add(-time.Second), time.Now())
			}
			go func() { _, _, _ = ask("a") }()
			synctest.Wait()
			list, retry, err := ask("b")
			require.NoError(t, err)
			require.Nil(t, list, "another list is under way")
			require.InDelta(t, 1.5, retry.Seconds(), 0.5)
			<-time.After(4 * time.Second)
			_, retry, _ = ask("b")
			require.InDelta(t, 6, retry.Seconds(), 2, "as long again as the other has taken so far")

			<-time.After(4 * time.Second)
			synctest.Wait()
			list, retry, err = ask("b")
			require.NoError(t, err)
			require.Nil(t, list, "the pause after a list that took 8 s")
			require.GreaterOrEqual(t, retry, 72*time.Second)
			require.LessOrEqual(t, retry, 144*time.Second)

			<-time.After(72 * time.Second)
			_, _, err = ask("b")
			require.Equal(t, failure, err)
			require.Equal(t, []string{"a", "b"}, reader.reads)
		})
	}
}
