package configrollout

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Name is the namespace and name of an Agent.
type Name = types.NamespacedName

// Phase is how far the last config rollout of an Agent is.
type Phase int

const (
	// None is an Agent whose pods last rolled for another reason.
	None Phase = iota
	// Rolling is an Agent whose pods are being replaced.
	Rolling
	// Complete is an Agent whose rollout was complete once.
	Complete
	// Failed is an Agent whose rollout exceeded its progress deadline, or whose pods fail soon after it was complete.
	Failed
)

// Member is an Agent, as far as its configuration is concerned.
type Member struct {
	Name    Name
	Created time.Time
	// Changes are those that the pods do not have yet and that may roll them.
	Changes []Change
	// Phase is that of the last config rollout, and Rollout is what caused it.
	Phase   Phase
	Rollout *Rollout
	// Idle is true if no pod runs that a rollout would replace.
	Idle bool
	// Busy is true while a rollout of this Agent, whatever its cause, makes progress.
	Busy bool
	// Unready is true if the Agent is not ready, and no rollout makes progress.
	Unready bool
	// Down is true if it is not ready, and no pod is available: what follows says nothing about a change.
	Down bool
	// Soaking is true if the last config rollout was complete too recently to prove anything.
	Soaking bool
	// Unsettled is true while an object that changed may change again.
	Unsettled bool
}

// Limits are how many Agents roll at a time because of their configuration.
type Limits struct{ PerNamespace, Total int }

// Verdict is what an Agent with changes does.
type Verdict int

const (
	// Nothing is the verdict on an Agent without changes.
	Nothing Verdict = iota
	// Roll is for an Agent whose pods roll now.
	Roll
	// WaitForRollout is for an Agent whose own rollout is not complete yet.
	WaitForRollout
	// WaitForFirst is for an Agent that waits until the first one has the change.
	WaitForFirst
	// WaitForSlot is for an Agent that waits until fewer others roll.
	WaitForSlot
	// WaitForStart is for an Agent that waits until the operator knows all others, after it started.
	WaitForStart
	// Gathering is for an Agent whose change is so new that others that read the object may not have found it, or that may be followed by
	// another one.
	Gathering
	// Halted is for an Agent that waits because the change failed on another one.
	Halted
)

// Lasts reports whether a verdict is the same until something happens.
func (v Verdict) Lasts() bool { return v != WaitForStart && v != Gathering }

// Decision is a verdict, and the Agent that it depends on, empty if none.
type Decision struct {
	Verdict Verdict
	Agent   string
}

// Plan is what every Agent with changes does. An Agent that another decision makes roll counts as rolling.
//
// A change rolls one Agent first. When it is complete there, others follow, the oldest first, as the limits allow. A change that failed
// on an Agent rolls no other. An Agent that is not ready goes last. If none of its pods was available, neither its success nor its failure
// counts.
//
// A fleet may be large: in a wave, Requeue and Release change a plan, so that not every pass of an Agent needs a new one.
type Plan struct {
	// Decisions are those about the Agents with changes.
	Decisions map[Name]Decision
	limits    Limits
	world     *world
	// queue is the same Agents in the order in which they roll.
	queue []*Member
}

// NewPlan decides about all Agents with changes.
func NewPlan(members map[Name]Member, limits Limits) *Plan {
	p := &Plan{map[Name]Decision{}, limits, observe(members), inOrder(members)}
	for _, member := range p.queue {
		p.decide(member)
	}
	return p
}

// decide decides about an Agent, and counts it if it rolls.
func (p *Plan) decide(member *Member) Decision {
	decision := p.world.decide(member, p.limits)
	p.Decisions[member.Name] = decision
	if decision.Verdict == Roll && !member.Idle {
		p.world.roll(member.Name, member.NextRollout())
	}
	return decision
}

// Requeue decides about an Agent whose changes are not those of before. It takes no slot that another Agent was promised. It reports false,
// and does nothing, if a decision about another may depend on the Agent: it rolls or failed, or is about to roll.
func (p *Plan) Requeue(member, before *Member) bool {
	rolls := member.Phase == Rolling || member.Phase == Failed || p.Decisions[member.Name].Verdict == Roll
	soaked := member.Soaking != before.Soaking && !p.world.proves(member.Name, member.Rollout)
	if rolls || soaked || !member.sameRollout(before) {
		return false
	}
	p.Remove(before)
	if len(member.Changes) > 0 {
		place, _ := slices.BinarySearchFunc(p.queue, member, (*Member).compare)
		p.queue = slices.Insert(p.queue, place, member)
		p.decide(member)
	}
	return true
}

// Remove drops the decision about an Agent. An Agent that rolls keeps its slot.
func (p *Plan) Remove(member *Member) {
	if place, queued := slices.BinarySearchFunc(p.queue, member, (*Member).compare); queued {
		p.queue = slices.Delete(p.queue, place, place+1)
	}
	delete(p.Decisions, member.Name)
}

// Release gives the slot of an Agent that completed its rollout to the next one, and returns that, if any. It reports false, and does
// nothing, if there is other news of the Agent, or more than the slot depends on it.
func (p *Plan) Release(member, before *Member) (next []Name, released bool) {
	if !member.completes(before) || !p.world.redundant(member) || p.namedIn(member.Name.Name) {
		return nil, false
	}
	p.world.release(member.Name)
	for _, candidate := range p.queue {
		if p.Decisions[candidate.Name].Verdict == WaitForSlot && p.decide(candidate).Verdict == Roll {
			return []Name{candidate.Name}, true
		}
	}
	return nil, true
}

// namedIn reports whether any decision may depend on an Agent of this name.
func (p *Plan) namedIn(agent string) bool {
	for _, decision := range p.Decisions {
		if decision.Agent == agent {
			return true
		}
	}
	return false
}

// in is an object in a namespace.
type in struct {
	namespace string
	object    Object
}

// world is what the decisions depend on.
type world struct {
	total        int
	perNamespace map[string]int
	rolling      map[Name]*Rollout
	// first is an Agent that rolls because of an object, and failed is one on which that failed.
	first, failed map[in]string
	// proven are the revisions that are complete on some Agent, and soaking is the Agent on which a revision soaks.
	proven  map[in]map[string]bool
	soaking map[in]map[string]string
}

func observe(members map[Name]Member) *world {
	w := &world{
		perNamespace: map[string]int{}, rolling: map[Name]*Rollout{},
		first: map[in]string{}, failed: map[in]string{}, proven: map[in]map[string]bool{}, soaking: map[in]map[string]string{},
	}
	for _, member := range members {
		switch member.Phase {
		case Rolling:
			w.roll(member.Name, member.Rollout)
		case Failed:
			w.fail(&member)
		case Complete:
			w.prove(&member)
		case None:
		}
	}
	return w
}

// roll counts an Agent as rolling.
func (w *world) roll(name Name, rollout *Rollout) {
	if w.rolling[name] == nil {
		w.total++
		w.perNamespace[name.Namespace]++
	}
	w.rolling[name] = rollout
	w.findFirst(name, rollout)
}

// findFirst notes a rolling Agent as the first one of what it rolls because of, unless there is one whose name precedes.
func (w *world) findFirst(name Name, rollout *Rollout) {
	if rollout.Unready {
		return
	}
	for object := range rollout.Objects {
		at := in{name.Namespace, object}
		if first := w.first[at]; first == "" || name.Name < first {
			w.first[at] = name.Name
		}
	}
}

// release counts an Agent as rolling no more.
func (w *world) release(name Name) {
	delete(w.rolling, name)
	w.total--
	w.perNamespace[name.Namespace]--
	clear(w.first)
	for other, rollout := range w.rolling {
		w.findFirst(other, rollout)
	}
}

// fail halts what an Agent failed with. An Agent for which the object has changed since does not halt the change, which may be the fix.
func (w *world) fail(member *Member) {
	if member.Rollout.Unready {
		return
	}
	for object := range member.Rollout.Objects {
		at := in{member.Name.Namespace, object}
		if slices.ContainsFunc(member.Changes, func(change Change) bool { return change.Object == object && member.outdates(change) }) {
			continue
		}
		if failed := w.failed[at]; failed == "" || member.Name.Name < failed {
			w.failed[at] = member.Name.Name
		}
	}
}

// prove notes what is complete on an Agent. One that soaks holds no slot, and others wait for it with the same revision.
func (w *world) prove(member *Member) {
	if member.Rollout.Unready {
		return
	}
	for object, revision := range member.Rollout.Objects {
		at := in{member.Name.Namespace, object}
		if w.proven[at] == nil {
			w.proven[at], w.soaking[at] = map[string]bool{}, map[string]string{}
		}
		if !member.Soaking {
			w.proven[at][revision] = true
		} else if soaks := w.soaking[at][revision]; soaks == "" || member.Name.Name < soaks {
			w.soaking[at][revision] = member.Name.Name
		}
	}
}

// redundant reports whether an Agent that completed its rollout rolled in this world, and proves only what is proven already.
func (w *world) redundant(member *Member) bool {
	return w.rolling[member.Name] != nil && w.proves(member.Name, member.Rollout)
}

// proves reports whether everything that a rollout may prove is proven already.
func (w *world) proves(name Name, rollout *Rollout) bool {
	if rollout == nil || rollout.Unready {
		return true
	}
	for object, revision := range rollout.Objects {
		if !w.proven[in{name.Namespace, object}][revision] {
			return false
		}
	}
	return true
}

// outdates reports whether a change gives an object of the last config rollout another content.
func (m *Member) outdates(change Change) bool {
	revision, caused := m.Rollout.Objects[change.Object]
	return caused && change.Revision != revision
}

// incomplete reports whether the last config rollout of an Agent is not complete, and its changes may be the reason.
func (m *Member) incomplete() bool {
	return (m.Phase == Rolling || m.Phase == Failed) && !m.Rollout.Unready
}

// Fixes reports whether the last config rollout of an Agent is incomplete, and one of the objects that caused it has changed again.
func (m *Member) Fixes() bool { return m.incomplete() && slices.ContainsFunc(m.Changes, m.outdates) }

// NextRollout is the rollout that starts if the pods of an Agent take its changes now. A change of another object does not excuse what the
// Agent rolls with or failed with, and the Agent says nothing about that other change.
func (m *Member) NextRollout() *Rollout {
	if !m.incomplete() {
		return Baseline{}.StartRollout(m.Changes, m.Down).Rollout
	}
	if !m.Fixes() {
		return m.Rollout
	}
	next := Baseline{}.StartRollout(m.Changes, false).Rollout
	for object, revision := range m.Rollout.Objects {
		if _, changed := next.Objects[object]; !changed {
			next.Objects[object] = revision
		}
	}
	return next
}

// rank orders Agents: first those that the last change of the same object broke, and last those that are not ready.
func (m *Member) rank() int {
	switch {
	case m.Fixes():
		return 0
	case m.Unready:
		return 2
	default:
		return 1
	}
}

// compare orders Agents as they roll: by rank, then the oldest first.
func (m *Member) compare(other *Member) int {
	return cmp.Or(m.rank()-other.rank(), m.Created.Compare(other.Created),
		cmp.Compare(m.Name.Namespace, other.Name.Namespace), cmp.Compare(m.Name.Name, other.Name.Name))
}

// inOrder returns the Agents with changes, in the order in which they roll.
func inOrder(members map[Name]Member) []*Member {
	var waiting []*Member
	for _, member := range members {
		if len(member.Changes) > 0 {
			waiting = append(waiting, &member)
		}
	}
	slices.SortFunc(waiting, (*Member).compare)
	return waiting
}

func (w *world) decide(member *Member, limits Limits) Decision {
	name := member.Name
	if member.Idle {
		return Decision{Verdict: Roll}
	}
	if member.Unsettled {
		return Decision{Verdict: Gathering}
	}
	for _, change := range member.Changes {
		if failed := w.failed[in{name.Namespace, change.Object}]; failed != "" && (!member.incomplete() || !member.outdates(change)) {
			return Decision{Halted, failed}
		}
	}
	if member.Busy {
		return Decision{Verdict: WaitForRollout}
	}
	for _, change := range member.Changes {
		at := in{name.Namespace, change.Object}
		if first := cmp.Or(w.first[at], w.soaking[at][change.Revision]); first != "" && first != name.Name && !w.proven[at][change.Revision] {
			return Decision{WaitForFirst, first}
		}
	}
	if (w.total >= limits.Total || w.perNamespace[name.Namespace] >= limits.PerNamespace) && w.rolling[name] == nil {
		return Decision{Verdict: WaitForSlot}
	}
	return Decision{Verdict: Roll}
}

// Relevant reports whether a decision about any Agent may depend on this one.
func (m *Member) Relevant() bool { return len(m.Changes) > 0 || m.Phase != None }

// Same reports whether two observations of an Agent lead to the same decisions.
func (m *Member) Same(other *Member) bool {
	same := m.sameRollout(other) && slices.EqualFunc(m.Changes, other.Changes, Change.same)
	return same && m.Soaking == other.Soaking &&
		(len(m.Changes) == 0 || m.Idle == other.Idle && m.Busy == other.Busy && m.Unready == other.Unready && m.Down == other.Down && m.Unsettled == other.Unsettled)
}

// completes reports whether the only news of an Agent is that its rollout is complete.
func (m *Member) completes(before *Member) bool {
	rolled := *m
	rolled.Phase, rolled.Soaking = before.Phase, before.Soaking
	return before.Phase == Rolling && m.Phase == Complete && len(m.Changes) == 0 && rolled.Same(before)
}

func (m *Member) sameRollout(other *Member) bool {
	if m.Rollout == nil || other.Rollout == nil {
		return m.Phase == other.Phase && m.Rollout == other.Rollout
	}
	return m.Phase == other.Phase && m.Rollout.Unready == other.Rollout.Unready && maps.Equal(m.Rollout.Objects, other.Rollout.Objects)
}
