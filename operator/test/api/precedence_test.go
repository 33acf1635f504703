package apitest_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	controllerconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/flokoa/flokoa/operator/internal/agent"
	"github.com/flokoa/flokoa/operator/internal/agenttest"
	"github.com/flokoa/flokoa/operator/internal/app"
)

const (
	// atOnce bounds what an operator does without delay; released and expired bound its delay after a Lease ends in each way.
	atOnce   = 10 * time.Second
	released = 5*time.Second + atOnce
	expired  = 60*time.Second + atOnce
	// acquired bounds how long a Lease that nobody renews keeps an operator from acquiring it: it tries every 20 to 44 seconds.
	acquired = expired + 44*time.Second
)

// installation is an operator at work: its controller and precedence, with the caches and the client of production.
type installation struct {
	http.RoundTripper
	stop  context.CancelFunc
	ended chan error
	mutex sync.Mutex
	wrote []string // each request that writes, as method and path
	read  []string // each other request but a watch, as path
	log   bytes.Buffer
}

// RoundTrip records the requests.
func (i *installation) RoundTrip(request *http.Request) (*http.Response, error) {
	i.mutex.Lock()
	switch {
	case request.Method != http.MethodGet:
		i.wrote = append(i.wrote, request.Method+" "+request.URL.Path)
	case !request.URL.Query().Has("watch"):
		i.read = append(i.read, request.URL.Path)
	}
	i.mutex.Unlock()
	return i.RoundTripper.RoundTrip(request)
}

// writes counts the requests that write in a namespace, other than Events, whose path has some part.
func (i *installation) writes(namespace, part string) int {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	count := 0
	for _, request := range i.wrote {
		if strings.Contains(request, "/namespaces/"+namespace+"/") && !strings.HasSuffix(request, "/events") && strings.Contains(request, part) {
			count++
		}
	}
	return count
}

// logged counts the lines of the log that have a phrase.
func (i *installation) logged(phrase string) int {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return strings.Count(i.log.String(), phrase)
}

// work starts an operator. It works in some namespaces by name, or in all: then its caches still hold only those that this test
// gives it, because other tests share the API server.
func work(t *testing.T, holder string, byName bool, namespaces ...string) *installation {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	i := &installation{stop: stop, ended: make(chan error, 1)}
	counted := rest.CopyConfig(config)
	counted.Wrap(func(next http.RoundTripper) http.RoundTripper { i.RoundTripper = next; return i })
	logger := funcr.New(func(_, line string) {
		i.mutex.Lock()
		defer i.mutex.Unlock()
		i.log.WriteString(line + "\n")
	}, funcr.Options{})
	manager, err := ctrl.NewManager(counted, ctrl.Options{
		Scheme: scheme, Logger: logger, Cache: app.CacheOptions(namespaces), Metrics: metricsserver.Options{BindAddress: "0"},
		Client:     client.Options{Cache: &client.CacheOptions{EnableReadYourWritesConsistency: ptr.To(true)}},
		Controller: controllerconfig.Controller{SkipNameValidation: ptr.To(true)},
	})
	require.NoError(t, err)
	leases, err := coordinationv1client.NewForConfig(counted)
	require.NoError(t, err)
	var named []string
	if byName {
		named = namespaces
	}
	precedence := app.NewPrecedence(holder, named, leases, logger)
	require.NoError(t, manager.Add(precedence))
	require.NoError(t, agent.Register(ctx, manager, agent.Settings{Workers: 2, Precedence: precedence}))
	go func() { i.ended <- manager.Start(ctx) }()
	t.Cleanup(stop)
	return i
}

// leave stops an operator gracefully.
func (i *installation) leave(t *testing.T) {
	t.Helper()
	i.stop()
	require.NoError(t, <-i.ended)
}

// deploy creates an Agent.
func deploy(t *testing.T, namespace, name string) {
	t.Helper()
	stored := agenttest.New(name, agenttest.In(namespace))
	stored.UID, stored.Generation, stored.CreationTimestamp = "", 0, metav1.Time{}
	require.NoError(t, api.Create(t.Context(), stored))
}

func deployed(t *testing.T, namespace, name string) bool {
	t.Helper()
	err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &appsv1.Deployment{})
	require.NoError(t, client.IgnoreNotFound(err))
	return err == nil
}

// reconciles waits until an operator has deployed an Agent and written its status, and returns how long that took.
func (i *installation) reconciles(t *testing.T, namespace, name string, within time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	require.Eventually(t, func() bool {
		return i.writes(namespace, "/deployments/"+name) > 0 && i.writes(namespace, "/agents/"+name+"/status") > 0 && deployed(t, namespace, name)
	}, within, 50*time.Millisecond, "%s/%s", namespace, name)
	return time.Since(began)
}

func leaseIn(t *testing.T, namespace string) *coordinationv1.Lease {
	t.Helper()
	lease := &coordinationv1.Lease{}
	require.NoError(t, api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: agent.NamespaceLease}, lease))
	return lease
}

// forge writes a Lease that claims its namespace for 68 years, as any user with write access to Leases there can.
func forge(t *testing.T, namespace string) {
	t.Helper()
	now := time.Now()
	require.NoError(t, api.Create(t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: agent.NamespaceLease},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To("forged"), LeaseDurationSeconds: ptr.To[int32](2147483647),
			AcquireTime: ptr.To(metav1.NewMicroTime(now)), RenewTime: ptr.To(metav1.NewMicroTime(now.AddDate(1000, 0, 0))),
			LeaseTransitions: ptr.To[int32](2147483647), // one more is no valid number
		},
	}))
}

func TestTheMoreSpecificOperatorWinsInItsNamespaceOnly(t *testing.T) {
	t.Parallel()
	team, elsewhere := newNamespace(t), newNamespace(t)
	all := work(t, "platform/all", false, team, elsewhere)
	deploy(t, team, "before")
	deploy(t, elsewhere, "before")
	all.reconciles(t, team, "before", atOnce)
	all.reconciles(t, elsewhere, "before", atOnce)
	require.Zero(t, all.writes(team, "/leases")+all.writes(elsewhere, "/leases"), "it writes no Lease")

	own := work(t, "team/own", true, team)
	require.Eventually(t, func() bool { return all.logged("another operator reconciles the namespace") == 1 }, atOnce, 10*time.Millisecond)
	require.Equal(t, "team/own", *leaseIn(t, team).Spec.HolderIdentity)
	deploy(t, team, "while")
	deploy(t, elsewhere, "while")
	own.reconciles(t, team, "while", atOnce)
	all.reconciles(t, elsewhere, "while", atOnce)
	require.Zero(t, all.writes(team, "while"), "it steps aside")
	require.Zero(t, own.writes(elsewhere, ""), "it writes in its own namespaces only")

	own.leave(t)
	require.Empty(t, *leaseIn(t, team).Spec.HolderIdentity, "released")
	deploy(t, team, "after")
	took := all.reconciles(t, team, "after", released)
	require.Equal(t, 1, all.logged("this operator reconciles the namespace"))
	t.Logf("taken over %.1fs after a graceful stop", took.Seconds())
}

func TestAForgedLeaseAffectsItsNamespaceOnlyUntilItExpires(t *testing.T) {
	t.Parallel()
	foreign, team := newNamespace(t), newNamespace(t)
	forge(t, foreign)
	deploy(t, foreign, "a")
	deploy(t, team, "a")
	began := time.Now()
	all := work(t, "platform/all", false, foreign, team) // it starts although the Lease was there first
	all.reconciles(t, team, "a", atOnce)
	require.Eventually(t, func() bool { return all.logged("another operator reconciles the namespace") == 1 }, atOnce, 10*time.Millisecond)
	require.Zero(t, all.writes(foreign, ""))

	note := `namespace ` + foreign + ` is reconciled by operator "forged" (Lease scope.flokoa.ai)`
	require.Eventually(t, func() bool { return len(notes(t, foreign)) > 0 }, 2*atOnce, 100*time.Millisecond)
	require.Equal(t, []string{note}, notes(t, foreign))

	all.reconciles(t, foreign, "a", expired)
	require.Greater(t, time.Since(began), 50*time.Second, "it held while it counted")
	require.Equal(t, 1, all.logged("this operator reconciles the namespace"))
	require.Equal(t, []string{note}, notes(t, foreign), "one Event for an Agent")
}

func TestAForgedLeaseIsTakenOverByTheNamespacesOperator(t *testing.T) {
	t.Parallel()
	team := newNamespace(t)
	forge(t, team)
	deploy(t, team, "a")
	own := work(t, "team/own", true, team)
	own.reconciles(t, team, "a", acquired)
	require.Equal(t, "team/own", *leaseIn(t, team).Spec.HolderIdentity)
}

// notes are those of the Events about an operator that leaves a namespace to another.
func notes(t *testing.T, namespace string) []string {
	t.Helper()
	all := &eventsv1.EventList{}
	require.NoError(t, api.List(t.Context(), all, client.InNamespace(namespace)))
	var found []string
	for _, event := range all.Items {
		if event.Reason == agent.ReasonOtherOperator {
			found = append(found, event.Note)
		}
	}
	return found
}

func TestASecondOperatorSkipsTheNamespacesOfTheFirst(t *testing.T) {
	t.Parallel()
	shared, own := newNamespace(t), newNamespace(t)
	first := work(t, "team/first", true, shared)
	deploy(t, shared, "a")
	first.reconciles(t, shared, "a", atOnce)
	second := work(t, "team/second", true, shared, own)
	deploy(t, own, "b")
	second.reconciles(t, own, "b", atOnce)
	require.Eventually(t, func() bool { return second.logged(`"operator"="team/first"`) == 1 }, atOnce, 10*time.Millisecond)
	deploy(t, shared, "c")
	first.reconciles(t, shared, "c", atOnce)
	require.Zero(t, second.writes(shared, ""))
	require.Equal(t, "team/first", *leaseIn(t, shared).Spec.HolderIdentity)

	first.leave(t)
	deploy(t, shared, "d")
	second.reconciles(t, shared, "d", expired)
	require.Equal(t, "team/second", *leaseIn(t, shared).Spec.HolderIdentity)
}

func TestAReplicaContinuesTheLeasesOfItsInstallationAtOnce(t *testing.T) {
	t.Parallel()
	team := newNamespace(t)
	all := work(t, "platform/all", false, team)
	first := work(t, "team/own", true, team)
	require.Eventually(t, func() bool { return all.logged("another operator reconciles the namespace") == 1 }, atOnce, 10*time.Millisecond)
	first.leave(t)
	next := work(t, "team/own", true, team)
	deploy(t, team, "a")
	next.reconciles(t, team, "a", released)
	require.Never(t, func() bool { return all.writes(team, "") > 0 }, released, time.Second, "a handover is no reason to step in")
	require.Zero(t, all.logged("this operator reconciles the namespace"))
}

func TestADeletedNamespaceDoesNotStopAnOperator(t *testing.T) {
	t.Parallel()
	team := newNamespace(t)
	own := work(t, "team/own", true, team, "gone")
	deploy(t, team, "a")
	own.reconciles(t, team, "a", atOnce)
	err := api.Get(t.Context(), client.ObjectKey{Namespace: "gone", Name: agent.NamespaceLease}, &coordinationv1.Lease{})
	require.True(t, apierrors.IsNotFound(err), "%v", err)
	own.leave(t)
}
