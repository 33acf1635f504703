package cluster_test

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// ailment is one way in which an Agent comes not to be ready, and gets well again.
type ailment struct {
	name  string
	agent []change
	// before happens before the Agent is made, cause afterwards, and cure when the ailment has been told; all may be nil.
	before, cause, cure func(*scene)
	// says is the message of Ready, whole; * stands for any text.
	says string
	// stalls: no progress without a change; the Agent is Reconciling otherwise.
	stalls bool
	// asks: the cause is told in Events only, and the operator has to ask for them.
	asks bool
	// serves: replicas answer all the while.
	serves bool
	// within is how soon the cure must help; a minute unless said otherwise.
	within time.Duration
}

// trying is how long it may take until refused pods are tried again: the ReplicaSet controller doubles its pause with every try,
// and nothing tells it that the obstacle is gone.
const trying = 3 * time.Minute

// ailments are all reasons of Ready=False, each with the ways in which a real control plane brings it about.
func ailments() map[string][]ailment {
	return map[string][]ailment{
		v1alpha1.ReasonNameConflict:             {nameConflict()},
		v1alpha1.ReasonPolicyViolation:          policyViolations(),
		v1alpha1.ReasonQuotaExceeded:            exceededQuotas(),
		v1alpha1.ReasonApplyFailed:              {refusedDeployment()},
		v1alpha1.ReasonConfigMissing:            missingConfiguration(),
		v1alpha1.ReasonContainerConfigError:     wrongConfiguration(),
		v1alpha1.ReasonImagePullFailed:          missingImages(),
		v1alpha1.ReasonOOMKilled:                memoryShortage(),
		v1alpha1.ReasonCrashLooping:             crashes(),
		v1alpha1.ReasonUnschedulable:            {noNode()},
		v1alpha1.ReasonProbeFailing:             failingProbes(),
		v1alpha1.ReasonProgressDeadlineExceeded: {noProgress()},
		v1alpha1.ReasonRolloutInProgress:        {slowStart()},
		v1alpha1.ReasonReplicasUnavailable:      {lostReplica()},
	}
}

// elsewhere are the tests of what does not fit into a row.
var elsewhere = map[string]func(*testing.T){
	v1alpha1.ReasonInvalidSpec: TestASpecStoredUnderOlderRulesIsToldAndHealsWithAnother,
}

func TestEveryReasonOfReadyIsSetWithItsCauseAndClearedWithoutIt(t *testing.T) {
	t.Parallel()
	for reason, ways := range ailments() {
		for _, way := range ways {
			t.Run(reason+" "+way.name, func(t *testing.T) {
				t.Parallel()
				way.run(newScene(t), reason)
			})
		}
	}
}

// The reasons are those that conditions.go declares: a new one needs a row here.
func TestEveryReasonOfReadyFalseHasAWayToComeAbout(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), fromRoot("operator/api/v1alpha1/conditions.go"), nil, parser.ParseComments)
	require.NoError(t, err)
	var declared []string
	ast.Inspect(file, func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok && strings.Contains(spec.Doc.Text(), " is Ready=False") {
			reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			declared = append(declared, reason)
		}
		return true
	})
	var covered []string
	for reason, ways := range ailments() {
		require.NotEmpty(t, ways, reason)
		covered = append(covered, reason)
	}
	for reason, test := range elsewhere {
		require.NotNil(t, test)
		covered = append(covered, reason)
	}
	require.Len(t, declared, 15, "agent-api: the reasons of Ready=False")
	require.ElementsMatch(t, declared, covered)
}

func (w ailment) run(s *scene, reason string) {
	s.Helper()
	perform(s, w.before)
	reasons := followReasons(s)
	s.create("a", w.agent...)
	perform(s, w.cause)
	began := time.Now()
	told := s.awaitAgent("a", "Ready is False for "+reason+": "+w.says, patience, func(a *v1alpha1.Agent) bool { return w.isTold(a, reason) })
	s.note("told after %.1fs", time.Since(began).Seconds())
	w.requireProgress(s, told)
	s.eventually("an event says so", patience, func() error { return s.said("a", reason, "", 1) })
	s.stays("it is told all the while", func() error {
		if now := read(s, "a", &v1alpha1.Agent{}); condition(now, v1alpha1.ConditionReady).Reason != reason {
			return fmt.Errorf("%+v", condition(now, v1alpha1.ConditionReady))
		}
		return nil
	})

	began = time.Now()
	perform(s, w.cure)
	healed := s.awaitAgent("a", "it is well again", cmp.Or(w.within, healing), isReady)
	s.note("well after %.1fs: %v", time.Since(began).Seconds(), reasons())
	require.Empty(s, condition(healed, v1alpha1.ConditionStalled))
	require.Empty(s, condition(healed, v1alpha1.ConditionReconciling))
	w.requireQuiet(s, reason, reasons)
}

func perform(s *scene, step func(*scene)) {
	s.Helper()
	if step != nil {
		step(s)
	}
}

// isTold also looks at Available: whether anyone answers does not depend on why not all do.
func (w ailment) isTold(agent *v1alpha1.Agent, reason string) bool {
	ready, answers := condition(agent, v1alpha1.ConditionReady), condition(agent, v1alpha1.ConditionAvailable).Status == metav1.ConditionTrue
	return ready.Status == metav1.ConditionFalse && ready.Reason == reason && matches(w.says, ready.Message) && answers == w.serves
}

// matches compares a whole text with one in which * stands for anything.
func matches(pattern, text string) bool {
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$").MatchString(text)
}

func (w ailment) requireProgress(s *scene, told *v1alpha1.Agent) {
	s.Helper()
	kinds := []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled}
	if w.stalls {
		slices.Reverse(kinds)
	}
	require.Equal(s, metav1.ConditionTrue, condition(told, kinds[0]).Status, kinds[0])
	require.Empty(s, condition(told, kinds[1]))
}

// requireQuiet is about the whole time: the reason was there once and told once, and nothing else was found to be wrong.
func (w ailment) requireQuiet(s *scene, reason string, reasons func() []string) {
	s.Helper()
	s.eventually("the end is seen", patience, func() error {
		if all := reasons(); all[len(all)-1] != v1alpha1.ReasonRolloutComplete {
			return fmt.Errorf("%v", all)
		}
		return nil
	})
	times := 0
	for _, r := range reasons() {
		if r == reason {
			times++
		}
		usual := []string{reason, v1alpha1.ReasonPending, v1alpha1.ReasonRolloutInProgress, v1alpha1.ReasonRolloutComplete}
		require.Contains(s, usual, r, "%v", reasons())
	}
	if reason != v1alpha1.ReasonRolloutInProgress { // which also leads into every other and out of it
		require.Equal(s, 1, times, "%v", reasons())
		require.NoError(s, s.said("a", reason, "", 1))
	}
	for _, object := range s.list(&eventsv1.EventList{}) {
		if event := object.(*eventsv1.Event); event.Regarding.Kind == v1alpha1.AgentKind && event.Reason == reason {
			require.Equal(s, reason != v1alpha1.ReasonRolloutInProgress, event.Type == corev1.EventTypeWarning, "%s %s", event.Type, reason)
		}
	}
	require.Equal(s, w.asks, len(s.asked()) > 0, "Events are asked for where nothing else tells why: %v", s.asked())
	s.requireModest()
	for _, r := range s.requests() {
		require.False(s, r.Verb == "patch" && r.ObjectRef.Resource == "events", "the same event twice: %s", r)
	}
}

// asked are the operator's questions for Events in this namespace.
func (s *scene) asked() []request {
	s.Helper()
	return slices.DeleteFunc(s.requests(), func(r request) bool { return r.ObjectRef.Resource != "events" || r.Verb != "list" })
}

// requireModest is about what a question for Events costs the API server: it is about one pod, and no other comes for a minute.
func (s *scene) requireModest() {
	s.Helper()
	var last time.Time
	for _, r := range s.asked() {
		require.Regexp(s, `/namespaces/`+s.namespace+`/events\?fieldSelector=involvedObject\.uid%3D[-0-9a-f]{36}&limit=`, r.RequestURI)
		require.Greater(s, r.RequestReceivedTimestamp.Sub(last), time.Minute-time.Second, "of the one Agent here that is not well")
		last = r.RequestReceivedTimestamp
	}
}

func onContainer(change func(*corev1.Container)) change {
	return func(a *v1alpha1.Agent) { change(&a.Spec.Runtime.Spec.Container) }
}

func onRuntime(change func(*v1alpha1.RuntimeSpec)) change {
	return func(a *v1alpha1.Agent) { change(&a.Spec.Runtime.Spec) }
}

// --- what the kubelet and the scheduler say -----------------------------------------------------------------------------

// short is where the work stands when the only pod is not ready.
const short = "; 0 of 1 updated replicas available"

// withOthers adds an init container and a sidecar.
func withOthers(a *v1alpha1.Agent) {
	a.Spec.Runtime.Spec.InitContainers = []corev1.Container{{Name: "fetch", Image: "registry.example/fetch:v1"}}
	a.Spec.Runtime.Spec.Sidecars = []corev1.Container{{Name: "proxy", Image: "registry.example/proxy:v1"}}
}

// initializing has the agent's own container wait for the others.
var initializing = container("agent", waits("PodInitializing", ""))

func missingConfiguration() []ailment {
	return []ailment{
		{
			name:  "a ServiceAccount",
			agent: []change{onRuntime(func(spec *v1alpha1.RuntimeSpec) { spec.ServiceAccountName = "worker" })},
			says:  `cannot create pods: pods "a-*" is forbidden: error looking up service account *: serviceaccount "worker" not found; 0 of 1 replicas updated, 0 available`,
			cure:  func(s *scene) { s.kubectl("create", "serviceaccount", "worker") }, within: trying,
		},
		{
			name: "a Secret of a variable", agent: []change{unwell},
			cause: container("agent", waits("CreateContainerConfigError", `secret "keys" not found`)),
			says:  `pod a-*: container agent: CreateContainerConfigError: secret "keys" not found` + short,
			cure:  recovered,
		},
		{
			name: "a key of a ConfigMap, in an init container", agent: []change{unwell, withOthers},
			cause: inTurn(initializing, container("fetch", waits("CreateContainerConfigError", "couldn't find key url in ConfigMap e2e/sources"))),
			says:  `pod a-*: container fetch: CreateContainerConfigError: couldn't find key url in ConfigMap e2e/sources` + short,
			cure:  recovered,
		},
		{
			name: "a Secret of a volume", agent: []change{unwell}, asks: true,
			cause: inTurn(
				tells("", "FailedMount", `MountVolume.SetUp failed for volume "keys" : secret "keys" not found`),
				container("agent", waits("ContainerCreating", "")),
			),
			says: `pod a-*: MountVolume.SetUp failed for volume "keys" : secret "keys" not found` + short,
			cure: recovered,
		},
	}
}

func wrongConfiguration() []ailment {
	return []ailment{
		{
			name: "an image that runs as root", agent: []change{unwell},
			cause: container("agent", waits("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")),
			says: "pod a-*: container agent: CreateContainerConfigError: container has runAsNonRoot and image will run as root " +
				"(the image runs as root: set securityContext.runAsUser, or build the image with a numeric USER)" + short,
			cure: recovered,
		},
		{
			name: "a program that is not there", agent: []change{unwell},
			cause: container("agent", waits("RunContainerError", `exec: "serve": executable file not found in $PATH`)),
			says:  `pod a-*: container agent: RunContainerError: exec: "serve": executable file not found in $PATH` + short,
			cure:  recovered,
		},
	}
}

func missingImages() []ailment {
	return []ailment{
		{
			name: "of the agent", agent: []change{unwell},
			cause: container("agent", waits("ImagePullBackOff", `Back-off pulling image "registry.example/agent:v1"`)),
			says:  `pod a-*: container agent: ImagePullBackOff: Back-off pulling image "registry.example/agent:v1"` + short,
			cure:  recovered,
		},
		{
			name: "of a sidecar", agent: []change{unwell, withOthers},
			cause: inTurn(initializing, container("proxy", waits("ErrImagePull", "manifest unknown"))),
			says:  "pod a-*: container proxy: ErrImagePull: manifest unknown" + short,
			cure:  recovered,
		},
		{
			name: "in a rollout, beside replicas that answer", agent: []change{replicas(2)}, serves: true,
			cause: func(s *scene) {
				s.settled("a")
				s.patch("a", `[{"op":"add","path":"/spec/runtime/spec/podMetadata","value":{"annotations":{"simulation/never-ready":"true"}}}]`)
				onNew(s, waits("ImagePullBackOff", "manifest unknown"))
			},
			says: "pod a-*: container agent: ImagePullBackOff: manifest unknown; 1 of 2 replicas updated, 2 available",
			cure: func(s *scene) { s.patch("a", `[{"op":"remove","path":"/spec/runtime/spec/podMetadata"}]`) },
		},
	}
}

// onNew changes the container of the one pod that is not ready.
func onNew(s *scene, change func(*corev1.ContainerStatus)) {
	s.Helper()
	s.eventually("a new pod runs", patience, func() error {
		for _, pod := range s.started() {
			if !isServing(pod) {
				s.write(pod.Name, func(pod *corev1.Pod) { change(&pod.Status.ContainerStatuses[0]) })
				return nil
			}
		}
		return fmt.Errorf("all are ready")
	})
}

func memoryShortage() []ailment {
	const fix = " (the container exceeded its memory limit: raise resources.limits.memory)"
	return []ailment{
		{
			name: "waiting for the next start", agent: []change{unwell},
			cause: container("agent", crashed(137, "OOMKilled", "")),
			says:  "pod a-*: container agent: OOMKilled, exit code 137" + fix + short,
			cure:  recovered,
		},
		{
			name: "between two starts of a sidecar", agent: []change{unwell, withOthers},
			cause: container("proxy", func(status *corev1.ContainerStatus) {
				crashed(137, "OOMKilled", "")(status)
				runsSince(0)(status)
			}),
			says: "pod a-*: container proxy: OOMKilled, exit code 137" + fix + short,
			cure: recovered,
		},
	}
}

func crashes() []ailment {
	return []ailment{
		{
			name: "of the agent", agent: []change{unwell},
			cause: container("agent", crashed(3, "Error", "no API key\n")),
			says:  "pod a-*: container agent: exited with code 3: no API key" + short,
			cure:  recovered,
		},
		{
			name: "of an init container", agent: []change{unwell, withOthers},
			cause: inTurn(initializing, container("fetch", crashed(1, "Error", ""))),
			says:  "pod a-*: container fetch: exited with code 1" + short,
			cure:  recovered,
		},
		{
			name: "which comes and goes in the pod's status, and not in the Agent's", agent: []change{unwell},
			cause: func(s *scene) {
				for range 3 {
					container("agent", crashed(3, "Error", ""))(s)
					s.awaitAgent("a", "it is told", patience, func(a *v1alpha1.Agent) bool {
						return condition(a, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonCrashLooping
					})
					container("agent", runsSince(0))(s)
				}
			},
			says: "pod a-*: container agent: exited with code 3" + short,
			cure: recovered,
		},
	}
}

func noNode() ailment {
	return ailment{
		name:  "on nodes of a kind that there is none of",
		agent: []change{onRuntime(func(spec *v1alpha1.RuntimeSpec) { spec.NodeSelector = map[string]string{"e2e/kind": "none"} })},
		says:  "pod a-*: 0/* nodes are available: *didn't match Pod's node affinity/selector*; 0 of 1 updated replicas *",
		cure:  func(s *scene) { s.patch("a", `[{"op":"remove","path":"/spec/runtime/spec/nodeSelector"}]`) },
	}
}

func failingProbes() []ailment {
	return []ailment{
		{
			name: "as an Event says", agent: []change{unwell}, asks: true,
			cause: tells("agent", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"),
			says:  "pod a-*: container agent: Readiness probe failed: HTTP probe failed with statuscode: 503" + short,
			cure:  recovered,
		},
		{
			name: "of a sidecar that the agent waits for", agent: []change{unwell, withOthers}, asks: true,
			cause: inTurn(initializing, tells("proxy", "Unhealthy", "Startup probe failed: connection refused")),
			says:  "pod a-*: container proxy: Startup probe failed: connection refused" + short,
			cure:  recovered,
		},
		{
			name: "as can be inferred", agent: []change{unwell}, asks: true,
			cause: container("agent", runsSince(time.Hour)),
			says:  "pod a-*: container agent runs but is not ready, so its readiness probe (GET /ready on port 8080) is probably failing (no Event confirms it)" + short,
			cure:  recovered,
		},
	}
}

// --- where the work stands ----------------------------------------------------------------------------------------------

func impatient(a *v1alpha1.Agent) { a.Spec.Runtime.Spec.ProgressDeadlineSeconds = ptr.To[int32](5) }

func noProgress() ailment {
	return ailment{
		name: "for longer than it may take", agent: []change{unwell, impatient}, stalls: true,
		says: "no progress for 5 s: 1 of 1 replicas updated, 0 available; old replicas keep running until the rollout proceeds",
		cure: recovered,
	}
}

func slowStart() ailment {
	return ailment{
		name: "while pods of a rollout take their time", agent: []change{simulated("ready-after", "10s")}, serves: true,
		cause: func(s *scene) { // of a new Agent, no Event says so
			s.settled("a")
			s.roll("a", "registry.example/agent:v2")
		},
		says: "*", // how far it has come by the first write, which is not repeated for every step
	}
}

func lostReplica() ailment {
	lost := ""
	return ailment{
		name: "of one that was there", agent: []change{replicas(2)}, serves: true,
		cause: func(s *scene) {
			s.settled("a")
			lost = s.started()[0].Name
			s.kubectl("annotate", "pod", lost, "simulation/never-ready=true")
		},
		says: "1 of 2 replicas available",
		cure: func(s *scene) { s.kubectl("annotate", "pod", lost, "simulation/never-ready-") },
	}
}

// The cause is what Ready names; that nothing moves any more is what Stalled says, whatever the cause.
func TestAStuckRolloutIsStalledAndItsCauseIsTold(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	const stuck = "no progress for 5 s: 1 of 1 replicas updated, 0 available; old replicas keep running until the rollout proceeds"
	s.create("a", unwell, impatient)
	s.awaitAgent("a", "it is stuck", patience, func(a *v1alpha1.Agent) bool {
		return condition(a, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonProgressDeadlineExceeded
	})
	container("agent", waits("ImagePullBackOff", "manifest unknown"))(s)
	told := s.awaitAgent("a", "the cause is told", patience, func(a *v1alpha1.Agent) bool {
		return condition(a, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonImagePullFailed
	})
	require.True(t, matches("pod a-*: container agent: ImagePullBackOff: manifest unknown; "+stuck, condition(told, v1alpha1.ConditionReady).Message))
	stalled := condition(told, v1alpha1.ConditionStalled)
	require.Equal(t, metav1.ConditionTrue, stalled.Status)
	require.Equal(t, v1alpha1.ReasonProgressDeadlineExceeded, stalled.Reason)
	require.Equal(t, stuck, stalled.Message)
	require.Empty(t, condition(told, v1alpha1.ConditionReconciling))
	for _, reason := range []string{v1alpha1.ReasonProgressDeadlineExceeded, v1alpha1.ReasonImagePullFailed} {
		s.eventually("an event says so", patience, func() error { return s.said("a", reason, "", 1) })
	}
	recovered(s)
	healed := s.awaitAgent("a", "it is well again", healing, isReady)
	require.Empty(t, condition(healed, v1alpha1.ConditionStalled))
	require.Empty(t, s.asked(), "an Agent whose pods say why costs no question")
}

// What keeps an Agent from being ready changes all the time, and a healthy one is rolled beside it: neither costs a question more.
func TestEventsAreAskedForOnceAMinuteAndNeverForAHealthyAgent(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.create("a", replicas(2), unwell)
	s.create("healthy", replicas(2))
	pods := s.started()
	last := slices.MaxFunc(pods, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) }).Name
	says := func(words string) func() error {
		return func() error {
			ready := condition(read(s, "a", &v1alpha1.Agent{}), v1alpha1.ConditionReady)
			if ready.Reason != v1alpha1.ReasonProbeFailing || !strings.Contains(ready.Message, words) {
				return fmt.Errorf("%+v", ready)
			}
			return nil
		}
	}
	tells("agent", "Unhealthy", "Readiness probe failed: first")(s)
	s.eventually("the probe is told", patience, says("first"))
	tells("agent", "Unhealthy", "Readiness probe failed: second")(s)
	image, changes := 1, 0
	s.eventually("what is new is told after a minute", patience, func() error {
		image, changes = image+1, changes+1
		s.roll("healthy", fmt.Sprintf("registry.example/agent:v%d", image))
		s.write(last, func(pod *corev1.Pod) { waits("ImagePullBackOff", "manifest unknown")(&pod.Status.ContainerStatuses[0]) })
		s.awaitAgent("a", "another cause is told", patience, func(a *v1alpha1.Agent) bool {
			return condition(a, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonImagePullFailed
		})
		s.write(last, func(pod *corev1.Pod) { runsSince(0)(&pod.Status.ContainerStatuses[0]) })
		s.eventually("it is gone", patience, says(""))
		s.settled("healthy")
		return says("second")()
	})
	s.requireModest()
	require.Len(t, s.asked(), 2, "once for each Event")
	for _, r := range s.asked() {
		require.Contains(t, r.RequestURI, string(slices.MinFunc(pods, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) }).UID))
	}
	s.note("2 questions, %d times another cause and another rollout", changes)
}
