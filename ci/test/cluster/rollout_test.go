package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// rolloutWatch sees every change of an Agent, its Deployment, its pods and its Service's endpoints, and notes each instant at
// which any of them had fewer available than wanted.
type rolloutWatch struct {
	mutex  sync.Mutex
	wanted int
	pods   map[string]*corev1.Pod
	// old are the pods from before; unready and ready are new ones, seen before and after they got ready.
	old, unready, ready map[string]bool
	instants            int
	violations          []string
	// conditionSteps are the steps of each condition of the Agent, as "status reason".
	conditionSteps map[string][]string
	// readiness are the steps that Ready of each Agent took.
	readiness map[string][]string
	// versions are the resourceVersions of Agents, as last seen.
	versions map[string]string
	finished bool
}

// watchRollout watches the namespace of Agents, once every pod that is available is an endpoint: slices are written after
// the Agent is reported ready. done waits until the watch has seen the latest version of each Agent, then stops it.
func watchRollout(s *fixture, wanted int) (w *rolloutWatch, done func()) {
	s.Helper()
	s.eventually("every pod is an endpoint", waitTimeout, func() error {
		for _, agent := range s.list(&v1alpha1.AgentList{}) {
			if err := checkEndpoints(s, agent.GetName(), int(agent.(*v1alpha1.Agent).Status.AvailableReplicas)); err != nil {
				return fmt.Errorf("%s: %w", agent.GetName(), err)
			}
		}
		return nil
	})
	w = &rolloutWatch{wanted: wanted, pods: map[string]*corev1.Pod{}, old: map[string]bool{}, unready: map[string]bool{}, ready: map[string]bool{}, conditionSteps: map[string][]string{}, readiness: map[string][]string{}, versions: map[string]string{}}
	for _, pod := range s.list(&corev1.PodList{}) {
		w.old[pod.GetName()] = true
		w.pods[pod.GetName()] = pod.(*corev1.Pod)
	}
	ctx, cancel := context.WithCancel(s.Context())
	for _, kind := range []client.ObjectList{&corev1.PodList{}, &appsv1.DeploymentList{}, &v1alpha1.AgentList{}, &discoveryv1.EndpointSliceList{}} {
		s.watchObjects(ctx, kind, w.observe)
	}
	return w, func() {
		s.eventually("the watch has caught up with the Agents", waitTimeout, func() error { return w.checkCaughtUp(s) })
		w.mutex.Lock()
		defer w.mutex.Unlock()
		w.finished = true
		cancel()
	}
}

// checkCaughtUp reports whether the watch has yet to see the latest version of an Agent.
func (w *rolloutWatch) checkCaughtUp(s *fixture) error {
	for _, agent := range s.list(&v1alpha1.AgentList{}) {
		w.mutex.Lock()
		seen := w.versions[agent.GetName()]
		w.mutex.Unlock()
		if err := checkEqual("resourceVersion", agent.GetResourceVersion(), seen); err != nil {
			return err
		}
	}
	return nil
}

func (w *rolloutWatch) observe(kind watch.EventType, object client.Object) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.finished {
		return
	}
	w.instants++
	available := 0
	switch object := object.(type) {
	case *corev1.Pod:
		w.observePod(kind, object)
		for _, pod := range w.pods {
			if isServing(pod) {
				available++
			}
		}
	case *appsv1.Deployment:
		available = int(object.Status.AvailableReplicas)
	case *v1alpha1.Agent:
		available = int(object.Status.AvailableReplicas)
		w.versions[object.Name] = object.ResourceVersion
		w.observeConditions(object)
	case *discoveryv1.EndpointSlice:
		for _, endpoint := range object.Endpoints {
			if ptr.Deref(endpoint.Conditions.Ready, false) {
				available++
			}
		}
	}
	if available < w.wanted {
		w.violations = append(w.violations, fmt.Sprintf("%T %s %s: %d of %d available", object, object.GetName(), object.GetResourceVersion(), available, w.wanted))
	}
}

func (w *rolloutWatch) observePod(kind watch.EventType, pod *corev1.Pod) {
	if kind == watch.Deleted {
		delete(w.pods, pod.Name)
		return
	}
	w.pods[pod.Name] = pod
	switch {
	case w.old[pod.Name]:
	case isServing(pod):
		w.ready[pod.Name] = true
	default:
		w.unready[pod.Name] = true
	}
}

// observeConditions notes what is new of an Agent's conditions. One that is absent has a step of its own.
func (w *rolloutWatch) observeConditions(agent *v1alpha1.Agent) {
	for _, kind := range []string{v1alpha1.ConditionAvailable, v1alpha1.ConditionReady, v1alpha1.ConditionHighlyAvailable, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		c := condition(agent, kind)
		step := strings.TrimSpace(fmt.Sprintf("%s %s", c.Status, c.Reason))
		w.conditionSteps[kind] = appendStep(w.conditionSteps[kind], step)
		if kind == v1alpha1.ConditionReady {
			if c.Reason == v1alpha1.ReasonApplyFailed {
				step += ": " + c.Message // unexpected
			}
			w.readiness[agent.Name] = appendStep(w.readiness[agent.Name], step)
		}
	}
}

// appendStep adds a step that is not where one stands already.
func appendStep(steps []string, step string) []string {
	if len(steps) > 0 && steps[len(steps)-1] == step {
		return steps
	}
	return append(steps, step)
}

// Steps of an Agent's conditions.
const (
	stepAbsent      = ""
	stepAvailable   = "True ReplicasAvailable"
	stepUnavailable = "False NoReplicasAvailable"
	stepPending     = "Unknown Pending"
	stepRolling     = "False RolloutInProgress"
	stepComplete    = "True RolloutComplete"
	stepMet         = "True RequirementsMet"
	stepMissing     = "False MissingRequirements"
	stepReconciling = "True RolloutInProgress"
)

// requireSteps is for a change that is rolled out without anything going wrong: Ready goes from where it began to rolling and to
// complete, and no condition flaps in between.
func (w *rolloutWatch) requireSteps(t *testing.T, want map[string][]string) {
	t.Helper()
	w.mutex.Lock()
	defer w.mutex.Unlock()
	want[v1alpha1.ConditionReconciling] = []string{stepAbsent, stepReconciling, stepAbsent}
	want[v1alpha1.ConditionStalled] = []string{stepAbsent}
	require.Equal(t, want, w.conditionSteps)
}

// isServing reports whether a pod gets traffic: it is ready and not on its way out.
func isServing(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// countEvents counts the Events about an object, including repetitions in a series.
func countEvents(s *fixture, name string) int {
	s.Helper()
	count := 0
	for _, object := range s.list(&eventsv1.EventList{}) {
		event := object.(*eventsv1.Event)
		if event.Regarding.Kind != v1alpha1.AgentKind || event.Regarding.Name != name {
			continue
		}
		count++
		if event.Series != nil {
			count += int(event.Series.Count) - 1
		}
	}
	return count
}

func TestARolloutNeverFallsBelowTheWantedCount(t *testing.T) {
	t.Parallel()
	for _, wanted := range []int{1, 3, 4, 10} {
		t.Run(fmt.Sprintf("%d replicas", wanted), func(t *testing.T) {
			t.Parallel()
			s := newFixture(t)
			s.create("a", highlyAvailable, replicas(int32(wanted)), simulate("ready-after", "1s"))
			s.waitReady("a")
			s.eventually("the start of the rollout has an Event", waitTimeout, func() error { return checkEqual("events", 1, countEvents(s, "a")) })
			placed := stepMissing
			if wanted >= 3 {
				placed = stepMet
			}

			w, done := watchRollout(s, wanted)
			s.setImage("a", "registry.example/agent:v2")
			require.Equal(t, "registry.example/agent:v2", s.waitReady("a").Status.Image)
			s.eventually("only new pods are left", waitTimeout, func() error { return w.checkPodsReplaced() })
			done()

			require.Empty(t, w.violations)
			w.requireSteps(t, map[string][]string{
				v1alpha1.ConditionAvailable:       {stepAvailable},
				v1alpha1.ConditionReady:           {stepComplete, stepRolling, stepComplete},
				v1alpha1.ConditionHighlyAvailable: {placed},
			})
			require.Len(t, w.unready, wanted, "new pods seen before they were ready: without them, the watch proves nothing")
			s.eventually("the rollout has an Event for its start and one for its end", waitTimeout, func() error { return checkEqual("events", 3, countEvents(s, "a")) })
			s.note("%d instants, never fewer than %d", w.instants, wanted)
		})
	}
}

func TestNoConditionFlapsWhileAnAgentIsMadeAndScaled(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	w, done := watchRollout(s, 0)
	s.create("a", highlyAvailable, simulate("ready-after", "1s"))
	s.waitReady("a")
	done()
	w.requireSteps(t, map[string][]string{
		v1alpha1.ConditionAvailable:       {stepAbsent, stepUnavailable, stepAvailable},
		v1alpha1.ConditionReady:           {stepPending, stepRolling, stepComplete},
		v1alpha1.ConditionHighlyAvailable: {stepAbsent, stepMissing, stepMet},
	})
	for _, count := range []int{5, 3} {
		w, done := watchRollout(s, 3)
		s.kubectl("scale", "agent", "a", fmt.Sprintf("--replicas=%d", count))
		s.waitReady("a")
		s.consistently("it is over", func() error {
			return checkEqual("available", count, read(s, "a", &v1alpha1.Agent{}).Status.AvailableReplicas)
		})
		done()
		require.Empty(t, w.violations)
		w.requireSteps(t, map[string][]string{
			v1alpha1.ConditionAvailable:       {stepAvailable},
			v1alpha1.ConditionReady:           {stepComplete, stepRolling, stepComplete},
			v1alpha1.ConditionHighlyAvailable: {stepMet},
		})
	}
}

// checkPodsReplaced reports which pods the rollout has still to replace.
func (w *rolloutWatch) checkPodsReplaced() error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if len(w.pods) != w.wanted || len(w.ready) != w.wanted {
		return fmt.Errorf("%d pods, %d new ones ready", len(w.pods), len(w.ready))
	}
	return nil
}

// checkEndpoints reports how many ready endpoints a Service has, if it is not this many.
func checkEndpoints(s *fixture, name string, want int) error {
	have := 0
	for _, slice := range s.list(&discoveryv1.EndpointSliceList{}, client.MatchingLabels{discoveryv1.LabelServiceName: name}) {
		for _, endpoint := range slice.(*discoveryv1.EndpointSlice).Endpoints {
			if ptr.Deref(endpoint.Conditions.Ready, false) {
				have++
			}
		}
	}
	if have != want {
		return fmt.Errorf("%d of %d", have, want)
	}
	return nil
}

func TestARolloutRestartIsNotUndone(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	s.create("a", replicas(2))
	s.waitReady("a")
	before := uids(s, &corev1.PodList{})
	s.kubectl("rollout", "restart", "deployment/a")
	s.kubectl("rollout", "status", "deployment/a", "--timeout=90s")
	s.waitReady("a")
	restarted := read(s, "a", &appsv1.Deployment{}).Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"]
	require.NotEmpty(t, restarted)
	s.eventually("every pod is new", waitTimeout, func() error { return checkDisjoint(before, uids(s, &corev1.PodList{})) })

	s.setImage("a", "registry.example/agent:v2")
	s.waitReady("a")
	template := read(s, "a", &appsv1.Deployment{}).Spec.Template
	require.Equal(t, "registry.example/agent:v2", template.Spec.Containers[0].Image)
	require.Equal(t, restarted, template.Annotations["kubectl.kubernetes.io/restartedAt"], "a later roll keeps it")
}
