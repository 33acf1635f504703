package apitest_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/render"
)

const (
	// maxGrowthKiB is how much an operator's memory may grow with the large objects of a stranger: a part of each, and what a burst
	// leaves fragmented, which varies by several MiB. Whole, the Agents alone are more than 40 MiB, and the others more than 140.
	maxGrowthKiB = 16 * 1024
	// noiseKiB is by how much memory falls again and again on a busy machine without coming to rest.
	noiseKiB = 256
	// releaseTimeout bounds how long the operator may take to return memory to the OS after a burst.
	releaseTimeout = time.Minute
)

// A stranger needs no permission in the operator's namespace, nor in that of any Agent.
func TestLargeObjectsOfStrangersDoNotGrowTheOperator(t *testing.T) {
	if _, err := harness.MemoryOf(os.Getpid()); err != nil {
		t.Skip(err)
	}
	program, err := harness.Build(t.Context(), "../../..", t.TempDir(), "test")
	require.NoError(t, err)
	own := newNamespace(t)
	agent := agenttest.New("a", agenttest.In(own), threeReplicas, withAllChildren)
	agent.UID, agent.Generation = "", 0
	require.NoError(t, api.Create(t.Context(), agent))

	pid, stop := startProgram(t, program)
	bump(t, agent)
	before := settledMemory(t, pid, 0)
	createLargeObjects(t, newNamespace(t))
	bump(t, agent)
	after := settledMemory(t, pid, before+maxGrowthKiB)
	stop()

	pid, _ = startProgram(t, program)
	bump(t, agent)
	restarted := settledMemory(t, pid, before+maxGrowthKiB)
	t.Logf("%.1f MiB before, %.1f MiB with the large objects, %.1f MiB after a restart with them", mib(before), mib(after), mib(restarted))
	require.LessOrEqual(t, after, before+maxGrowthKiB, "KiB, while it runs")
	require.LessOrEqual(t, restarted, before+maxGrowthKiB, "KiB, when it starts")
}

func mib(kib int) float64 { return float64(kib) / 1024 }

func withAllChildren(a *v1alpha1.Agent) {
	a.Spec.Card = &v1alpha1.Card{Description: "Answers.", Version: "1"}
	a.Spec.Autoscaling = &v1alpha1.Autoscaling{MinReplicas: ptr.To[int32](3), MaxReplicas: 5}
}

// startProgram starts the operator as a process of its own.
func startProgram(t *testing.T, program string) (pid int, stop func()) {
	t.Helper()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, harness.WriteKubeconfig(kubeconfig, config))
	command := exec.Command(program, "--kubeconfig", kubeconfig, "--leader-elect=false", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	command.Env = append(os.Environ(), "GOMEMLIMIT=256MiB") // as the chart sets it
	var log strings.Builder
	command.Stderr = &log
	require.NoError(t, command.Start())
	stop = func() {
		if command.ProcessState == nil {
			_ = command.Process.Kill()
			_ = command.Wait()
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return command.Process.Pid, stop
}

// bump changes an Agent twice, and waits until the operator has reconciled each change. A pass reads every child, and waits until the
// cache of its kind has seen the write of the pass before: so the caches also have all older objects of these kinds.
func bump(t *testing.T, agent *v1alpha1.Agent) {
	t.Helper()
	for range 2 {
		require.NoError(t, api.Get(t.Context(), client.ObjectKeyFromObject(agent), agent))
		marked := agent.DeepCopy()
		label := fmt.Sprint("generation-", agent.Generation)
		marked.Spec.Framework = label // a label of every child
		marked.Spec.Card.Version = label
		require.NoError(t, api.Patch(t.Context(), marked, client.MergeFrom(agent)))
		require.Eventually(t, func() bool {
			require.NoError(t, api.Get(t.Context(), client.ObjectKeyFromObject(agent), agent))
			return agent.Status.ObservedGeneration == marked.Generation
		}, 3*time.Minute, 100*time.Millisecond)
	}
}

// settledMemory waits until the memory of a process is at most the limit, or until it no longer falls. It returns it in KiB.
func settledMemory(t *testing.T, pid, limit int) int {
	t.Helper()
	least, falling, since, patience := 1<<30, 1<<30, time.Now(), 6*time.Second // three times the operator checks for memory to release
	if limit > 0 {
		patience = 30 * time.Second
	}
	require.Eventually(t, func() bool {
		least = min(least, anonymousMemory(t, pid))
		if least+noiseKiB < falling {
			falling, since = least, time.Now()
		}
		return least <= limit || time.Since(since) > patience
	}, releaseTimeout, 200*time.Millisecond)
	return least
}

// anonymousMemory is what a process has allocated, in KiB.
func anonymousMemory(t *testing.T, pid int) int {
	t.Helper()
	memory, err := harness.MemoryOf(pid)
	require.NoError(t, err)
	return memory.Anonymous
}

// createLargeObjects creates what a stranger may create in a namespace: objects with the label of an Agent, close to the largest that
// the API server accepts. Every second one also names an Agent as its controller, in vain.
func createLargeObjects(t *testing.T, namespace string) {
	t.Helper()
	var all []client.Object
	for i := range 100 {
		all = append(all, forged(i, namespace, &corev1.ConfigMap{Data: map[string]string{"large": strings.Repeat("x", 1_000_000)}}, 0))
	}
	for i := range 20 {
		all = append(all,
			forged(i, namespace, largeDeployment(i), 100_000),
			forged(i, namespace, &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}, 200_000),
			forged(i, namespace, &autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
				MaxReplicas: 2, ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "none"}}}, 200_000),
			forged(i, namespace, largeBudget(), 200_000),
			forged(i, namespace, &corev1.Pod{Spec: largePod()}, 200_000))
	}
	for i := range 8 {
		all = append(all, largeAgent(i, namespace))
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	failures, queue := make(chan error, len(all)), make(chan client.Object, len(all))
	for _, object := range all {
		queue <- object
	}
	for range 8 {
		go func() {
			for object := range queue {
				failures <- api.Create(ctx, object)
			}
		}()
	}
	for range all {
		require.NoError(t, <-failures)
	}
	close(queue)
	t.Cleanup(func() { // the other tests' caches hold all namespaces
		for _, kind := range []client.Object{&v1alpha1.Agent{}, &corev1.ConfigMap{}, &appsv1.Deployment{}, &corev1.Service{}, &autoscalingv2.HorizontalPodAutoscaler{}, &policyv1.PodDisruptionBudget{}, &corev1.Pod{}} {
			require.NoError(t, api.DeleteAllOf(context.Background(), kind, client.InNamespace(namespace), client.GracePeriodSeconds(0)))
		}
	})
}

func forged[T client.Object](i int, namespace string, object T, annotation int) client.Object {
	name := fmt.Sprintf("forged-%d", i)
	object.SetNamespace(namespace)
	object.SetName(name)
	object.SetLabels(map[string]string{v1alpha1.LabelAgent: name})
	if annotation > 0 {
		object.SetAnnotations(map[string]string{"large": strings.Repeat("x", annotation)})
	}
	if i%2 == 1 {
		object.SetOwnerReferences([]metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.AgentKind, Name: name, UID: types.UID(name), Controller: ptr.To(true),
		}})
	}
	return object
}

func largePod() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/large:v1", Env: []corev1.EnvVar{
		{Name: "LARGE", Value: strings.Repeat("x", 800_000)}}}}}
}

// largeAgent is an Agent that takes 5 MiB in memory: each of its empty values has three bytes as JSON, and sixteen in a slice.
func largeAgent(i int, namespace string) *v1alpha1.Agent {
	terms := make([]corev1.PreferredSchedulingTerm, 64)
	for i := range terms {
		terms[i].Weight = 1
		for range 64 {
			terms[i].Preference.MatchExpressions = append(terms[i].Preference.MatchExpressions,
				corev1.NodeSelectorRequirement{Key: "k", Operator: corev1.NodeSelectorOpIn, Values: make([]string, 64)})
		}
	}
	large := agenttest.New(fmt.Sprintf("large-%d", i), agenttest.In(namespace))
	large.UID, large.Generation = "", 0
	large.Spec.Runtime.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: terms}}
	return large
}

func largeDeployment(i int) *appsv1.Deployment {
	labels := render.Selector(agenttest.New(fmt.Sprintf("forged-%d", i)))
	return &appsv1.Deployment{Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: largePod()},
	}}
}

func largeBudget() *policyv1.PodDisruptionBudget {
	var values []string
	for i := range 10_000 {
		values = append(values, fmt.Sprintf("value-of-some-length-%d", i))
	}
	return &policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{
		MaxUnavailable: ptr.To(intstr.FromInt32(1)),
		Selector:       &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: values}}},
	}}
}
