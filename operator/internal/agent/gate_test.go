package agent

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
	"github.com/flokoa/flokoa/operator/internal/configrollout"
	"github.com/flokoa/flokoa/operator/internal/configwatch"
)

// yieldsTo is a precedence that yields every namespace to an operator; nil yields none.
type yieldsTo struct{ operator *string }

func (y yieldsTo) YieldsTo(string) (string, bool) {
	if y.operator == nil {
		return "", false
	}
	return *y.operator, true
}

func (yieldsTo) Sources(ctrl.Manager) []source.Source { return nil }

// oneAgent reads one Agent, nil for none.
type oneAgent struct {
	client.Reader
	agent *v1alpha1.Agent
}

func (o oneAgent) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	if o.agent == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "agents"}, key.Name)
	}
	o.agent.DeepCopyInto(into.(*v1alpha1.Agent))
	return nil
}

func TestGatePassesOnlyAgentsOfThisOperator(t *testing.T) {
	const otherOperator = `Normal OtherOperator namespace ns is reconciled by operator "platform/other\u202e\n" (Lease scope.flokoa.ai)`
	other, unknown := "platform/other\u202e\n", ""
	age := func(age time.Duration) *v1alpha1.Agent {
		return &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", UID: "u", CreationTimestamp: metav1.NewTime(time.Now().Add(-age))}, Status: v1alpha1.AgentStatus{ObservedGeneration: -1}}
	}
	written, deleted := age(time.Hour), age(time.Hour)
	written.Status.ObservedGeneration = 1
	deleted.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	for name, r := range map[string]struct {
		operator *string
		agent    *v1alpha1.Agent
		passes   bool
		event    string
		again    bool
	}{
		"this operator's namespace":               {nil, age(time.Hour), true, "", false},
		"another's, with a status":                {&other, written, false, "", false},
		"another's, without one":                  {&other, age(time.Hour), false, otherOperator, false},
		"another's, without one yet":              {&other, age(statusDue / 2), false, "", true},
		"another's, and the Agent is deleted":     {&other, nil, true, "", false},
		"another's, and the Agent is terminating": {&other, deleted, false, "", false},
		"an unknown operator's":                   {&unknown, age(time.Hour), false, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			passed, recorder := 0, events.NewFakeRecorder(8)
			inner := reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) {
				passed++
				return reconcile.Result{}, nil
			})
			gate := &gated{precedence: yieldsTo{r.operator}, inner: inner, reader: oneAgent{agent: r.agent}, events: recorder}
			const passes = 3
			for range passes {
				result, err := gate.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "ns", Name: "a"}})
				require.NoError(t, err)
				require.Equal(t, r.again, result.RequeueAfter > 0)
				require.LessOrEqual(t, result.RequeueAfter, statusDue/2)
			}
			require.Equal(t, map[bool]int{true: passes}[r.passes], passed)
			close(recorder.Events)
			var sent []string
			for event := range recorder.Events {
				sent = append(sent, event)
			}
			if r.event == "" {
				require.Empty(t, sent)
				return
			}
			require.Equal(t, []string{r.event}, sent, "once per Agent")
		})
	}
}

func TestEventFitsTheNameOfAnyOperator(t *testing.T) {
	for _, operator := range []string{strings.Repeat("x", 1024), strings.Repeat("\U0010ffff", 256), strings.Repeat("\n", 999), strings.Repeat("é", 500)} {
		recorder := events.NewFakeRecorder(1)
		gate := &gated{precedence: yieldsTo{&operator}, reader: oneAgent{agent: &v1alpha1.Agent{}}, events: recorder}
		_, err := gate.Reconcile(t.Context(), reconcile.Request{})
		require.NoError(t, err)
		note := <-recorder.Events
		require.Less(t, len(note), 1024)
		require.NotContains(t, note, "\n")
		require.True(t, utf8.ValidString(note))
	}
}

func TestRecreatedAgentHasItsOwnEvent(t *testing.T) {
	operator, recorder := "platform/other", events.NewFakeRecorder(8)
	for _, uid := range []types.UID{"first", "second"} {
		stored := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", UID: uid}}
		gate := &gated{precedence: yieldsTo{&operator}, reader: oneAgent{agent: stored}, events: recorder}
		gate.reported.Store(types.NamespacedName{Namespace: "ns", Name: "a"}, types.UID("first"))
		_, err := gate.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "ns", Name: "a"}})
		require.NoError(t, err)
	}
	require.Len(t, recorder.Events, 1)
}

func TestWithoutPrecedenceThereIsNoGate(t *testing.T) {
	inner := &Controller{}
	require.Same(t, inner, gate(nil, nil, inner))
}

func TestAnAgentOfAnotherOperatorHoldsNoSlot(t *testing.T) {
	operator, w := "platform/other", newWaveWorld("a")
	require.Equal(t, configrollout.Roll, w.pending("a").Verdict)
	inner := &Controller{configs: configs{store: configwatch.NewStore(configwatch.Settle{}, nil, nil, nil), waves: w.waves}}
	stored := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "a"}, Status: v1alpha1.AgentStatus{ObservedGeneration: 1}}
	inner.states.SetPending(inner.states.For(stored), time.Now())
	gate := &gated{precedence: yieldsTo{&operator}, inner: inner, reader: oneAgent{agent: stored}}
	_, err := gate.Reconcile(t.Context(), reconcile.Request{NamespacedName: waveName("a")})
	require.NoError(t, err)
	require.Empty(t, w.members)
	require.Zero(t, inner.states.pending.Load(), "and delays no status of others")
}
