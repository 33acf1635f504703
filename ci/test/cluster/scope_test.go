package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/manifests"
)

const (
	// lease is the name of the Lease whose holder reconciles a namespace.
	lease = "scope.flokoa.ai"
	// expired bounds the time until another operator takes over from one that was killed: 60 s, and a moment for a busy machine.
	expired = 75 * time.Second
)

// installNamespaced creates the objects of the operator's chart for some namespaces, under a name of its own. It returns the flags
// of the chart's Deployment that select them.
func installNamespaced(t *testing.T, name string, namespaces ...string) (flags []string) {
	t.Helper()
	values := map[string]any{"fullnameOverride": name, "replicas": 0, "watchNamespaces": namespaces}
	objects, err := manifests.Chart(fromRoot("charts/flokoa-operator"), values, name, system)
	require.NoError(t, err)
	elected := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: name}}
	t.Cleanup(func() { _ = api.Delete(context.WithoutCancel(t.Context()), elected) })
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

// startForTest starts an operator and waits until it leads its installation. It is killed at the end of the test, if not before.
func startForTest(t *testing.T, p *process) {
	t.Helper()
	require.NoError(t, p.Start())
	t.Cleanup(func() {
		if !p.Ended() {
			_ = p.Kill()
		}
	})
	require.NoError(t, p.WaitFor(t.Context(), "it leads", harness.StartTimeout, p.IsLeader))
}

// arguments are those of an operator like this one that serves nothing.
func arguments(p *process) []string {
	return append([]string{
		"--kubeconfig", p.Kubeconfig, "--leader-election-namespace", system,
		"--metrics-bind-address", "0", "--health-probe-bind-address", "0",
	}, p.Flags...)
}

// requireOwnNamespaces requires that all requests of an account since the test began concern its namespaces, or no namespace, or its leader
// election Lease.
func requireOwnNamespaces(s *fixture, name string, namespaces ...string) {
	s.Helper()
	requests, err := requestsOf("system:serviceaccount:"+system+":"+name, s.since)
	require.NoError(s, err)
	changes := 0
	for _, r := range requests {
		elsewhere := !slices.Contains(append(namespaces, system, ""), r.ObjectRef.Namespace)
		if r.ObjectRef.Resource == "nodes" { // it tries once, and works without them
			require.Equal(s, 403, r.ResponseStatus.Code, "%s", r)
			continue
		}
		require.False(s, elsewhere, "%s of %s", r, name)
		brokenOff := r.ObjectRef.Resource == "leases" && r.ResponseStatus.Code == 504 // a stopping operator cancels it
		require.True(s, r.ResponseStatus.Code < 500 || brokenOff, "%s", r)
		require.NotEqual(s, 403, r.ResponseStatus.Code, "%s", r)
		if r.IsWrite() {
			changes++
		}
	}
	require.NotZero(s, changes, "what %s did is in the audit log", name)
}

// changesIn returns the requests of an account in a namespace since a mark that write anything but Events.
func changesIn(s *fixture, account, namespace string, since harness.Mark) (changes []string) {
	s.Helper()
	requests, err := requestsOf(account, since)
	require.NoError(s, err)
	require.NotEmpty(s, requests, "the account is in the audit log")
	for _, r := range requests {
		leases := r.ObjectRef.Resource == "leases" && r.Verb != "get" && r.Verb != "list" && r.Verb != "watch"
		if r.ObjectRef.Namespace == namespace && (leases || r.IsWrite()) {
			changes = append(changes, r.String())
		}
	}
	return changes
}

// forge writes a Lease that claims a namespace for 68 years, as whoever has a token of an operator with a Role there can.
func forge(s *fixture) {
	s.Helper()
	const text = `{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "` + lease + `"}, "spec": {
		"holderIdentity": "forged", "leaseDurationSeconds": 2147483647, "renewTime": "3000-01-01T00:00:00.000000Z"}}`
	s.kubectl("create", "rolebinding", "editors", "--clusterrole=edit", "--user="+harness.Account)
	s.eventually("the role applies", waitTimeout, func() error {
		create := s.command(s.Context(), "create", "--as="+harness.Account, "-f", "-")
		create.Stdin = strings.NewReader(text)
		if out, err := create.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

func TestTheMoreSpecificOperatorWins(t *testing.T) {
	team, elsewhere, gone := newFixture(t), newFixture(t), newFixture(t)
	team.create("before")
	team.waitReady("before")
	blue, red := newNamespaced(t, "blue", team.namespace, gone.namespace), newNamespaced(t, "red", team.namespace)

	startForTest(t, blue)
	holder := func() string { return team.kubectl("get", "lease", lease, "-o", "jsonpath={.spec.holderIdentity}") }
	team.eventually("the operator for all namespaces steps aside", waitTimeout, func() error {
		if len(operator.Lines("another operator reconciles the namespace")) < 2 {
			return errors.New("no log line")
		}
		return nil
	})
	require.Equal(t, system+"/blue", holder())
	mark, err := auditLogEnd()
	require.NoError(t, err)
	for _, s := range []*fixture{team, elsewhere, gone} {
		s.create("while")
		s.waitReady("while")
	}
	requireOwnNamespaces(team, "blue", team.namespace, gone.namespace)
	startForTest(t, red)
	team.eventually("a second operator for the namespace waits", waitTimeout, func() error {
		if len(red.Lines(system+"/blue")) == 0 {
			return errors.New("no log line that names the other operator")
		}
		return nil
	})
	team.setImage("before", "registry.example/agent:v2")
	team.waitReady("before")
	gone.deleteNamespace()
	team.create("later")
	team.waitReady("later") // a namespace that is gone is no reason to stop in the others
	require.Empty(t, changesIn(team, harness.Account, team.namespace, mark), "the operator for all namespaces steps aside there")
	require.Empty(t, changesIn(team, "system:serviceaccount:"+system+":red", team.namespace, mark))
	require.NotEmpty(t, changesIn(team, harness.Account, elsewhere.namespace, mark), "and continues elsewhere")
	require.NoError(t, red.Stop())

	require.NoError(t, blue.Kill())
	began := time.Now()
	team.create("after")
	team.waitForAgent("after", "the operator for all namespaces takes over", expired, isReady)
	team.note("taken over %.1fs after SIGKILL", time.Since(began).Seconds())
	require.NotEmpty(t, changesIn(team, harness.Account, team.namespace, mark))
	require.Equal(t, system+"/blue", holder(), "it writes no Lease")
}

func TestAForgedLeaseStopsNoOperatorElsewhere(t *testing.T) {
	claimed, team := newFixture(t), newFixture(t)
	claimed.create("before")
	claimed.waitReady("before")
	forge(claimed)
	began := time.Now()
	replaceOperator(t) // it starts, and leads
	mark, err := auditLogEnd()
	require.NoError(t, err)
	team.create("a")
	team.waitReady("a")
	claimed.create("a")
	claimed.eventually("an Event names the operator that reconciles the namespace", waitTimeout, func() error {
		if out := claimed.kubectl("describe", "agent", "a"); !strings.Contains(out, `reconciled by operator "forged" (Lease `+lease+`)`) {
			return errors.New(out)
		}
		return nil
	})
	require.Empty(t, changesIn(claimed, harness.Account, claimed.namespace, mark))
	require.Less(t, time.Since(began), expired, "it still holds")
	claimed.waitForAgent("a", "the forged Lease expires if it is not renewed", expired, isReady)
	claimed.note("a forged Lease held for %.1fs", time.Since(began).Seconds())
}

func TestAnOperatorNamesNamespacesThatItMayNotReadAndTheFix(t *testing.T) {
	t.Parallel()
	s := newFixture(t)
	p := newNamespaced(t, "reader", s.namespace)
	p.Flags[1] = "--namespaces=" + s.namespace + ",nowhere"
	requireStartFails(s, cannotRun, arguments(p), `namespace "nowhere": bind this account to the Role of the chart flokoa-operator there`, "watchNamespaces")
	p.Flags = p.Flags[:1]
	requireStartFails(s, cannotRun, arguments(p), "bind this account to the ClusterRole of the chart flokoa-operator")
	p.Flags = append(p.Flags, "--namespaces=Nowhere")
	requireStartFails(s, usage, arguments(p), `"Nowhere" is not the name of a namespace`)
}
