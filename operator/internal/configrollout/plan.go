package configrollout

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Name is the namespace and name of an Agent.
type Name struct{ Namespace, Name string }

// Phase is how far the last config rollout of an Agent is.
type Phase int

const (
	// None is an Agent whose pods last rolled for another reason.
	None Phase = iota
	// Rolling is an Agent whose pods are being replaced.
	Rolling
	// Complete is an Agent whose rollout was complete once.
	Complete
	// Failed is an Agent whose rollout exceeded its progress deadline.
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
	// Halted is for an Agent that waits because the change failed on another one.
	Halted
)

// Decision is a verdict, and the Agent that it depends on, empty if none.
type Decision struct {
	Verdict Verdict
	Agent   string
}

// Plan decides about every Agent with changes. An Agent that another decision makes roll counts as rolling.
//
// A change rolls one Agent first. When it is complete there, others follow, the oldest first, as the limits allow. A change that failed
// on an Agent rolls no other. An Agent that was not ready before says nothing about a change: it goes last, and neither its success nor
// its failure counts.
func Plan(members []Member, limits Limits) map[Name]Decision {
	w := observe(members)
	decisions := map[Name]Decision{}
	for _, member := range inOrder(members) {
		decision := w.decide(member, limits)
		decisions[member.Name] = decision
		if decision.Verdict == Roll && !member.Idle {
			w.roll(member, Rollout{Unready: member.StartsUnready()}, changed(member.Changes))
		}
	}
	return decisions
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
	rolling      map[Name]bool
	// first is an Agent that rolls because of an object, failed is one on which that failed, and proven are the revisions that are
	// complete on some Agent.
	first, failed map[in]string
	proven        map[in]map[string]bool
}

func observe(members []Member) *world {
	w := &world{
		perNamespace: map[string]int{}, rolling: map[Name]bool{},
		first: map[in]string{}, failed: map[in]string{}, proven: map[in]map[string]bool{},
	}
	for _, member := range members {
		causes := member.Rollout.Causes()
		switch member.Phase {
		case Rolling:
			w.roll(member, *member.Rollout, causes)
		case Failed:
			w.fail(member, causes)
		case Complete:
			w.prove(member, causes)
		case None:
		}
	}
	return w
}

// roll counts an Agent as rolling.
func (w *world) roll(member Member, rollout Rollout, causes map[Object]string) {
	if !w.rolling[member.Name] {
		w.rolling[member.Name] = true
		w.total++
		w.perNamespace[member.Name.Namespace]++
	}
	if rollout.Unready {
		return
	}
	for object := range causes {
		at := in{member.Name.Namespace, object}
		if first := w.first[at]; first == "" || member.Name.Name < first {
			w.first[at] = member.Name.Name
		}
	}
}

// fail halts what an Agent failed with. An Agent for which the object has changed since does not halt the change, which may be the fix.
func (w *world) fail(member Member, causes map[Object]string) {
	if member.Rollout.Unready {
		return
	}
	current := changed(member.Changes)
	for object := range causes {
		at := in{member.Name.Namespace, object}
		if _, again := current[object]; again {
			continue
		}
		if failed := w.failed[at]; failed == "" || member.Name.Name < failed {
			w.failed[at] = member.Name.Name
		}
	}
}

func (w *world) prove(member Member, causes map[Object]string) {
	if member.Rollout.Unready {
		return
	}
	for object, revision := range causes {
		at := in{member.Name.Namespace, object}
		if w.proven[at] == nil {
			w.proven[at] = map[string]bool{}
		}
		w.proven[at][revision] = true
	}
}

// changed returns the revisions of changed objects.
func changed(changes []Change) map[Object]string {
	revisions := map[Object]string{}
	for _, change := range changes {
		revisions[change.Object] = change.Revision
	}
	return revisions
}

// fixes reports whether the last config rollout of an Agent is not complete, and one of the objects that caused it has changed again.
func (m Member) fixes() bool {
	if m.Phase != Rolling && m.Phase != Failed || m.Rollout.Unready {
		return false
	}
	causes := m.Rollout.Causes()
	return slices.ContainsFunc(m.Changes, func(change Change) bool { _, caused := causes[change.Object]; return caused })
}

// StartsUnready reports whether an Agent whose pods roll now was not ready before, for another reason than its configuration.
func (m Member) StartsUnready() bool { return m.Unready && !m.fixes() }

// inOrder returns the Agents with changes, in the order in which they roll: first those that the last change of the same object broke,
// then the oldest, and last those that are not ready.
func inOrder(members []Member) []Member {
	var waiting []Member
	for _, member := range members {
		if len(member.Changes) > 0 {
			waiting = append(waiting, member)
		}
	}
	rank := func(member Member) int {
		switch {
		case member.fixes():
			return 0
		case member.Unready:
			return 2
		default:
			return 1
		}
	}
	slices.SortFunc(waiting, func(a, b Member) int {
		return cmp.Or(rank(a)-rank(b), a.Created.Compare(b.Created), cmp.Compare(a.Name.Namespace, b.Name.Namespace), cmp.Compare(a.Name.Name, b.Name.Name))
	})
	return waiting
}

func (w *world) decide(member Member, limits Limits) Decision {
	name := member.Name
	if member.Idle {
		return Decision{Verdict: Roll}
	}
	if member.Busy {
		return Decision{Verdict: WaitForRollout}
	}
	for _, change := range member.Changes {
		at := in{name.Namespace, change.Object}
		if failed := w.failed[at]; failed != "" && failed != name.Name {
			return Decision{Halted, failed}
		}
		if first := w.first[at]; first != "" && first != name.Name && !w.proven[at][change.Revision] {
			return Decision{WaitForFirst, first}
		}
	}
	if !w.rolling[name] && (w.total >= limits.Total || w.perNamespace[name.Namespace] >= limits.PerNamespace) {
		return Decision{Verdict: WaitForSlot}
	}
	return Decision{Verdict: Roll}
}

// Relevant reports whether a decision about any Agent may depend on this one.
func (m Member) Relevant() bool { return len(m.Changes) > 0 || m.Phase != None }

// Same reports whether two observations of an Agent lead to the same decisions.
func (m Member) Same(other Member) bool {
	return m.Name == other.Name && m.Phase == other.Phase && m.Idle == other.Idle && m.Busy == other.Busy && m.Unready == other.Unready &&
		maps.Equal(changed(m.Changes), changed(other.Changes)) && maps.Equal(m.Rollout.Causes(), other.Rollout.Causes())
}
