package apitest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agent"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/configwatch"
)

const gpt = "gpt-4o-model"

// namesModel has an Agent name a Model. It has no port: the control plane has addresses for few Services.
func namesModel(name string) agenttest.Option {
	return func(a *v1alpha1.Agent) {
		a.Spec.Model = &v1alpha1.ModelReference{Name: name}
		a.Spec.Runtime.Spec.Container.Ports = nil
	}
}

// newModelFleet returns Agents that name one Model, and whose first rollout is complete.
func newModelFleet(t *testing.T, names ...string) fleet {
	t.Helper()
	f := fleet{bench: newBench(t)}
	f.rollConfigs(t)
	f.writeModel(t, gpt, "https://one.example/v1")
	for _, name := range names {
		f.addModelAgent(t, name, namesModel(gpt))
	}
	f.events.Events = make(chan string, 100)
	return f
}

func (f *fleet) addModelAgent(t *testing.T, name string, options ...agenttest.Option) {
	t.Helper()
	created := f.create(t, append(options, agenttest.Replicas(2), func(a *v1alpha1.Agent) { a.Name = name })...)
	f.agents = append(f.agents, created)
	f.place(t, created)
	f.complete(t, name)
}

func (f *fleet) model(name string) *v1alpha1.Model {
	return &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}, Spec: v1alpha1.ModelSpec{
		Provider: v1alpha1.ProviderOpenAI, Model: "gpt-4o", APIKey: &v1alpha1.ModelAPIKey{Name: "openai-key", Key: "api-key"},
	}}
}

// writeModel writes the base URL of a Model, and waits until the caches have it.
func (f *fleet) writeModel(t *testing.T, name, url string) {
	t.Helper()
	of := f.model(name)
	f.write(t, of, fmt.Sprintf(`{"spec":{"baseURL":%q}}`, url))
	require.Eventually(t, func() bool {
		cached := &v1alpha1.Model{}
		return f.caches.Get(t.Context(), client.ObjectKeyFromObject(of), cached) == nil && cached.Spec.BaseURL == url
	}, 10*time.Second, 10*time.Millisecond)
}

func (f *fleet) deleteModel(t *testing.T, name string) {
	t.Helper()
	of := f.model(name)
	require.NoError(t, api.Delete(t.Context(), of))
	require.Eventually(t, func() bool {
		return f.caches.Get(t.Context(), client.ObjectKeyFromObject(of), &v1alpha1.Model{}) != nil
	}, 10*time.Second, 10*time.Millisecond)
}

// makeModel creates the Model that an Agent names, if it names one, and waits until the caches have it.
func (b bench) makeModel(t *testing.T, of *v1alpha1.Agent) {
	t.Helper()
	if of.Spec.Model != nil {
		f := fleet{bench: b}
		f.writeModel(t, of.Spec.Model.Name, "https://one.example/v1")
	}
}

// urls returns the base URL that each Agent's pods have, empty if they have no variable for it.
func (f *fleet) urls(t *testing.T) string {
	t.Helper()
	var all []string
	for _, of := range f.agents {
		url := strings.TrimSuffix(strings.TrimPrefix(f.variable(t, of.Name, "OPENAI_BASE_URL"), "https://"), ".example/v1")
		all = append(all, of.Name+"="+url)
	}
	return strings.Join(all, " ")
}

// variable returns the value of a variable of the agent container, or secret/key, empty if there is none.
func (f *fleet) variable(t *testing.T, name, variable string) string {
	t.Helper()
	for _, v := range f.deployment(t, name).Spec.Template.Spec.Containers[0].Env {
		if v.Name == variable && v.ValueFrom != nil {
			return v.ValueFrom.SecretKeyRef.Name + "/" + v.ValueFrom.SecretKeyRef.Key
		}
		if v.Name == variable {
			return v.Value
		}
	}
	return ""
}

func (f *fleet) templates(t *testing.T) map[string]corev1.PodTemplateSpec {
	t.Helper()
	all := map[string]corev1.PodTemplateSpec{}
	for _, of := range f.agents {
		all[of.Name] = f.deployment(t, of.Name).Spec.Template
	}
	return all
}

// resolved returns the condition ModelResolved of an Agent.
func (f *fleet) resolved(t *testing.T, name string) string {
	t.Helper()
	live := &v1alpha1.Agent{}
	require.NoError(t, api.Get(t.Context(), client.ObjectKey{Namespace: f.namespace, Name: name}, live))
	condition := ptr.Deref(meta.FindStatusCondition(live.Status.Conditions, v1alpha1.ConditionModelResolved), metav1.Condition{})
	return fmt.Sprintf("%s %s: %s", condition.Status, condition.Reason, condition.Message)
}

// requireCurrent requires that an Agent waits for no change. Without permission, the operator does not observe its key.
func (f *fleet) requireCurrent(t *testing.T, name string) {
	t.Helper()
	require.Equal(t, v1alpha1.ReasonSecretsNotObserved, f.outdated(t, name).Reason)
	require.Contains(t, f.outdated(t, name).Message, "Secret openai-key")
}

// change patches the spec of an Agent, and waits until the caches have it.
func (f *fleet) change(t *testing.T, name, patch string) {
	t.Helper()
	of := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}}
	require.NoError(t, api.Patch(t.Context(), of, client.RawPatch(types.MergePatchType, []byte(patch))))
	require.Eventually(t, func() bool {
		cached := &v1alpha1.Agent{}
		return f.caches.Get(t.Context(), client.ObjectKeyFromObject(of), cached) == nil && cached.Generation == of.Generation
	}, 10*time.Second, 10*time.Millisecond)
}

func TestAnAgentGetsTheVariablesOfItsModel(t *testing.T) {
	t.Parallel()
	f := newModelFleet(t, "a")
	require.Equal(t, "gpt-4o", f.variable(t, "a", "FLOKOA_MODEL"))
	require.Equal(t, "OpenAI", f.variable(t, "a", "FLOKOA_MODEL_PROVIDER"))
	require.Equal(t, "openai-key/api-key", f.variable(t, "a", "OPENAI_API_KEY"), "a reference, never a value")
	require.Equal(t, "https://one.example/v1", f.variable(t, "a", "OPENAI_API_BASE"))
	require.Equal(t, `True Resolved: Model "gpt-4o-model" is gpt-4o of OpenAI`, f.resolved(t, "a"))
	f.requireQuiet(t)
	f.restart(t)
	f.requireQuietFromTheStart(t)
	require.EqualValues(t, 1, f.deployment(t, "a").Generation, "one rollout")
}

// Tools apply an Agent, its Secret, and its Model in any order, moments apart.
func TestOneApplyInAnyOrderIsOneRollout(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"agent secret model", "agent model secret", "secret agent model", "secret model agent", "model agent secret", "model secret agent"} {
		t.Run(order, func(t *testing.T) {
			f := fleet{bench: newBench(t)}
			f.rollConfigs(t)
			for kind := range strings.FieldsSeq(order) {
				switch kind {
				case "agent":
					f.agents = append(f.agents, f.create(t, namesModel(gpt), agenttest.Replicas(2)))
				case "secret":
					require.NoError(t, api.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "openai-key"}, Data: map[string][]byte{"api-key": []byte("k")}}))
				case "model":
					f.writeModel(t, gpt, "https://one.example/v1")
				}
				for _, of := range f.agents { // a pass between any two of them
					_, _, err := f.pass(t, of)
					require.NoError(t, err)
				}
			}
			f.passes(t)
			require.Equal(t, "a=one", f.urls(t))
			require.EqualValues(t, 1, f.deployment(t, "a").Generation, "the pod template never changed")
			require.Contains(t, f.resolved(t, "a"), "True Resolved")
		})
	}
}

func TestANewAgentWaitsTenSecondsForItsModel(t *testing.T) {
	t.Parallel()
	f := fleet{bench: newBench(t)}
	f.rollConfigs(t)
	created := f.create(t, namesModel(gpt), agenttest.Replicas(2))
	f.agents = append(f.agents, created)
	began := time.Now()
	_, result, err := f.pass(t, created)
	require.NoError(t, err)
	require.NotZero(t, result.RequeueAfter)
	require.LessOrEqual(t, result.RequeueAfter, 10*time.Second)
	require.Equal(t, `False ModelNotFound: Model "gpt-4o-model" does not exist in namespace "`+f.namespace+
		`": the Agent is applied when it does, or without its environment after 10 s: create it there, or correct spec.model.name`, f.resolved(t, "a"))
	require.Error(t, api.Get(t.Context(), client.ObjectKeyFromObject(created), &appsv1.Deployment{}), "nothing is applied yet")

	<-time.After(time.Until(began.Add(10 * time.Second)))
	f.place(t, created)
	require.Equal(t, "a=", f.urls(t))
	require.Contains(t, f.resolved(t, "a"), "the pods run without its environment, and roll when it exists")
	f.complete(t, "a")
	f.requireQuiet(t)

	before := f.revisions(t)
	f.writeModel(t, gpt, "https://one.example/v1")
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before))
	require.Equal(t, "a=one", f.urls(t))
	require.EqualValues(t, 2, f.deployment(t, "a").Generation, "it heals in one rollout")
	f.complete(t, "a")
	f.requireQuiet(t)
}

// Nobody has just applied an Agent that is older than that, for example after a restore.
func TestAnAgentThatIsNotNewWaitsForNoModel(t *testing.T) {
	t.Parallel()
	f := fleet{bench: newBench(t)}
	f.rollConfigs(t)
	created := f.create(t, namesModel(gpt))
	<-time.After(10 * time.Second)
	f.place(t, created)
	child(t, created, &appsv1.Deployment{})
}

func TestADeletedModelLeavesItsAgentsAlone(t *testing.T) {
	t.Parallel()
	f := newModelFleet(t, "a", "b")
	before := f.templates(t)
	f.deleteModel(t, gpt)
	f.passes(t)
	require.Equal(t, before, f.templates(t))
	require.Equal(t, `False ModelNotFound: Model "gpt-4o-model" does not exist in namespace "`+f.namespace+
		`": the pods keep the environment that they had: create it there, or correct spec.model.name`, f.resolved(t, "a"))
	f.requireReady(t, "a")
	f.requireQuiet(t)
	f.restart(t)
	f.requireQuietFromTheStart(t)

	f.change(t, "a", `{"spec":{"runtime":{"spec":{"container":{"image":"registry.example/agent:v2"}}}}}`)
	f.passes(t)
	require.Equal(t, "registry.example/agent:v2", f.deployment(t, "a").Spec.Template.Spec.Containers[0].Image, "a missing Model blocks nothing")
	require.Equal(t, "a=one b=one", f.urls(t), "and takes nothing away")
	f.complete(t, "a")

	before = f.templates(t)
	f.writeModel(t, gpt, "https://one.example/v1")
	f.passes(t)
	require.Equal(t, before, f.templates(t), "the same Model comes back")
	require.Contains(t, f.resolved(t, "a"), "True Resolved")
	f.requireQuiet(t)
}

func TestAChangedModelRollsItsAgentsInWaves(t *testing.T) {
	t.Parallel()
	f := newModelFleet(t, "a", "b", "c", "d")
	f.requireQuiet(t)
	f.write(t, f.model(gpt), `{"metadata":{"labels":{"x":"y"}}}`)
	f.requireQuietFromTheStart(t)

	f.writeModel(t, gpt, "https://two.example/v1")
	f.passes(t)
	require.Equal(t, "a=two b=one c=one d=one", f.urls(t), "one first")
	require.Contains(t, strings.Join(eventsOf(f), "\n"), "Normal ConfigChanged Model gpt-4o-model changed: baseURL: rolling the pods")
	require.Equal(t, `Model gpt-4o-model changed: baseURL: the pods roll when Agent "a", which rolls first, is ready`, f.outdated(t, "b").Message)

	f.change(t, "d", `{"spec":{"runtime":{"spec":{"container":{"image":"registry.example/agent:v2"}}}}}`)
	f.passes(t)
	require.Equal(t, "a=two b=one c=one d=two", f.urls(t), "an Agent's own change takes the Model along")
	f.complete(t, "d")

	f.restart(t)
	f.passes(t)
	require.Equal(t, "a=two b=one c=one d=two", f.urls(t), "a restart of the operator forgets nothing")
	f.complete(t, "a")
	f.passes(t)
	require.Equal(t, "a=two b=two c=two d=two", f.urls(t), "two at a time")
	f.complete(t, "b")
	f.complete(t, "c")
	f.passes(t)
	for _, of := range f.agents {
		f.requireCurrent(t, of.Name)
	}
	f.requireQuiet(t)
}

func TestABadModelHaltsItsWave(t *testing.T) {
	t.Parallel()
	f := newModelFleet(t, "a", "b")
	f.writeModel(t, gpt, "https://wrong.example/v1")
	f.passes(t)
	f.stuck(t, "a")
	f.passes(t)
	require.Equal(t, "a=wrong b=one", f.urls(t))
	require.Equal(t, v1alpha1.ReasonConfigRolloutHalted, f.outdated(t, "b").Reason)
	f.writeModel(t, gpt, "https://one.example/v1")
	f.passes(t)
	require.Equal(t, "a=one b=one", f.urls(t), "taking the change back ends it")
	f.requireCurrent(t, "b")
}

func TestNamingAnotherModelRollsAtOnce(t *testing.T) {
	t.Parallel()
	f := newModelFleet(t, "a", "b")
	f.writeModel(t, "other", "https://other.example/v1")
	f.writeModel(t, gpt, "https://two.example/v1")
	f.passes(t)
	require.Equal(t, "a=two b=one", f.urls(t), "b waits for a")
	f.change(t, "b", `{"spec":{"model":{"name":"other"}}}`)
	f.passes(t)
	require.Equal(t, "a=two b=other", f.urls(t))
	f.complete(t, "b")
	f.change(t, "b", `{"spec":{"model":{"name":"missing"}}}`)
	f.passes(t)
	require.Equal(t, "a=two b=other", f.urls(t), "its Model may be about to appear")
	live := &v1alpha1.Agent{}
	require.NoError(t, api.Get(t.Context(), client.ObjectKeyFromObject(f.agents[1]), live))
	require.Equal(t, v1alpha1.ReasonRolloutInProgress, ready(live).Reason)
	generation := f.deployment(t, "b").Generation
	f.writeModel(t, "missing", "https://found.example/v1")
	f.passes(t)
	require.Equal(t, "a=two b=found", f.urls(t))
	require.Equal(t, generation+1, f.deployment(t, "b").Generation, "one rollout")
	f.change(t, "b", `{"spec":{"model":null}}`)
	f.passes(t)
	require.Equal(t, "a=two b=", f.urls(t))
}

// An Agent that also reads a ConfigMap keeps a baseline, and must not keep the variables with it.
func TestAnAgentThatNamesNoModelAnyMoreLosesItsVariables(t *testing.T) {
	t.Parallel()
	f := newModelFleet(t)
	f.addModelAgent(t, "a", namesModel(gpt), readsLogLevel(true))
	require.Equal(t, "a=one", f.urls(t))
	f.change(t, "a", `{"spec":{"model":null}}`)
	f.passes(t)
	require.Equal(t, "a=", f.urls(t))
	require.NotContains(t, f.baseline(t, "a"), "OPENAI")
	f.complete(t, "a")
	f.requireQuiet(t)
}

// The first Model of a running Agent is a change of the Agent, whatever its policy about changed configuration.
func TestNamingAModelRollsAnAgentThatHadNone(t *testing.T) {
	t.Parallel()
	f := newModelFleet(t)
	f.addModelAgent(t, "a", agenttest.Container(func(c *corev1.Container) { c.Ports = nil }), func(a *v1alpha1.Agent) { a.Spec.ConfigRollout = v1alpha1.ConfigRolloutOnNextRollout })
	f.passes(t)
	require.Equal(t, "a=", f.urls(t))
	f.change(t, "a", `{"spec":{"model":{"name":"gpt-4o-model"}}}`)
	f.passes(t)
	require.Equal(t, "a=one", f.urls(t))
	f.requireCurrent(t, "a")
	f.complete(t, "a")
	f.writeModel(t, gpt, "https://two.example/v1")
	f.passes(t)
	require.Equal(t, "a=one", f.urls(t))
	require.Equal(t, v1alpha1.ReasonOnNextRollout, f.outdated(t, "a").Reason)
	f.writeModel(t, "other", "https://other.example/v1")
	f.change(t, "a", `{"spec":{"model":{"name":"other"}}}`)
	f.passes(t)
	require.Equal(t, "a=other", f.urls(t), "nor does another name wait")
}

// An Agent and its Model are often applied together, again and again: the pods that roll now take the Model along, before it has settled, with
// the Secret that it names now.
func TestAnAgentsOwnChangeTakesAModelThatHasNotSettled(t *testing.T) {
	t.Parallel()
	f := newModelFleet(t, "a", "b")
	f.requireQuiet(t)
	f.write(t, f.model(gpt), `{"spec":{"baseURL":"https://two.example/v1","apiKey":{"name":"another-key","key":"api-key"}}}`)
	f.change(t, "a", `{"spec":{"runtime":{"spec":{"container":{"image":"registry.example/agent:v2"}}}}}`)
	for range 2 {
		_, _, err := f.pass(t, f.agents[0])
		require.NoError(t, err)
		require.Equal(t, "a=two b=one", f.urls(t))
		require.Equal(t, "another-key/api-key", f.variable(t, "a", "OPENAI_API_KEY"))
		require.Equal(t, `True Resolved: Model "gpt-4o-model" is gpt-4o of OpenAI`, f.resolved(t, "a"))
		require.Contains(t, f.outdated(t, "a").Message, "a change of Secret another-key does not roll the pods")
	}
	f.complete(t, "a")
	f.passes(t)
	require.EqualValues(t, 2, f.deployment(t, "a").Generation, "one rollout")
	require.Equal(t, "a=two b=two", f.urls(t), "a took it with a change of its own, so b is the first of the wave")
}

// A template that only spells out a default replaces no pod, so it must not pass the wave that the Model waits in.
func TestATemplateThatReplacesNoPodTakesNoModelAlong(t *testing.T) {
	t.Parallel()
	f := newModelFleet(t)
	f.addModelAgent(t, "a", namesModel(gpt), func(a *v1alpha1.Agent) { a.Spec.ConfigRollout = v1alpha1.ConfigRolloutOnNextRollout })
	f.requireQuiet(t)
	template := f.deployment(t, "a").Spec.Template
	f.writeModel(t, gpt, "https://two.example/v1")
	f.passes(t)
	f.change(t, "a", `{"spec":{"runtime":{"spec":{"container":{"terminationMessagePath":"/dev/termination-log"}}}}}`)
	f.passes(t)
	f.complete(t, "a")
	f.passes(t)
	require.Equal(t, template, f.deployment(t, "a").Spec.Template, "it is the default")
	require.Equal(t, v1alpha1.ReasonOnNextRollout, f.outdated(t, "a").Reason)
	f.requireQuiet(t)
	f.change(t, "a", `{"spec":{"configRollout":"Automatic"}}`)
	f.passes(t)
	require.Equal(t, "a=two", f.urls(t))
}

// A damaged baseline must not take the environment away, also while no operator runs that remembers it.
func TestADamagedBaselineLeavesTheEnvironment(t *testing.T) {
	t.Parallel()
	f := newModelFleet(t, "a")
	f.requireQuiet(t)
	template := f.deployment(t, "a").Spec.Template
	damage := func() {
		patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, v1alpha1.AnnotationConfigBaseline)
		require.NoError(t, api.Patch(t.Context(), f.deployment(t, "a"), client.RawPatch(types.MergePatchType, []byte(patch))))
	}
	baseline := f.baseline(t, "a")
	damage()
	f.passes(t)
	require.Equal(t, baseline, f.baseline(t, "a"), "it is put back")
	damage()
	f.restart(t)
	f.passes(t)
	f.passes(t)
	require.Equal(t, template, f.deployment(t, "a").Spec.Template)
	require.Equal(t, baseline, f.baseline(t, "a"), "the Model is what it was")
}

// The halt of a wave is that of a ConfigMap: it outlasts a restart and the pods that failed, and ends when the Model changes again.
func TestAHaltCausedByAModelOutlastsItsPods(t *testing.T) {
	t.Parallel()
	f := newModelFleet(t, "a", "b")
	f.writeModel(t, gpt, "https://wrong.example/v1")
	f.passes(t)
	f.stuck(t, "a")
	f.restart(t)
	f.passes(t)
	f.passes(t)
	require.Equal(t, v1alpha1.ReasonConfigRolloutHalted, f.outdated(t, "b").Reason)
	f.suspend(t, "a", true)
	f.passes(t)
	f.finish(t, "a", "NewReplicaSetAvailable", 0, 0)
	f.passes(t)
	require.Equal(t, "a=wrong b=one", f.urls(t))
	require.Equal(t, `Model gpt-4o-model changed: baseURL: the pods do not roll, because Agent "a" rolled and did not become ready: fix that Agent, or revert the change`, f.outdated(t, "b").Message)
	f.writeModel(t, gpt, "https://right.example/v1")
	f.passes(t)
	require.Equal(t, "a=right b=right", f.urls(t), "a is suspended, so b is the first whose pods roll")
}

// newUnresolvedFleet returns Agents that name a Model, as an operator of before left them: it resolved no Model and recorded none, and their
// status is that of their generation.
func newUnresolvedFleet(t *testing.T, names ...string) fleet {
	t.Helper()
	f := fleet{bench: newBench(t)}
	f.rollConfigs(t)
	for _, name := range names {
		f.addModelAgent(t, name, agenttest.Container(func(c *corev1.Container) { c.Ports = nil }))
	}
	f.passes(t)
	for _, of := range f.agents {
		f.change(t, of.Name, `{"spec":{"model":{"name":"gpt-4o-model"}}}`)
		live := &v1alpha1.Agent{}
		require.NoError(t, api.Get(t.Context(), client.ObjectKeyFromObject(of), live))
		live.Status.ObservedGeneration = live.Generation
		require.NoError(t, api.Status().Update(t.Context(), live))
	}
	return f
}

func TestAnUpgradeRestartsNoAgentWithoutAModel(t *testing.T) {
	t.Parallel()
	f := newUnresolvedFleet(t, "a", "b", "c")
	before := f.deployment(t, "a")
	f.restart(t)
	f.passes(t)
	require.Equal(t, before.ResourceVersion, f.deployment(t, "a").ResourceVersion, "nothing is written, and no pod restarts")
	require.Contains(t, f.resolved(t, "a"), "False ModelNotFound")
	f.requireQuiet(t)

	f.writeModel(t, gpt, "https://one.example/v1")
	f.passes(t)
	require.Equal(t, "a=one b= c=", f.urls(t), "one first")
	f.restart(t)
	for _, of := range f.agents { // the Deployment controller observes the record of what the others wait for
		f.complete(t, of.Name)
	}
	f.passes(t)
	f.passes(t) // the operator compares those that it has seen with all Agents once per second
	require.Equal(t, "a=one b=one c=one", f.urls(t))
}

func TestAnUpgradeRollsAgentsWhoseModelExistsInWaves(t *testing.T) {
	t.Parallel()
	f := newUnresolvedFleet(t, "a", "b", "c")
	f.writeModel(t, gpt, "https://one.example/v1")
	f.restart(t)
	f.passes(t)
	f.passes(t)
	require.Equal(t, "a=one b= c=", f.urls(t))
}

func TestWithoutConfigRolloutsAModelRollsNothing(t *testing.T) {
	t.Parallel()
	f := fleet{bench: newBench(t)}
	store := f.RollConfigs(agent.ConfigRollouts{Settle: configwatch.Settle{Quiet: quiet, AtMost: time.Second}}, func() []types.NamespacedName { return nil }, func([]types.NamespacedName, time.Duration) {})
	models, err := f.caches.GetInformer(t.Context(), &v1alpha1.Model{})
	require.NoError(t, err)
	_, err = models.AddEventHandler(agent.ModelEvents(store))
	require.NoError(t, err)
	f.writeModel(t, gpt, "https://one.example/v1")
	f.addModelAgent(t, "a", namesModel(gpt))
	require.Equal(t, "a=one", f.urls(t))
	f.writeModel(t, gpt, "https://two.example/v1")
	f.passes(t)
	require.Equal(t, "a=one", f.urls(t))
	require.Equal(t, v1alpha1.ReasonOnNextRollout, f.outdated(t, "a").Reason)
	f.change(t, "a", `{"spec":{"runtime":{"spec":{"container":{"image":"registry.example/agent:v2"}}}}}`)
	f.passes(t)
	require.Equal(t, "a=two", f.urls(t))
	require.Empty(t, f.outdated(t, "a"))

	f.change(t, "a", `{"spec":{"model":null}}`)
	f.passes(t)
	require.Equal(t, "a=", f.urls(t))
	f.complete(t, "a")
	f.requireQuiet(t)
	f.writeModel(t, gpt, "https://three.example/v1")
	f.change(t, "a", `{"spec":{"model":{"name":"gpt-4o-model"}}}`)
	f.passes(t)
	require.Equal(t, "a=three", f.urls(t), "not what it had before")
}

// The admission policy asks whether the author may use the Model that is named. One that does not exist has no key to guard, so it must bring
// none.
func TestAnotherModelThatDoesNotExistBringsNoKey(t *testing.T) {
	t.Parallel()
	f := newModelFleet(t, "a")
	require.Equal(t, "openai-key/api-key", f.variable(t, "a", "OPENAI_API_KEY"))
	f.change(t, "a", `{"spec":{"model":{"name":"ghost"},"runtime":{"spec":{"container":{"image":"registry.example/attacker:v1"}}}}}`)
	f.awaitNoModel(t)
	require.Equal(t, "registry.example/attacker:v1", f.deployment(t, "a").Spec.Template.Spec.Containers[0].Image)
	require.Empty(t, f.variable(t, "a", "OPENAI_API_KEY"))
	require.Equal(t, "a=", f.urls(t))
	require.NotContains(t, f.baseline(t, "a"), "OPENAI")
	require.Contains(t, f.resolved(t, "a"), "run without its environment")
	f.complete(t, "a")
	f.requireQuiet(t)
	f.change(t, "a", `{"spec":{"model":{"name":"gpt-4o-model"}}}`)
	f.passes(t)
	require.Equal(t, "a=one", f.urls(t))
	f.complete(t, "a")
	f.deleteModel(t, gpt)
	f.passes(t)
	require.Equal(t, "a=one", f.urls(t))
	f.change(t, "a", `{"spec":{"model":{"name":"ghost"}}}`)
	f.awaitNoModel(t)
	require.Equal(t, "a=", f.urls(t), "nor does one that is deleted leave its key to another")
}

// awaitNoModel makes passes until Agents wait no longer for a Model that does not exist.
func (f *fleet) awaitNoModel(t *testing.T) {
	t.Helper()
	f.reconcileAll(t)
	<-time.After(10 * time.Second)
	f.passes(t)
}

// Each row is something that the author of an Agent, or somebody who may write ConfigMaps or Deployments, tries to get at a key.
func TestTheKeyOfAModelStaysWhereItBelongs(t *testing.T) {
	t.Parallel()
	f := newModelFleet(t)
	evil := corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "evil"}, Optional: ptr.To(true)}}
	f.write(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "evil"}}, `{"data":{"OPENAI_BASE_URL":"https://evil.example","OPENAI_API_BASE":"https://evil.example"}}`)
	f.addModelAgent(t, "a", namesModel(gpt), func(a *v1alpha1.Agent) {
		a.Spec.Runtime.Spec.Container.EnvFrom = []corev1.EnvFromSource{evil}
		a.Spec.Runtime.Spec.Container.Env = []corev1.EnvVar{{Name: "OPENAI_API_BASE", Value: "https://mine.example"}, {Name: "DB_PASSWORD", Value: "secret"}}
		a.Spec.Runtime.Spec.Sidecars = []corev1.Container{{Name: "s", Image: "i", EnvFrom: []corev1.EnvFromSource{evil}}}
		a.Spec.Runtime.Spec.InitContainers = []corev1.Container{{Name: "b", Image: "i"}}
	})
	require.Equal(t, "https://one.example/v1", f.variable(t, "a", "OPENAI_BASE_URL"), "an explicit variable beats envFrom")
	require.Equal(t, "https://mine.example", f.variable(t, "a", "OPENAI_API_BASE"), "the author's variable wins")
	for _, container := range f.deployment(t, "a").Spec.Template.Spec.InitContainers {
		require.Empty(t, container.Env, "container %s gets neither the key nor the URL", container.Name)
	}

	live := f.deployment(t, "a")
	for i, variable := range live.Spec.Template.Spec.Containers[0].Env {
		if variable.Name == "OPENAI_BASE_URL" {
			live.Spec.Template.Spec.Containers[0].Env[i].Value = "https://evil.example"
		}
	}
	require.NoError(t, api.Update(t.Context(), live, client.FieldOwner("kubectl-edit")))
	f.passes(t)
	require.Equal(t, "https://one.example/v1", f.variable(t, "a", "OPENAI_BASE_URL"), "a hand-edited variable is restored")

	err := api.Patch(t.Context(), f.model(gpt), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"baseURL":"https://evil.example/$(DB_PASSWORD)"}}`)))
	require.ErrorContains(t, err, "baseURL must be a URL without user, query, fragment, and $")
}

// A Secret that the operator may observe rolls the Agents whose Model reads it.
func TestAPermittedKeyThatChangesRollsItsAgents(t *testing.T) {
	t.Parallel()
	f := fleet{bench: newBench(t)}
	f.rollConfigs(t, "openai-key")
	writeKey := func(base64 string) {
		f.write(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "openai-key"}}, `{"data":{"api-key":"`+base64+`"}}`)
	}
	writeKey("b25l")
	f.writeModel(t, gpt, "https://one.example/v1")
	f.addModelAgent(t, "a", namesModel(gpt))
	f.requireQuiet(t)
	before := f.revisions(t)
	writeKey("dHdv")
	f.passes(t)
	require.Equal(t, "a", f.rolled(t, before))
	require.Contains(t, strings.Join(eventsOf(f), "\n"), "Secret openai-key changed: api-key")
	require.Equal(t, "a=one", f.urls(t))
}

// 1,000 Agents of one Model must not cost 1,000 requests when it changes.
func TestAChangedModelIsReadFromTheCache(t *testing.T) {
	t.Parallel()
	f := newModelFleet(t, "a", "b", "c")
	f.requireQuiet(t)
	f.writeModel(t, gpt, "https://two.example/v1")
	f.reads.Store(0)
	f.writes.Store(0)
	for range 3 {
		for _, of := range f.agents {
			_, err := f.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(of)})
			require.NoError(t, err)
		}
	}
	require.Zero(t, f.reads.Load())
	require.Zero(t, f.writes.Load(), "a change settles first")
	f.passes(t)
	require.Zero(t, f.reads.Load())
}

// newThousand returns a thousand Agents that name one Model. They are created side by side, because one after another takes minutes.
func newThousand(t *testing.T) fleet {
	t.Helper()
	f := fleet{bench: newBench(t)}
	f.events.Events = nil // nobody reads so many
	f.rollConfigs(t)
	f.writeModel(t, gpt, "https://one.example/v1")
	for i := range 1000 {
		f.agents = append(f.agents, agenttest.New(fmt.Sprintf("a-%03d", i), agenttest.In(f.namespace), agenttest.Replicas(2), namesModel(gpt)))
	}
	f.forEach(t, func(of *v1alpha1.Agent) error {
		of.UID, of.Generation = "", 0
		return api.Create(t.Context(), of)
	})
	require.Eventually(t, func() bool {
		cached := &v1alpha1.AgentList{}
		return f.caches.List(t.Context(), cached, client.InNamespace(f.namespace)) == nil && len(cached.Items) == len(f.agents)
	}, time.Minute, 50*time.Millisecond)
	f.forEach(t, func(of *v1alpha1.Agent) error {
		_, err := f.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(of)})
		return err
	})
	for _, of := range f.agents {
		f.complete(t, of.Name)
	}
	return f
}

// forEach does something for each Agent, a few at a time.
func (f *fleet) forEach(t *testing.T, do func(*v1alpha1.Agent) error) {
	t.Helper()
	failures, queue, workers := make([]error, len(f.agents)), make(chan int), sync.WaitGroup{}
	for range 8 {
		workers.Go(func() {
			for i := range queue {
				failures[i] = do(f.agents[i])
			}
		})
	}
	for i := range f.agents {
		queue <- i
	}
	close(queue)
	workers.Wait()
	require.NoError(t, errors.Join(failures...))
}

func TestAThousandAgentsOfOneModelCostNoReads(t *testing.T) {
	t.Parallel()
	f := newThousand(t)
	f.requireQuiet(t)
	f.writeModel(t, gpt, "https://two.example/v1")
	f.passes(t)
	f.passes(t) // each of them takes a while
	require.Equal(t, 1, strings.Count(f.urls(t), "=two"), "one first")
	require.Zero(t, f.reads.Load(), "the cache has the Model, and the store who names it")
	require.LessOrEqual(t, f.writes.Load(), int64(len(f.agents)+3), "one status of each Agent that waits, and what one rollout writes")
	first := f.agents[slices.IndexFunc(f.agents, func(of *v1alpha1.Agent) bool {
		return f.variable(t, of.Name, "OPENAI_BASE_URL") == "https://two.example/v1"
	})]
	f.complete(t, first.Name)
	f.passes(t)
	require.Equal(t, 3, strings.Count(f.urls(t), "=two"), "then two at a time")
	require.Zero(t, f.reads.Load())
}
