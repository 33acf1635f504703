package configrollout

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type option func(*Member)

// member is an Agent in the namespace n that was created as long after the others as its name says.
func member(name string, options ...option) Member {
	m := Member{Name: Name{Namespace: "n", Name: name}, Created: time.Unix(int64(name[len(name)-1]), 0)}
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
func unready(m *Member)       { m.Unready, m.Down = true, true }
func degraded(m *Member)      { m.Unready = true }
func busy(m *Member)          { m.Busy = true }
func soaking(m *Member)       { m.Soaking = true }
func unsettled(m *Member)     { m.Unsettled = true }
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
		"a busy Agent is halted, too":                 {[]Member{member("1", last(Failed, "2", a)), member("2", pending, busy)}, map[string]Decision{"2": halted("1")}},
		"a failure halts no other object":             {[]Member{member("1", last(Failed, "2", a)), member("2", changes("2", b))}, map[string]Decision{"2": roll}},
		"a failure of an older content still halts":   {[]Member{member("1", last(Failed, "1", a)), member("2", pending)}, map[string]Decision{"2": halted("1")}},
		"the fix rolls the failed Agent first":        {[]Member{member("1", pending), member("2", last(Failed, "1", a), pending, unready)}, map[string]Decision{"1": first("2"), "2": roll}},
		"the fix rolls an Agent that still fails":     {[]Member{member("1", pending), member("2", last(Rolling, "1", a), pending, unready)}, map[string]Decision{"1": first("2"), "2": roll}},
		"the failed Agent takes another object":       {[]Member{member("1", last(Failed, "2", a), changes("2", b), unready), member("2", changes("2", a, b)), member("3", changes("2", b))}, map[string]Decision{"1": first("3"), "2": halted("1"), "3": roll}},
		"the failed Agent was rolled back":            {[]Member{member("1", last(Failed, "2", a), pending), member("2", pending)}, map[string]Decision{"1": halted("1"), "2": halted("1")}},
		"the fix of one of two that failed":           {[]Member{member("1", last(Failed, "1", a), pending, unready), member("2", last(Failed, "1", a), unready)}, map[string]Decision{"1": roll}},
		"a failure that recovers halts nothing":       {[]Member{member("1", last(Complete, "2", a)), member("2", pending)}, map[string]Decision{"2": roll}},
		"no second rollout before the first is over":  {[]Member{member("1", last(Rolling, "1", a), pending, busy), member("2", pending)}, map[string]Decision{"1": {Verdict: WaitForRollout}, "2": first("1")}},
		"an unready Agent goes last":                  {[]Member{proof, member("1", pending, unready), member("2", pending), member("3", pending), member("4", pending)}, map[string]Decision{"1": slot, "2": roll, "3": roll, "4": roll}},
		"an unready Agent is not the first":           {[]Member{member("1", pending, unready), member("2", pending)}, map[string]Decision{"1": first("2"), "2": roll}},
		"an unready Agent holds nobody up":            {[]Member{member("1", last(Rolling, "2", a), unreadyBefore), member("2", pending), member("3", pending)}, map[string]Decision{"2": roll, "3": first("2")}},
		"an unready Agent that fails halts nothing":   {[]Member{proof, member("1", last(Failed, "2", a), unreadyBefore), member("2", pending)}, map[string]Decision{"2": roll}},
		"an unready Agent that succeeds proves none":  {[]Member{member("1", last(Complete, "2", a), unreadyBefore), member("2", pending), member("3", pending)}, map[string]Decision{"2": roll, "3": first("2")}},
		"only unready Agents roll within the limit":   {[]Member{member("1", pending, unready), member("2", pending, unready), member("3", pending, unready), member("4", pending, unready)}, map[string]Decision{"1": roll, "2": roll, "3": roll, "4": slot}},
		"others wait while the first one soaks":       {[]Member{member("1", last(Complete, "2", a), soaking), member("2", pending), member("3", changes("2", b))}, map[string]Decision{"2": first("1"), "3": roll}},
		"nobody waits for the soak of another value":  {[]Member{member("1", pending), member("2", pending), member("3", last(Complete, "1", a), pending, soaking)}, map[string]Decision{"1": roll, "2": first("1"), "3": first("1")}},
		"an Agent that soaks holds no slot":           {[]Member{proof, member("1", last(Complete, "2", a), soaking), member("2", pending), member("3", pending), member("4", pending)}, map[string]Decision{"2": roll, "3": roll, "4": roll}},
		"one that soaks was not ready before":         {[]Member{member("1", last(Complete, "2", a), unreadyBefore, soaking), member("2", pending), member("3", pending)}, map[string]Decision{"2": roll, "3": first("2")}},
		"a change that may change again waits":        {[]Member{proof, member("1", pending, unsettled), member("2", pending, unsettled), member("3", changes("2", b)), member("4", changes("2", b))}, map[string]Decision{"1": {Verdict: Gathering}, "2": {Verdict: Gathering}, "3": roll, "4": first("3")}},
		"an Agent with too few replicas goes last":    {[]Member{member("1", pending, degraded), member("2", pending)}, map[string]Decision{"1": first("2"), "2": roll}},
		"it may be the first of its kind":             {[]Member{member("1", pending, degraded), member("2", pending, degraded)}, map[string]Decision{"1": roll, "2": first("1")}},
		"an idle Agent passes":                        {[]Member{member("1", last(Failed, "2", a)), member("2", pending, idle), member("3", pending)}, map[string]Decision{"2": roll, "3": halted("1")}},
		"an idle Agent holds no slot":                 {[]Member{proof, member("1", pending, idle), member("2", pending), member("3", pending), member("4", pending)}, map[string]Decision{"1": roll, "2": roll, "3": roll, "4": roll}},
		"namespaces share the total":                  {[]Member{proof, member("p", last(Complete, "2", a), namespace("m")), member("1", pending), member("2", pending), member("3", pending), member("4", pending, namespace("m")), member("5", pending, namespace("m"))}, map[string]Decision{"1": roll, "2": roll, "3": roll, "4": roll, "5": slot}},
	} {
		members := map[Name]Member{}
		for _, m := range row.members {
			members[m.Name] = m
		}
		for range 5 { // the order of a map is random, and does not matter
			decisions := map[string]Decision{}
			for name, decision := range NewPlan(members, Limits{PerNamespace: 3, Total: 4}).Decisions {
				decisions[name.Name] = decision
			}
			require.Equal(t, row.want, decisions, name)
		}
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
		for name, decision := range NewPlan(members, limits).Decisions {
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

func TestWhatTheNextRolloutSaysAboutChanges(t *testing.T) {
	a, b := Object{ConfigMap, "a"}, Object{ConfigMap, "b"}
	for name, row := range map[string]struct {
		member Member
		want   Rollout
	}{
		"ready":                       {member("1", changes("2", a)), Rollout{Objects: map[Object]string{a: "2"}}},
		"unready":                     {member("1", changes("2", a), unready), Rollout{Objects: map[Object]string{a: "2"}, Unready: true}},
		"too few replicas":            {member("1", changes("2", a), degraded), Rollout{Objects: map[Object]string{a: "2"}}},
		"the change before failed":    {member("1", changes("2", a), unready, last(Failed, "1", a)), Rollout{Objects: map[Object]string{a: "2"}}},
		"it was unready before":       {member("1", changes("2", a), unready, last(Failed, "1", a), unreadyBefore), Rollout{Objects: map[Object]string{a: "2"}, Unready: true}},
		"it had the change before":    {member("1", changes("2", a), unready, last(Complete, "1", a)), Rollout{Objects: map[Object]string{a: "2"}, Unready: true}},
		"it failed with another":      {member("1", changes("2", b), unready, last(Failed, "1", a)), Rollout{Objects: map[Object]string{a: "1"}}},
		"it rolls with another":       {member("1", changes("2", b), unready, last(Rolling, "1", a)), Rollout{Objects: map[Object]string{a: "1"}}},
		"one of two is changed again": {member("1", changes("2", a), unready, last(Failed, "1", a, b)), Rollout{Objects: map[Object]string{a: "2", b: "1"}}},
	} {
		require.Equal(t, row.want, *row.member.NextRollout(), name)
	}
}

func TestMembersThatLeadToTheSameDecisions(t *testing.T) {
	object := Object{ConfigMap, "a"}
	same := member("1", changes("2", object), last(Rolling, "1", object))
	for name, row := range map[string]struct {
		other Member
		want  bool
	}{
		"the same":       {member("1", changes("2", object), last(Rolling, "1", object)), true},
		"another change": {member("1", changes("3", object), last(Rolling, "1", object)), false},
		"no change":      {member("1", last(Rolling, "1", object)), false},
		"another phase":  {member("1", changes("2", object), last(Failed, "1", object)), false},
		"another cause":  {member("1", changes("2", object), last(Rolling, "1", Object{Secret, "a"})), false},
		"no cause":       {member("1", changes("2", object)), false},
		"unready before": {member("1", changes("2", object), last(Rolling, "1", object), unreadyBefore), false},
		"idle":           {member("1", changes("2", object), last(Rolling, "1", object), idle), false},
		"busy":           {member("1", changes("2", object), last(Rolling, "1", object), busy), false},
		"unready":        {member("1", changes("2", object), last(Rolling, "1", object), unready), false},
	} {
		require.Equal(t, row.want, same.Same(&row.other), name)
		require.Equal(t, row.want, row.other.Same(&same), name)
	}
	rolling, makesProgress := member("1", last(Rolling, "1", object)), member("1", last(Rolling, "1", object), busy)
	require.True(t, rolling.Same(&makesProgress), "without changes, nothing depends on it")
}

func TestWhichMembersAreRelevant(t *testing.T) {
	object := Object{ConfigMap, "a"}
	for name, row := range map[string]struct {
		member Member
		want   bool
	}{
		"at rest":  {member("1"), false},
		"changed":  {member("1", changes("2", object)), true},
		"complete": {member("1", last(Complete, "2", object)), true},
	} {
		require.Equal(t, row.want, row.member.Relevant(), name)
	}
}

func planOf(members ...Member) *Plan {
	all := map[Name]Member{}
	for _, m := range members {
		all[m.Name] = m
	}
	return NewPlan(all, Limits{PerNamespace: 3, Total: 4})
}

func TestAnAgentTakesItsPlaceInTheQueue(t *testing.T) {
	a := Object{ConfigMap, "a"}
	rolling, proof := last(Rolling, "2", a), member("p", last(Complete, "2", a))
	p := planOf(proof, member("5", rolling), member("6", rolling), member("7", rolling),
		member("2", changes("2", a)), member("4", changes("2", a)), member("8", changes("2", a)), member("9", changes("2", a)))
	for _, row := range []struct{ before, now Member }{
		{member("3"), member("3", changes("2", a))},
		{member("1"), member("1", changes("2", a))},
		{member("4", changes("2", a)), member("4", changes("3", a))},
		{member("8", changes("2", a)), member("8")},
		{member("9", changes("2", a)), member("9", changes("2", a), busy)},
	} {
		require.True(t, p.Requeue(&row.now, &row.before))
	}
	slot := Decision{Verdict: WaitForSlot}
	name := func(name string) Name { return member(name).Name }
	require.Equal(t, map[Name]Decision{name("1"): slot, name("2"): slot, name("3"): slot, name("4"): {WaitForFirst, "5"}, name("9"): {Verdict: WaitForRollout}}, p.Decisions)
	again := member("4", changes("2", a))
	require.True(t, p.Requeue(&again, ptrTo(member("4", changes("3", a)))))

	var order []string
	for _, name := range []string{"5", "6", "7", "1", "2", "3"} {
		p.Remove(ptrTo(member(name, changes("2", a)))) // it rolls
		next, released := p.Release(ptrTo(member(name, last(Complete, "2", a))), ptrTo(member(name, rolling)))
		require.True(t, released)
		for _, name := range next {
			order = append(order, name.Name)
		}
	}
	require.Equal(t, []string{"1", "2", "3", "4"}, order)
	require.Len(t, p.queue, 2, "what rolls does not wait")
}

func ptrTo(m Member) *Member { return &m }

func TestAnAgentThatOthersDependOnIsNotRequeued(t *testing.T) {
	a := Object{ConfigMap, "a"}
	pending := changes("2", a)
	for name, row := range map[string]struct {
		before, now Member
		want        bool
	}{
		"it was not known":            {Member{}, member("1", pending), true},
		"it has the change before":    {member("1", last(Complete, "1", a)), member("1", pending, last(Complete, "1", a)), true},
		"it is known no more":         {member("1", last(Complete, "1", a)), member("1", pending), false},
		"it becomes complete":         {member("1", last(Rolling, "1", a)), member("1", pending, last(Complete, "1", a)), false},
		"it rolls":                    {member("1", last(Rolling, "1", a)), member("1", pending, last(Rolling, "1", a)), false},
		"it may fix what it broke":    {member("1", last(Failed, "1", a)), member("1", pending, last(Failed, "1", a)), false},
		"it is complete with another": {member("1", last(Complete, "1", Object{Secret, "a"})), member("1", pending, last(Complete, "1", a)), false},
		"it is about to roll":         {member("1", changes("1", a)), member("1"), false},
	} {
		require.Equal(t, row.want, planOf(row.before).Requeue(&row.now, &row.before), name)
	}
}

func TestASlotIsReleasedIfNothingElseDependsOnIt(t *testing.T) {
	a, b := Object{ConfigMap, "a"}, Object{ConfigMap, "b"}
	rolling, complete, proof := last(Rolling, "2", a), member("1", last(Complete, "2", a)), member("p", last(Complete, "2", a))
	unproven := member("1", last(Complete, "2", a), unreadyBefore)
	for name, row := range map[string]struct {
		members  []Member
		complete Member
		want     bool
	}{
		"others have the change":                 {[]Member{proof, member("1", rolling)}, complete, true},
		"it is the first with the change":        {[]Member{member("1", rolling), member("2", changes("2", a))}, complete, false},
		"it is the first with one of two":        {[]Member{proof, member("1", last(Rolling, "2", a, b))}, member("1", last(Complete, "2", a, b)), false},
		"another waits for it with a new one":    {[]Member{proof, member("1", rolling), member("2", changes("3", a))}, complete, false},
		"it did not roll":                        {[]Member{proof}, complete, false},
		"it was not ready, so it proves nothing": {[]Member{member("1", rolling, unreadyBefore)}, unproven, true},
	} {
		before := row.complete
		before.Phase = Rolling
		next, released := planOf(row.members...).Release(&row.complete, &before)
		require.Equal(t, row.want, released, name)
		require.Empty(t, next, name)
	}
}

func TestTheNextFirstAgentIsOneThatStillRolls(t *testing.T) {
	a := Object{ConfigMap, "a"}
	p := planOf(member("p", last(Complete, "2", a)), member("1", last(Rolling, "2", a)), member("2", last(Rolling, "2", a)))
	for _, row := range []struct {
		complete, joins string
		want            Decision
	}{{"1", "3", Decision{WaitForFirst, "2"}}, {"2", "4", Decision{Verdict: Roll}}} {
		joins := member(row.joins, changes("3", a))
		_, released := p.Release(ptrTo(member(row.complete, last(Complete, "2", a))), ptrTo(member(row.complete, last(Rolling, "2", a))))
		require.True(t, released)
		require.True(t, p.Requeue(&joins, &Member{}))
		require.Equal(t, row.want, p.Decisions[joins.Name])
		p.Remove(&joins)
	}
}

func TestAMemberCompletesIfThatIsTheOnlyNews(t *testing.T) {
	object := Object{ConfigMap, "a"}
	rolling := member("1", last(Rolling, "1", object), busy)
	for name, row := range map[string]struct {
		before, now Member
		want        bool
	}{
		"complete":                  {rolling, member("1", last(Complete, "1", object)), true},
		"it still rolls":            {rolling, member("1", last(Rolling, "1", object)), false},
		"it failed":                 {rolling, member("1", last(Failed, "1", object)), false},
		"complete with another":     {rolling, member("1", last(Complete, "2", object)), false},
		"it was complete":           {member("1", last(Complete, "1", object)), member("1", last(Complete, "1", object)), false},
		"it has another change":     {rolling, member("1", last(Complete, "1", object), changes("2", object)), false},
		"another change waits":      {member("1", last(Rolling, "1", object), changes("2", object)), member("1", last(Complete, "1", object), changes("2", object)), false},
		"another change is settled": {member("1", last(Rolling, "1", object), changes("2", object)), member("1", last(Complete, "1", object)), false},
	} {
		require.Equal(t, row.want, row.now.completes(&row.before), name)
	}
}

func TestASoakThatEndsDecidesAboutOthersOnlyIfItIsTheProof(t *testing.T) {
	object := Object{ConfigMap, "a"}
	soaks, soaked := member("1", last(Complete, "2", object), soaking), member("1", last(Complete, "2", object))
	require.False(t, planOf(soaks, member("2", changes("2", object))).Requeue(&soaked, &soaks), "2 waits for it")
	proof := member("p", last(Complete, "2", object))
	require.True(t, planOf(proof, soaks, member("2", changes("2", object))).Requeue(&soaked, &soaks), "in a wave of thousands, each of them soaks")
	require.False(t, soaks.Same(&soaked))
}

func TestASlotIsReleasedWhenTheSoakBegins(t *testing.T) {
	object := Object{ConfigMap, "a"}
	rolling, soaks := member("1", last(Rolling, "2", object)), member("1", last(Complete, "2", object), soaking)
	members := []Member{member("p", last(Complete, "2", object)), rolling, member("2", last(Rolling, "2", object)), member("3", last(Rolling, "2", object)), member("4", changes("2", object))}
	next, released := planOf(members...).Release(&soaks, &rolling)
	require.True(t, released)
	require.Equal(t, []Name{{Namespace: "n", Name: "4"}}, next)
	_, released = planOf(members[1:]...).Release(&soaks, &rolling)
	require.False(t, released, "others wait for it")
}
