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

	mutex   sync.Mutex
	members map[types.NamespacedName]configrollout.Member
	// plan is nil until it is needed, and stale is true if it does not know the changes of Agents that gathered.
	plan  *configrollout.Plan
	stale bool
	// seen are the Agents that had a pass, nil once all of them had one, and listed is when they were last compared with all.
	seen   map[types.NamespacedName]bool
	listed time.Time
	// gather is for how long the Agents with a new change come together before the first one rolls, and gathers are the new changes.
	gather  time.Duration
	gathers map[gathering]time.Time
	// withdrawn are the Agents that will ask again.
	withdrawn map[types.NamespacedName]bool
	now       func() time.Time
}

// gathering is a new content of an object in a namespace.
type gathering struct {
	namespace string
	object    configrollout.Object
	revision  string
}

func newWaves(limits configrollout.Limits, gather time.Duration, agents func() []types.NamespacedName, wake wakeFunc) *waves {
	return &waves{
		limits: limits, gather: gather, agents: agents, wake: wake, now: time.Now,
		members: map[types.NamespacedName]configrollout.Member{}, seen: map[types.NamespacedName]bool{}, gathers: map[gathering]time.Time{},
		withdrawn: map[types.NamespacedName]bool{},
	}
}

// decide notes what a pass observed of an Agent, and returns what it does with its changes. Others whose decision changes are woken.
func (w *waves) decide(agent types.NamespacedName, member configrollout.Member) configrollout.Decision {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if len(member.Changes) == 0 {
		delete(w.withdrawn, agent)
	}
	return w.observe(agent, member)
}

func (w *waves) observe(agent types.NamespacedName, member configrollout.Member) configrollout.Decision {
	old := w.members[agent]
	if member.Relevant() {
		w.members[agent] = member
	} else {
		delete(w.members, agent)
	}
	switch {
	case !w.started(agent, &member):
		return configrollout.Decision{Verdict: configrollout.WaitForStart}
	case w.gathering(&member):
		w.stale = w.stale || !member.Same(&old)
		return configrollout.Decision{Verdict: configrollout.Gathering}
	case member.Same(&old) && len(member.Changes) == 0:
		return configrollout.Decision{} // no decision depends on this pass
	case w.plan == nil || w.stale || !w.update(&member, &old):
		w.replan(agent)
	}
	return w.take(agent, member)
}

// gathering reports whether an Agent has a change that is new. The Agents that read an object find its change one after another, and without
// a pause the first to find it would roll first, rather than the oldest one that is ready.
func (w *waves) gathering(member *configrollout.Member) bool {
	if len(member.Changes) == 0 {
		if w.plan != nil && !w.stale && len(w.plan.Decisions) == 0 && len(w.withdrawn) == 0 { // nobody waits
			clear(w.gathers)
		}
		return false
	}
	gathers := false
	for _, change := range member.Changes {
		of := gathering{member.Name.Namespace, change.Object, change.Revision}
		if w.gathers[of].IsZero() {
			w.gathers[of] = w.now()
		}
		gathers = gathers || w.now().Sub(w.gathers[of]) < w.gather
	}
	return gathers
}

// update brings the plan up to date with an Agent where that is possible without all others: in a wave of thousands, planning again with
// each pass takes minutes of CPU.
func (w *waves) update(member, old *configrollout.Member) bool {
	if member.Same(old) {
		_, planned := w.plan.Decisions[member.Name]
		return planned // else it has gathered, and so have others
	}
	if w.plan.Requeue(member, old) {
		return true
	}
	next, released := w.plan.Release(member, old)
	if len(next) > 0 {
		w.wake(next, 0)
	}
	return released
}

// take returns the decision about an Agent. One that may roll holds its slot until its next pass.
func (w *waves) take(agent types.NamespacedName, member configrollout.Member) configrollout.Decision {
	decision := w.plan.Decisions[agent]
	if decision.Verdict == configrollout.Roll && !member.Idle {
		w.plan.Remove(&member)
		member.Phase, member.Rollout = configrollout.Rolling, member.NextRollout()
		member.Changes = nil
		w.members[agent] = member
	}
	return decision
}

// withdraw gives back the slot of an Agent that may roll and did not, because its spec is invalid, the API server rejects its Deployment, or
// its next pod template is delayed. It asks again with its next pass.
func (w *waves) withdraw(member configrollout.Member) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.withdrawn[member.Name] = true
	member.Changes = nil
	w.observe(member.Name, member)
}

// started notes the pass of an Agent, and reports whether all Agents had one. Only an Agent with changes needs to know. All of them are
// listed no more often than such an Agent asks: thousands may ask at the same time.
func (w *waves) started(agent types.NamespacedName, member *configrollout.Member) bool {
	if w.seen == nil {
		return true
	}
	w.seen[agent] = true
	if len(member.Changes) == 0 || w.now().Sub(w.listed) < recheckStart {
		return false
	}
	w.listed = w.now()
	if slices.ContainsFunc(w.agents(), func(other types.NamespacedName) bool { return !w.seen[other] }) {
		return false
	}
	w.seen = nil
	return true
}

// replan decides about all Agents again, and wakes those whose decision changed, except the one whose pass this is.
func (w *waves) replan(asks types.NamespacedName) {
	old := w.plan
	w.plan, w.stale = configrollout.NewPlan(w.members, w.limits), false
	var woken []types.NamespacedName
	halts := map[types.NamespacedName]bool{}
	for agent, decision := range w.plan.Decisions {
		if old != nil && old.Decisions[agent] == decision {
			continue
		}
		if agent != asks {
			woken = append(woken, agent)
		}
		if decision.Verdict == configrollout.Halted {
			halts[types.NamespacedName{Namespace: agent.Namespace, Name: decision.Agent}] = true
		}
	}
	delete(halts, asks)
	woken = slices.AppendSeq(woken, maps.Keys(halts)) // they report that others wait
	if len(woken) > 0 {
		w.wake(woken, 0)
	}
}

// forget drops an Agent that is gone.
func (w *waves) forget(agent types.NamespacedName) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	delete(w.withdrawn, agent)
	if _, known := w.members[agent]; !known {
		return
	}
	delete(w.members, agent)
	if w.plan == nil || len(w.plan.Decisions) == 0 {
		w.plan = nil // nobody waits for it
		return
	}
	w.replan(agent)
}

// halts returns how many other Agents wait because a change failed on an Agent.
func (w *waves) halts(agent types.NamespacedName) int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.plan == nil {
		return 0
	}
	count := 0
	for other, decision := range w.plan.Decisions {
		if other.Namespace == agent.Namespace && other != agent && decision == (configrollout.Decision{Verdict: configrollout.Halted, Agent: agent.Name}) {
			count++
		}
	}
	return count
}
