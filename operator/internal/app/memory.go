package app

import (
	"context"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// spareMemory has Go's garbage collector aim below the limit that it was given, in GOMEMLIMIT: the kernel, which ends a container
// that is above its limit, also counts what Go does not.
func spareMemory() {
	const percent = 90
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		debug.SetMemoryLimit(limit / 100 * percent)
	}
}

const (
	// lookEvery is how often it is looked whether there is memory to return.
	lookEvery = 2 * time.Second
	// asleep is what an operator with nothing to do allocates in that time, in bytes, at most: it renews a lease and answers probes.
	asleep = 1 << 20
)

// returning gives memory back to the system when a time of work is over. Go's garbage collector waits until the heap has doubled:
// what was needed only while thousands of Agents were created, or listed at the start, would else be held for minutes.
type returning struct{}

// NeedLeaderElection tells that a standby returns memory, too.
func (returning) NeedLeaderElection() bool { return false }

// Start returns memory until the context ends.
func (returning) Start(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	work := work{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if work.isOver(heap()) {
				debug.FreeOSMemory()
			}
		}
	}
}

// heap tells how many bytes this process has ever allocated, and how many of them were in use when the collector last ran.
func heap() (allocated, live uint64) {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64(), samples[1].Value.Uint64()
}

// work finds the times at which it pays to return memory.
type work struct {
	// seen is what had been allocated when it was last looked, and returned when memory was last returned.
	seen, returned uint64
}

// isOver tells whether little was allocated since the last look, and since memory was returned half as much as is in use: the
// collector, whose work grows with that, would soon run by itself.
func (w *work) isOver(allocated, live uint64) bool {
	quiet := allocated-w.seen <= asleep
	w.seen = allocated
	if !quiet || allocated-w.returned < live/2 {
		return false
	}
	w.returned = allocated
	return true
}
