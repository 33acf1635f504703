package agent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAPassFinishesAfterTheOperatorIsAskedToStop(t *testing.T) {
	type key struct{}
	for _, r := range []struct {
		name                   string
		asked, deadline, ended time.Duration // 0: never; ended counts from the beginning
		cause                  error
	}{
		{name: "asked to stop", asked: time.Second, ended: time.Second + shutdownGrace, cause: context.Canceled},
		{name: "never asked, and it takes too long", deadline: 20 * time.Second, ended: 20 * time.Second, cause: context.DeadlineExceeded},
		{name: "asked to stop long before it would take too long", asked: time.Second, deadline: 20 * time.Second, ended: time.Second + shutdownGrace, cause: context.Canceled},
		{name: "asked to stop when it has almost taken too long", asked: 19 * time.Second, deadline: 20 * time.Second, ended: 20 * time.Second, cause: context.DeadlineExceeded},
	} {
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				parent, stop := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
				defer stop()
				if r.deadline > 0 {
					parent, stop = context.WithTimeout(parent, r.deadline)
					defer stop()
				}
				if r.asked > 0 {
					time.AfterFunc(r.asked, stop)
				}
				ctx, end := withGracePeriod(parent, shutdownGrace)
				defer end()
				require.Equal(t, "value", ctx.Value(key{}))
				<-ctx.Done()
				require.Equal(t, r.ended, time.Since(began))
				require.ErrorIs(t, ctx.Err(), r.cause)
			})
		})
	}
}

func TestAFinishedPassLeavesNothingBehind(t *testing.T) {
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
