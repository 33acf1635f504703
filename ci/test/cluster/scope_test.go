package cluster_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// refusing bounds the time until an operator that found another one at work has ended.
const refusing = 30 * time.Second

// installNamespaced makes what the operator's chart has for some namespaces, under a name of its own, and returns the flags by
// which the chart's Deployment says so.
func installNamespaced(t *testing.T, name string, namespaces ...string) (flags []string) {
	t.Helper()
	values := map[string]any{"fullnameOverride": name, "replicas": 0, "watchNamespaces": namespaces}
	objects, err := manifests.Chart(fromRoot("charts/flokoa-operator"), values, name, system)
	require.NoError(t, err)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: name}}
	t.Cleanup(func() { _ = api.Delete(context.WithoutCancel(t.Context()), lease) })
	for i := range objects {
		object := &objects[i]
		require.NoError(t, api.Create(t.Context(), object))
		t.Cleanup(func() { _ = api.Delete(context.WithoutCancel(t.Context()), object) })
		if object.GetKind() == "Deployment" {
			deployment := appsv1.Deployment{}
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &deployment))
			flags = slices.DeleteFunc(deployment.Spec.Template.Spec.Containers[0].Args, func(flag string) bool {
				return !strings.HasPrefix(flag, "--namespaces=") && !strings.HasPrefix(flag, "--lease-name=")
			})
		}
	}
	require.Equal(t, []string{"--lease-name=" + name, "--namespaces=" + strings.Join(namespaces, ",")}, flags)
	return flags
}

// newNamespaced is an operator for some namespaces, installed and not started yet.
func newNamespaced(t *testing.T, name string, namespaces ...string) *process {
	t.Helper()
	p, err := newProcess(t.Context(), cluster.Config, name, installNamespaced(t, name, namespaces...)...)
	require.NoError(t, err)
	return p
}

// begin starts an operator; it is ended with the test at the latest.
func begin(t *testing.T, p *process) {
	t.Helper()
	require.NoError(t, p.Start())
	t.Cleanup(func() {
		if !p.Ended() {
			_ = p.Kill()
		}
	})
}

// endsSaying waits until an operator ends by itself, and asks of its last words that they have these phrases.
func endsSaying(s *scene, p *process, phrases ...string) {
	s.Helper()
	select {
	case <-p.Done():
	case <-time.After(refusing):
		require.Fail(s, "it goes on", p.Tail(""))
	}
	require.Equal(s, 1, p.State().ExitCode())
	lines := p.Lines("flokoa-operator: ")
	require.Len(s, lines, 1, p.Tail(""))
	for _, phrase := range phrases {
		require.Contains(s, lines[0], phrase)
	}
	s.note("%s", lines[0])
}

// arguments are those of an operator like this one that serves nothing.
func arguments(p *process) []string {
	return append([]string{
		"--kubeconfig", p.Kubeconfig, "--leader-election-namespace", system,
		"--metrics-bind-address", "0", "--health-probe-bind-address", "0",
	}, p.Flags...)
}

// untilLet starts an operator again and again, as the kubelet does, until it is not refused any more, and waits until it leads.
func untilLet(s *scene, p *process) *process {
	s.Helper()
	next, began := p, time.Now()
	err := wait.PollUntilContextTimeout(s.Context(), 500*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		if !next.Started() {
			if err := next.Start(); err != nil {
				return false, err
			}
		}
		if next.Ended() {
			var err error
			next, err = next.Again()
			return false, err
		}
		return next.Leads(ctx), nil
	})
	require.NoError(s, err, next.Tail(""))
	s.Cleanup(func() {
		if next != operator && !next.Ended() {
			_ = next.Kill()
		}
	})
	s.note("let in after %.1fs", time.Since(began).Seconds())
	return next
}

// wroteOnlyIn asks of an account that all its requests since the test began were about its namespaces, but for the lease and the
// questions that belong to no namespace.
func wroteOnlyIn(s *scene, name string, namespaces ...string) {
	s.Helper()
	requests, err := requestsOf("system:serviceaccount:"+system+":"+name, s.since)
	require.NoError(s, err)
	changes := 0
	for _, r := range requests {
		elsewhere := !slices.Contains(append(namespaces, system, ""), r.ObjectRef.Namespace)
		if r.ObjectRef.Resource == "nodes" { // it asks once, and does without
			require.Equal(s, 403, r.ResponseStatus.Code, "%s", r)
			continue
		}
		require.False(s, elsewhere, "%s of %s", r, name)
		brokenOff := r.ObjectRef.Resource == "leases" && r.ResponseStatus.Code == 504 // an operator that was told to stop lets go of it
		require.True(s, r.ResponseStatus.Code < 500 || brokenOff, "%s", r)
		require.NotEqual(s, 403, r.ResponseStatus.Code, "%s", r)
		if r.Changes() {
			changes++
		}
	}
	require.NotZero(s, changes, "what %s did is in the audit log", name)
}

// restore starts the operator that the other tests need, if this one left none, whoever has claims left in its namespaces.
func restore(t *testing.T, scenes ...*scene) {
	t.Helper()
	if !operator.Ended() {
		return
	}
	ctx := context.WithoutCancel(t.Context())
	for _, s := range scenes {
		require.NoError(t, api.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(s.namespace)))
	}
	started, err := startOperator(ctx)
	require.NoError(t, err)
	operator = started
}

func TestTwoOperatorsNeverWorkInOneNamespace(t *testing.T) {
	a, b, gone := newScene(t), newScene(t), newScene(t)
	t.Cleanup(func() { restore(t, a, b, gone) })
	a.create("of-all")
	a.settled("of-all")
	// An Agent that whoever works here cannot let rest: each pass asks the API server for the stranger that has its name.
	a.kubectl("create", "deployment", "taken", "--image=registry.example/other:v1")
	a.create("taken")
	a.awaitAgent("taken", "its name is taken", patience, func(agent *v1alpha1.Agent) bool {
		return condition(agent, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonNameConflict
	})
	blue, green, red := newNamespaced(t, "blue", a.namespace), newNamespaced(t, "green", b.namespace, gone.namespace), newNamespaced(t, "red", a.namespace)

	begin(t, blue)
	endsSaying(a, blue, `namespace "`+a.namespace+`": the operator `+system+"/flokoa-operator works in all namespaces", "uninstall one of the two")
	requests, err := requestsOf("system:serviceaccount:"+system+":blue", a.since)
	require.NoError(t, err)
	require.NotEmpty(t, requests)
	for _, r := range requests {
		require.False(t, r.Changes() || r.Verb == "get" && r.ObjectRef.Resource == "deployments", "refused before it touched anything: %s", r)
	}

	require.NoError(t, stopGracefully(t.Context(), operator))
	all := operator
	blue = untilLet(a, blue)
	green = untilLet(b, green)
	for _, s := range []*scene{a, b, gone} {
		s.create("own")
		s.settled("own")
	}
	wroteOnlyIn(a, "blue", a.namespace)
	wroteOnlyIn(b, "green", b.namespace, gone.namespace)
	gone.leave()
	refuses(a, arguments(red), `namespace "`+a.namespace+`": the operator `+system+"/blue works there already", "uninstall one of the two")
	refuses(b, arguments(all), ": the operator "+system+"/", "works there already")

	require.NoError(t, blue.Kill())
	refuses(a, arguments(red), "the operator "+system+"/blue works there already", "if it is gone, its claim ends within 40s")
	blue, err = blue.Again()
	require.NoError(t, err)
	require.NoError(t, blue.Await(t.Context(), "it leads again", harness.Starting, blue.Leads))
	a.create("of-blue-again")
	a.settled("of-blue-again")
	require.NoError(t, blue.Stop())
	red = untilLet(a, red)
	a.create("after")
	a.settled("after")
	wroteOnlyIn(a, "red", a.namespace)

	require.NotEmpty(t, green.Lines("renewing the claim on a namespace"), "it has tried")
	b.create("after")
	b.settled("after") // a namespace that is gone is no reason to stop in the others
	require.NoError(t, red.Stop())
	require.NoError(t, green.Stop())
	operator = untilLet(b, all)
	for _, s := range []*scene{a, b} {
		s.create("again-of-all")
		s.settled("again-of-all")
	}
}

func TestAnOperatorForNamespacesThatItMayNotReadSaysWhichAndWhatToDo(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	p := newNamespaced(t, "reader", s.namespace)
	p.Flags[1] = "--namespaces=" + s.namespace + ",nowhere"
	refuses(s, arguments(p), `namespace "nowhere": bind this account to the Role of the chart flokoa-operator there`, "watchNamespaces")
	p.Flags = p.Flags[:1]
	refuses(s, arguments(p), "bind this account to the ClusterRole of the chart flokoa-operator")
	p.Flags = append(p.Flags, "--namespaces=Nowhere")
	refuses(s, arguments(p), `"Nowhere" is not the name of a namespace`)
}
