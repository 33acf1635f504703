package kind_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// waitTimeout is how long a test waits for what should come to pass, on a machine that does other things too.
const waitTimeout = 2 * time.Minute

// fixture is a test and the environment that it works in.
type fixture struct {
	*testing.T
	namespace string
}

// newFixture starts a test in an environment. When it fails it shows what is there.
func newFixture(t *testing.T, environment string) *fixture {
	t.Helper()
	s := &fixture{T: t, namespace: "flokoa-" + environment}
	began := time.Now()
	t.Cleanup(func() {
		outcome := "ok    "
		switch {
		case t.Failed():
			outcome = "FAILED"
			s.dumpState()
		case t.Skipped():
			outcome = "skip  "
		}
		logf("%s %6.1f s  %s", outcome, time.Since(began).Seconds(), t.Name())
	})
	return s
}

func (s *fixture) dumpState() {
	for _, args := range [][]string{
		{"get", "agents,deployments,pods,endpointslices", "-o", "wide"},
		{"get", "events", "--sort-by", ".lastTimestamp"},
		{"--namespace", system, "logs", "--selector", "app.kubernetes.io/name=flokoa-operator", "--tail", "20", "--prefix"},
		{"get", "nodes"},
	} {
		out, _ := kubectl(context.Background(), append([]string{"--namespace", s.namespace}, args...)...).CombinedOutput()
		lines := strings.Split(string(out), "\n")
		s.Logf("kubectl %s\n%s", strings.Join(args, " "), strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
}

// kubectl runs it in the environment and returns what it printed; it must succeed.
func (s *fixture) kubectl(args ...string) string {
	s.Helper()
	var out string
	quotaIsContended := func(error) bool { return strings.Contains(out, "Operation cannot be fulfilled on resourcequotas") }
	err := retry.OnError(retry.DefaultBackoff, quotaIsContended, func() (err error) {
		out, err = s.tryKubectl(args...)
		return err
	})
	require.NoError(s, err, "kubectl %s\n%s", strings.Join(args, " "), out)
	return out
}

// tryKubectl returns what kubectl printed, on either stream, and its error.
func (s *fixture) tryKubectl(args ...string) (string, error) {
	out, err := kubectl(s.Context(), append([]string{"--namespace", s.namespace}, args...)...).CombinedOutput()
	return string(out), err
}

func (s *fixture) eventually(what string, limit time.Duration, missing func() error) {
	s.Helper()
	require.NoError(s, waitFor(s.Context(), what, limit, func(context.Context) error { return missing() }))
}

// keyIn is the key of an object of the environment; keyOf of one without a namespace.
func keyIn(s *fixture, name string) client.ObjectKey {
	return client.ObjectKey{Namespace: s.namespace, Name: name}
}
func keyOf(name string) client.ObjectKey { return client.ObjectKey{Name: name} }

// --- Agents -------------------------------------------------------------------------------------------------------------

// change alters an Agent that is about to be created.
type change func(*v1alpha1.Agent)

// The images of the example agent; the second is another build of the same program.
func oldImage() string { return image("my-agent", "v2.0.0") }
func newImage() string { return image("my-agent", "v2.1.0") }

// create makes an Agent of the example image and waits until it is ready; it goes with the test. What it has is what Flokoa's
// defaults give: probes, spreading, draining.
func (s *fixture) create(name string, replicas int32, changes ...change) {
	s.Helper()
	s.apply(name, replicas, changes...)
	s.waitReady(name)
}

// apply does not wait.
func (s *fixture) apply(name string, replicas int32, changes ...change) {
	s.Helper()
	agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	agent.Spec.Runtime.Spec = v1alpha1.RuntimeSpec{Replicas: ptr.To(replicas), Container: corev1.Container{
		Name:  "agent",
		Image: oldImage(),
		Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("24Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("128Mi")},
		},
		SecurityContext: &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr.To(true)},
	}}
	for _, change := range changes {
		change(agent)
	}
	create := func() error { return api.Create(s.Context(), agent) }
	require.NoError(s, retry.RetryOnConflict(retry.DefaultBackoff, create)) // with whoever else counts in the same quota
	s.cleanUpAgent(name)
}

func (s *fixture) cleanUpAgent(name string) {
	s.Cleanup(func() {
		agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
		_ = api.Delete(context.Background(), agent)
	})
}

func withEnv(name, value string) change {
	return func(a *v1alpha1.Agent) {
		container := &a.Spec.Runtime.Spec.Container
		container.Env = append(container.Env, corev1.EnvVar{Name: name, Value: value})
	}
}

// patch changes an Agent by a JSON patch.
func (s *fixture) patch(name, patch string) {
	s.Helper()
	agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	require.NoError(s, api.Patch(s.Context(), agent, client.RawPatch(types.JSONPatchType, []byte(patch))))
}

// update changes an Agent that exists.
func (s *fixture) update(name string, changes ...change) {
	s.Helper()
	agent := s.agent(name)
	before := agent.DeepCopy()
	for _, change := range changes {
		change(agent)
	}
	require.NoError(s, api.Patch(s.Context(), agent, client.MergeFrom(before)))
}

// setImage gives an Agent another image.
func (s *fixture) setImage(name, image string) {
	s.Helper()
	s.patch(name, `[{"op":"replace","path":"/spec/runtime/spec/container/image","value":"`+image+`"}]`)
}

func (s *fixture) agent(name string) *v1alpha1.Agent {
	s.Helper()
	agent := &v1alpha1.Agent{}
	require.NoError(s, api.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, agent))
	return agent
}

// waitReady waits until an Agent is ready at its present generation and none of its pods is still going.
func (s *fixture) waitReady(name string) {
	s.Helper()
	s.waitReadyWithin(waitTimeout, name)
}

func (s *fixture) waitReadyWithin(limit time.Duration, name string) {
	s.Helper()
	s.eventually(name+" is ready", limit, func() error {
		agent := s.agent(name)
		ready := condition(agent, v1alpha1.ConditionReady)
		if ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != agent.Generation {
			return fmt.Errorf("Ready is %s: %s: %s", ready.Status, ready.Reason, ready.Message)
		}
		if pods := s.pods(name); len(pods) != int(agent.Status.AvailableReplicas) {
			return fmt.Errorf("%d pods for %d replicas", len(pods), agent.Status.AvailableReplicas)
		}
		return nil
	})
}

// waitNotReady waits until an Agent is not ready for a reason, in words that contain each of some.
func (s *fixture) waitNotReady(name, reason string, words ...string) string {
	s.Helper()
	var ready metav1.Condition
	s.eventually(name+" reports "+reason, waitTimeout, func() error {
		ready = condition(s.agent(name), v1alpha1.ConditionReady)
		if ready.Status != metav1.ConditionFalse || ready.Reason != reason {
			return fmt.Errorf("Ready is %s: %s: %s", ready.Status, ready.Reason, ready.Message)
		}
		return nil
	})
	for _, word := range words {
		require.Contains(s, ready.Message, word)
	}
	return ready.Message
}

func condition(agent *v1alpha1.Agent, kind string) metav1.Condition {
	return ptr.Deref(meta.FindStatusCondition(agent.Status.Conditions, kind), metav1.Condition{})
}

// pods are those of an Agent, going ones too.
func (s *fixture) pods(agent string) []corev1.Pod {
	s.Helper()
	list := &corev1.PodList{}
	require.NoError(s, api.List(s.Context(), list, client.InNamespace(s.namespace), client.MatchingLabels{v1alpha1.LabelAgent: agent}))
	return list.Items
}

// containerRestarts are the restart counts of an Agent's containers, by pod UID.
func (s *fixture) containerRestarts(agent string) map[types.UID]int32 {
	s.Helper()
	lives := map[types.UID]int32{}
	for _, pod := range s.pods(agent) {
		for _, container := range pod.Status.ContainerStatuses {
			lives[pod.UID] += container.RestartCount
		}
	}
	return lives
}
