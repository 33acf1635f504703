package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/configrollout"
)

// waveWorld is a number of Agents whose passes a test makes.
type waveWorld struct {
	*waves
	all   []types.NamespacedName
	woken []types.NamespacedName
	// clock advances with each look at it.
	clock time.Duration
}

func newWaveWorld(names ...string) *waveWorld {
	w := &waveWorld{}
	for _, name := range names {
		w.all = append(w.all, waveName(name))
	}
	w.waves = newWaves(configrollout.Limits{PerNamespace: 2, Total: 2}, 0, func() []types.NamespacedName { return w.all },
		func(agents []types.NamespacedName, _ time.Duration) { w.woken = append(w.woken, agents...) })
	w.now = func() time.Time {
		w.clock += recheckStart
		return time.Unix(0, 0).Add(w.clock)
	}
	return w
}

func waveName(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "n", Name: name}
}

var waveConfig = configrollout.Object{Kind: configrollout.ConfigMap, Name: "config"}

func (w *waveWorld) pending(name string) configrollout.Decision {
	return w.decide(waveName(name), configrollout.Member{
		Name: waveName(name), Changes: []configrollout.Change{{Object: waveConfig, Revision: "2"}}})
}

func (w *waveWorld) atRest(name string) {
	w.decide(waveName(name), configrollout.Member{Name: waveName(name)})
}

func (w *waveWorld) in(name string, phase configrollout.Phase) {
	rollout := configrollout.Baseline{}.StartRollout([]configrollout.Change{{Object: waveConfig, Revision: "2"}}, false).Rollout
	w.decide(waveName(name), configrollout.Member{Name: waveName(name), Phase: phase, Rollout: rollout})
}

func TestNoAgentRollsBeforeAllWereSeen(t *testing.T) {
	w := newWaveWorld("a", "b", "c")
	require.Equal(t, configrollout.WaitForStart, w.pending("a").Verdict)
	w.in("b", configrollout.Rolling)
	require.Equal(t, configrollout.WaitForStart, w.pending("a").Verdict)
	w.atRest("c")
	require.Equal(t, configrollout.Decision{Verdict: configrollout.WaitForFirst, Agent: "b"}, w.pending("a"), "b already rolled before the start")
}

// The Agents find a change one after another: the one that is looked at first is not the oldest.
func TestTheOldestOfTheReadyAgentsRollsFirst(t *testing.T) {
	w := newWaveWorld("unready", "oldest", "young", "other")
	finds := func(name string, age time.Duration, unready bool) configrollout.Decision {
		return w.decide(waveName(name), configrollout.Member{
			Name: waveName(name), Created: time.Unix(0, 0).Add(-age), Unready: unready, Changes: []configrollout.Change{{Object: waveConfig, Revision: "2"}}})
	}
	for _, name := range []string{"unready", "young", "oldest"} {
		w.atRest(name)
	}
	require.Equal(t, configrollout.Roll, w.decide(waveName("other"), configrollout.Member{
		Name: waveName("other"), Changes: []configrollout.Change{{Object: configrollout.Object{Kind: configrollout.ConfigMap, Name: "another"}, Revision: "1"}}}).Verdict)
	w.gather = 4 * recheckStart
	require.Equal(t, configrollout.Gathering, finds("unready", time.Hour, true).Verdict)
	require.Equal(t, configrollout.Gathering, finds("young", time.Second, false).Verdict)
	require.Equal(t, configrollout.Gathering, finds("oldest", time.Minute, false).Verdict)
	w.clock += w.gather
	for range 2 {
		finds("young", time.Second, false)
		finds("unready", time.Hour, true)
	}
	require.Equal(t, configrollout.Roll, finds("oldest", time.Minute, false).Verdict)
	require.Equal(t, configrollout.Decision{Verdict: configrollout.WaitForFirst, Agent: "oldest"}, finds("young", time.Second, false))
}

func TestAnAgentAtRestDoesNotProlongTheGathering(t *testing.T) {
	w := newWaveWorld("a", "b")
	w.atRest("b")
	w.gather = 4 * recheckStart
	require.Equal(t, configrollout.Gathering, w.pending("a").Verdict)
	w.clock += w.gather
	w.atRest("b")
	require.Equal(t, configrollout.Roll, w.pending("a").Verdict)
	w.in("a", configrollout.Complete)
	w.atRest("b")
	require.Empty(t, w.gathers, "nobody waits")
}

func TestAChangeThatGatheredIsDecidedAgain(t *testing.T) {
	w := newWaveWorld("a", "b")
	w.atRest("b")
	rolledBack := configrollout.Baseline{}.StartRollout([]configrollout.Change{{Object: waveConfig, Revision: "2"}}, false).Rollout
	w.decide(waveName("a"), configrollout.Member{
		Name: waveName("a"), Phase: configrollout.Failed, Rollout: rolledBack, Changes: []configrollout.Change{{Object: waveConfig, Revision: "2"}}})
	require.Equal(t, configrollout.Halted, w.pending("b").Verdict)
	finds := func(name string) configrollout.Decision {
		return w.decide(waveName(name), configrollout.Member{Name: waveName(name), Changes: []configrollout.Change{{Object: waveConfig, Revision: "3"}}})
	}
	w.gather = 4 * recheckStart
	for _, name := range []string{"b", "a"} {
		require.Equal(t, configrollout.Gathering, finds(name).Verdict)
	}
	w.clock += w.gather
	require.Equal(t, configrollout.Decision{Verdict: configrollout.WaitForFirst, Agent: "a"}, finds("b"))
	require.Equal(t, configrollout.Roll, finds("a").Verdict)
}

func TestAnAgentThatMayRollHoldsItsSlotAtOnce(t *testing.T) {
	w := newWaveWorld("a", "b", "c", "d", "p")
	for _, name := range []string{"a", "b", "c", "d"} {
		w.atRest(name)
	}
	w.in("p", configrollout.Complete)
	verdicts := map[configrollout.Verdict]int{}
	for _, name := range []string{"a", "b", "c", "d"} { // all passes run before any of them has written
		verdicts[w.pending(name).Verdict]++
	}
	require.Equal(t, map[configrollout.Verdict]int{configrollout.Roll: 2, configrollout.WaitForSlot: 2}, verdicts)

	require.Equal(t, configrollout.Roll, w.pending("a").Verdict, "it could not write, and tries again")
	w.woken = nil
	w.in("a", configrollout.Rolling)
	require.Empty(t, w.woken)
	w.in("a", configrollout.Complete)
	require.Equal(t, []types.NamespacedName{waveName("c")}, w.woken, "the next one is woken")
	require.Equal(t, configrollout.Roll, w.pending("c").Verdict)
	w.woken = nil
	w.forget(waveName("b"))
	require.Equal(t, []types.NamespacedName{waveName("d")}, w.woken, "an Agent that is deleted holds no slot")
}

func TestAFailureWakesThoseThatWait(t *testing.T) {
	w := newWaveWorld("a", "b", "c")
	for _, name := range []string{"b", "c"} {
		w.atRest(name)
	}
	require.Equal(t, configrollout.Roll, w.pending("a").Verdict)
	w.in("a", configrollout.Rolling)
	w.pending("b")
	w.pending("c")
	w.woken = nil
	w.in("a", configrollout.Failed)
	require.ElementsMatch(t, []types.NamespacedName{waveName("b"), waveName("c")}, w.woken)
	require.Equal(t, configrollout.Decision{Verdict: configrollout.Halted, Agent: "a"}, w.pending("b"))
	require.Equal(t, 2, w.halts(waveName("a")))
	require.Zero(t, w.halts(waveName("b")))
}

func TestAFailureBeforeTheStartIsReportedByTheAgentThatFailed(t *testing.T) {
	w := newWaveWorld("a", "b")
	w.in("a", configrollout.Failed)
	w.pending("b") // b and a had a pass
	require.Equal(t, configrollout.Halted, w.pending("b").Verdict)
	require.Contains(t, w.woken, waveName("a"), "nobody waited when it had its pass")
}

func TestAnAgentAtRestTakesNoMemory(t *testing.T) {
	w := newWaveWorld("a")
	require.Equal(t, configrollout.Roll, w.pending("a").Verdict)
	w.atRest("a")
	w.atRest("b")
	require.Empty(t, w.members)
	require.Empty(t, w.plan.Decisions)
	require.Nil(t, w.seen)
}

func TestAScaledDeploymentIsNoNewRollout(t *testing.T) {
	deployment := func(generation int64, revision, reason string) *appsv1.Deployment {
		return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Generation: generation},
			Spec:       appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.AnnotationConfigRevision: revision}}}},
			Status: appsv1.DeploymentStatus{ObservedGeneration: 1, AvailableReplicas: 1, Conditions: []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentProgressing, Reason: reason}}},
		}
	}
	for reason, want := range map[string]configrollout.Phase{
		"ProgressDeadlineExceeded": configrollout.Failed,
		"NewReplicaSetAvailable":   configrollout.Complete,
		"ReplicaSetUpdated":        configrollout.Rolling,
	} {
		state := &configState{}
		require.Equal(t, want, state.phaseOf(deployment(1, "r", reason), false, false), reason)
		require.Equal(t, want, state.phaseOf(deployment(2, "r", reason), false, false), "%s: scaled, and not observed yet", reason)
		require.Equal(t, configrollout.Rolling, state.phaseOf(deployment(2, "s", reason), false, false), "%s: rolled, and not observed yet", reason)
	}
}

func TestARolloutWithoutReplicasIsNotComplete(t *testing.T) {
	deployment := func(revision string, available int32) *appsv1.Deployment {
		return &appsv1.Deployment{
			Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.AnnotationConfigRevision: revision}}}},
			Status: appsv1.DeploymentStatus{AvailableReplicas: available, Conditions: []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentProgressing, Reason: "NewReplicaSetAvailable"}}},
		}
	}
	state := &configState{revision: "r", phase: configrollout.Failed} // it was suspended and resumed
	for _, row := range []struct {
		revision  string
		available int32
		want      configrollout.Phase
	}{{"r", 0, configrollout.None}, {"r", 1, configrollout.Complete}, {"r", 0, configrollout.Complete}, {"s", 0, configrollout.None}} {
		require.Equal(t, row.want, state.phaseOf(deployment(row.revision, row.available), false, false), "%+v", row)
	}
}

func TestARolloutWithoutProgressHoldsItsSlotForAnHour(t *testing.T) {
	now := time.Now()
	since := func(reason string, ago time.Duration) *appsv1.Deployment {
		return &appsv1.Deployment{Status: appsv1.DeploymentStatus{AvailableReplicas: 1, Conditions: []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentProgressing, Reason: reason, LastUpdateTime: metav1.NewTime(now.Add(-ago))}}}}
	}
	for name, row := range map[string]struct {
		deployment *appsv1.Deployment
		phase      configrollout.Phase
		busy       bool
		recheck    time.Duration
	}{
		"it makes progress":      {since("ReplicaSetUpdated", 0), configrollout.Rolling, true, time.Hour},
		"no progress for 59 min": {since("ReplicaSetUpdated", 59*time.Minute), configrollout.Rolling, true, time.Minute},
		"no progress for 1 h":    {since("ReplicaSetUpdated", time.Hour), configrollout.Failed, false, 0},
		"complete for 1 h":       {since("NewReplicaSetAvailable", time.Hour), configrollout.Complete, false, 0},
	} {
		of := &config{baseline: configrollout.Baseline{}.StartRollout([]configrollout.Change{{Object: waveConfig, Revision: "2"}}, false)}
		of.references = configrollout.References{waveConfig: {}}
		member := of.asMember(agenttest.New("a"), row.deployment, &configState{}, moment{Time: now})
		require.Equal(t, row.phase, member.Phase, name)
		require.Equal(t, row.busy, member.Busy, name)
		require.Equal(t, row.recheck, of.recheck, name)
	}
}

func TestWhenAnAgentIsBusyUnreadyOrIdle(t *testing.T) {
	deployment := func(replicas int32, reason string) *appsv1.Deployment {
		return &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: &replicas}, Status: appsv1.DeploymentStatus{
			Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: reason}}}}
	}
	const complete, rolling = "NewReplicaSetAvailable", "ReplicaSetUpdated"
	for name, row := range map[string]struct {
		deployment          *appsv1.Deployment
		status              metav1.ConditionStatus
		ready               string
		idle, busy, unready bool
	}{
		"ready":                            {deployment(2, complete), metav1.ConditionTrue, v1alpha1.ReasonRolloutComplete, false, false, false},
		"rolling":                          {deployment(2, rolling), metav1.ConditionFalse, v1alpha1.ReasonRolloutInProgress, false, true, false},
		"rolling, and its status is older": {deployment(2, rolling), metav1.ConditionTrue, v1alpha1.ReasonRolloutComplete, false, true, false},
		"a rollout that fails":             {deployment(2, rolling), metav1.ConditionFalse, v1alpha1.ReasonCrashLooping, false, false, true},
		"its deadline has just passed":     {deployment(2, "ProgressDeadlineExceeded"), metav1.ConditionFalse, v1alpha1.ReasonRolloutInProgress, false, false, true},
		"its Service is rejected":          {availableDeployment(complete), metav1.ConditionFalse, v1alpha1.ReasonQuotaExceeded, false, false, false},
		"rolling, its Service is rejected": {availableDeployment(rolling), metav1.ConditionFalse, v1alpha1.ReasonQuotaExceeded, false, false, true},
		"lost pods":                        {deployment(2, complete), metav1.ConditionFalse, v1alpha1.ReasonReplicasUnavailable, false, false, true},
		"scaled to zero":                   {deployment(0, rolling), metav1.ConditionFalse, v1alpha1.ReasonRolloutInProgress, true, false, false},
	} {
		agent := agenttest.New("a")
		agent.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: row.status, Reason: row.ready}}
		of := &config{}
		member := of.asMember(agent, row.deployment, &configState{}, moment{Time: time.Now()})
		require.Equal(t, []bool{row.idle, row.busy, row.unready}, []bool{member.Idle, member.Busy, member.Unready}, name)
		require.Equal(t, row.unready && row.deployment.Status.AvailableReplicas == 0, member.Down, name)
	}
	paused := deployment(2, rolling)
	paused.Spec.Paused = true
	of := &config{}
	held := of.asMember(agenttest.New("a"), paused, &configState{}, moment{Time: time.Now()})
	require.Equal(t, []bool{false, true}, []bool{held.Idle, held.Busy}, "its pods keep what they have until it is resumed")
	require.True(t, of.asMember(agenttest.New("a"), nil, &configState{}, moment{Time: time.Now()}).Idle)
	missing := &config{difference: configrollout.Difference{Changes: []configrollout.Change{{}}, Missing: []string{"ConfigMap c"}}}
	require.Empty(t, missing.asMember(agenttest.New("a"), deployment(2, complete), &configState{}, moment{Time: time.Now()}).Changes, "a pod that does not start must not replace one that runs")
}

func TestOnlyAnnotationsLeaveTheRolloutAsItIs(t *testing.T) {
	at := func(generation, observed int64, replicas int32) *appsv1.Deployment {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: generation}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To(replicas)},
			Status: appsv1.DeploymentStatus{ObservedGeneration: observed}}
	}
	state := &configState{}
	state.noteAnnotated(at(4, 4, 2), at(5, 4, 3))
	scaled := &child{object: at(5, 4, 3), exists: true}
	state.excuseAnnotated(scaled)
	require.Equal(t, int64(4), scaled.object.(*appsv1.Deployment).Status.ObservedGeneration, "another spec must be observed")

	state.noteAnnotated(at(5, 5, 3), at(6, 5, 3))
	for _, row := range []struct{ generation, observed, want int64 }{{6, 5, 6}, {6, 6, 6}, {6, 4, 4}, {7, 6, 6}, {5, 4, 4}} {
		annotated := &child{object: at(row.generation, row.observed, 3), exists: true}
		state.excuseAnnotated(annotated)
		require.Equal(t, row.want, annotated.object.(*appsv1.Deployment).Status.ObservedGeneration, "%+v", row)
	}
}

func TestAnAgentThatCannotRollHoldsNoSlot(t *testing.T) {
	w := newWaveWorld("a", "b", "c", "p")
	for _, name := range []string{"a", "b", "c"} {
		w.atRest(name)
	}
	w.in("p", configrollout.Complete)
	for _, name := range []string{"a", "b"} {
		require.Equal(t, configrollout.Roll, w.pending(name).Verdict)
	}
	require.Equal(t, configrollout.WaitForSlot, w.pending("c").Verdict)
	w.woken = nil
	w.withdraw(configrollout.Member{Name: waveName("a"), Changes: []configrollout.Change{{Object: waveConfig, Revision: "2"}}})
	require.Equal(t, []types.NamespacedName{waveName("c")}, w.woken)
	require.Equal(t, configrollout.Roll, w.pending("c").Verdict)
	require.Equal(t, configrollout.WaitForSlot, w.pending("a").Verdict, "it asks again")
	w.in("b", configrollout.Rolling)
	w.in("b", configrollout.Complete)
	require.Equal(t, configrollout.Roll, w.pending("a").Verdict)
}

func TestAnAgentThatCannotRollIsNotTheFirst(t *testing.T) {
	w := newWaveWorld("a", "b")
	w.atRest("b")
	require.Equal(t, configrollout.Roll, w.pending("a").Verdict)
	require.Equal(t, configrollout.Decision{Verdict: configrollout.WaitForFirst, Agent: "a"}, w.pending("b"))
	w.withdraw(configrollout.Member{Name: waveName("a"), Changes: []configrollout.Change{{Object: waveConfig, Revision: "2"}}})
	require.Equal(t, configrollout.Roll, w.pending("b").Verdict)
}

func TestAnOlderAgentTakesNoSlotThatIsGranted(t *testing.T) {
	w := newWaveWorld("a", "b", "c", "p")
	for _, name := range []string{"a", "b", "c"} {
		w.atRest(name)
	}
	w.in("p", configrollout.Complete)
	require.Equal(t, configrollout.Roll, w.pending("b").Verdict)
	require.Equal(t, configrollout.Roll, w.pending("c").Verdict)
	require.Equal(t, configrollout.WaitForSlot, w.pending("a").Verdict, "a precedes them, but they are about to write")
}

func TestAWokenAgentKeepsItsSlotFromAnOlderOne(t *testing.T) {
	w := newWaveWorld("a", "b", "x", "y", "z", "p")
	for _, name := range []string{"a", "b", "z"} {
		w.atRest(name)
	}
	w.in("p", configrollout.Complete)
	w.in("x", configrollout.Rolling)
	w.in("y", configrollout.Rolling)
	require.Equal(t, configrollout.WaitForSlot, w.pending("b").Verdict)
	w.in("x", configrollout.Complete)
	require.Equal(t, []types.NamespacedName{waveName("b")}, w.woken)
	require.Equal(t, configrollout.Roll, w.pending("b").Verdict)
	w.pending("z")
	w.pending("a")
	w.decide(waveName("z"), configrollout.Member{Name: waveName("z"), Busy: true, Changes: []configrollout.Change{{Object: waveConfig, Revision: "2"}}}) // plans again
	require.Equal(t, configrollout.WaitForSlot, w.pending("a").Verdict, "a precedes b, which is about to write")
}

func TestAgentsAreListedOncePerSecond(t *testing.T) {
	w, listed := newWaveWorld("a", "b"), 0
	w.agents = func() []types.NamespacedName { listed++; return w.all }
	w.now = func() time.Time { return time.Unix(1, 0) }
	for range 100 {
		require.Equal(t, configrollout.WaitForStart, w.pending("a").Verdict)
	}
	require.Equal(t, 1, listed)
	w.atRest("b")
	w.now = func() time.Time { return time.Unix(1, 0).Add(recheckStart) }
	require.Equal(t, configrollout.Roll, w.pending("a").Verdict)
}

// availableDeployment has two replicas, all of them available.
func availableDeployment(reason string) *appsv1.Deployment {
	return &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](2)}, Status: appsv1.DeploymentStatus{
		AvailableReplicas: 2, Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: reason}}}}
}

// podsAt is an Agent with a config rollout and one replica, at a moment.
type podsAt struct {
	after     time.Duration // since the rollout was complete
	available int32
	ready     string // why it is not, empty if it is
	phase     configrollout.Phase
	soaking   bool
	recheck   time.Duration
}

func TestPodsThatFailAfterTheirRolloutProveNothing(t *testing.T) {
	const crash = v1alpha1.ReasonCrashLooping
	for name, steps := range map[string][]podsAt{
		"it soaks": {
			{0, 1, "", configrollout.Complete, true, 10 * time.Second},
			{4 * time.Second, 1, "", configrollout.Complete, true, 6 * time.Second},
			{10 * time.Second, 1, "", configrollout.Complete, false, 0}},
		"known for long when the operator starts": {
			{time.Minute, 1, "", configrollout.Complete, false, 0}},
		"ready and unready by turns": {
			{0, 1, "", configrollout.Complete, true, 10 * time.Second},
			{2 * time.Second, 0, v1alpha1.ReasonReplicasUnavailable, configrollout.Complete, true, 0},
			{11 * time.Second, 1, "", configrollout.Complete, true, 10 * time.Second},
			{21 * time.Second, 1, "", configrollout.Complete, false, 0}},
		"it crashes, and recovers": {
			{0, 1, "", configrollout.Complete, true, 10 * time.Second},
			{2 * time.Second, 0, crash, configrollout.Failed, false, 0},
			{15 * time.Minute, 0, v1alpha1.ReasonReplicasUnavailable, configrollout.Failed, false, 0},
			{16 * time.Minute, 1, "", configrollout.Complete, true, 10 * time.Second}},
		"it crashes much later": {
			{time.Minute, 1, "", configrollout.Complete, false, 0},
			{11 * time.Minute, 0, crash, configrollout.Complete, true, 0}},
		"a node is lost": {
			{time.Minute, 1, "", configrollout.Complete, false, 0},
			{2 * time.Minute, 0, v1alpha1.ReasonReplicasUnavailable, configrollout.Complete, true, 0}},
	} {
		state, complete := &configState{}, time.Now()
		for i, step := range steps {
			of := &config{baseline: configrollout.Baseline{}.StartRollout([]configrollout.Change{{Object: waveConfig, Revision: "2"}}, false)}
			of.references = configrollout.References{waveConfig: {}}
			agent := agenttest.New("a")
			agent.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}}
			if step.ready != "" {
				agent.Status.Conditions[0].Status, agent.Status.Conditions[0].Reason = metav1.ConditionFalse, step.ready
			}
			deployment := availableDeployment("NewReplicaSetAvailable")
			deployment.Spec.Replicas, deployment.Status.AvailableReplicas = ptr.To[int32](1), step.available
			deployment.Status.Conditions[0].LastUpdateTime = metav1.NewTime(complete)
			member := of.asMember(agent, deployment, state, moment{complete.Add(step.after), 10 * time.Second})
			got := podsAt{step.after, step.available, step.ready, member.Phase, member.Soaking, of.recheck}
			require.Equal(t, step, got, "%s: step %d", name, i)
		}
	}
}

func TestAFixDoesNotWaitForARolloutThatNeverEnds(t *testing.T) {
	state, began := &configState{}, time.Now()
	busy := func(after time.Duration, revision string) bool {
		of := &config{baseline: configrollout.Baseline{}.StartRollout([]configrollout.Change{{Object: waveConfig, Revision: "2"}}, false)}
		of.references = configrollout.References{waveConfig: {}}
		of.difference.Changes = []configrollout.Change{{Object: waveConfig, Revision: revision}}
		deployment := availableDeployment("ReplicaSetUpdated")
		deployment.Spec.ProgressDeadlineSeconds = ptr.To[int32](30)
		deployment.Status.Conditions[0].LastUpdateTime = metav1.NewTime(began.Add(after)) // a pod became ready again
		return of.asMember(agenttest.New("a"), deployment, state, moment{began.Add(after), time.Second}).Busy
	}
	require.True(t, busy(0, "3"))
	require.True(t, busy(29*time.Second, "3"))
	require.False(t, busy(30*time.Second, "3"))
	require.True(t, busy(30*time.Second, "2"), "it is what rolls")
}

func TestAnAgentThatIsRejectedAsksAgainWithoutAPause(t *testing.T) {
	w := newWaveWorld("a", "b")
	w.atRest("b")
	w.gather = 4 * recheckStart
	require.Equal(t, configrollout.Gathering, w.pending("a").Verdict)
	w.clock += w.gather
	for range 3 {
		require.Equal(t, configrollout.Roll, w.pending("a").Verdict, "otherwise it would look as if nothing were wrong, between two attempts")
		w.withdraw(configrollout.Member{Name: waveName("a"), Changes: []configrollout.Change{{Object: waveConfig, Revision: "2"}}})
		w.atRest("b")
	}
	w.atRest("a")
	require.Empty(t, w.gathers, "nobody waits")
}
