package configrollout

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type option func(*Member)

// member is an Agent in the namespace n that was created as long after the others as its name says.
func member(name string, options ...option) Member {
	m := Member{Name: Name{"n", name}, Created: time.Unix(int64(name[len(name)-1]), 0)}
	for _, option := range options {
		option(&m)
	}
	return m
}

func changes(revision string, objects ...Object) option {
	return func(m *Member) {
		for _, object := range objects {
			m.Changes = append(m.Changes, Change{Object: object, Revision: revision})
		}
	}
}

func last(phase Phase, revision string, objects ...Object) option {
	return func(m *Member) {
		started := Member{}
		changes(revision, objects...)(&started)
		m.Phase, m.Rollout = phase, Baseline{}.StartRollout(started.Changes, false).Rollout
	}
}

func unreadyBefore(m *Member) { m.Rollout.Unready = true }
func unready(m *Member)       { m.Unready = true }
func busy(m *Member)          { m.Busy = true }
func idle(m *Member)          { m.Idle = true }
func namespace(name string) option {
	return func(m *Member) { m.Name.Namespace = name }
}

func TestWhichAgentsRollNext(t *testing.T) {
	a, b := Object{ConfigMap, "a"}, Object{ConfigMap, "b"}
	pending, proof := changes("2", a), member("p", last(Complete, "2", a))
	roll, slot, first := Decision{Verdict: Roll}, Decision{Verdict: WaitForSlot}, func(agent string) Decision { return Decision{WaitForFirst, agent} }
	halted := func(agent string) Decision { return Decision{Halted, agent} }
	for name, row := range map[string]struct {
		members []Member
		want    map[string]Decision
	}{
		"nothing changed":                             {[]Member{member("1"), proof}, map[string]Decision{}},
		"the oldest Agent is first":                   {[]Member{member("2", pending), member("1", pending), member("3", pending)}, map[string]Decision{"1": roll, "2": first("1"), "3": first("1")}},
		"others wait while the first one rolls":       {[]Member{member("1", last(Rolling, "2", a)), member("2", pending)}, map[string]Decision{"2": first("1")}},
		"others follow as the limit allows":           {[]Member{proof, member("1", pending), member("2", pending), member("3", pending), member("4", pending)}, map[string]Decision{"1": roll, "2": roll, "3": roll, "4": slot}},
		"rolling Agents hold slots":                   {[]Member{proof, member("1", last(Rolling, "2", a)), member("2", last(Rolling, "2", a)), member("3", pending), member("4", pending)}, map[string]Decision{"3": roll, "4": slot}},
		"complete and failed Agents hold none":        {[]Member{proof, member("1", last(Complete, "2", a)), member("2", last(Failed, "1", b)), member("3", pending)}, map[string]Decision{"3": roll}},
		"a proof of another revision proves nothing":  {[]Member{member("p", last(Complete, "1", a)), member("1", pending), member("2", pending)}, map[string]Decision{"1": roll, "2": first("1")}},
		"a proof of another namespace proves nothing": {[]Member{member("p", last(Complete, "2", a), namespace("m")), member("1", pending), member("2", pending)}, map[string]Decision{"1": roll, "2": first("1")}},
		"every change needs its proof":                {[]Member{proof, member("1", changes("2", b)), member("2", changes("2", a, b)), member("3", pending)}, map[string]Decision{"1": roll, "2": first("1"), "3": roll}},
		"changes of two objects have a first each":    {[]Member{member("1", changes("2", a)), member("2", changes("2", b))}, map[string]Decision{"1": roll, "2": roll}},
		"a failure halts the change":                  {[]Member{proof, member("1", last(Failed, "2", a)), member("2", pending), member("3", pending)}, map[string]Decision{"2": halted("1"), "3": halted("1")}},
		"a failure halts no other object":             {[]Member{member("1", last(Failed, "2", a)), member("2", changes("2", b))}, map[string]Decision{"2": roll}},
		"a failure of an older content still halts":   {[]Member{member("1", last(Failed, "1", a)), member("2", pending)}, map[string]Decision{"2": halted("1")}},
		"the fix rolls the failed Agent first":        {[]Member{member("1", pending), member("2", last(Failed, "1", a), pending, unready)}, map[string]Decision{"1": first("2"), "2": roll}},
		"the fix rolls an Agent that still fails":     {[]Member{member("1", pending), member("2", last(Rolling, "1", a), pending, unready)}, map[string]Decision{"1": first("2"), "2": roll}},
		"a failure that recovers halts nothing":       {[]Member{member("1", last(Complete, "2", a)), member("2", pending)}, map[string]Decision{"2": roll}},
		"no second rollout before the first is over":  {[]Member{member("1", last(Rolling, "1", a), pending, busy), member("2", pending)}, map[string]Decision{"1": {Verdict: WaitForRollout}, "2": first("1")}},
		"an unready Agent goes last":                  {[]Member{proof, member("1", pending, unready), member("2", pending), member("3", pending), member("4", pending)}, map[string]Decision{"1": slot, "2": roll, "3": roll, "4": roll}},
		"an unready Agent is not the first":           {[]Member{member("1", pending, unready), member("2", pending)}, map[string]Decision{"1": first("2"), "2": roll}},
		"an unready Agent holds nobody up":            {[]Member{member("1", last(Rolling, "2", a), unreadyBefore), member("2", pending), member("3", pending)}, map[string]Decision{"2": roll, "3": first("2")}},
		"an unready Agent that fails halts nothing":   {[]Member{proof, member("1", last(Failed, "2", a), unreadyBefore), member("2", pending)}, map[string]Decision{"2": roll}},
		"an unready Agent that succeeds proves none":  {[]Member{member("1", last(Complete, "2", a), unreadyBefore), member("2", pending), member("3", pending)}, map[string]Decision{"2": roll, "3": first("2")}},
		"only unready Agents roll within the limit":   {[]Member{member("1", pending, unready), member("2", pending, unready), member("3", pending, unready), member("4", pending, unready)}, map[string]Decision{"1": roll, "2": roll, "3": roll, "4": slot}},
		"an idle Agent passes":                        {[]Member{member("1", last(Failed, "2", a)), member("2", pending, idle), member("3", pending)}, map[string]Decision{"2": roll, "3": halted("1")}},
		"an idle Agent holds no slot":                 {[]Member{proof, member("1", pending, idle), member("2", pending), member("3", pending), member("4", pending)}, map[string]Decision{"1": roll, "2": roll, "3": roll, "4": roll}},
		"namespaces share the total":                  {[]Member{proof, member("p", last(Complete, "2", a), namespace("m")), member("1", pending), member("2", pending), member("3", pending), member("4", pending, namespace("m")), member("5", pending, namespace("m"))}, map[string]Decision{"1": roll, "2": roll, "3": roll, "4": roll, "5": slot}},
	} {
		decisions := map[string]Decision{}
		for name, decision := range Plan(row.members, Limits{PerNamespace: 3, Total: 4}) {
			decisions[name.Name] = decision
		}
		require.Equal(t, row.want, decisions, name)
		slices.Reverse(row.members)
		decisions = map[string]Decision{}
		for name, decision := range Plan(row.members, Limits{PerNamespace: 3, Total: 4}) {
			decisions[name.Name] = decision
		}
		require.Equal(t, row.want, decisions, "%s: the order of the Agents does not matter", name)
	}
}

// A whole wave, step by step: in each step the Agents that may roll do, and the oldest one that rolls becomes complete.
func TestAWaveRollsEveryAgentOnceWithinTheLimits(t *testing.T) {
	object, limits := Object{ConfigMap, "a"}, Limits{PerNamespace: 5, Total: 12}
	members := map[Name]Member{}
	for i := range 200 {
		m := member(fmt.Sprint(i), changes("2", object), namespace(fmt.Sprint("n", i%3)))
		members[m.Name] = m
	}
	rolls := 0
	for steps := 0; ; steps++ {
		require.Less(t, steps, 500, "the wave ends")
		all := []Member{}
		for _, m := range members {
			all = append(all, m)
		}
		for name, decision := range Plan(all, limits) {
			if decision.Verdict == Roll {
				rolls++
				m := members[name]
				m.Changes = nil
				last(Rolling, "2", object)(&m)
				members[name] = m
			}
		}
		rolling, perNamespace := []Name{}, map[string]int{}
		for name, m := range members {
			if m.Phase == Rolling {
				rolling = append(rolling, name)
				perNamespace[name.Namespace]++
				require.LessOrEqual(t, perNamespace[name.Namespace], limits.PerNamespace)
			}
		}
		require.LessOrEqual(t, len(rolling), limits.Total)
		if len(rolling) == 0 {
			break
		}
		m := members[rolling[0]]
		m.Phase = Complete
		members[rolling[0]] = m
	}
	require.Equal(t, 200, rolls, "each Agent rolls once")
}

func TestAnAgentIsUnreadyBeforeItsRollout(t *testing.T) {
	object := Object{ConfigMap, "a"}
	require.False(t, member("1", changes("2", object)).StartsUnready())
	require.True(t, member("1", changes("2", object), unready).StartsUnready())
	require.False(t, member("1", changes("2", object), unready, last(Failed, "1", object)).StartsUnready(), "the change before broke it")
	require.True(t, member("1", changes("2", object), unready, last(Failed, "1", object), unreadyBefore).StartsUnready())
	require.True(t, member("1", changes("2", object), unready, last(Complete, "1", object)).StartsUnready())
}

func TestMembersThatLeadToTheSameDecisions(t *testing.T) {
	object := Object{ConfigMap, "a"}
	same := member("1", changes("2", object), last(Rolling, "1", object))
	require.True(t, same.Same(member("1", changes("2", object), last(Rolling, "1", object))))
	for name, other := range map[string]Member{
		"another change": member("1", changes("3", object), last(Rolling, "1", object)),
		"another phase":  member("1", changes("2", object), last(Failed, "1", object)),
		"another cause":  member("1", changes("2", object), last(Rolling, "1", Object{Secret, "a"})),
		"idle":           member("1", changes("2", object), last(Rolling, "1", object), idle),
		"busy":           member("1", changes("2", object), last(Rolling, "1", object), busy),
		"unready":        member("1", changes("2", object), last(Rolling, "1", object), unready),
	} {
		require.False(t, same.Same(other), name)
	}
	require.False(t, member("1").Relevant())
	require.True(t, member("1", changes("2", object)).Relevant())
	require.True(t, member("1", last(Complete, "2", object)).Relevant())
}
