package agent

import (
	"context"
	"errors"
	"time"
)

// finishing is how long a pass under way may go on when the operator is asked to stop, or has lost its lease; one takes
// milliseconds, unless the API server does not answer. It is less than what lies between the moment a leader gives up and the
// one another may take over (app's renewDeadline and leaseDuration), so that two never work at a time.
const finishing = 3 * time.Second

// outlast is a context that goes on for a while after another was canceled, but never past that one's deadline. A write that
// is broken off may have happened or not, and is an error in the log of an operator that was only asked to stop.
func outlast(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cancelAll := cancel
	if deadline, ok := ctx.Deadline(); ok {
		var cancelTimer context.CancelFunc
		longer, cancelTimer = context.WithDeadline(longer, deadline)
		cancelAll = func() { cancelTimer(); cancel() }
	}
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return // both end by it
		}
		select {
		case <-longer.Done():
		case <-time.After(by):
			cancel()
		}
	})
	return longer, func() { stop(); cancelAll() }
}
