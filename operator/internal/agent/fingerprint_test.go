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

// ineffective is a cache whose API server accepts every apply and changes nothing.
type ineffective struct {
	*fakeCache
	applies int
}

func (i *ineffective) Apply(context.Context, runtime.ApplyConfiguration, ...client.ApplyOption) error {
	i.applies++
	return nil
}

// drifts are all the ways in which an Agent or a child can change without a new uid.
var drifts = []struct {
	name    string
	change  func(*fakeCache)
	applies int // how many children the next pass applies
}{
	{"a new spec of the Agent", func(f *fakeCache) { f.agent.Generation++ }, 0},
	{"a new spec of the Deployment, in fields of others", func(f *fakeCache) { f.deployment.Generation = 7 }, 0},
	{"another replica count", func(f *fakeCache) { f.deployment.Generation = 7; *f.deployment.Spec.Replicas = 9 }, 1},
	{"a label removed", func(f *fakeCache) { delete(f.deployment.Labels, "app.kubernetes.io/name") }, 1},
	{"a label changed", func(f *fakeCache) { f.service.Labels["app.kubernetes.io/name"] = "b" }, 1},
	{"the digest removed", func(f *fakeCache) { delete(f.disruption.Annotations, v1alpha1.AnnotationDigest) }, 1},
	{"an owner that no longer blocks deletion", func(f *fakeCache) { f.deployment.OwnerReferences[0].BlockOwnerDeletion = new(bool) }, 1},
	{"a Service, which has no generation", func(f *fakeCache) { f.service.ResourceVersion = "7"; f.service.Spec.Selector = nil }, 1},
	{"a terminating Deployment", func(f *fakeCache) { f.deployment.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, 0},
}

func TestUpToDateChildrenAreSkippedUntilTheyChange(t *testing.T) {
	for _, r := range drifts {
		t.Run(r.name, func(t *testing.T) {
			agent := agenttest.New("a", agenttest.Replicas(3))
			cache := &ineffective{fakeCache: settledCache(t, agent)}
			c, state := New(cache, &fakeReader{}, events.NewFakeRecorder(8), false), &state{}
			pass := func() (uint64, applied) {
				live, err := c.readChildren(t.Context(), cache.agent)
				require.NoError(t, err)
				return fingerprint(cache.agent, live), c.applyChildren(t.Context(), cache.agent, live, state)
			}
			sum, result := pass()
			require.NoError(t, result.err)
			require.Equal(t, sum, state.synced.fingerprint, "every child is up to date")
			cache.deployment.Status.Replicas++
			cache.deployment.ResourceVersion, cache.deployment.Annotations[revisionAnnotation] = "9", "2"
			next, _ := pass()
			require.Equal(t, sum, next, "progress of a rollout is no drift")

			r.change(cache.fakeCache)
			next, result = pass()
			require.NotEqual(t, sum, next)
			require.Equal(t, r.applies, cache.applies)
			require.Equal(t, result.err == nil && r.applies == 0, state.synced.fingerprint == next, "a child that was written is compared again")
		})
	}
}

func TestStateOfADeletedAgentIsDropped(t *testing.T) {
	agent := agenttest.New("a", agenttest.Replicas(3))
	cache := settledCache(t, agent)
	c := New(cache, &fakeReader{}, events.NewFakeRecorder(8), false)
	request := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(agent)}
	_, err := c.Reconcile(t.Context(), request)
	require.NoError(t, err)
	state := c.states.Load(request.NamespacedName)
	require.NotNil(t, state)
	require.Same(t, state, c.states.For(agent))
	again := agent.DeepCopy()
	again.UID = "another"
	require.NotSame(t, state, c.states.For(again), "a re-created Agent")

	cache.agent = nil
	_, err = c.Reconcile(t.Context(), request)
	require.NoError(t, err)
	require.Nil(t, c.states.Load(request.NamespacedName))
}

// countingCache counts reads of single objects.
type countingCache struct {
	*fakeCache
	gets int
}

func (c *countingCache) Get(ctx context.Context, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
	c.gets++
	return c.fakeCache.Get(ctx, key, into, options...)
}

func TestPassReadsTheAgentAndEveryChildOnce(t *testing.T) {
	agent := agenttest.New("a", agenttest.Replicas(3))
	cache := &countingCache{fakeCache: settledCache(t, agent)}
	c := New(cache, &fakeReader{}, events.NewFakeRecorder(8), false)
	for _, pass := range []string{"after a start", "with nothing changed"} {
		cache.gets = 0
		_, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(agent)})
		require.NoError(t, err)
		require.Equal(t, 6, cache.gets, pass)
	}
}
