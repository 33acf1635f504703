package agent

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
)

// written is a cache before an API server that takes every configuration and changes nothing, as after an effectless apply.
type written struct {
	*filled
	applies int
}

func (w *written) Apply(context.Context, runtime.ApplyConfiguration, ...client.ApplyOption) error {
	w.applies++
	return nil
}

// drifts are all the ways in which an Agent or a child of its can come to differ without a new uid.
var drifts = []struct {
	name    string
	change  func(*filled)
	applies int // what a pass then writes
}{
	{"a new spec of the Agent", func(f *filled) { f.agent.Generation++ }, 0},
	{"a new spec of the Deployment, in fields of others", func(f *filled) { f.deployment.Generation = 7 }, 0},
	{"another replica count", func(f *filled) { f.deployment.Generation = 7; *f.deployment.Spec.Replicas = 9 }, 1},
	{"a label taken away", func(f *filled) { delete(f.deployment.Labels, "app.kubernetes.io/name") }, 1},
	{"a label changed", func(f *filled) { f.service.Labels["app.kubernetes.io/name"] = "b" }, 1},
	{"the digest taken away", func(f *filled) { delete(f.disruption.Annotations, v1alpha1.AnnotationDigest) }, 1},
	{"an owner that no longer holds on", func(f *filled) { f.deployment.OwnerReferences[0].BlockOwnerDeletion = new(bool) }, 1},
	{"a Service, which has no generation", func(f *filled) { f.service.ResourceVersion = "7"; f.service.Spec.Selector = nil }, 1},
	{"a Deployment on its way out", func(f *filled) { f.deployment.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, 0},
}

func TestWhatWasFoundInPlaceIsNotLookedAtAgainUntilItChanges(t *testing.T) {
	for _, r := range drifts {
		t.Run(r.name, func(t *testing.T) {
			agent := agenttest.New("a", agenttest.Replicas(3))
			cache := &written{filled: settledCache(t, agent)}
			c := New(cache, &answers{}, events.NewFakeRecorder(8), false)
			_, err := c.place(t.Context(), agent)
			require.NoError(t, err)
			was, known := c.verified.recall(client.ObjectKeyFromObject(agent))
			require.True(t, known, "everything is in place")
			now, err := c.fingerprint(t.Context(), agent)
			require.NoError(t, err)
			require.Equal(t, was.fingerprint, now)
			cache.deployment.Status.Replicas++
			cache.deployment.ResourceVersion, cache.deployment.Annotations[revision] = "9", "2"
			now, err = c.fingerprint(t.Context(), agent)
			require.NoError(t, err)
			require.Equal(t, was.fingerprint, now, "a rollout that goes on is no reason to look")

			r.change(cache.filled)
			now, err = c.fingerprint(t.Context(), cache.agent)
			require.NoError(t, err)
			require.NotEqual(t, was.fingerprint, now)
			_, err = c.place(t.Context(), cache.agent)
			require.Equal(t, r.applies, cache.applies)
			_, known = c.verified.recall(client.ObjectKeyFromObject(agent))
			require.Equal(t, err == nil && r.applies == 0, known, "what was written is looked at once more")
		})
	}
}

func TestNothingIsRememberedOfAnAgentThatIsGone(t *testing.T) {
	agent := agenttest.New("a", agenttest.Replicas(3))
	cache := settledCache(t, agent)
	c := New(cache, &answers{}, events.NewFakeRecorder(8), false)
	request := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(agent)}
	_, err := c.Reconcile(t.Context(), request)
	require.NoError(t, err)
	require.Len(t, c.verified.about, 1)
	cache.agent.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	_, err = c.Reconcile(t.Context(), request)
	require.NoError(t, err)
	require.Empty(t, c.verified.about)
}
