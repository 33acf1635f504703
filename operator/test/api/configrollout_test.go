package apitest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agent"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/configrollout"
	"github.com/flokoa/flokoa/operator/internal/configwatch"
)

// quiet is how long a change settles in these tests.
const quiet = 200 * time.Millisecond

// fleet is an operator with config rollouts, and Agents that share a ConfigMap named config.
type fleet struct {
	bench
	agents []*v1alpha1.Agent
	// account reads what Agents reference; nil for the administrator.
	account *rest.Config
}

// newFleet returns a fleet of Agents whose first rollout is complete.
func newFleet(t *testing.T, names ...string) fleet {
	t.Helper()
	f := fleet{bench: newBench(t)}
	f.rollConfigs(t)
	f.writeConfig(t, "log-level", "info")
	f.add(t, names)
	return f
}

// add creates Agents that read the key log-level, and completes their first rollout.
func (f *fleet) add(t *testing.T, names []string, options ...agenttest.Option) {
	t.Helper()
	for _, name := range names {
		created := f.create(t, append(options, agenttest.Replicas(2), func(a *v1alpha1.Agent) { a.Name = name }, readsLogLevel(false))...)
		f.agents = append(f.agents, created)
		f.place(t, created)
		f.complete(t, name)
	}
	f.events.Events = make(chan string, 100)
}

// readsLogLevel has the container read the key log-level. It has no port: the control plane has addresses for few Services.
func readsLogLevel(optional bool) agenttest.Option {
	return agenttest.Container(func(c *corev1.Container) {
		c.Ports = nil
		c.Env = append(c.Env, corev1.EnvVar{Name: "LOG_LEVEL", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "config"}, Key: "log-level", Optional: &optional}}})
	})
}

// rollConfigs turns config rollouts on, as an operator that has just started.
func (f *fleet) rollConfigs(t *testing.T, secrets ...string) {
	t.Helper()
	settings := agent.ConfigRollouts{
		Limits: configrollout.Limits{PerNamespace: 2, Total: 3}, Settle: configwatch.Settle{Quiet: quiet, AtMost: time.Second},
	}
	for _, name := range secrets {
		settings.Secrets = append(settings.Secrets, configwatch.Key{Namespace: f.namespace, Object: configrollout.Object{Kind: configrollout.Secret, Name: name}})
	}
	store := f.RollConfigs(settings, func() []types.NamespacedName {
		agents := &v1alpha1.AgentList{}
		require.NoError(t, api.List(t.Context(), agents, client.InNamespace(f.namespace)))
		var names []types.NamespacedName
		for i := range agents.Items {
			names = append(names, client.ObjectKeyFromObject(&agents.Items[i]))
		}
		return names
	}, func([]types.NamespacedName, time.Duration) {})
	models, err := f.caches.GetInformer(t.Context(), &v1alpha1.Model{})
	require.NoError(t, err)
	_, err = models.AddEventHandler(agent.ModelEvents(store))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	account := config
	if f.account != nil {
		account = f.account
	}
	go func() { store.Watch(ctx, metadata.NewForConfigOrDie(account), []string{f.namespace}); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
}

// restart returns the fleet with an operator that knows nothing yet.
func (f *fleet) restart(t *testing.T, secrets ...string) {
	t.Helper()
	f.bench = newBenchIn(t, f.namespace)
	f.rollConfigs(t, secrets...)
}

// writeConfig writes one key of the ConfigMap, and leaves the others.
func (f *fleet) writeConfig(t *testing.T, key, value string) {
	t.Helper()
	f.write(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "config"}}, fmt.Sprintf(`{"data":{%q:%q}}`, key, value))
}

func (f *fleet) write(t *testing.T, object client.Object, patch string) {
	t.Helper()
	require.NoError(t, client.IgnoreAlreadyExists(api.Create(t.Context(), object.DeepCopyObject().(client.Object))))
	require.NoError(t, api.Patch(t.Context(), object, client.RawPatch(types.MergePatchType, []byte(patch))))
}

// passes waits until a change has settled, and reconciles all Agents in order, again and again. All of them see a change in the same round,
// as in the operator, which enqueues them together.
func (f *fleet) passes(t *testing.T) {
	t.Helper()
	<-time.After(3 * quiet)
	pause := time.NewTicker(quiet / 4)
	defer pause.Stop()
	for range 8 {
		for _, of := range f.agents {
			_, err := f.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(of)})
			require.NoError(t, err)
		}
		<-pause.C
	}
}

func (f *fleet) deployment(t *testing.T, name string) *appsv1.Deployment {
	t.Helper()
	live := &appsv1.Deployment{}
	require.NoError(t, api.Get(t.Context(), client.ObjectKey{Namespace: f.namespace, Name: name}, live))
	return live
}

// baseline returns what the pods of an Agent took, encoded.
func (f *fleet) baseline(t *testing.T, name string) string {
	t.Helper()
	return f.deployment(t, name).Annotations[v1alpha1.AnnotationConfigBaseline]
}

// revisions returns the revision of each Agent's pods, empty if no configuration ever rolled them.
func (f *fleet) revisions(t *testing.T) map[string]string {
	t.Helper()
	revisions := map[string]string{}
	for _, of := range f.agents {
		revisions[of.Name] = f.deployment(t, of.Name).Spec.Template.Annotations[v1alpha1.AnnotationConfigRevision]
	}
	return revisions
}

// rolled returns the names of the Agents whose pods have another revision than before, in order.
func (f *fleet) rolled(t *testing.T, before map[string]string) string {
	t.Helper()
	var names []string
	for name, revision := range f.revisions(t) {
		if revision != before[name] {
			names = append(names, name)
		}
	}
	return sorted(names)
}

func sorted(names []string) string {
	for i := range names {
		for j := i; j > 0 && names[j] < names[j-1]; j-- {
			names[j], names[j-1] = names[j-1], names[j]
		}
	}
	return strings.Join(names, " ")
}

// finish writes the status of a rollout as the Deployment controller does.
func (f *fleet) finish(t *testing.T, name, reason string, updated, available int32) {
	t.Helper()
	live := f.deployment(t, name)
	live.Status = appsv1.DeploymentStatus{
		ObservedGeneration: live.Generation, Replicas: max(*live.Spec.Replicas, available), UpdatedReplicas: updated, ReadyReplicas: available, AvailableReplicas: available,
		Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: reason, LastUpdateTime: metav1.Now()}},
	}
	require.NoError(t, api.Status().Update(t.Context(), live))
}

func (f *fleet) complete(t *testing.T, name string) {
	t.Helper()
	f.finish(t, name, "NewReplicaSetAvailable", 2, 2)
}
func (f *fleet) stuck(t *testing.T, name string) {
	t.Helper()
	f.finish(t, name, "ProgressDeadlineExceeded", 1, 2)
}

// outdated returns the condition ConfigOutdated of an Agent, empty if it has none.
func (f *fleet) outdated(t *testing.T, name string) metav1.Condition {
	t.Helper()
	live := &v1alpha1.Agent{}
	require.NoError(t, api.Get(t.Context(), client.ObjectKey{Namespace: f.namespace, Name: name}, live))
	return ptr.Deref(meta.FindStatusCondition(live.Status.Conditions, v1alpha1.ConditionConfigOutdated), metav1.Condition{})
}

// requireReady requires that an Agent is ready, and has been since its first rollout.
func (f *fleet) requireReady(t *testing.T, name string) {
	t.Helper()
	live := &v1alpha1.Agent{}
	require.NoError(t, api.Get(t.Context(), client.ObjectKey{Namespace: f.namespace, Name: name}, live))
	require.Equal(t, v1alpha1.ReasonRolloutComplete, ready(live).Reason)
	for _, event := range eventsOf(*f) {
		require.NotContains(t, event, fmt.Sprintf("waiting for the Deployment controller to observe Deployment %q", name), "an annotation is no rollout")
	}
}

// requireQuiet requires that further passes write nothing and read nothing.
func (f *fleet) requireQuiet(t *testing.T) {
	t.Helper()
	f.passes(t)
	f.writes.Store(0)
	f.reads.Store(0)
	f.passes(t)
	require.Zero(t, f.writes.Load(), "nothing is written at rest")
	require.Zero(t, f.reads.Load(), "nothing is read at rest")
}

func TestAChangedConfigMapRollsOneAgentFirst(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b", "c", "d")
	f.requireQuiet(t)
	before := f.revisions(t)
	require.Equal(t, map[string]string{"a": "", "b": "", "c": "", "d": ""}, before)
	eventsOf(f)

	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before))
	require.Equal(t, []string{"Normal ConfigChanged ConfigMap config changed: log-level: rolling the pods"}, eventsOf(f))
	require.Equal(t, v1alpha1.ReasonConfigRolloutPending, f.outdated(t, "b").Reason)
	require.Equal(t, `ConfigMap config changed: log-level: the pods roll when Agent "a", which rolls first, is ready`, f.outdated(t, "b").Message)
	require.Empty(t, f.outdated(t, "a"))

	f.complete(t, "a")
	f.passes(t)
	require.Contains(t, eventsOf(f)[0], "Normal RolloutComplete", "a config rollout has two Events, as any other rollout")
	require.Equal(t, "a b c", f.rolled(t, before), "two at a time in a namespace")
	require.Equal(t, v1alpha1.ReasonConfigRolloutPending, f.outdated(t, "d").Reason)
	f.complete(t, "c")
	f.passes(t)
	require.Equal(t, "a b c d", f.rolled(t, before))
	f.complete(t, "b")
	f.complete(t, "d")
	f.passes(t)
	for _, of := range f.agents {
		require.Empty(t, f.outdated(t, of.Name))
	}
	after := f.revisions(t)
	f.requireQuiet(t)
	require.Equal(t, after, f.revisions(t), "each Agent rolls once")
}

// unreachableStatus fails every write of a status while it is true.
type unreachableStatus struct {
	http.RoundTripper
	fails *atomic.Bool
}

func (u unreachableStatus) RoundTrip(request *http.Request) (*http.Response, error) {
	if u.fails.Load() && request.Method == http.MethodPut && strings.HasSuffix(request.URL.Path, "/status") {
		return nil, errors.New("no connection")
	}
	return u.RoundTripper.RoundTrip(request)
}

func TestAConfigRolloutIsReportedOnceTheStatusIsWritten(t *testing.T) {
	t.Parallel()
	fails := &atomic.Bool{}
	account := rest.CopyConfig(config)
	account.Wrap(func(next http.RoundTripper) http.RoundTripper { return unreachableStatus{next, fails} })
	f := fleet{bench: newBenchAs(t, newNamespace(t), account)}
	f.rollConfigs(t)
	f.writeConfig(t, "log-level", "info")
	f.add(t, []string{"a"})
	f.passes(t)
	eventsOf(f)
	before := f.revisions(t)
	fails.Store(true)
	f.writeConfig(t, "log-level", "debug")
	require.Eventually(t, func() bool {
		_, err := f.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(f.agents[0])})
		return err != nil
	}, 10*time.Second, quiet/4)
	require.Equal(t, "a", f.rolled(t, before))
	require.Empty(t, eventsOf(f))
	fails.Store(false)
	f.passes(t)
	require.Equal(t, []string{"Normal ConfigChanged ConfigMap config changed: log-level: rolling the pods"}, eventsOf(f))
}

func eventsOf(f fleet) []string {
	var all []string
	for {
		select {
		case event := <-f.events.Events:
			all = append(all, event)
		default:
			return all
		}
	}
}

func TestARestartNeitherLosesNorRepeatsAWave(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b", "c", "d", "e")
	before := f.revisions(t)
	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	f.complete(t, "a")
	f.passes(t)
	require.Equal(t, "a b c", f.rolled(t, before))
	for range 3 {
		f.restart(t)
		f.passes(t)
		require.Equal(t, "a b c", f.rolled(t, before), "those that roll hold their slots")
	}
	revisions := f.revisions(t)
	f.restart(t)
	f.complete(t, "b")
	f.complete(t, "c")
	f.passes(t)
	f.passes(t) // the operator compares those that it has seen with all Agents once per second
	require.Equal(t, "d e", f.rolled(t, revisions), "the rest, and nobody again")
}

func TestAnUpgradeWritesNothingAndLosesNoChange(t *testing.T) {
	t.Parallel()
	f := fleet{bench: newBench(t)} // an operator without config rollouts
	f.writeConfig(t, "log-level", "info")
	f.add(t, []string{"a", "b"})
	f.passes(t)
	require.NotContains(t, f.deployment(t, "a").Annotations, v1alpha1.AnnotationConfigBaseline)
	f.restart(t)
	f.requireQuietFromTheStart(t)

	before := f.revisions(t)
	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before))
	require.Contains(t, f.deployment(t, "b").Annotations, v1alpha1.AnnotationConfigBaseline, "a change that waits survives a restart")
	f.requireReady(t, "b")
	f.restart(t)
	f.complete(t, "a")
	f.complete(t, "b") // the Deployment controller observes the annotation
	f.passes(t)
	require.Equal(t, "a b", f.rolled(t, before))
}

// requireQuietFromTheStart requires that the first passes after a start write nothing.
func (f *fleet) requireQuietFromTheStart(t *testing.T) {
	t.Helper()
	f.writes.Store(0)
	f.passes(t)
	require.Zero(t, f.writes.Load(), "an upgrade writes nothing")
}

func TestWhatChangesNoReferencedKeyRollsNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a")
	f.requireQuiet(t)
	for name, change := range map[string]func(){
		"labels":           func() { f.write(t, &corev1.ConfigMap{ObjectMeta: configName(f)}, `{"metadata":{"labels":{"x":"y"}}}`) },
		"an unrelated key": func() { f.writeConfig(t, "unrelated", "x") },
		"the same, re-created": func() {
			require.NoError(t, api.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: configName(f)}))
			f.writeConfig(t, "log-level", "info")
		},
	} {
		f.writes.Store(0)
		change()
		f.passes(t)
		require.Zero(t, f.writes.Load(), name)
	}
}

func configName(f fleet) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: f.namespace, Name: "config"}
}

func TestADeletedConfigMapRollsNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a")
	before := f.revisions(t)
	require.NoError(t, api.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: configName(f)}))
	f.passes(t)
	require.Empty(t, f.rolled(t, before))
	require.Equal(t, v1alpha1.ReasonConfigMissing, f.outdated(t, "a").Reason)
	require.Contains(t, f.outdated(t, "a").Message, "ConfigMap config does not exist")

	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before), "it comes back with another value")
	require.Empty(t, f.outdated(t, "a"))
}

func TestARequiredConfigMapThatAppearsRollsNothing(t *testing.T) {
	t.Parallel()
	f := fleet{bench: newBench(t)}
	f.rollConfigs(t)
	f.add(t, []string{"a"})
	before := f.revisions(t)
	f.writeConfig(t, "log-level", "info")
	f.passes(t)
	require.Empty(t, f.rolled(t, before), "pods that waited for it start by themselves")
	f.requireQuiet(t)
	f.requireReady(t, "a")
	f.complete(t, "a") // the Deployment controller observes the annotation
	f.restart(t)
	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before), "what they took is known after a restart")
}

func TestAnOptionalConfigMapThatAppearsRollsThePods(t *testing.T) {
	t.Parallel()
	f := fleet{bench: newBench(t)}
	f.rollConfigs(t)
	created := f.create(t, readsLogLevel(true), agenttest.Replicas(2))
	f.agents = append(f.agents, created)
	f.place(t, created)
	f.complete(t, "a")
	f.passes(t)
	before := f.revisions(t)
	f.writeConfig(t, "log-level", "info")
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before))
}

// requireHalted requires that Agent a took a bad value, and b and c wait.
func (f *fleet) requireHalted(t *testing.T, before map[string]string) {
	t.Helper()
	require.Equal(t, "a", f.rolled(t, before), "the others are untouched")
	for _, name := range []string{"b", "c"} {
		require.Equal(t, v1alpha1.ReasonConfigRolloutHalted, f.outdated(t, name).Reason)
		require.Contains(t, f.outdated(t, name).Message, `Agent "a" rolled and did not become ready`)
	}
	require.Contains(t, strings.Join(eventsOf(*f), "\n"), "Warning ConfigRolloutHalted this Agent did not become ready with the changed ConfigMap config, so other Agents that read it do not roll (2)")
}

func TestAHaltedWaveIsHaltedAfterARestart(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b", "c")
	before := f.revisions(t)
	f.writeConfig(t, "log-level", "wrong")
	f.passes(t)
	f.stuck(t, "a")
	f.restart(t)
	f.passes(t)
	f.passes(t) // the operator compares those that it has seen with all Agents once per second
	f.requireHalted(t, before)
	restarted := f.deployment(t, "a")
	restarted.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] = "now"
	require.NoError(t, api.Update(t.Context(), restarted, client.FieldOwner("kubectl-rollout")))
	f.passes(t)
	f.stuck(t, "a")
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before), "a restart is no proof that the change works")
	require.Equal(t, v1alpha1.ReasonConfigRolloutHalted, f.outdated(t, "b").Reason)
	f.complete(t, "a")
	f.passes(t)
	require.Equal(t, "a b c", f.rolled(t, before), "it goes on when the Agent recovers")
}

func (f *fleet) patchAgent(t *testing.T, name, patch string) {
	t.Helper()
	of := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}}
	require.NoError(t, api.Patch(t.Context(), of, client.RawPatch(types.MergePatchType, []byte(patch))))
}

func (f *fleet) suspend(t *testing.T, name string, suspend bool) {
	t.Helper()
	f.patchAgent(t, name, fmt.Sprintf(`{"spec":{"suspend":%t}}`, suspend))
}

func TestAHaltOutlastsThePodsThatFailed(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(t *testing.T, f *fleet, before *appsv1.Deployment){
		"suspended and resumed": func(t *testing.T, f *fleet, _ *appsv1.Deployment) {
			t.Helper()
			f.suspend(t, "a", true)
			f.passes(t)
			f.finish(t, "a", "NewReplicaSetAvailable", 0, 0)
			f.passes(t)
			require.Equal(t, v1alpha1.ReasonConfigRolloutHalted, f.outdated(t, "b").Reason)
			f.suspend(t, "a", false)
			f.passes(t)
			f.finish(t, "a", "NewReplicaSetAvailable", 2, 0) // Kubernetes reports it as complete
		},
		"its Deployment is deleted": func(t *testing.T, f *fleet, _ *appsv1.Deployment) {
			t.Helper()
			require.NoError(t, api.Delete(t.Context(), f.deployment(t, "a")))
			f.passes(t)
			f.stuck(t, "a")
		},
		"kubectl rollout undo": func(t *testing.T, f *fleet, before *appsv1.Deployment) {
			t.Helper()
			undone := f.deployment(t, "a")
			undone.Annotations, undone.Spec.Template = before.Annotations, before.Spec.Template
			require.NoError(t, api.Update(t.Context(), undone, client.FieldOwner("kubectl")))
			f.passes(t)
			f.complete(t, "a")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, "a", "b", "c")
			before, deployment := f.revisions(t), f.deployment(t, "a")
			f.writeConfig(t, "log-level", "wrong")
			f.passes(t)
			f.stuck(t, "a")
			f.passes(t)
			f.requireHalted(t, before)
			act(t, &f, deployment)
			f.passes(t)
			for _, name := range []string{"b", "c"} {
				require.Equal(t, v1alpha1.ReasonConfigRolloutHalted, f.outdated(t, name).Reason, name)
				require.Equal(t, before[name], f.revisions(t)[name], name)
			}
			f.writeConfig(t, "log-level", "debug")
			f.passes(t)
			f.complete(t, "a")
			f.passes(t)
			require.Equal(t, "b c", strings.TrimPrefix(f.rolled(t, before), "a "), "the fix")
		})
	}
}

func TestABadValueHaltsTheWaveUntilItIsReverted(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b", "c")
	before := f.revisions(t)
	f.writeConfig(t, "log-level", "wrong")
	f.passes(t)
	f.stuck(t, "a")
	f.passes(t)
	f.requireHalted(t, before)
	stuck := f.revisions(t)
	f.writeConfig(t, "log-level", "info")
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, stuck), "reverted: only the Agent that took it rolls")
	f.complete(t, "a")
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before))
	for _, of := range f.agents {
		require.Empty(t, f.outdated(t, of.Name))
	}
}

func TestAnAgentsOwnChangeTakesTheConfigurationAlong(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b")
	before := f.revisions(t)
	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before))
	live := &v1alpha1.Agent{}
	require.NoError(t, api.Get(t.Context(), client.ObjectKey{Namespace: f.namespace, Name: "b"}, live))
	live.Spec.Runtime.Spec.Container.Image = "registry.example/agent:v2"
	require.NoError(t, api.Update(t.Context(), live))
	f.passes(t)
	f.complete(t, "a")
	f.complete(t, "b")
	generation := f.deployment(t, "b").Generation
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before))
	require.Equal(t, generation, f.deployment(t, "b").Generation, "one rollout for both")
	require.Empty(t, f.outdated(t, "b"))
}

// A person applies an Agent together with its ConfigMap, and Reloader annotates the pod template when the ConfigMap changes.
func TestARolloutTakesAChangeThatHasNotSettledAlong(t *testing.T) {
	t.Parallel()
	for name, roll := range map[string]func(f *fleet){
		"the Agent changes": func(f *fleet) {
			live := &v1alpha1.Agent{}
			require.NoError(t, api.Get(t.Context(), client.ObjectKey{Namespace: f.namespace, Name: "a"}, live))
			live.Spec.Runtime.Spec.Container.Image = "registry.example/agent:v2"
			require.NoError(t, api.Update(t.Context(), live))
		},
		"another tool rolls the pods": func(f *fleet) {
			live := f.deployment(t, "a")
			live.Spec.Template.Annotations = map[string]string{"reloader.stakater.com/last-reloaded-from": "config"}
			require.NoError(t, api.Update(t.Context(), live, client.FieldOwner("Reloader")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, "a")
			f.passes(t)
			before, baseline := f.revisions(t), f.baseline(t, "a")
			f.writeConfig(t, "log-level", "debug")
			<-time.After(quiet / 4) // the watch reports the change
			roll(&f)
			require.Eventually(t, func() bool {
				_, err := f.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(f.agents[0])})
				require.NoError(t, err)
				return f.baseline(t, "a") != baseline
			}, 10*time.Second, 10*time.Millisecond, "the rollout starts")
			f.complete(t, "a")
			rolled := f.deployment(t, "a").Spec.Template
			f.passes(t)
			f.complete(t, "a") // the Deployment controller observes an annotation
			f.passes(t)
			require.Equal(t, rolled, f.deployment(t, "a").Spec.Template, "one rollout for both")
			require.Empty(t, f.rolled(t, before))
			require.Empty(t, f.outdated(t, "a"))

			f.writeConfig(t, "log-level", "info")
			f.passes(t)
			require.Equal(t, "a", f.rolled(t, before), "the value is reverted")
		})
	}
}

func TestAScaledAgentStillWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b")
	before := f.revisions(t)
	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	live := &v1alpha1.Agent{}
	require.NoError(t, api.Get(t.Context(), client.ObjectKey{Namespace: f.namespace, Name: "b"}, live))
	live.Spec.Runtime.Spec.Replicas = ptr.To[int32](4)
	require.NoError(t, api.Update(t.Context(), live))
	f.passes(t)
	require.Equal(t, v1alpha1.ReasonConfigRolloutPending, f.outdated(t, "b").Reason, "a scaled Agent did not take the change")
	f.finish(t, "b", "NewReplicaSetAvailable", 4, 4)
	f.complete(t, "a")
	f.passes(t)
	require.Equal(t, "a b", f.rolled(t, before))
}

func TestOnNextRolloutWaitsForARestart(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.add(t, []string{"a"}, func(a *v1alpha1.Agent) { a.Spec.ConfigRollout = v1alpha1.ConfigRolloutOnNextRollout })
	before := f.revisions(t)
	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	require.Empty(t, f.rolled(t, before))
	require.Equal(t, v1alpha1.ReasonOnNextRollout, f.outdated(t, "a").Reason)

	restarted := f.deployment(t, "a")
	restarted.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "now"}
	require.NoError(t, api.Update(t.Context(), restarted, client.FieldOwner("kubectl-rollout")))
	f.passes(t)
	require.Empty(t, f.outdated(t, "a"), "kubectl rollout restart takes it along")
	require.Empty(t, f.rolled(t, before))
	require.Equal(t, "now", f.deployment(t, "a").Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"])
	f.requireQuiet(t)
}

func TestATemplateThatReplacesNoPodTakesNothingAlong(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.add(t, []string{"a"}, func(a *v1alpha1.Agent) { a.Spec.ConfigRollout = v1alpha1.ConfigRolloutOnNextRollout })
	before := f.revisions(t)
	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	template := f.deployment(t, "a").Spec.Template
	f.patchAgent(t, "a", `{"spec":{"runtime":{"spec":{"container":{"terminationMessagePath":"/dev/termination-log"}}}}}`)
	f.passes(t)
	f.complete(t, "a")
	f.passes(t)
	require.Equal(t, template, f.deployment(t, "a").Spec.Template, "it is the default")
	require.Equal(t, v1alpha1.ReasonOnNextRollout, f.outdated(t, "a").Reason)
	f.requireQuiet(t)
	f.patchAgent(t, "a", `{"spec":{"configRollout":"Automatic"}}`)
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before))
}

func TestABaselineThatSomebodyDamagesIsPutBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.add(t, []string{"a"}, func(a *v1alpha1.Agent) { a.Spec.ConfigRollout = v1alpha1.ConfigRolloutOnNextRollout })
	before := f.revisions(t)
	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	baseline := f.baseline(t, "a")
	damage := func(annotation string) {
		patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, v1alpha1.AnnotationConfigBaseline, annotation)
		require.NoError(t, api.Patch(t.Context(), f.deployment(t, "a"), client.RawPatch(types.MergePatchType, []byte(patch))))
	}
	for _, damaged := range []string{"null", `"garbage"`, `"null"`, `"{}"`} {
		damage(damaged)
		f.passes(t)
		f.complete(t, "a")
		require.Equal(t, baseline, f.baseline(t, "a"), damaged)
		require.Equal(t, v1alpha1.ReasonOnNextRollout, f.outdated(t, "a").Reason, damaged)
	}
	damage(`"garbage"`)
	f.complete(t, "a")
	f.restart(t)
	f.passes(t)
	_, ok := configrollout.Decode(f.baseline(t, "a"))
	require.True(t, ok, "garbage does not stay")
	f.complete(t, "a")
	f.requireQuiet(t)
	require.Empty(t, f.rolled(t, before))
}

func TestASuspendedAgentHoldsNoSlot(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b", "c")
	before := f.revisions(t)
	live := &v1alpha1.Agent{}
	require.NoError(t, api.Get(t.Context(), client.ObjectKey{Namespace: f.namespace, Name: "a"}, live))
	live.Spec.Suspend = true
	require.NoError(t, api.Update(t.Context(), live))
	f.passes(t)
	f.finish(t, "a", "NewReplicaSetAvailable", 0, 0)
	f.passes(t)
	eventsOf(f)
	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	require.Equal(t, "b", f.rolled(t, before), "b is the first whose pods roll")
	require.Len(t, eventsOf(f), 1, "no pod of a rolls")
	require.Empty(t, f.outdated(t, "a"), "its next pods take the change")
	f.suspend(t, "a", false)
	f.passes(t)
	f.complete(t, "a")
	f.complete(t, "b")
	f.passes(t)
	require.Equal(t, "b c", f.rolled(t, before), "they have")
}

// A child that the API server rejects says nothing about the pods: with it, an Agent is not ready, and serves.
func TestAnAgentWhosePodsAreAvailableTakesItsTurn(t *testing.T) {
	t.Parallel()
	f := fleet{bench: newBench(t)}
	f.rollConfigs(t)
	f.writeConfig(t, "log-level", "info")
	for _, name := range []string{"a", "b", "c", "d"} {
		require.NoError(t, api.Create(t.Context(), &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}}))
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		created := f.create(t, agenttest.Replicas(2), func(a *v1alpha1.Agent) { a.Name = name }, readsLogLevel(false))
		f.agents = append(f.agents, created)
	}
	f.tries(t)
	for _, of := range f.agents {
		f.complete(t, of.Name)
	}
	f.tries(t)
	live := &v1alpha1.Agent{}
	require.NoError(t, api.Get(t.Context(), client.ObjectKey{Namespace: f.namespace, Name: "a"}, live))
	require.Equal(t, v1alpha1.ReasonNameConflict, ready(live).Reason)

	before := f.revisions(t)
	f.writeConfig(t, "log-level", "debug")
	eventsOf(f)
	f.tries(t)
	require.Equal(t, "a", f.rolled(t, before))
	require.Contains(t, eventsOf(f), "Normal ConfigChanged ConfigMap config changed: log-level: rolling the pods")
	f.complete(t, "a")
	f.tries(t)
	require.Equal(t, "a b c", f.rolled(t, before), "they hold their slots")
}

// rejectedDeployment fails every write of one Deployment, as an admission policy does.
type rejectedDeployment struct {
	http.RoundTripper
	name  string
	fails *atomic.Bool
}

func (r rejectedDeployment) RoundTrip(request *http.Request) (*http.Response, error) {
	if r.fails.Load() && request.Method == http.MethodPatch && strings.HasSuffix(request.URL.Path, "/deployments/"+r.name) {
		return nil, errors.New("denied")
	}
	return r.RoundTripper.RoundTrip(request)
}

func TestAnAgentWhoseDeploymentIsRejectedHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	fails := &atomic.Bool{}
	account := rest.CopyConfig(config)
	account.Wrap(func(next http.RoundTripper) http.RoundTripper { return rejectedDeployment{next, "a", fails} })
	f := fleet{bench: newBenchAs(t, newNamespace(t), account)}
	f.rollConfigs(t)
	f.writeConfig(t, "log-level", "info")
	f.add(t, []string{"a", "b", "c", "d"})
	f.passes(t)
	before := f.revisions(t)
	fails.Store(true)
	f.writeConfig(t, "log-level", "debug")
	f.tries(t)
	require.Equal(t, "b", f.rolled(t, before))
	f.complete(t, "b")
	f.tries(t)
	require.Equal(t, "b c d", f.rolled(t, before))
	f.complete(t, "c")
	f.complete(t, "d")
	fails.Store(false)
	f.tries(t)
	require.Equal(t, "a b c d", f.rolled(t, before))
}

// tries is like passes, of Agents whose passes may fail.
func (f *fleet) tries(t *testing.T) {
	t.Helper()
	<-time.After(3 * quiet)
	pause := time.NewTicker(quiet / 4)
	defer pause.Stop()
	for range 8 {
		for _, of := range f.agents {
			_, _ = f.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(of)})
		}
		<-pause.C
	}
}

func TestNoAgentTakesAValueThatIsBeingReplaced(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b", "c", "d")
	before := f.revisions(t)
	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	f.complete(t, "a")
	f.passes(t)
	first := f.revisions(t)
	require.Equal(t, "a b c", f.rolled(t, before), "d waits for a slot")
	f.writeConfig(t, "log-level", "wrong")
	f.complete(t, "b")
	deadline := time.Now().Add(quiet * 3 / 4)
	for time.Now().Before(deadline) {
		f.reconcileAll(t)
		require.Empty(t, f.rolled(t, first), "the pods would start with what nobody has proven")
	}
	f.complete(t, "c")
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, first))
}

func (f *fleet) reconcileAll(t *testing.T) {
	t.Helper()
	for _, of := range f.agents {
		_, err := f.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(of)})
		require.NoError(t, err)
	}
}

func TestOthersWaitUntilTheFirstHasBeenAvailableForAWhile(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b")
	before := f.revisions(t)
	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	f.complete(t, "a")
	complete := time.Now()
	f.reconcileAll(t)
	f.reconcileAll(t)
	require.Equal(t, "a", f.rolled(t, before))
	for f.rolled(t, before) != "a b" {
		require.Less(t, time.Since(complete), 10*quiet)
		f.reconcileAll(t)
	}
	require.GreaterOrEqual(t, time.Since(complete), quiet)
}

// The cache holds only Deployments with the label.
func TestADeploymentWithoutItsLabelKeepsItsConfiguration(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a")
	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	f.complete(t, "a")
	f.passes(t)
	f.patchAgent(t, "a", `{"spec":{"configRollout":"OnNextRollout"}}`)
	f.writeConfig(t, "log-level", "warn")
	f.passes(t)
	before := f.deployment(t, "a").Spec.Template
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:null}}}`, v1alpha1.LabelAgent)
	require.NoError(t, api.Patch(t.Context(), f.deployment(t, "a"), client.RawPatch(types.MergePatchType, []byte(patch))))
	f.passes(t)
	f.complete(t, "a")
	f.passes(t)
	live := f.deployment(t, "a")
	require.Equal(t, "a", live.Labels[v1alpha1.LabelAgent])
	require.Equal(t, before, live.Spec.Template, "no pod restarts")
	require.Equal(t, v1alpha1.ReasonOnNextRollout, f.outdated(t, "a").Reason)
	f.requireQuiet(t)
}

// The pods of a restart that is complete may be older than a change that came after them.
func TestARestartWhileNoOperatorRunsTakesNoLaterChange(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a")
	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	f.complete(t, "a")
	f.passes(t)
	before := f.revisions(t)
	restarted := f.deployment(t, "a")
	restarted.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] = "now"
	require.NoError(t, api.Update(t.Context(), restarted, client.FieldOwner("kubectl-rollout")))
	f.complete(t, "a")
	f.writeConfig(t, "log-level", "warn")
	f.restart(t)
	f.passes(t)
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before))
	f.complete(t, "a")
	f.requireQuiet(t)
}

func secretObject(f fleet) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "tokens"}}
}

func readsToken(a *v1alpha1.Agent) {
	a.Spec.Runtime.Spec.Container.EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "tokens"}}}}
}

func TestASecretRollsThePodsOnlyIfItIsListed(t *testing.T) {
	t.Parallel()
	f := fleet{bench: newBench(t)}
	f.rollConfigs(t, "tokens")
	f.writeConfig(t, "log-level", "info")
	f.write(t, secretObject(f), `{"stringData":{"token":"guess-me-1"}}`)
	f.add(t, []string{"a"}, readsToken)
	before := f.revisions(t)
	f.write(t, secretObject(f), `{"metadata":{"labels":{"x":"y"}}}`)
	f.passes(t)
	require.Empty(t, f.rolled(t, before), "labels are no content")
	f.complete(t, "a") // the Deployment controller observes the annotation
	f.restart(t, "tokens")
	f.requireQuiet(t)
	require.Empty(t, f.rolled(t, before), "not after a restart either")

	f.write(t, secretObject(f), `{"stringData":{"token":"guess-me-2"}}`)
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before))
	require.Contains(t, strings.Join(eventsOf(f), "\n"), "Secret tokens changed: token: rolling the pods")

	unlisted := fleet{bench: newBench(t)}
	unlisted.rollConfigs(t)
	unlisted.writeConfig(t, "log-level", "info")
	unlisted.write(t, secretObject(unlisted), `{"stringData":{"token":"guess-me-1"}}`)
	unlisted.add(t, []string{"a"}, readsToken)
	before = unlisted.revisions(t)
	unlisted.write(t, secretObject(unlisted), `{"stringData":{"token":"guess-me-2"}}`)
	unlisted.passes(t)
	require.Empty(t, unlisted.rolled(t, before))
	require.Equal(t, metav1.ConditionUnknown, unlisted.outdated(t, "a").Status)
	require.Equal(t, v1alpha1.ReasonSecretsNotObserved, unlisted.outdated(t, "a").Reason)
}

// The Role is that of the chart for configRollouts.secrets.
func TestARoleForOneSecretIsEnoughToObserveIt(t *testing.T) {
	t.Parallel()
	const user = "operator-of-one-secret"
	install(t, "operator", readerRole, writerRole)
	namespace := newNamespace(t)
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "flokoa-operator-config"}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"tokens"}, Verbs: []string{"get", "list", "watch"}}}}
	require.NoError(t, api.Create(t.Context(), role))
	require.NoError(t, api.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role.Name}, Subjects: []rbacv1.Subject{subject(user)},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
	}))
	f := fleet{account: account(t, user, readerRole, writerRole)}
	f.bench = newBenchAs(t, namespace, f.account)
	f.rollConfigs(t, "tokens")
	f.writeConfig(t, "log-level", "info")
	f.write(t, secretObject(f), `{"stringData":{"token":"guess-me-1"}}`)
	f.add(t, []string{"a"}, readsToken)
	f.passes(t)
	before := f.revisions(t)
	f.write(t, secretObject(f), `{"stringData":{"token":"guess-me-2"}}`)
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before))
	secrets := metadata.NewForConfigOrDie(f.account).Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(namespace)
	_, err := secrets.List(t.Context(), metav1.ListOptions{})
	require.True(t, apierrors.IsForbidden(err), "it may list no other Secret: %v", err)
}

func TestConfigRolloutsThatAreTurnedOffRestartNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a")
	f.writeConfig(t, "log-level", "debug")
	f.passes(t)
	f.complete(t, "a")
	f.passes(t)
	before, baseline := f.revisions(t), f.baseline(t, "a")
	require.NotEmpty(t, before["a"])
	f.bench = newBenchIn(t, f.namespace)
	f.requireQuietFromTheStart(t)
	live := &v1alpha1.Agent{}
	require.NoError(t, api.Get(t.Context(), client.ObjectKey{Namespace: f.namespace, Name: "a"}, live))
	live.Spec.Runtime.Spec.Replicas = ptr.To[int32](3)
	require.NoError(t, api.Update(t.Context(), live))
	f.passes(t)
	require.Equal(t, before, f.revisions(t))
	require.Equal(t, baseline, f.baseline(t, "a"))
}
