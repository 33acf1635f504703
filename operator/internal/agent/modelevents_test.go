package agent

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/configrollout"
	"github.com/flokoa/flokoa/operator/internal/configwatch"
)

// A fleet of thousands may name one Model, so an event that changes nothing must enqueue none of them.
func TestOnlyAnotherSpecOfAModelWakesItsAgents(t *testing.T) {
	woken := 0
	current := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "m", UID: "u", Generation: 1, ResourceVersion: "1"}}
	read := func(context.Context, configwatch.Key, configrollout.Content) (configrollout.Content, error) {
		return configrollout.ModelContent(modelVersion(current), nil, nil), nil
	}
	store := configwatch.NewStore(configwatch.Settle{}, read, nil, func(agents []types.NamespacedName, _ time.Duration) { woken += len(agents) })
	for _, name := range []string{"a", "b"} {
		store.Follow(waveName(name), []configrollout.Object{{Kind: configrollout.Model, Name: "m"}})
		_, _, err := store.Contents(t.Context(), waveName(name))
		require.NoError(t, err)
	}
	events := ModelEvents(store)
	changed := func(change func(*v1alpha1.Model)) *v1alpha1.Model {
		other := current.DeepCopy()
		other.ResourceVersion = "2"
		change(other)
		return other
	}
	for _, r := range []struct {
		name  string
		send  func()
		wakes int
	}{
		{"the list after a start", func() { events.OnAdd(current, true) }, 0},
		{"labels", func() {
			events.OnUpdate(current, changed(func(m *v1alpha1.Model) { m.Labels = map[string]string{"a": "b"} }))
		}, 0},
		{"a Model in another namespace", func() { events.OnAdd(changed(func(m *v1alpha1.Model) { m.Namespace = "other" }), false) }, 0},
		{"a Model that nobody names", func() { events.OnAdd(changed(func(m *v1alpha1.Model) { m.Name = "other" }), false) }, 0},
		{"another spec", func() { events.OnUpdate(current, changed(func(m *v1alpha1.Model) { m.Generation++ })) }, 2},
		{"the spec of before", func() { events.OnUpdate(current, current) }, 0},
		{"deletion", func() { events.OnDelete(current) }, 2},
		{"it is back", func() { events.OnAdd(current, false) }, 0},
		{"a deletion that the watch missed", func() { events.OnDelete(toolscache.DeletedFinalStateUnknown{Obj: current}) }, 2},
	} {
		woken = 0
		r.send()
		require.Equal(t, r.wakes, woken, r.name)
	}
}
