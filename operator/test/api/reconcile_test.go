package apitest_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agent"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/app"
)

// bench is a controller over the caches and the client that production has, called by hand.
type bench struct {
	*agent.Controller
	events    *events.FakeRecorder
	namespace string
	caches    cache.Cache
	// writes and reads count the requests of the controller, without those of its caches.
	writes, reads *atomic.Int64
}

// countingTransport counts requests.
type countingTransport struct {
	http.RoundTripper
	writes, reads *atomic.Int64
}

func (c countingTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodGet {
		c.reads.Add(1)
	} else {
		c.writes.Add(1)
	}
	return c.RoundTripper.RoundTrip(request)
}

func newBench(t *testing.T) bench {
	t.Helper()
	return newBenchIn(t, newNamespace(t))
}

// newBenchIn returns a controller that knows nothing yet, as after a restart.
func newBenchIn(t *testing.T, namespace string) bench {
	t.Helper()
	return newBenchAs(t, namespace, config)
}

// newBenchAs returns a controller that reads and writes with an account of its own. Its caches have every permission.
func newBenchAs(t *testing.T, namespace string, account *rest.Config) bench {
	t.Helper()
	options := app.CacheOptions(nil)
	options.Scheme = scheme
	caches, err := cache.New(config, options)
	require.NoError(t, err)
	require.NoError(t, agent.Index(t.Context(), caches))
	for _, object := range []client.Object{
		&v1alpha1.Agent{}, &v1alpha1.Model{}, &appsv1.Deployment{}, &corev1.Service{}, &corev1.ConfigMap{}, &policyv1.PodDisruptionBudget{},
		&autoscalingv2.HorizontalPodAutoscaler{}, &corev1.Pod{}, &corev1.Node{},
	} {
		_, err := caches.GetInformer(t.Context(), object, cache.BlockUntilSynced(false))
		require.NoError(t, err)
	}
	go func() { _ = caches.Start(t.Context()) }()
	require.True(t, caches.WaitForCacheSync(t.Context()))
	writes, reads := &atomic.Int64{}, &atomic.Int64{}
	counted := rest.CopyConfig(account)
	counted.Wrap(func(next http.RoundTripper) http.RoundTripper { return countingTransport{next, writes, reads} })
	cached, err := client.New(counted, client.Options{Scheme: scheme, Cache: &client.CacheOptions{
		Reader: caches, EnableReadYourWritesConsistency: ptr.To(true),
	}})
	require.NoError(t, err)
	live, err := client.New(counted, client.Options{Scheme: scheme})
	require.NoError(t, err)
	recorder := events.NewFakeRecorder(100)
	return bench{agent.New(cached, live, recorder, true), recorder, namespace, caches, writes, reads}
}

// create stores an Agent and waits until the caches have it.
func (b bench) create(t *testing.T, options ...agenttest.Option) *v1alpha1.Agent {
	t.Helper()
	stored := agenttest.New("a", append(options, agenttest.In(b.namespace))...)
	stored.UID, stored.Generation = "", 0
	require.NoError(t, api.Create(t.Context(), stored))
	return stored
}

// pass reconciles once, after the caches have seen what the test itself wrote.
func (b bench) pass(t *testing.T, of *v1alpha1.Agent) (*v1alpha1.Agent, reconcile.Result, error) {
	t.Helper()
	var result reconcile.Result
	var err error
	live := &v1alpha1.Agent{}
	require.Eventually(t, func() bool {
		result, err = b.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(of)})
		require.NoError(t, api.Get(t.Context(), client.ObjectKeyFromObject(of), live))
		return live.Status.ObservedGeneration == live.Generation
	}, 10*time.Second, 20*time.Millisecond, "the controller never saw generation %d", of.Generation)
	return live, result, err
}

// place reconciles once, and well.
func (b bench) place(t *testing.T, of *v1alpha1.Agent) *v1alpha1.Agent {
	t.Helper()
	live, result, err := b.pass(t, of)
	require.NoError(t, err)
	require.Zero(t, result)
	return live
}

// settle reconciles until a condition holds: the caches lag behind what the test itself wrote to children.
func (b bench) settle(t *testing.T, of *v1alpha1.Agent, until func(*v1alpha1.Agent) bool) *v1alpha1.Agent {
	t.Helper()
	var live *v1alpha1.Agent
	require.Eventually(t, func() bool {
		live, _, _ = b.pass(t, of)
		return until(live)
	}, 10*time.Second, 50*time.Millisecond)
	return live
}

func ready(of *v1alpha1.Agent) metav1.Condition {
	return ptr.Deref(meta.FindStatusCondition(of.Status.Conditions, v1alpha1.ConditionReady), metav1.Condition{})
}

// versions are the resourceVersions of everything in a namespace that an operator could have written.
func versions(ctx context.Context, t *testing.T, namespace string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, list := range []client.ObjectList{
		&v1alpha1.AgentList{}, &appsv1.DeploymentList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{},
		&policyv1.PodDisruptionBudgetList{}, &autoscalingv2.HorizontalPodAutoscalerList{},
	} {
		require.NoError(t, api.List(ctx, list, client.InNamespace(namespace)))
		require.NoError(t, meta.EachListItem(list, func(item runtime.Object) error {
			object := item.(client.Object)
			all[fmt.Sprintf("%T/%s", object, object.GetName())] = object.GetResourceVersion()
			return nil
		}))
	}
	return all
}

func child[T client.Object](t *testing.T, of *v1alpha1.Agent, into T) T {
	t.Helper()
	require.NoError(t, api.Get(t.Context(), client.ObjectKeyFromObject(of), into))
	return into
}

func TestASecondPassSendsNoWriteAndMovesNoResourceVersion(t *testing.T) {
	files, err := filepath.Glob("../../internal/render/testdata/*/agent.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range append(files, "../../../examples/agents/production-agent.yaml") {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			b := newBench(t)
			stored := agenttest.Read(t, file)
			stored.UID, stored.Generation, stored.Namespace = "", 0, b.namespace
			require.NoError(t, api.Create(t.Context(), stored))
			b.makeModel(t, stored)
			b.place(t, stored)
			b.place(t, stored) // the first pass writes the children; this one's status may speak of them
			before := versions(t.Context(), t, b.namespace)
			require.GreaterOrEqual(t, len(before), 2)
			require.GreaterOrEqual(t, b.writes.Swap(0), int64(2), "the first pass makes the children")
			for range 3 {
				b.place(t, stored)
			}
			require.Zero(t, b.writes.Load(), "a settled Agent costs no request that writes, not even one without effect")
			require.Equal(t, before, versions(t.Context(), t, b.namespace))
		})
	}
}

func TestChildrenAreAppliedByOneManagerAndNothingElse(t *testing.T) {
	b := newBench(t)
	stored := b.create(t)
	b.place(t, stored)
	for _, object := range []client.Object{child(t, stored, &appsv1.Deployment{}), child(t, stored, &corev1.Service{})} {
		require.Len(t, object.GetManagedFields(), 1)
		require.Equal(t, "flokoa-operator", object.GetManagedFields()[0].Manager)
		require.Equal(t, metav1.ManagedFieldsOperationApply, object.GetManagedFields()[0].Operation)
	}
}

func TestDriftInOwnedFieldsIsRevertedAndForeignFieldsAreKept(t *testing.T) {
	b := newBench(t)
	stored := b.create(t)
	b.place(t, stored)

	deployment := child(t, stored, &appsv1.Deployment{})
	deployment.Spec.Replicas = ptr.To[int32](9)
	deployment.Spec.Template.Spec.Containers[0].Image = "registry.example/other:v9"
	deployment.Labels["app.kubernetes.io/part-of"] = "else"
	deployment.Annotations["someone"] = "else"
	require.NoError(t, api.Update(t.Context(), deployment))
	putBack := func(*v1alpha1.Agent) bool {
		d := child(t, stored, &appsv1.Deployment{})
		return *d.Spec.Replicas == 1 && d.Spec.Template.Spec.Containers[0].Image == "registry.example/agent:v1" && d.Labels["app.kubernetes.io/part-of"] == "flokoa"
	}
	b.settle(t, stored, putBack)
	require.Equal(t, "else", child(t, stored, &appsv1.Deployment{}).Annotations["someone"])
}

func TestDriftInEveryOtherChildIsReverted(t *testing.T) {
	b := newBench(t)
	stored := b.create(t, agenttest.Replicas(3), func(a *v1alpha1.Agent) {
		a.Spec.Card = &v1alpha1.Card{Description: "d", Version: "1"}
		a.Spec.Autoscaling = &v1alpha1.Autoscaling{MinReplicas: ptr.To[int32](3), MaxReplicas: 9}
	})
	b.place(t, stored)
	for _, edit := range []struct {
		object client.Object
		name   string
		patch  string
	}{
		{&policyv1.PodDisruptionBudget{}, "a", `{"spec":{"maxUnavailable":3}}`},
		{&policyv1.PodDisruptionBudget{}, "a", `{"spec":{"selector":{"matchLabels":{"more":"labels"}}}}`},
		{&policyv1.PodDisruptionBudget{}, "a", `{"spec":{"unhealthyPodEvictionPolicy":"IfHealthyBudget"}}`},
		{&autoscalingv2.HorizontalPodAutoscaler{}, "a", `{"spec":{"minReplicas":1}}`},
		{&autoscalingv2.HorizontalPodAutoscaler{}, "a", `{"spec":{"minReplicas":8}}`},
		{&autoscalingv2.HorizontalPodAutoscaler{}, "a", `{"spec":{"maxReplicas":99}}`},
		{&autoscalingv2.HorizontalPodAutoscaler{}, "a", `{"spec":{"scaleTargetRef":{"kind":"Deployment","apiVersion":"apps/v1"}}}`},
		{&corev1.ConfigMap{}, "a-card", `{"data":{"agent-card.json":"{}"}}`},
		{&corev1.ConfigMap{}, "a-card", `{"metadata":{"labels":{"app.kubernetes.io/part-of":"else"}}}`},
	} {
		read := func() string {
			require.NoError(t, api.Get(t.Context(), client.ObjectKey{Namespace: b.namespace, Name: edit.name}, edit.object))
			edit.object.SetResourceVersion("")
			edit.object.SetManagedFields(nil)
			edit.object.SetGeneration(0)
			return asYAML(t, edit.object)
		}
		before := read()
		require.NoError(t, api.Patch(t.Context(), edit.object, client.RawPatch(types.MergePatchType, []byte(edit.patch))))
		require.NotEqual(t, before, read(), edit.patch)
		b.settle(t, stored, func(*v1alpha1.Agent) bool { return read() == before })
	}
}

func TestAForeignObjectIsLeftAloneAndOtherChildrenAreApplied(t *testing.T) {
	b := newBench(t)
	foreign := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: b.namespace},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	require.NoError(t, api.Create(t.Context(), foreign))
	stored := b.create(t)
	live, _, err := b.pass(t, stored)
	require.Error(t, err, "it is tried again, with backoff")
	require.Equal(t, v1alpha1.ReasonNameConflict, ready(live).Reason)
	require.Contains(t, ready(live).Message, `a Service named "a" exists`)
	require.True(t, meta.IsStatusConditionTrue(live.Status.Conditions, v1alpha1.ConditionStalled))
	require.Contains(t, <-b.events.Events, "Warning NameConflict")
	require.Equal(t, foreign.ResourceVersion, child(t, stored, &corev1.Service{}).ResourceVersion)
	child(t, stored, &appsv1.Deployment{})

	require.NoError(t, api.Delete(t.Context(), foreign))
	live = b.place(t, stored)
	require.Equal(t, v1alpha1.ReasonRolloutInProgress, ready(live).Reason)
	require.NotEqual(t, foreign.UID, child(t, stored, &corev1.Service{}).UID)
}

func TestAnObjectIsAdoptedOnlyWithItsAnnotation(t *testing.T) {
	b := newBench(t)
	orphan := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: b.namespace, Annotations: map[string]string{v1alpha1.AnnotationAdopt: "a"}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 8080}}},
	}
	require.NoError(t, api.Create(t.Context(), orphan))
	stored := b.create(t)
	b.place(t, stored)
	adopted := child(t, stored, &corev1.Service{})
	require.Equal(t, orphan.UID, adopted.UID)
	require.True(t, metav1.IsControlledBy(adopted, stored))
}

func TestAnAgentWaitsForTheChildrenOfItsPredecessor(t *testing.T) {
	b := newBench(t)
	earlier := b.create(t)
	b.place(t, earlier)
	old := child(t, earlier, &appsv1.Deployment{})
	require.NoError(t, api.Delete(t.Context(), earlier)) // no garbage collector runs here: its children stay
	again := b.create(t)
	live, result, err := b.pass(t, again)
	require.NoError(t, err)
	require.Positive(t, result.RequeueAfter)
	require.Equal(t, v1alpha1.ReasonRolloutInProgress, ready(live).Reason)
	require.Contains(t, ready(live).Message, "waiting for the deletion of Deployment")
	require.Equal(t, old.ResourceVersion, child(t, again, &appsv1.Deployment{}).ResourceVersion)

	require.NoError(t, api.Delete(t.Context(), old))
	require.NoError(t, api.Delete(t.Context(), child(t, again, &corev1.Service{})))
	b.settle(t, again, func(live *v1alpha1.Agent) bool { return live.Status.Image != "" })
	require.True(t, metav1.IsControlledBy(child(t, again, &appsv1.Deployment{}), again))
}

func TestTheStatusQuotesAPIServerRejections(t *testing.T) {
	b := newBench(t)
	stored := b.create(t, agenttest.Container(func(c *corev1.Container) {
		c.VolumeMounts = []corev1.VolumeMount{{Name: "nowhere", MountPath: "/data"}}
	}))
	live, _, err := b.pass(t, stored)
	require.Error(t, err)
	require.Equal(t, v1alpha1.ReasonInvalidSpec, ready(live).Reason)
	require.True(t, meta.IsStatusConditionTrue(live.Status.Conditions, v1alpha1.ConditionStalled), "what waits gives up at once")
	require.Contains(t, ready(live).Message, `volumeMounts[0].name: Not found: "nowhere"`)
	child(t, stored, &corev1.Service{}) // the rest goes on
}

func TestStatusFollowsTheDeployment(t *testing.T) {
	b := newBench(t)
	stored := b.create(t, agenttest.Replicas(2))
	live := b.place(t, stored)
	require.Equal(t, v1alpha1.ReasonRolloutInProgress, ready(live).Reason)

	deployment := child(t, stored, &appsv1.Deployment{})
	deployment.Status = appsv1.DeploymentStatus{ // no Deployment controller runs here
		ObservedGeneration: deployment.Generation, Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: 2, AvailableReplicas: 2,
	}
	require.NoError(t, api.Status().Update(t.Context(), deployment))
	live = b.settle(t, stored, func(live *v1alpha1.Agent) bool { return ready(live).Status == metav1.ConditionTrue })
	require.Equal(t, v1alpha1.ReasonRolloutComplete, ready(live).Reason)
	require.EqualValues(t, 2, live.Status.AvailableReplicas)
	require.Equal(t, "registry.example/agent:v1", live.Status.Image)
	require.Equal(t, "flokoa.ai/agent=a", live.Status.Selector)
	require.Nil(t, meta.FindStatusCondition(live.Status.Conditions, v1alpha1.ConditionReconciling))
	require.Contains(t, <-b.events.Events, "Normal RolloutComplete")
	require.Empty(t, b.events.Events, "that a new Agent is under way is no news")
}

// Nothing else would make the operator look again: the words on a Deployment stay as they are while no pod gets through.
func TestPodsBlockedByAQuotaAreRechecked(t *testing.T) {
	b := newBench(t)
	stored := b.create(t, agenttest.Replicas(2))
	b.place(t, stored)
	deployment := child(t, stored, &appsv1.Deployment{})
	deployment.Status = appsv1.DeploymentStatus{
		ObservedGeneration: deployment.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1,
		Conditions: []appsv1.DeploymentCondition{{
			Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate",
			Message: `Operation cannot be fulfilled on resourcequotas "flokoa": the object has been modified; please apply your changes to the latest version and try again`,
		}},
	}
	require.NoError(t, api.Status().Update(t.Context(), deployment))
	live := b.settle(t, stored, func(live *v1alpha1.Agent) bool { return live.Status.AvailableReplicas == 1 })
	require.Equal(t, v1alpha1.ReasonRolloutInProgress, ready(live).Reason, "contention alone is no refusal")
	_, result, err := b.pass(t, stored)
	require.NoError(t, err)
	require.Positive(t, result.RequeueAfter)
	require.LessOrEqual(t, result.RequeueAfter, 10*time.Second)
}

// No event marks the moment at which a pod has waited too long for a scheduler.
func TestAPodThatNoSchedulerConsidersIsRechecked(t *testing.T) {
	b := newBench(t)
	stored := b.create(t, agenttest.Runtime(func(s *v1alpha1.RuntimeSpec) { s.SchedulerName = "nope" }))
	b.place(t, stored)
	require.NoError(t, api.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: b.namespace, Name: "a-1-x", Labels: map[string]string{v1alpha1.LabelAgent: "a", "pod-template-hash": "1"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "a-1", UID: "u", Controller: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{SchedulerName: "nope", Containers: []corev1.Container{{Name: "agent", Image: "registry.example/agent:v1"}}},
	}))
	require.Eventually(t, func() bool {
		_, result, err := b.pass(t, stored)
		require.NoError(t, err)
		return result.RequeueAfter > 0 && result.RequeueAfter <= 15*time.Second
	}, 10*time.Second, 20*time.Millisecond)
}

// serve writes the status of a Deployment, because no Deployment controller runs here.
func serve(t *testing.T, of *v1alpha1.Agent, replicas int32) {
	t.Helper()
	deployment := child(t, of, &appsv1.Deployment{})
	deployment.Status = appsv1.DeploymentStatus{
		ObservedGeneration: deployment.Generation, Replicas: replicas, UpdatedReplicas: replicas, ReadyReplicas: replicas, AvailableReplicas: replicas,
	}
	require.NoError(t, api.Status().Update(t.Context(), deployment))
}

func TestAStatusOfSomebodyElseIsPutBack(t *testing.T) {
	for name, patch := range map[string]string{
		"counts":                `{"status":{"replicas":99,"availableReplicas":99}}`,
		"the message":           `{"status":{"image":"registry.example/other:v9","url":"http://other"}}`,
		"the conditions":        `{"status":{"conditions":[{"type":"Ready","status":"False","reason":"Restored","message":"m","lastTransitionTime":"2030-01-02T03:04:05Z"}]}}`,
		"no conditions":         `{"status":{"conditions":null}}`,
		"another generation":    `{"status":{"observedGeneration":7}}`,
		"no status":             `{"status":null}`,
		"a condition of theirs": `{"status":{"conditions":[{"type":"Theirs","status":"True","reason":"Theirs","message":"","lastTransitionTime":"2030-01-02T03:04:05Z"}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			stored := b.create(t, agenttest.Replicas(3))
			b.place(t, stored)
			serve(t, stored, 3)
			b.settle(t, stored, func(live *v1alpha1.Agent) bool { return ready(live).Status == metav1.ConditionTrue })
			right := b.place(t, stored).Status
			for len(b.events.Events) > 0 {
				<-b.events.Events
			}
			b.writes.Store(0)
			require.NoError(t, api.Status().Patch(t.Context(), stored.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(patch))))
			require.Eventually(t, func() bool {
				_, err := b.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(stored)})
				require.NoError(t, err)
				return b.writes.Load() > 0
			}, 10*time.Second, 20*time.Millisecond)
			live := b.place(t, stored)
			for i := range live.Status.Conditions { // a lost time of transition is gone
				live.Status.Conditions[i].LastTransitionTime = right.Conditions[i].LastTransitionTime
			}
			require.Equal(t, right, live.Status)
			require.EqualValues(t, 1, b.writes.Load(), "one write puts it back")
			require.Empty(t, b.events.Events, "the Agent did not change")
		})
	}
}

// The watch must enqueue an Agent with a foreign status, and not one whose status the operator wrote.
func TestAForeignStatusTriggersOneWriteAndOnePass(t *testing.T) {
	namespace := newNamespace(t)
	operator := work(t, "flokoa-operator/status", false, namespace)
	deploy(t, namespace, "a")
	operator.reconciles(t, namespace, "a", atOnce)
	key := client.ObjectKey{Namespace: namespace, Name: "a"}
	live := &v1alpha1.Agent{}
	status := func() v1alpha1.AgentStatus {
		require.NoError(t, api.Get(t.Context(), key, live))
		return live.Status
	}
	before := -1
	require.Eventually(t, func() bool { // a second without a write: a delayed one would have come
		last := before
		before = operator.writes(namespace, "")
		return before == last
	}, atOnce, time.Second)
	right := status()
	require.NoError(t, api.Status().Patch(t.Context(), live.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"status":{"replicas":99,"selector":"x=y"}}`))))
	require.Eventually(t, func() bool { return status().Replicas == right.Replicas }, atOnce, 20*time.Millisecond)
	require.Equal(t, right, status())
	require.Never(t, func() bool { return operator.writes(namespace, "") != before+1 }, time.Second, 20*time.Millisecond)
}

func TestADeletingAgentIsLeftToTheGarbageCollector(t *testing.T) {
	b := newBench(t)
	stored := b.create(t)
	b.place(t, stored)
	require.NoError(t, api.Delete(t.Context(), stored, client.PropagationPolicy(metav1.DeletePropagationForeground)))
	require.NoError(t, api.Delete(t.Context(), child(t, stored, &corev1.Service{})))
	_, err := b.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(stored)})
	require.NoError(t, err)
	require.True(t, apierrors.IsNotFound(api.Get(t.Context(), client.ObjectKeyFromObject(stored), &corev1.Service{})))
}

// A finalizer of somebody else keeps a deleted Agent, for minutes or for days.
func TestTheStatusOfADeletingAgentFollowsItsDeployment(t *testing.T) {
	for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground} {
		t.Run(string(policy), func(t *testing.T) {
			b := newBench(t)
			stored := b.create(t, agenttest.Replicas(3), func(a *v1alpha1.Agent) { a.Finalizers = []string{"test.example/hold"} })
			b.place(t, stored)
			serve(t, stored, 3)
			b.settle(t, stored, func(live *v1alpha1.Agent) bool { return ready(live).Status == metav1.ConditionTrue })
			require.Contains(t, <-b.events.Events, "RolloutComplete")
			require.NoError(t, api.Delete(t.Context(), stored, client.PropagationPolicy(policy)))
			live, _, err := b.pass(t, stored)
			require.NoError(t, err)
			require.EqualValues(t, 3, live.Status.AvailableReplicas, "the pods still run")

			b.writes.Store(0)
			deployment := child(t, stored, &appsv1.Deployment{})
			if policy == metav1.DeletePropagationForeground { // as the garbage collector does
				require.NoError(t, api.Delete(t.Context(), deployment, client.PropagationPolicy(policy)))
			}
			serve(t, stored, 1)
			live = b.settle(t, stored, func(live *v1alpha1.Agent) bool { return live.Status.AvailableReplicas == 1 })
			require.Equal(t, metav1.ConditionTrue, meta.FindStatusCondition(live.Status.Conditions, v1alpha1.ConditionAvailable).Status)
			require.Equal(t, metav1.ConditionFalse, ready(live).Status)

			patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
			require.NoError(t, client.IgnoreNotFound(api.Patch(t.Context(), deployment, patch)))
			require.NoError(t, client.IgnoreNotFound(api.Delete(t.Context(), deployment)))
			require.NoError(t, api.Delete(t.Context(), child(t, stored, &corev1.Service{})))
			live = b.settle(t, stored, func(live *v1alpha1.Agent) bool { return live.Status.Replicas == 0 })
			require.Zero(t, live.Status.AvailableReplicas)
			require.Equal(t, metav1.ConditionFalse, meta.FindStatusCondition(live.Status.Conditions, v1alpha1.ConditionAvailable).Status)
			require.Contains(t, ready(live).Message, "the Agent is being deleted")

			written := b.writes.Load()
			for range 3 {
				_, err := b.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(stored)})
				require.NoError(t, err)
			}
			require.Equal(t, written, b.writes.Load(), "nothing is written at rest")
			for _, object := range []client.Object{&appsv1.Deployment{}, &corev1.Service{}, &policyv1.PodDisruptionBudget{}} {
				if err := api.Get(t.Context(), client.ObjectKeyFromObject(stored), object); err == nil {
					require.IsType(t, &policyv1.PodDisruptionBudget{}, object, "no child is created again")
				}
			}
			require.Empty(t, b.events.Events, "a deletion is no news")
		})
	}
}
