package agent

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flokoa/flokoa/operator/internal/configrollout"
)

// A whole wave, with the passes that the controller makes: every Agent finds the change, and those that are woken ask for their turn, roll,
// and become complete. The time is that of the decisions alone.
func BenchmarkAWaveOfFiveThousandAgents(b *testing.B) {
	for range b.N {
		f := newWaveFleet(5000, 1, configrollout.Limits{PerNamespace: 5, Total: 20})
		f.findChange()
		for len(f.rolling) > 0 {
			if f.rolled == 2000 {
				f.changeAgain()
			}
			f.complete(f.rolling[0])
			f.passWoken()
		}
		if f.rolled != len(f.names) {
			b.Fatalf("%d rolled", f.rolled)
		}
	}
}

// Whatever the order in which passes come, no slot is lost, and none is given twice.
func TestAWaveUsesEachSlotAndNoMore(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, seed))
		f := newWaveFleet(120, 3, configrollout.Limits{PerNamespace: 5, Total: 12})
		random.Shuffle(len(f.names), func(i, j int) { f.names[i], f.names[j] = f.names[j], f.names[i] })
		f.findChange()
		for len(f.rolling) > 0 {
			f.complete(f.rolling[random.IntN(len(f.rolling))])
			f.passWoken()
			rolling := map[string]int{}
			for _, name := range f.rolling {
				rolling[name.Namespace]++
				require.LessOrEqual(t, rolling[name.Namespace], 5)
			}
			require.LessOrEqual(t, len(f.rolling), 12)
			for name, decision := range f.plan.Decisions {
				require.True(t, decision.Verdict != configrollout.WaitForSlot || rolling[name.Namespace] == 5 || len(f.rolling) == 12, "%s waits for a slot that is free", name)
			}
		}
		require.Equal(t, len(f.names), f.rolled, "each Agent rolls once")
		require.Empty(t, f.plan.Decisions)
		require.LessOrEqual(t, f.first, 3, "one Agent first in each namespace")
		require.LessOrEqual(t, f.plans, 4, "the first of all, and one for the first that is complete in each namespace")
	}
}

// waveFleet simulates Agents that share a changed object.
type waveFleet struct {
	*waves
	names   []types.NamespacedName
	members map[types.NamespacedName]configrollout.Member
	woken   []types.NamespacedName
	rolling []types.NamespacedName
	rolled  int
	// first is how many roll before any is complete, and plans are how often all Agents were decided about.
	first, plans int
}

func newWaveFleet(agents, namespaces int, limits configrollout.Limits) *waveFleet {
	f := &waveFleet{members: map[types.NamespacedName]configrollout.Member{}}
	for i := range agents {
		name := types.NamespacedName{Namespace: fmt.Sprint("n-", i%namespaces), Name: fmt.Sprint("agent-", i)}
		f.names = append(f.names, name)
		f.members[name] = configrollout.Member{
			Name: name, Created: time.Unix(int64(i*7919%agents), 0), Changes: []configrollout.Change{{Object: waveConfig, Revision: "2"}}}
	}
	f.waves = newWaves(limits, 0, func() []types.NamespacedName { return f.names },
		func(agents []types.NamespacedName, _ time.Duration) { f.woken = append(f.woken, agents...) })
	for _, name := range f.names {
		f.decide(name, configrollout.Member{Name: name}) // its first pass finds nothing
	}
	return f
}

func (f *waveFleet) findChange() {
	for _, name := range f.names {
		f.pass(name)
	}
	f.first = f.rolled
}

// changeAgain has the Agents that wait find another content.
func (f *waveFleet) changeAgain() {
	for _, name := range f.names {
		if member := f.members[name]; len(member.Changes) > 0 {
			member.Changes = []configrollout.Change{{Object: waveConfig, Revision: "3"}}
			f.members[name] = member
			f.pass(name)
		}
	}
}

func (f *waveFleet) passWoken() {
	for len(f.woken) > 0 {
		woken := f.woken
		f.woken = nil
		for _, name := range woken {
			f.pass(name)
		}
	}
}

// pass has an Agent ask for its turn. One that may roll does, and its next pass observes that.
func (f *waveFleet) pass(name types.NamespacedName) {
	member := f.members[name]
	if f.observe(name, member).Verdict != configrollout.Roll {
		return
	}
	member.Phase, member.Rollout = configrollout.Rolling, configrollout.Baseline{}.StartRollout(member.Changes, false).Rollout
	member.Changes, member.Busy = nil, true
	f.members[name] = member
	f.observe(name, member)
	f.rolling = append(f.rolling, name)
	f.rolled++
}

// complete has an Agent that rolls become complete.
func (f *waveFleet) complete(name types.NamespacedName) {
	f.rolling = slices.DeleteFunc(f.rolling, func(other types.NamespacedName) bool { return other == name })
	member := f.members[name]
	member.Phase, member.Busy = configrollout.Complete, false
	f.members[name] = member
	f.observe(name, member)
}

func (f *waveFleet) observe(name types.NamespacedName, member configrollout.Member) configrollout.Decision {
	before := f.plan
	decision := f.decide(name, member)
	if f.plan != before {
		f.plans++
	}
	return decision
}
