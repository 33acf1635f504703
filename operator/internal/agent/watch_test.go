package agent

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestNoAgentIsTouchedBeforeTheDoorIsOpen(t *testing.T) {
	request := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "ns", Name: "a"}}
	touched := make(chan reconcile.Request, 1)
	worker := reconcile.Func(func(_ context.Context, request reconcile.Request) (reconcile.Result, error) {
		touched <- request
		return reconcile.Result{}, nil
	})
	door := make(chan struct{})
	waiting := behind(door, worker)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	result, err := waiting.Reconcile(ended, request)
	require.NoError(t, err)
	require.Equal(t, reconcile.Result{RequeueAfter: firstRetry}, result, "it comes back")
	require.Empty(t, touched)

	done := make(chan error, 1)
	go func() {
		_, err := waiting.Reconcile(t.Context(), request)
		done <- err
	}()
	close(door)
	require.NoError(t, <-done)
	require.Equal(t, request, <-touched)

	_, err = behind(nil, worker).Reconcile(t.Context(), request)
	require.NoError(t, err)
	require.Equal(t, request, <-touched, "no door is an open one")
}
