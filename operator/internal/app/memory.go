package app

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// memoryPercent is the share of the memory limit below which Go keeps its memory. FlokoaOperatorMemoryHigh computes the limit from it.
const memoryPercent = 65

// limitMemory lets Go's heap grow to three times what is in use before a collection, and keeps Go's memory below memoryPercent of the limit
// in GOMEMLIMIT: the kernel kills a container above its limit, and it also counts memory that Go does not, such as 30 MiB of pages of the
// program. With the chart's limit of 256 MiB, both together stay below the four fifths at which FlokoaOperatorMemoryHigh fires, unless more
// than that is in use. Collections are then half as frequent while there is room, and as frequent as it takes near the limit. GOGC, if set,
// wins.
func limitMemory() {
	const growth = 200 // percent of what is in use
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(growth)
	}
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		debug.SetMemoryLimit(limit / 100 * memoryPercent)
	}
}

const (
	// releaseInterval is how often the operator checks for memory to release.
	releaseInterval = 2 * time.Second
	// idleAllocs is what an idle operator allocates in that time, in bytes, at most: it renews a Lease and answers probes.
	idleAllocs = 1 << 20
)

// memoryReleaser returns memory to the OS after a burst of work. Go's garbage collector waits until the heap has doubled: without
// this, memory used only to create thousands of Agents, or to list them at the start, stays allocated for minutes.
type memoryReleaser struct{}

// NeedLeaderElection is false: a standby releases memory, too.
func (memoryReleaser) NeedLeaderElection() bool { return false }

// Start releases memory until the context ends.
func (memoryReleaser) Start(ctx context.Context) error {
	ticker := time.NewTicker(releaseInterval)
	defer ticker.Stop()
	burst := burst{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if burst.isOver(heap()) {
				debug.FreeOSMemory()
			}
		}
	}
}

// heap returns how many bytes this process has ever allocated, and how many were in use when the collector last ran.
func heap() (allocated, live uint64) {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64(), samples[1].Value.Uint64()
}

// burst detects the end of a burst of allocations.
type burst struct {
	// last is the allocated memory at the last check, and released that at the last release, in bytes.
	last, released uint64
}

// isOver reports whether little was allocated since the last check, and at least a quarter of the live heap since the last release:
// a collection costs more the larger the live heap is, and would happen soon anyway.
func (b *burst) isOver(allocated, live uint64) bool {
	idle := allocated-b.last <= idleAllocs
	b.last = allocated
	if !idle || allocated-b.released < live/4 {
		return false
	}
	b.released = allocated
	return true
}
