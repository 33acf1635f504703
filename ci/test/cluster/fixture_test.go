package cluster_test

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
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// waitTimeout is how long a test waits for what should come to pass, on a machine that does other things too.
const waitTimeout = 90 * time.Second

// fixture is a test's own namespace, and what happens in it.
type fixture struct {
	*testing.T
	namespace string
	// since is the place in the audit log where the test began.
	since harness.Mark
	notes []string
}

// newFixture starts a test. It prints one line when the test ends: how it went, how long it took and what was measured.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-", Labels: testNamespaces}}
	require.NoError(t, api.Create(t.Context(), namespace))
	return fixtureIn(t, namespace.Name)
}

// fixtureIn starts a test in a namespace of that name, which is there or will be made by what is tested.
func fixtureIn(t *testing.T, namespace string) *fixture {
	t.Helper()
	began := time.Now()
	mark, err := auditLogEnd()
	require.NoError(t, err)
	s := &fixture{T: t, namespace: namespace, since: mark}
	t.Cleanup(func() {
		outcome := "ok    "
		switch {
		case t.Failed():
			outcome = "FAILED"
			s.dumpState()
		case t.Skipped():
			outcome = "skip  "
		}
		logf("%s %6.1fs  %s", outcome, time.Since(began).Seconds(), strings.Join(append([]string{t.Name()}, s.notes...), "; "))
		s.deleteNamespace()
	})
	return s
}

// note adds something measured to the test's line.
func (s *fixture) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// Errorf fails the test, and has its line repeat why: what is printed in between is long.
func (s *fixture) Errorf(format string, args ...any) {
	s.Helper()
	s.T.Errorf(format, args...)
	why := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	s.note("%s", why[:min(len(why), 1000)])
}

// deleteNamespace removes the namespace. The Agents go first: while a namespace is being emptied, they would have their children made
// again, in vain.
func (s *fixture) deleteNamespace() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := api.DeleteAllOf(ctx, &v1alpha1.Agent{}, client.InNamespace(s.namespace)); err != nil {
		logf("namespace %s stays: %v", s.namespace, err)
		return
	}
	if err := api.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}); err != nil {
		logf("namespace %s stays: %v", s.namespace, err)
	}
}

// dumpState shows what is in the namespace of a test that failed, and what the operator's log has on it.
func (s *fixture) dumpState() {
	for _, args := range [][]string{{"get", "agents,deployments,replicasets,services,pods", "-o", "wide"}, {"describe", "agents"}} {
		if out, _ := s.command(context.Background(), args...).Output(); len(out) > 0 {
			s.Logf("kubectl %s\n%s", strings.Join(args, " "), out)
		}
	}
	if operator.Ended() {
		s.Logf("the operator ended with %s; the end of its log:\n%s", operator.State(), operator.Tail(""))
	} else if lines := operator.Tail(s.namespace); lines != "" {
		s.Logf("the operator's log:\n%s", lines)
	}
}

// command is kubectl, in the test's namespace unless the arguments name another.
func (s *fixture) command(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, cluster.Kubectl, append([]string{"--namespace", s.namespace}, args...)...)
	command.Dir = root
	command.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig, "KUBERC=off", "KUBECACHEDIR="+filepath.Join(workDir, "kubectl-cache"))
	return command
}

// kubectl runs it and returns what it printed; it must succeed.
func (s *fixture) kubectl(args ...string) string {
	s.Helper()
	out, err := s.command(s.Context(), args...).CombinedOutput()
	require.NoError(s, err, "kubectl %s\n%s", strings.Join(args, " "), out)
	return string(out)
}

// eventually polls until something holds; otherwise it fails with the last error.
func (s *fixture) eventually(what string, limit time.Duration, missing func() error) {
	s.Helper()
	var last error
	err := wait.PollUntilContextTimeout(s.Context(), 100*time.Millisecond, limit, true, func(context.Context) (bool, error) {
		last = missing()
		return last == nil, nil
	})
	require.NoError(s, err, "waited %s until %s: %v", limit, what, last)
}

// --- Agents -------------------------------------------------------------------------------------------------------------

// change alters an Agent that is about to be created.
type change func(*v1alpha1.Agent)

func replicas(n int32) change {
	return func(a *v1alpha1.Agent) { a.Spec.Runtime.Spec.Replicas = &n }
}

// simulate sets one of the simulation annotations of ci/clusters/local/README.md on the pods.
func simulate(behaviour, value string) change {
	return func(a *v1alpha1.Agent) {
		spec := &a.Spec.Runtime.Spec
		if spec.PodMetadata == nil {
			spec.PodMetadata = &v1alpha1.PodMetadata{Annotations: map[string]string{}}
		}
		spec.PodMetadata.Annotations["simulation/"+behaviour] = value
	}
}

// create makes a small Agent: one replica, one port.
func (s *fixture) create(name string, changes ...change) *v1alpha1.Agent {
	s.Helper()
	agent := s.newAgent(name, changes...)
	require.NoError(s, api.Create(s.Context(), agent))
	return agent
}

func (s *fixture) newAgent(name string, changes ...change) *v1alpha1.Agent {
	agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	agent.Spec.Runtime.Spec = v1alpha1.RuntimeSpec{Replicas: ptr.To[int32](1), Container: corev1.Container{
		Name:  "agent",
		Image: "registry.example/agent:v1",
		Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
		Env:   []corev1.EnvVar{{Name: "LEVEL", Value: "info"}},
	}}
	for _, change := range changes {
		change(agent)
	}
	return agent
}

// patch changes an Agent by a JSON patch, and returns it as stored.
func (s *fixture) patch(name, patch string) *v1alpha1.Agent {
	s.Helper()
	agent := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	require.NoError(s, api.Patch(s.Context(), agent, client.RawPatch(types.JSONPatchType, []byte(patch))))
	return agent
}

// setImage gives an Agent another image.
func (s *fixture) setImage(name, image string) *v1alpha1.Agent {
	s.Helper()
	return s.patch(name, `[{"op":"replace","path":"/spec/runtime/spec/container/image","value":"`+image+`"}]`)
}

// read gets an object of the namespace, which must exist.
func read[T client.Object](s *fixture, name string, into T) T {
	s.Helper()
	require.NoError(s, api.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, into))
	return into
}

// checkDeleted reports that an object of the namespace exists, nil when it does not.
func (s *fixture) checkDeleted(name string, object client.Object) error {
	err := api.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, object)
	if err == nil {
		return fmt.Errorf("%T %s exists", object, name)
	}
	return client.IgnoreNotFound(err)
}

// list are the objects of a kind in the namespace.
func (s *fixture) list(list client.ObjectList, options ...client.ListOption) []client.Object {
	s.Helper()
	require.NoError(s, api.List(s.Context(), list, append(options, client.InNamespace(s.namespace))...))
	items, err := meta.ExtractList(list)
	require.NoError(s, err)
	objects := make([]client.Object, 0, len(items))
	for _, item := range items {
		objects = append(objects, item.(client.Object))
	}
	return objects
}

// waitForAgent polls until something holds for an Agent, and returns it as it then is.
func (s *fixture) waitForAgent(name, what string, limit time.Duration, holds func(*v1alpha1.Agent) bool) *v1alpha1.Agent {
	s.Helper()
	agent := &v1alpha1.Agent{}
	s.eventually(what, limit, func() error {
		agent = read(s, name, &v1alpha1.Agent{})
		if holds(agent) {
			return nil
		}
		return fmt.Errorf("generation %d, observed %d; %d replicas, %d available; Ready %+v",
			agent.Generation, agent.Status.ObservedGeneration, agent.Status.Replicas, agent.Status.AvailableReplicas, condition(agent, v1alpha1.ConditionReady))
	})
	return agent
}

// waitReady waits until an Agent is ready at its present generation.
func (s *fixture) waitReady(name string) *v1alpha1.Agent {
	s.Helper()
	return s.waitForAgent(name, name+" is ready", waitTimeout, isReady)
}

func isReady(agent *v1alpha1.Agent) bool {
	ready := condition(agent, v1alpha1.ConditionReady)
	return ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == agent.Generation && agent.Status.ObservedGeneration == agent.Generation
}

// condition is one of an Agent's conditions, a zero one when it is absent.
func condition(agent *v1alpha1.Agent, kind string) metav1.Condition {
	return ptr.Deref(meta.FindStatusCondition(agent.Status.Conditions, kind), metav1.Condition{})
}

// --- watching -----------------------------------------------------------------------------------------------------------

// watchObjects hands every object of a kind in the namespace, as it now is and at every change, to a function, until the context
// ends. Calls for one kind follow one another. It returns when the present objects have been handed over.
func (s *fixture) watchObjects(ctx context.Context, list client.ObjectList, see func(watch.EventType, client.Object)) {
	s.Helper()
	for _, object := range s.list(list) {
		see(watch.Added, object)
	}
	from := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}}
	watcher, err := api.Watch(ctx, list, client.InNamespace(s.namespace), from)
	require.NoError(s, err)
	go func() {
		defer watcher.Stop()
		for event := range watcher.ResultChan() {
			if object, ok := event.Object.(client.Object); ok {
				see(event.Type, object)
			}
		}
	}()
}

// requests are those of every operator about this namespace since the test began.
func (s *fixture) requests() []request {
	s.Helper()
	all, err := requestsSince(s.since)
	require.NoError(s, err)
	var here []request
	for _, r := range all {
		if r.ObjectRef.Namespace == s.namespace {
			here = append(here, r)
		}
	}
	return here
}
