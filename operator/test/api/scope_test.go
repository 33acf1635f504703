package apitest_test

import (
	"context"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/internal/scope"
)

const (
	// soon is less than a claim waits that is new; atLast is more than the longest wait there is, and one renewal.
	soon   = 2 * time.Second
	atLast = 30 * time.Second
)

// installation is one operator's scope at work, without the operator.
type installation struct {
	*scope.Scope
	stop  context.CancelFunc
	ended chan error
}

// newScope is where an installation works; its claims are removed after the test, so that the next test finds none.
func newScope(t *testing.T, home, name string, namespaces ...string) *scope.Scope {
	t.Helper()
	where, err := scope.New(config, home, name, namespaces, logr.Discard())
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, namespace := range append(namespaces, home) {
			claim := &coordinationv1.Lease{}
			err := api.Get(context.WithoutCancel(t.Context()), client.ObjectKey{Namespace: namespace, Name: scope.LeaseName}, claim)
			if err == nil && ptr.Deref(claim.Spec.HolderIdentity, "") == home+"/"+name {
				require.NoError(t, api.Delete(context.WithoutCancel(t.Context()), claim))
			}
		}
	})
	return where
}

// lead makes an installation claim its namespaces.
func lead(t *testing.T, where *scope.Scope) installation {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	i := installation{where, stop, make(chan error, 1)}
	go func() { i.ended <- where.Start(ctx) }()
	return i
}

// works waits until an installation may work.
func (i installation) works(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-i.Open():
	case err := <-i.ended:
		require.Fail(t, "it ended", "%v", err)
	case <-time.After(within):
		require.Fail(t, "it may not work yet")
	}
}

// isRefused waits until an installation ends because another one works there, and returns what it says.
func (i installation) isRefused(t *testing.T) string {
	t.Helper()
	select {
	case err := <-i.ended:
		require.Error(t, err)
		require.NotContains(t, err.Error(), "\n")
		return err.Error()
	case <-time.After(atLast):
		require.Fail(t, "it was not refused")
		return ""
	}
}

// neverWorked asks of an installation that it was not let in.
func (i installation) neverWorked(t *testing.T) {
	t.Helper()
	select {
	case <-i.Open():
		require.Fail(t, "it was let in first")
	default:
	}
}

// leave ends an installation as a graceful stop does.
func (i installation) leave(t *testing.T) {
	t.Helper()
	i.stop()
	require.NoError(t, <-i.ended)
	i.GiveUp(context.WithoutCancel(t.Context()))
}

// claimIn is the claim on a namespace.
func claimIn(t *testing.T, namespace string) *coordinationv1.Lease {
	t.Helper()
	claim := &coordinationv1.Lease{}
	require.NoError(t, api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: scope.LeaseName}, claim))
	return claim
}

// stale makes a claim that was last renewed a minute ago, by the clock of whoever made it.
func stale(t *testing.T, namespace, holder string) *coordinationv1.Lease {
	t.Helper()
	old := ptr.To(metav1.NewMicroTime(time.Now().Add(-time.Minute)))
	claim := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: scope.LeaseName},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, AcquireTime: old, RenewTime: old, LeaseDurationSeconds: ptr.To[int32](40)},
	}
	require.NoError(t, api.Create(t.Context(), claim))
	return claim
}

func TestAnOperatorForAllNamespacesRefusesOneThatComesLater(t *testing.T) {
	home := newNamespace(t)
	all := lead(t, newScope(t, home, "all"))
	all.works(t, soon)
	for name, r := range map[string]struct {
		home, name string
		namespaces []string
	}{
		"one namespace":             {home, "some", []string{newNamespace(t)}},
		"its own namespace":         {home, "own", []string{home}},
		"one of several is its own": {home, "both", []string{newNamespace(t), home}},
		"one, from elsewhere":       {newNamespace(t), "all", []string{newNamespace(t)}},
		"all, from beside it":       {home, "other", nil},
		"all, from elsewhere":       {newNamespace(t), "all", nil},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the kubelet starts it again
				refused := lead(t, newScope(t, r.home, r.name, r.namespaces...))
				said := refused.isRefused(t)
				refused.neverWorked(t)
				require.Contains(t, said, "the operator "+home+"/all works")
				require.Contains(t, said, "uninstall one of the two, or give each namespaces of its own")
				refused.GiveUp(t.Context())
			}
		})
	}
	all.leave(t)
}

func TestAnOperatorForAllNamespacesIsRefusedWhereOneWorksInSome(t *testing.T) {
	home, team := newNamespace(t), newNamespace(t)
	some := lead(t, newScope(t, team, "some", team))
	some.works(t, atLast)
	all := newScope(t, home, "all")
	require.ErrorContains(t, all.Check(t.Context()), `namespace "`+team+`": the operator `+team+`/some works there already`)
	refused := lead(t, all)
	require.Contains(t, refused.isRefused(t), `namespace "`+team+`": the operator `+team+`/some works there already`)
	refused.neverWorked(t)
	refused.GiveUp(t.Context())
	some.leave(t)

	require.ErrorContains(t, all.Check(t.Context()), team+"/some works there already", "a standby may go on with it for a moment")
	require.Eventually(t, func() bool { return all.Check(t.Context()) == nil }, atLast, 100*time.Millisecond)
	lead(t, newScope(t, home, "all")).works(t, soon)
}

// Its claim never ran out, so it is the other one that came later, although nobody was there to refuse it.
func TestAnOperatorForAllNamespacesThatComesBackRefusesWhoCameMeanwhile(t *testing.T) {
	home, team := newNamespace(t), newNamespace(t)
	killed := lead(t, newScope(t, home, "all"))
	killed.works(t, soon)
	killed.stop()
	require.NoError(t, <-killed.ended)
	meanwhile := lead(t, newScope(t, team, "some", team))
	meanwhile.works(t, atLast)

	back := newScope(t, home, "all")
	require.NoError(t, back.Check(t.Context()))
	returned := lead(t, back)
	returned.works(t, soon)
	require.Contains(t, meanwhile.isRefused(t), `namespace "`+team+`": the operator `+home+`/all works in all namespaces`)
	returned.leave(t)
}

// It was killed between its claim and the look at the others, and what it left behind must not pass for work.
func TestAnOperatorThatWasNotLetInYetDoesNotGoOnWithItsClaim(t *testing.T) {
	home, team := newNamespace(t), newNamespace(t)
	some := lead(t, newScope(t, team, "some", team))
	some.works(t, atLast)
	all := newScope(t, home, "all")
	left := stale(t, home, home+"/all")
	left.Spec.AcquireTime, left.Spec.RenewTime = nil, ptr.To(metav1.NowMicro())
	require.NoError(t, api.Update(t.Context(), left))
	refused := lead(t, all)
	require.Contains(t, refused.isRefused(t), team+"/some works there already")
	refused.neverWorked(t)
	refused.GiveUp(t.Context())
	require.Empty(t, claimIn(t, team).Annotations, "and it refused nobody")
	some.leave(t)
}

func TestOperatorsWorkSideBySideInNamespacesOfTheirOwn(t *testing.T) {
	t.Parallel()
	home, a, b := newNamespace(t), newNamespace(t), newNamespace(t)
	for _, i := range []installation{lead(t, newScope(t, home, "a", a)), lead(t, newScope(t, home, "b", b))} {
		i.works(t, atLast)
	}
	require.Equal(t, home+"/a", *claimIn(t, a).Spec.HolderIdentity)
	require.Equal(t, home+"/b", *claimIn(t, b).Spec.HolderIdentity)
}

func TestASecondOperatorForANamespaceIsRefusedAndClaimsNoOther(t *testing.T) {
	t.Parallel()
	home, a, b := newNamespace(t), newNamespace(t), newNamespace(t)
	lead(t, newScope(t, home, "first", b)).works(t, atLast)
	before := claimIn(t, b)
	second := newScope(t, home, "second", a, b)
	want := `namespace "` + b + `": the operator ` + home + `/first works there already`
	require.ErrorContains(t, second.Check(t.Context()), want)
	refused := lead(t, second)
	require.Contains(t, refused.isRefused(t), want)
	refused.neverWorked(t)
	refused.GiveUp(t.Context())
	require.Equal(t, before.Spec.HolderIdentity, claimIn(t, b).Spec.HolderIdentity)
	err := api.Get(t.Context(), client.ObjectKey{Namespace: a, Name: scope.LeaseName}, &coordinationv1.Lease{})
	require.True(t, apierrors.IsNotFound(err), "%v", err)
}

func TestOfTwoThatClaimAtOnceOneWorks(t *testing.T) {
	t.Parallel()
	home, team := newNamespace(t), newNamespace(t)
	one, other := lead(t, newScope(t, home, "one", team)), lead(t, newScope(t, home, "other", team))
	select {
	case <-one.Open():
		other.isRefused(t)
		other.neverWorked(t)
	case <-other.Open():
		one.isRefused(t)
		one.neverWorked(t)
	case <-time.After(atLast):
		require.Fail(t, "neither works")
	}
}

func TestAReplicaGoesOnWithTheClaimsOfItsInstallationAtOnce(t *testing.T) {
	t.Parallel()
	home, team := newNamespace(t), newNamespace(t)
	for name, end := range map[string]func(installation){
		"after a stop": func(i installation) { i.leave(t) },
		"after a kill": func(i installation) { i.stop(); require.NoError(t, <-i.ended) },
	} {
		first := lead(t, newScope(t, home, "op", team))
		first.works(t, atLast)
		acquired := claimIn(t, team).Spec.AcquireTime
		end(first)
		next := lead(t, newScope(t, home, "op", team))
		next.works(t, soon)
		claim := claimIn(t, team)
		require.Equal(t, acquired, claim.Spec.AcquireTime, "%s: it never was anybody else's", name)
		require.Equal(t, ptr.To[int32](40), claim.Spec.LeaseDurationSeconds, name)
		first.GiveUp(t.Context())
		require.Equal(t, claim.ResourceVersion, claimIn(t, team).ResourceVersion, "%s: who ends late does not end another's", name)
		next.leave(t)
	}
}

func TestAClaimThatWasGivenUpIsFreeAfterAMoment(t *testing.T) {
	t.Parallel()
	home, team := newNamespace(t), newNamespace(t)
	first := lead(t, newScope(t, home, "first", team))
	first.works(t, atLast)
	first.leave(t)
	second := newScope(t, home, "second", team)
	require.ErrorContains(t, second.Check(t.Context()), home+"/first works there already")
	require.Eventually(t, func() bool { return second.Check(t.Context()) == nil }, atLast, 100*time.Millisecond)
	lead(t, second).works(t, atLast)
	require.Equal(t, home+"/second", *claimIn(t, team).Spec.HolderIdentity)
}

func TestAClaimWhoseHolderIsGoneIsTaken(t *testing.T) {
	t.Parallel()
	home, team := newNamespace(t), newNamespace(t)
	stale(t, team, "gone/operator")
	began := time.Now()
	lead(t, newScope(t, home, "op", team)).works(t, atLast)
	require.Greater(t, time.Since(began), 15*time.Second, "it looked first")
	require.Equal(t, home+"/op", *claimIn(t, team).Spec.HolderIdentity)
}

func TestAClaimThatIsOverByAnotherClockAndIsRenewedIsNotTaken(t *testing.T) {
	t.Parallel()
	home, team := newNamespace(t), newNamespace(t)
	claim := stale(t, team, "slow/operator")
	newcomer := lead(t, newScope(t, home, "op", team))
	for range 3 { // its clock goes on, a minute behind
		claim.Spec.RenewTime = ptr.To(metav1.NewMicroTime(claim.Spec.RenewTime.Add(10 * time.Second)))
		require.NoError(t, api.Update(t.Context(), claim))
		select {
		case err := <-newcomer.ended:
			require.Fail(t, "it ended", "%v", err)
		case <-newcomer.Open():
			require.Fail(t, "it was let in")
		case <-time.After(10 * time.Second):
		}
	}
	require.Equal(t, "slow/operator", *claimIn(t, team).Spec.HolderIdentity)
}

func TestAnOperatorEndsWhenItsClaimIsRefusedOrTakenAndMakesItAnewWhenItIsGone(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]struct {
		change func(*testing.T, *coordinationv1.Lease)
		want   string
	}{
		"refused": {func(t *testing.T, claim *coordinationv1.Lease) {
			t.Helper()
			claim.Annotations = map[string]string{scope.AnnotationRefusedBy: "the/other"}
			require.NoError(t, api.Update(t.Context(), claim))
		}, "the operator the/other works in all namespaces"},
		"taken": {func(t *testing.T, claim *coordinationv1.Lease) {
			t.Helper()
			claim.Spec.HolderIdentity = ptr.To("the/other")
			require.NoError(t, api.Update(t.Context(), claim))
		}, "the operator the/other works there already"},
		"gone": {func(t *testing.T, claim *coordinationv1.Lease) {
			t.Helper()
			require.NoError(t, api.Delete(t.Context(), claim))
		}, ""},
		"written by a replica": {func(t *testing.T, claim *coordinationv1.Lease) {
			t.Helper()
			claim.Spec.LeaseDurationSeconds = ptr.To[int32](5)
			require.NoError(t, api.Update(t.Context(), claim))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			team := newNamespace(t)
			i := lead(t, newScope(t, team, "op", team))
			i.works(t, atLast)
			before := claimIn(t, team)
			r.change(t, before)
			if r.want != "" {
				require.Contains(t, i.isRefused(t), r.want)
				return
			}
			require.Eventually(t, func() bool {
				claim := &coordinationv1.Lease{}
				err := api.Get(t.Context(), client.ObjectKeyFromObject(before), claim)
				return err == nil && claim.ResourceVersion != before.ResourceVersion && *claim.Spec.LeaseDurationSeconds == 40 &&
					*claim.Spec.HolderIdentity == team+"/op"
			}, atLast, 100*time.Millisecond)
		})
	}
}

func TestAClaimIsRenewedEveryTenSecondsAndWritesNothingElse(t *testing.T) {
	t.Parallel()
	team := newNamespace(t)
	i := lead(t, newScope(t, team, "op", team))
	i.works(t, atLast)
	last := claimIn(t, team)
	for range 2 {
		require.Eventually(t, func() bool {
			claim := claimIn(t, team)
			if claim.ResourceVersion == last.ResourceVersion {
				return false
			}
			apart := claim.Spec.RenewTime.Sub(last.Spec.RenewTime.Time)
			require.InDelta(t, 10, apart.Seconds(), 2)
			require.Equal(t, last.Spec.AcquireTime, claim.Spec.AcquireTime)
			last = claim
			return true
		}, atLast, 100*time.Millisecond)
	}
}
