package agent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPassFinishesWithinTheGracePeriod(t *testing.T) {
	type key struct{}
	for _, r := range []struct {
		name                     string
		stopped, deadline, ended time.Duration // since the start; 0 is never
		cause                    error
	}{
		{name: "stopped", stopped: time.Second, ended: time.Second + shutdownGrace, cause: context.Canceled},
		{name: "not stopped, until the deadline", deadline: 20 * time.Second, ended: 20 * time.Second, cause: context.DeadlineExceeded},
		{name: "stopped long before the deadline", stopped: time.Second, deadline: 20 * time.Second, ended: time.Second + shutdownGrace, cause: context.Canceled},
		{name: "stopped shortly before the deadline", stopped: 19 * time.Second, deadline: 20 * time.Second, ended: 20 * time.Second, cause: context.DeadlineExceeded},
	} {
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				parent, stop := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
				defer stop()
				if r.deadline > 0 {
					parent, stop = context.WithTimeout(parent, r.deadline)
					defer stop()
				}
				if r.stopped > 0 {
					time.AfterFunc(r.stopped, stop)
				}
				ctx, end := withGracePeriod(parent, shutdownGrace)
				defer end()
				require.Equal(t, "value", ctx.Value(key{}))
				<-ctx.Done()
				require.Equal(t, r.ended, time.Since(start))
				require.ErrorIs(t, ctx.Err(), r.cause)
			})
		})
	}
}

func TestFinishedPassLeaksNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails when a goroutine is left
		parent, stop := context.WithCancel(t.Context())
		ctx, end := withGracePeriod(parent, shutdownGrace)
		stop()
		synctest.Wait()
		require.NoError(t, ctx.Err())
		end()
		require.ErrorIs(t, ctx.Err(), context.Canceled)
	})
}
