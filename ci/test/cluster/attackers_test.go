package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flokoa/flokoa/ci/testkit/harness"
	"github.com/flokoa/flokoa/ci/testkit/manifests"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// attack is one row of the attackers' table.
type attack struct {
	name, by string
	// before is what the attacker reached before the guard existed, as this test saw it.
	before string
	// try carries the attack out. It returns the guard that stopped it, or an error that says what the attacker reached.
	try func(*arena) (guard string, err error)
}

// stranger holds the built-in role edit in a namespace of their own.
const stranger = "stranger"

// arena is where an attack takes place: two environments of one cluster, and a namespace whose editor owns nothing else.
type arena struct {
	*testing.T
	dev, production *environment
	home            *fixture
}

// TestAttackersAreStopped carries out every attack as the attacker, in environments installed by Helm and by kustomize, and the
// attacks of the operator's account with both of its permissions. It runs alone: an attack that succeeds takes nodes from other tests.
func TestAttackersAreStopped(t *testing.T) {
	rows := slices.Concat(neighborAttacks(), strangerAttacks(), operatorAttacks("Cluster"))
	confined := operatorAttacks("Environments")
	outcomes := map[string][]string{}
	for _, way := range []string{"Helm", "kustomize"} {
		t.Run(way, func(t *testing.T) {
			a := newArena(t, map[string]func(*testing.T, string) *environment{"Helm": installWithHelm, "kustomize": installWithKustomize}[way])
			a.carryOut(rows, outcomes)
			a.confineToEnvironments()
			a.carryOut(confined, outcomes)
		})
	}
	printAttacks(slices.Concat(rows, confined), outcomes)
}

// carryOut tries each attack in a subtest of its own, and adds what the table says about it.
func (a *arena) carryOut(rows []attack, outcomes map[string][]string) {
	for _, row := range rows {
		key := row.key()
		a.Run(key, func(t *testing.T) {
			now := "not carried out"
			defer func() { outcomes[key] = append(outcomes[key], now) }() // a failed assertion ends the goroutine
			now = row.carryOut(a.within(t))
		})
	}
}

func (row attack) key() string { return row.name + " by " + row.by }

// carryOut tries the attack and returns what the table says about it now.
func (row attack) carryOut(a *arena) string {
	a.Helper()
	guard, err := row.try(a)
	if err != nil {
		a.Errorf("the attack succeeds: %v", err)
		return "SUCCEEDS: " + err.Error()
	}
	require.NotEmpty(a, guard, "a guard stops the attack")
	return guard
}

// printAttacks prints the table, with one outcome if it is the same for both ways of installation.
func printAttacks(rows []attack, outcomes map[string][]string) {
	text := &strings.Builder{}
	table := tabwriter.NewWriter(text, 0, 0, 1, ' ', tabwriter.Debug)
	_, _ = fmt.Fprintln(table, "attack\t by\t before\t now")
	for _, row := range rows {
		if now := slices.Compact(outcomes[row.key()]); len(now) > 0 {
			_, _ = fmt.Fprintf(table, "%s\t %s\t %s\t %s\n", row.name, row.by, row.before, strings.Join(now, "; by kustomize: "))
		}
	}
	_ = table.Flush()
	for line := range strings.Lines(text.String()) {
		logf("%s", strings.TrimSuffix(line, "\n"))
	}
}

// newArena installs dev and production, and makes a namespace whose stranger holds the built-in role edit. An Agent without a fault
// runs in both environments, so that what stops an attack is its guard.
func newArena(t *testing.T, install func(*testing.T, string) *environment) *arena {
	t.Helper()
	t.Cleanup(func() { awaitFreeNames(t, "flokoa-dev", "flokoa-production") })
	a := &arena{T: t, dev: install(t, "dev"), production: install(t, "production"), home: newFixture(t)}
	a.dev.waitQuotas()
	a.production.waitQuotas()
	a.home.kubectl("create", "rolebinding", "editors", "--clusterrole=edit", "--user="+stranger)
	for _, e := range []*environment{a.dev, a.production} {
		require.Eventually(t, func() bool { return a.editor(e).Create(t.Context(), a.ordinary(e), client.DryRunAll) == nil }, waitTimeout, time.Second)
		require.Empty(t, a.deploy(e), "an ordinary Agent runs in %s", e.kind)
		a.clear(e)
	}
	return a
}

// confineToEnvironments has the operator write only where flokoa-environment binds its role, until the test ends.
func (a *arena) confineToEnvironments() {
	a.Helper()
	install := func(ctx context.Context, permissions string) error {
		values := map[string]any{"replicas": 0, "permissions": permissions}
		return manifests.Install(ctx, cluster.Kubeconfig, fromRoot("charts/flokoa-operator"), "flokoa-operator", system, values)
	}
	a.Cleanup(func() { require.NoError(a, install(context.Background(), "Cluster")) })
	require.NoError(a, install(a.Context(), "Environments"))
	a.home.eventually("RBAC has it", waitTimeout, func() error {
		return checkEqual("it may write elsewhere", false, may(a.T, a.account(), a.home.namespace, "create", "apps/deployments"))
	})
	require.Empty(a, a.deploy(a.production), "an ordinary Agent runs in production")
	a.clear(a.production)
}

// within is the arena as a subtest sees it.
func (a *arena) within(t *testing.T) *arena {
	t.Helper()
	in := func(s *fixture) *fixture {
		inner := *s
		inner.T = t
		return &inner
	}
	b := &arena{T: t, home: in(a.home)}
	b.dev = &environment{in(a.dev.fixture), a.dev.kind}
	b.production = &environment{in(a.production.fixture), a.production.kind}
	t.Cleanup(func() { b.clear(b.dev); b.clear(b.production) })
	return b
}

// awaitFreeNames waits until namespaces that are being deleted are gone, so that other tests can install theirs.
func awaitFreeNames(t *testing.T, names ...string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(context.Background(), 200*time.Millisecond, waitTimeout, true, func(ctx context.Context) (bool, error) {
		for _, name := range names {
			if err := api.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{}); !apierrors.IsNotFound(err) {
				return false, err
			}
		}
		return true, nil
	})
	require.NoError(t, err, "%v are gone", names)
}

// --- attackers ----------------------------------------------------------------------------------------------------------

// impersonate is a client that acts as somebody else.
func (a *arena) impersonate(user string, groups ...string) client.Client {
	a.Helper()
	config := rest.CopyConfig(cluster.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	who, err := harness.NewClient(config)
	require.NoError(a, err)
	return who
}

// editor is a member of the group that the environment binds to its role agent-editor.
func (a *arena) editor(e *environment) client.Client {
	a.Helper()
	binding := read(e.fixture, "agent-editor", &rbacv1.RoleBinding{})
	require.NotEmpty(a, binding.Subjects)
	return a.impersonate(e.kind+"-eddie", binding.Subjects[0].Name)
}

// account is the operator's.
func (a *arena) account() client.Client {
	a.Helper()
	return a.impersonate(harness.Account, "system:serviceaccounts", "system:serviceaccounts:"+system)
}

// --- what stops an attack -----------------------------------------------------------------------------------------------

// guards tell by a message which guard wrote it.
var guards = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`ValidatingAdmissionPolicy '([^']+)'`), "policy $1"},
	{regexp.MustCompile(`exceeded quota: ([-a-z]+)`), "quota $1"},
	{regexp.MustCompile(`(maximum|minimum) (\S+) usage per Container`), "LimitRange: $1 $2"},
	{regexp.MustCompile(`is invalid: ([^\s:]+): `), "CRD: $1"},
	{regexp.MustCompile(`cannot [a-z]+ resource "[a-z]+" in API group`), "RBAC"},
	{regexp.MustCompile(`the limit is (\d+ KiB)`), "operator: at most $1"},
	{regexp.MustCompile(`(Request entity too large|etcdserver: request is too large)`), "$1"},
}

// guardOf names the guard that wrote a message.
func guardOf(message string) string {
	for _, g := range guards {
		if found := g.pattern.FindStringSubmatchIndex(message); found != nil {
			return string(g.pattern.ExpandString(nil, g.name, message, found))
		}
	}
	return message
}

// request sends a request of an attacker. It returns the guard that answered, nothing if the request is accepted. An error that no
// guard wrote fails the test.
func (a *arena) request(send func() error) (guard string) {
	a.Helper()
	err := retry.RetryOnConflict(quotaConflicts, send)
	if err == nil {
		return ""
	}
	require.True(a, apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err), "%v", err)
	return guardOf(err.Error())
}

// create makes an object that no attack needs rights for.
func (a *arena) create(object client.Object) {
	a.Helper()
	require.NoError(a, retry.RetryOnConflict(quotaConflicts, func() error { return api.Create(a.Context(), object) }))
}

// quotaConflicts is for requests that count in a quota which others count in at the same time.
var quotaConflicts = wait.Backoff{Steps: 50, Duration: 100 * time.Millisecond}

// --- Agents of attackers ------------------------------------------------------------------------------------------------

const attackAgent = "attack"

// ordinary is an Agent that every environment accepts.
func (a *arena) ordinary(e *environment, changes ...change) *v1alpha1.Agent {
	a.Helper()
	resources := onContainer(func(c *corev1.Container) { c.Resources = e.defaultResources() })
	return e.newAgent(attackAgent, append([]change{replicas(minReplicas[e.kind]), resources}, changes...)...)
}

// deploy has the editor of an environment create an Agent. It returns the guard that denied the Agent or its pods, nothing if a
// pod exists.
func (a *arena) deploy(e *environment, changes ...change) (guard string) {
	a.Helper()
	editor, agent := a.editor(e), a.ordinary(e, changes...)
	if guard := a.request(func() error { return editor.Create(a.Context(), agent.DeepCopy()) }); guard != "" {
		return guard
	}
	e.eventually("the Agent has a pod, or none is created", waitTimeout, func() error {
		if len(e.list(&corev1.PodList{}, client.MatchingLabels{v1alpha1.LabelAgent: attackAgent})) > 0 {
			return nil
		}
		guard = e.refusal()
		if guard == "" {
			return errors.New("neither")
		}
		return nil
	})
	return guard
}

// refusal is the guard because of which the attacker's Agent has no pods, if the cluster says so.
func (e *environment) refusal() string {
	deployment := &appsv1.Deployment{}
	if err := api.Get(e.Context(), client.ObjectKey{Namespace: e.namespace, Name: attackAgent}, deployment); err == nil {
		for _, c := range deployment.Status.Conditions {
			if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
				return guardOf(c.Message)
			}
		}
	}
	ready := condition(read(e.fixture, attackAgent, &v1alpha1.Agent{}), v1alpha1.ConditionReady)
	if ready.Status == metav1.ConditionFalse && (ready.Reason == v1alpha1.ReasonInvalidSpec || strings.Contains(ready.Message, "denied")) {
		return guardOf(ready.Message)
	}
	return ""
}

// clear removes what attacks left in an environment.
func (a *arena) clear(e *environment) {
	a.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	here := client.InNamespace(e.namespace)
	require.NoError(a, api.DeleteAllOf(ctx, &v1alpha1.Agent{}, here, client.PropagationPolicy(metav1.DeletePropagationBackground)))
	for _, orphan := range []client.Object{&appsv1.Deployment{}, &corev1.Service{}, &policyv1.PodDisruptionBudget{}} {
		require.NoError(a, api.DeleteAllOf(ctx, orphan, here, client.PropagationPolicy(metav1.DeletePropagationBackground)))
	}
	require.NoError(a, wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		for _, list := range []client.ObjectList{&v1alpha1.AgentList{}, &appsv1.DeploymentList{}, &appsv1.ReplicaSetList{}, &corev1.PodList{}} {
			if err := api.List(ctx, list, here); err != nil || meta.LenList(list) > 0 {
				return false, err
			}
		}
		return true, nil
	}), "%s is empty", e.namespace)
}

// suffers says why a new Agent of production does not become ready, nil if it does.
func (a *arena) suffers(changes ...change) (why error) {
	a.Helper()
	e := a.production
	a.create(a.ordinary(e, append([]change{replicas(6)}, changes...)...))
	e.eventually("production's Agent is ready, or a pod of it is unschedulable", waitTimeout, func() error {
		why = nil
		if isReady(read(e.fixture, attackAgent, &v1alpha1.Agent{})) {
			return nil
		}
		for _, object := range e.list(&corev1.PodList{}) {
			for _, c := range object.(*corev1.Pod).Status.Conditions {
				if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable {
					why = fmt.Errorf("production's pod is unschedulable: %s", c.Message)
					return nil
				}
			}
		}
		return errors.New("neither")
	})
	return why
}

// removeNow deletes an object at the end of an attack, when the test's context is done.
func removeNow(object client.Object) {
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	_ = api.Delete(ctx, object)
}
