package agent

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flokoa/flokoa/operator/internal/configrollout"
)

// recheckStart is when an Agent that waits for the first pass of all others asks again.
const recheckStart = time.Second

// wakeFunc enqueues Agents after a delay.
type wakeFunc func(agents []types.NamespacedName, after time.Duration)

// waves decides which Agents roll because of their configuration. Everything it knows comes from passes, which read it from Deployments:
// a restart or another leader loses nothing. Until every Agent has had a pass, none rolls, because those that already roll are not counted.
type waves struct {
	limits configrollout.Limits
	// agents lists the Agents that this operator reconciles.
	agents func() []types.NamespacedName
	wake   wakeFunc

	mutex     sync.Mutex
	members   map[types.NamespacedName]configrollout.Member
	decisions map[types.NamespacedName]configrollout.Decision
	// seen are the Agents that had a pass, nil once all of them had one.
	seen map[types.NamespacedName]bool
}

func newWaves(limits configrollout.Limits, agents func() []types.NamespacedName, wake wakeFunc) *waves {
	return &waves{
		limits: limits, agents: agents, wake: wake,
		members: map[types.NamespacedName]configrollout.Member{}, decisions: map[types.NamespacedName]configrollout.Decision{},
		seen: map[types.NamespacedName]bool{},
	}
}

// decide notes what a pass observed of an Agent, and returns what it does with its changes. An Agent that may roll holds its slot until
// its next pass. Others whose decision changes are woken.
func (w *waves) decide(agent types.NamespacedName, member configrollout.Member) configrollout.Decision {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	old, known := w.members[agent]
	if member.Relevant() {
		w.members[agent] = member
	} else {
		delete(w.members, agent)
	}
	starts := w.seen != nil
	switch {
	case !w.started(agent, member):
		return configrollout.Decision{Verdict: configrollout.WaitForStart}
	case !starts && known == member.Relevant() && old.Same(member):
		return w.decisions[agent]
	case !starts && !known && !member.Relevant():
		return configrollout.Decision{}
	}
	w.plan(agent)
	decision := w.decisions[agent]
	if decision.Verdict == configrollout.Roll && !member.Idle {
		member.Phase, member.Rollout = configrollout.Rolling, configrollout.Baseline{}.StartRollout(member.Changes, member.StartsUnready()).Rollout
		member.Changes = nil
		w.members[agent] = member
	}
	return decision
}

// started notes the pass of an Agent, and reports whether all Agents had one. Only an Agent with changes needs to know.
func (w *waves) started(agent types.NamespacedName, member configrollout.Member) bool {
	if w.seen == nil {
		return true
	}
	w.seen[agent] = true
	if len(member.Changes) == 0 || slices.ContainsFunc(w.agents(), func(other types.NamespacedName) bool { return !w.seen[other] }) {
		return false
	}
	w.seen = nil
	return true
}

// plan decides about all Agents again, and wakes those whose decision changed, except the one whose pass this is.
func (w *waves) plan(asks types.NamespacedName) {
	decisions := map[types.NamespacedName]configrollout.Decision{}
	for name, decision := range configrollout.Plan(slices.Collect(maps.Values(w.members)), w.limits) {
		decisions[types.NamespacedName(name)] = decision
	}
	var woken []types.NamespacedName
	for agent, decision := range decisions {
		if agent != asks && w.decisions[agent] != decision {
			woken = append(woken, agent)
		}
	}
	w.decisions = decisions
	if len(woken) > 0 {
		w.wake(woken, 0)
	}
}

// forget drops an Agent that is gone.
func (w *waves) forget(agent types.NamespacedName) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if _, known := w.members[agent]; known {
		delete(w.members, agent)
		w.plan(agent)
	}
}

// halts returns how many other Agents wait because a change failed on an Agent.
func (w *waves) halts(agent types.NamespacedName) int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	count := 0
	for other, decision := range w.decisions {
		if other.Namespace == agent.Namespace && decision == (configrollout.Decision{Verdict: configrollout.Halted, Agent: agent.Name}) {
			count++
		}
	}
	return count
}
