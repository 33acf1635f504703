package configwatch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flokoa/flokoa/operator/internal/configrollout"
)

// world is an API server with a clock.
type world struct {
	*Store
	mutex   sync.Mutex
	clock   time.Time
	content map[Key]configrollout.Content
	failure error
	reads   int
	woken   []types.NamespacedName
	after   []time.Duration
}

var (
	settle   = Settle{Quiet: 10 * time.Second, AtMost: time.Minute}
	one, two = agentNamed("one"), agentNamed("two")
	shared   = configrollout.Object{Kind: configrollout.ConfigMap, Name: "shared"}
	key      = Key{"n", shared}
	model    = configrollout.Object{Kind: configrollout.Model, Name: "model"}
	secret   = configrollout.Object{Kind: configrollout.Secret, Name: "secret"}
)

func agentNamed(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "n", Name: name}
}

func newWorld(secrets ...Key) *world {
	w := &world{clock: time.Unix(1000, 0), content: map[Key]configrollout.Content{}}
	w.Store = NewStore(settle, func(_ context.Context, key Key, _ configrollout.Content) (configrollout.Content, error) {
		w.reads++
		return w.content[key], w.failure
	}, secrets, func(agents []types.NamespacedName, after time.Duration) {
		w.mutex.Lock()
		defer w.mutex.Unlock()
		w.woken, w.after = append(w.woken, agents...), append(w.after, after)
	})
	w.now = func() time.Time { return w.clock }
	return w
}

// write stores a value, and reports the new version as the watch does.
func (w *world) write(key Key, version, value string) {
	w.content[key] = configrollout.ConfigMapContent(version, map[string]string{"k": value}, nil)
	w.Observe(key, version)
}

func (w *world) ask(t *testing.T, agent types.NamespacedName) (configrollout.Contents, time.Duration) {
	t.Helper()
	contents, next, err := w.Contents(t.Context(), agent)
	require.NoError(t, err)
	return contents, next
}

func TestASharedObjectIsReadOnce(t *testing.T) {
	w := newWorld()
	w.content[key] = configrollout.ConfigMapContent("1", map[string]string{"k": "v"}, nil)
	for _, agent := range []types.NamespacedName{one, two} {
		w.Follow(agent, []configrollout.Object{shared})
		contents, next := w.ask(t, agent)
		require.Zero(t, next)
		require.Equal(t, "1", contents[shared].Version)
	}
	require.Equal(t, 1, w.reads)
	w.Observe(key, "1")
	require.Empty(t, w.woken, "the version is known")
}

func TestAChangeSettlesBeforeItIsRead(t *testing.T) {
	w := newWorld()
	w.Follow(one, []configrollout.Object{shared})
	w.Follow(two, []configrollout.Object{shared})
	w.ask(t, one)
	for range 10 { // ten changes in ten seconds
		w.clock = w.clock.Add(time.Second)
		w.write(key, w.clock.String(), w.clock.String())
	}
	require.ElementsMatch(t, []types.NamespacedName{one, two}, w.woken, "Agents wake once")
	require.Equal(t, []time.Duration{settle.Quiet}, w.after)

	w.clock = w.clock.Add(3 * time.Second)
	require.True(t, w.Moving(key))
	contents, next := w.ask(t, one)
	require.Equal(t, settle.Quiet-3*time.Second, next)
	require.False(t, contents[shared].Exists, "the content is that from before")
	w.clock = w.clock.Add(next)
	require.False(t, w.Moving(key), "it is to be read")
	contents, next = w.ask(t, one)
	require.Zero(t, next)
	require.Equal(t, w.content[key].Version, contents[shared].Version)
	require.False(t, w.Moving(key))
	w.ask(t, two)
	require.Equal(t, 2, w.reads)
}

// current returns the version that the pods of an Agent take when they start now, empty if that is unknown.
func (w *world) current(t *testing.T, agent types.NamespacedName) string {
	t.Helper()
	contents, err := w.Current(t.Context(), agent)
	require.NoError(t, err)
	return contents[shared].Version
}

func TestPodsThatStartNowTakeAChangeThatHasNotSettled(t *testing.T) {
	w := newWorld()
	w.Follow(one, []configrollout.Object{shared})
	w.Follow(two, []configrollout.Object{shared})
	w.ask(t, one)
	w.write(key, "2", "v")
	require.Equal(t, "2", w.current(t, one))
	require.Equal(t, "2", w.current(t, one))
	require.Equal(t, "2", w.current(t, two))
	require.Equal(t, 2, w.reads, "once")
	contents, next := w.ask(t, one)
	require.Equal(t, settle.Quiet, next)
	require.NotContains(t, contents, shared, "it must not count as a change to what was before")

	w.clock = w.clock.Add(next)
	contents, next = w.ask(t, one)
	require.Zero(t, next)
	require.Equal(t, "2", contents[shared].Version)

	w.write(key, "3", "w")
	w.failure = errors.New("no connection")
	_, err := w.Current(t.Context(), one)
	require.Error(t, err)
	require.Equal(t, "2", w.current(t, one), "an object that cannot be read is not read again at once")
	require.Equal(t, 4, w.reads)
	w.failure, w.clock = nil, w.clock.Add(retryRead)
	require.Equal(t, "3", w.current(t, one))
}

func TestAChangeSettlesAlthoughPodsThatStartTakeIt(t *testing.T) {
	w := newWorld()
	for _, agent := range []types.NamespacedName{one, two} {
		w.Follow(agent, []configrollout.Object{shared})
		w.ask(t, agent)
	}
	for i := range 60 { // somebody restarts the pods of an Agent again and again
		w.write(key, w.clock.String(), w.clock.String())
		require.Equal(t, w.clock.String(), w.current(t, one))
		contents, next := w.ask(t, two)
		require.NotZero(t, next, "after %d s", i)
		require.False(t, contents[shared].Exists, "the content is that from before")
		w.clock = w.clock.Add(time.Second)
	}
	contents, _ := w.ask(t, two)
	require.True(t, contents[shared].Exists, "after a minute")
}

func TestAVersionThatComesBackIsKnownToPodsThatTookAnother(t *testing.T) {
	w := newWorld()
	w.write(key, "2", "v")
	w.Follow(one, []configrollout.Object{shared})
	w.ask(t, one)
	w.Observe(key, "1") // the watch is behind the read
	require.Equal(t, "2", w.current(t, one))
	w.Observe(key, "2")
	contents, next := w.ask(t, one)
	require.Zero(t, next)
	require.Equal(t, "2", contents[shared].Version)
}

func TestPodsThatTookASecretEarlyAreNotOutdatedByItsLabels(t *testing.T) {
	tokens := Key{"n", secret}
	w := newWorld(tokens)
	version, data := "1", "a"
	w.read = func(_ context.Context, _ Key, before configrollout.Content) (configrollout.Content, error) {
		return configrollout.SecretContent(version, map[string][]byte{"k": []byte(data)}, func(b []byte) string { return string(b) }, before), nil
	}
	references := configrollout.References{secret: {All: true}}
	w.Follow(one, references.Objects())
	contents, _ := w.ask(t, one)
	baseline := configrollout.Baseline{}.Take("", references, contents)
	version, data = "2", "b"
	w.Observe(tokens, version)
	contents, err := w.Current(t.Context(), one)
	require.NoError(t, err)
	baseline = baseline.Take("", references, contents)
	version = "3" // its labels change
	w.Observe(tokens, version)
	w.clock = w.clock.Add(settle.Quiet)
	contents, _ = w.ask(t, one)
	require.Equal(t, "3", contents[secret].Version)
	require.Empty(t, baseline.Compare(references, contents).Changes)
}

func TestAnObjectThatKeepsChangingIsReadAfterAMinute(t *testing.T) {
	w := newWorld()
	w.Follow(one, []configrollout.Object{shared})
	w.ask(t, one)
	for i := range 60 {
		w.write(key, w.clock.String(), w.clock.String())
		_, next := w.ask(t, one)
		require.NotZero(t, next, "after %d s", i)
		w.clock = w.clock.Add(time.Second)
	}
	contents, _ := w.ask(t, one)
	require.True(t, contents[shared].Exists)
}

func TestAVersionThatComesBackNeedsNoRead(t *testing.T) {
	w := newWorld()
	w.write(key, "2", "v")
	w.Follow(one, []configrollout.Object{shared})
	w.ask(t, one)
	w.Observe(key, "1") // the watch is behind the read
	w.Observe(key, "2")
	w.clock = w.clock.Add(time.Hour)
	w.ask(t, one)
	require.Equal(t, 1, w.reads)
}

// duringARead has something happen while the response of a read is on its way.
func (w *world) duringARead(t *testing.T, happens func()) (configrollout.Contents, time.Duration) {
	t.Helper()
	inner := w.read
	w.read = func(ctx context.Context, key Key, before configrollout.Content) (configrollout.Content, error) {
		content, err := inner(ctx, key, before)
		w.clock = w.clock.Add(time.Second)
		happens()
		return content, err
	}
	defer func() { w.read = inner }()
	return w.ask(t, one)
}

func TestAMoveDuringAReadIsNotLost(t *testing.T) {
	w := newWorld()
	w.Follow(one, []configrollout.Object{shared})
	w.ask(t, one)
	w.write(key, "2", "v")
	w.clock = w.clock.Add(settle.Quiet)
	contents, next := w.duringARead(t, func() { w.write(key, "3", "w") })
	require.Equal(t, "2", contents[shared].Version)
	require.Equal(t, settle.Quiet, next)
	w.clock = w.clock.Add(next)
	contents, next = w.ask(t, one)
	require.Equal(t, "3", contents[shared].Version)
	require.Zero(t, next)
}

func TestAMoveDuringTheFirstReadIsNotLost(t *testing.T) {
	w := newWorld()
	w.write(key, "1", "v")
	w.Follow(one, []configrollout.Object{shared})
	w.Observe(key, "1")
	require.Empty(t, w.woken, "nobody has read it")
	contents, next := w.duringARead(t, func() { w.write(key, "2", "w") })
	require.Equal(t, "1", contents[shared].Version)
	require.Equal(t, settle.Quiet, next)
	w.clock = w.clock.Add(next)
	contents, _ = w.ask(t, one)
	require.Equal(t, "2", contents[shared].Version)
}

func TestAReportOfTheVersionThatIsReadIsNoMove(t *testing.T) {
	w := newWorld()
	w.write(key, "1", "v")
	w.Follow(one, []configrollout.Object{shared})
	contents, next := w.duringARead(t, func() { w.Observe(key, "1") }) // the list of an operator that starts
	require.Equal(t, "1", contents[shared].Version)
	require.Zero(t, next)
}

func TestADeletionDuringAReadIsNotLost(t *testing.T) {
	w := newWorld()
	w.Follow(one, []configrollout.Object{shared})
	w.ask(t, one) // it does not exist
	w.write(key, "1", "v")
	w.clock = w.clock.Add(settle.Quiet)
	contents, next := w.duringARead(t, func() { delete(w.content, key); w.Observe(key, "") })
	require.True(t, contents[shared].Exists)
	w.clock = w.clock.Add(next)
	contents, _ = w.ask(t, one)
	require.False(t, contents[shared].Exists)
}

// An Agent and its Model are often applied together: the Model may appear while the Agent's first pass reads that there is none.
func TestAModelThatAppearsDuringTheFirstReadIsNotLost(t *testing.T) {
	w := newWorld()
	w.Follow(one, []configrollout.Object{model})
	contents, next := w.duringARead(t, func() { w.write(Key{"n", model}, "1", "v") })
	require.False(t, contents[model].Exists)
	require.Equal(t, []time.Duration{0}, w.after)
	require.NotZero(t, next)
	w.clock = w.clock.Add(next)
	contents, next = w.ask(t, one)
	require.True(t, contents[model].Exists)
	require.Zero(t, next)
}

func TestAModelThatAppearsNeedNotBeQuiet(t *testing.T) {
	w := newWorld()
	w.Follow(one, []configrollout.Object{model})
	w.ask(t, one)
	w.write(Key{"n", model}, "1", "v")
	require.Equal(t, []types.NamespacedName{one}, w.woken)
	require.Equal(t, []time.Duration{0}, w.after)
	contents, _ := w.ask(t, one)
	require.True(t, contents[model].Exists)

	w.write(Key{"n", model}, "2", "w")
	require.Equal(t, []time.Duration{0, settle.Quiet}, w.after, "a change does")
	_, next := w.ask(t, one)
	require.Equal(t, settle.Quiet, next)
}

func TestFollowAlsoKeepsWhatAnAgentFollows(t *testing.T) {
	w := newWorld()
	w.Follow(one, []configrollout.Object{shared})
	w.ask(t, one)
	for range 2 {
		w.FollowAlso(one, model)
		contents, _ := w.ask(t, one)
		require.Len(t, contents, 2)
	}
	require.Equal(t, 2, w.reads)
}

func TestAFailedReadLeavesWhatIsKnown(t *testing.T) {
	w := newWorld()
	w.failure = errors.New("busy")
	w.Follow(one, []configrollout.Object{shared})
	contents, next, err := w.Contents(t.Context(), one)
	require.ErrorIs(t, err, w.failure)
	require.Empty(t, contents, "content that was never read is unknown")
	require.Equal(t, retryRead, next)

	w.clock = w.clock.Add(time.Second)
	_, next, err = w.Contents(t.Context(), one)
	require.NoError(t, err)
	require.Equal(t, retryRead-time.Second, next)
	require.Equal(t, 1, w.reads, "other Agents do not repeat it at once")

	w.failure, w.clock = nil, w.clock.Add(next)
	contents, next = w.ask(t, one)
	require.Len(t, contents, 1)
	require.Zero(t, next)
}

func TestAMissingPermissionToReadASecretIsToldToItsAgents(t *testing.T) {
	tokens := Key{"n", secret}
	w := newWorld(tokens)
	w.write(tokens, "1", "v")
	for _, agent := range []types.NamespacedName{one, two} {
		w.Follow(agent, []configrollout.Object{shared, secret})
		w.ask(t, agent)
	}
	forbid := func(failure error) {
		w.failure, w.woken = failure, nil
		w.clock = w.clock.Add(time.Minute)
		_, _, _ = w.Contents(t.Context(), one)
	}
	w.write(tokens, "2", "w")
	forbid(errors.New("busy"))
	require.False(t, w.Denied(tokens), "it is only busy")
	forbid(apierrors.NewForbidden(corev1.Resource("secrets"), "secret", nil))
	require.True(t, w.Denied(tokens))
	require.ElementsMatch(t, []types.NamespacedName{one, two}, w.woken)
	forbid(w.failure)
	require.Empty(t, w.woken, "they know")
	forbid(errors.New("busy"))
	require.True(t, w.Denied(tokens))
	w.Observe(tokens, "1") // the watch is behind
	forbid(nil)
	require.False(t, w.Denied(tokens))
	require.ElementsMatch(t, []types.NamespacedName{one, two}, w.woken)

	w.write(key, "2", "v")
	forbid(apierrors.NewForbidden(corev1.Resource("configmaps"), "shared", nil))
	require.False(t, w.Denied(key), "nobody lists a ConfigMap")
}

func TestADeletedObjectIsReadAgain(t *testing.T) {
	w := newWorld()
	w.write(key, "1", "v")
	w.Follow(one, []configrollout.Object{shared})
	w.ask(t, one)
	delete(w.content, key)
	w.Observe(key, "")
	w.clock = w.clock.Add(settle.Quiet)
	contents, _ := w.ask(t, one)
	require.Equal(t, configrollout.Contents{shared: {}}, contents)
}

func TestOnlyListedSecretsAreRead(t *testing.T) {
	other := configrollout.Object{Kind: configrollout.Secret, Name: "other"}
	w := newWorld(Key{"n", secret})
	w.Follow(one, []configrollout.Object{shared, other, secret})
	contents, _ := w.ask(t, one)
	require.ElementsMatch(t, []configrollout.Object{shared, secret}, slices.Collect(keysOf(contents)))
	require.Equal(t, 2, w.reads)
	require.False(t, w.Observes(Key{"m", secret}), "the same name in another namespace")
}

func TestAnObjectIsForgottenWithItsLastAgent(t *testing.T) {
	w := newWorld()
	w.Follow(one, []configrollout.Object{shared})
	w.Follow(two, []configrollout.Object{shared})
	w.Follow(one, nil)
	require.True(t, w.follows(key))
	w.Follow(two, []configrollout.Object{secret})
	require.False(t, w.follows(key))
	w.Follow(two, nil)
	require.Empty(t, w.objects)
	require.Empty(t, w.agents)
	w.Observe(key, "1")
	require.Empty(t, w.objects, "what nobody references takes no memory")
}

func keysOf(contents configrollout.Contents) func(func(configrollout.Object) bool) {
	return func(yield func(configrollout.Object) bool) {
		for of := range contents {
			if !yield(of) {
				return
			}
		}
	}
}
