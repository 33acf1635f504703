package agent

import (
	"context"
	"errors"
	"time"
)

// shutdownGrace is how long a pass may continue after the operator was signaled to stop or lost its lease. A pass takes milliseconds
// unless the API server does not answer. It is shorter than the time between the moment at which a leader gives up renewing its Lease and
// the first one at which another replica may take over (app's lease.go has the sum), so two replicas never work at a time.
const shutdownGrace = 3 * time.Second

// withGracePeriod returns a context that outlives its parent's cancellation by grace, but never the parent's deadline. Without it,
// an operator that stops would cut off writes: each may have happened or not, and logs an error.
func withGracePeriod(parent context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	cancelAll := cancel
	if deadline, ok := parent.Deadline(); ok {
		var cancelTimer context.CancelFunc
		ctx, cancelTimer = context.WithDeadline(ctx, deadline)
		cancelAll = func() { cancelTimer(); cancel() }
	}
	stop := context.AfterFunc(parent, func() {
		if errors.Is(parent.Err(), context.DeadlineExceeded) {
			return // the deadline ends both
		}
		select {
		case <-ctx.Done():
		case <-time.After(grace):
			cancel()
		}
	})
	return ctx, func() { stop(); cancelAll() }
}
