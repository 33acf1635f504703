package configwatch

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"

	"github.com/flokoa/flokoa/operator/internal/configrollout"
)

// server serves the metadata of a number of ConfigMaps in pages, and records what it was asked for.
type server struct {
	objects   []metav1.PartialObjectMetadata
	events    *watch.RaceFreeFakeWatcher
	lists     []metav1.ListOptions
	watches   chan metav1.ListOptions
	resources []string
	// denies is the verb that RBAC denies.
	denies string
}

func (s *server) deny(verb string) error {
	if s.denies == verb {
		return apierrors.NewForbidden(corev1.Resource("secrets"), "secret", errors.New("no Role"))
	}
	return nil
}

func newServer(names ...string) *server {
	s := &server{events: watch.NewRaceFreeFake(), watches: make(chan metav1.ListOptions, 10)}
	for i, name := range names {
		s.objects = append(s.objects, *named(name, strconv.Itoa(i)))
	}
	return s
}

func named(name, version string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "n", Name: name, UID: types.UID("uid-of-" + name), ResourceVersion: version,
		Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: strings.Repeat("x", 1000)},
	}}
}

type namespaced struct {
	metadata.ResourceInterface
	*server
}

func (s *server) resource(name string) *server { s.resources = append(s.resources, name); return s }

type client struct{ *server }

func (c client) Resource(of schema.GroupVersionResource) metadata.Getter {
	return getter{server: c.resource(of.Resource)}
}

type getter struct {
	metadata.ResourceInterface
	server *server
}

func (g getter) Namespace(string) metadata.ResourceInterface { return namespaced{server: g.server} }

func (n namespaced) List(_ context.Context, options metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	n.lists = append(n.lists, options)
	if err := n.deny("list"); err != nil {
		return nil, err
	}
	from, _ := strconv.Atoi(options.Continue)
	to := min(from+int(options.Limit), len(n.objects))
	page := &metav1.PartialObjectMetadataList{Items: n.objects[from:to]}
	page.ResourceVersion = "1000"
	if to < len(n.objects) {
		page.Continue = strconv.Itoa(to)
	}
	return page, nil
}

func (n namespaced) Watch(_ context.Context, options metav1.ListOptions) (watch.Interface, error) {
	n.watches <- options
	return n.events, n.deny("watch")
}

func TestAListKeepsOnlyTheVersionsOfWhatIsFollowed(t *testing.T) {
	s := newServer()
	for i := range 1200 {
		s.objects = append(s.objects, *named(fmt.Sprint("unrelated-", i), "1"))
	}
	s.objects = append(s.objects, *named("shared", "7"))
	w := newWorld()
	w.Follow(one, []configrollout.Object{shared})
	source := &pages{store: w.Store, scope: scope{kind: configrollout.ConfigMap}, client: namespaced{server: s}}
	list, err := source.ListWithContext(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
	require.NoError(t, err)
	kept := list.(*metav1.PartialObjectMetadataList)
	require.Equal(t, "1000", kept.ResourceVersion)
	require.Len(t, kept.Items, 1)
	require.Equal(t, "uid-of-shared/7", Version(&kept.Items[0]))
	require.Empty(t, kept.Items[0].Annotations)
	require.Len(t, s.lists, 3)
	for _, options := range s.lists {
		require.Empty(t, options.ResourceVersion, "the API server ignores the limit of a list with resourceVersion 0")
	}
}

func TestTheWatchMovesWhatIsFollowed(t *testing.T) {
	s := newServer("shared", "unrelated")
	w := newWorld()
	w.content[key] = configrollout.ConfigMapContent("uid-of-shared/0", nil, nil)
	w.Follow(one, []configrollout.Object{shared})
	w.ask(t, one)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { w.Watch(ctx, client{s}, nil); close(ended) }()
	require.Equal(t, "1000", (<-s.watches).ResourceVersion)
	require.Empty(t, w.woken, "the list has the version that was read")

	s.events.Modify(named("unrelated", "8"))
	s.events.Modify(named("shared", "8"))
	require.Eventually(t, func() bool {
		w.mutex.Lock()
		defer w.mutex.Unlock()
		return len(w.woken) == 1
	}, 5*time.Second, time.Millisecond)
	require.False(t, w.follows(Key{"n", configrollout.Object{Kind: configrollout.ConfigMap, Name: "unrelated"}}))
	cancel()
	<-ended
}

func TestAListTellsWhatIsGone(t *testing.T) {
	late := configrollout.Object{Kind: configrollout.ConfigMap, Name: "late"}
	w := newWorld()
	w.write(key, "1", "v")
	w.write(Key{"n", late}, "1", "v")
	w.Follow(one, []configrollout.Object{shared})
	source := &pages{store: w.Store, scope: scope{kind: configrollout.ConfigMap}, client: namespaced{server: newServer()}}
	_, err := source.ListWithContext(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	w.Follow(two, []configrollout.Object{late}) // the list does not know it
	w.ask(t, one)
	w.ask(t, two)
	require.NoError(t, versions{source}.Replace(nil, ""))
	require.Equal(t, []types.NamespacedName{one}, w.woken)
	require.NoError(t, versions{source}.Delete(named("late", "1")))
	require.Equal(t, []types.NamespacedName{one, two}, w.woken)
}

func TestASecretIsWatchedByItsName(t *testing.T) {
	s := newServer("secret")
	w := newWorld(Key{"n", secret})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { w.reflect(ctx, client{s}, scope{configrollout.Secret, "n", "secret"}); close(ended) }()
	require.Equal(t, "metadata.name=secret", (<-s.watches).FieldSelector)
	require.Equal(t, "metadata.name=secret", s.lists[0].FieldSelector)
	require.Equal(t, []string{"secrets"}, s.resources)
	cancel()
	<-ended
}

func TestAMissingPermissionToWatchASecretIsToldToItsAgents(t *testing.T) {
	tokens := Key{"n", secret}
	w := newWorld(tokens)
	w.Follow(one, []configrollout.Object{secret})
	s := newServer("secret")
	source := &pages{store: w.Store, scope: scope{configrollout.Secret, "n", "secret"}, client: namespaced{server: s}}
	for i, row := range []struct {
		denies string
		denied bool
	}{{"", false}, {"watch", true}, {"list", true}, {"", false}, {"list", true}, {"watch", true}} {
		before := w.Denied(tokens)
		w.woken, s.denies = nil, row.denies
		if _, err := source.ListWithContext(t.Context(), metav1.ListOptions{}); err == nil {
			require.Equal(t, before, w.Denied(tokens), "a list does not tell whether it may watch: it must not wake Agents each time")
			_, err = source.WatchWithContext(t.Context(), metav1.ListOptions{})
			require.Equal(t, row.denied, err != nil)
		}
		require.Equal(t, row.denied, w.Denied(tokens), i)
		require.Equal(t, before != row.denied, len(w.woken) == 1, i)
	}
}
