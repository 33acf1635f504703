package load

import (
	"context"
	"slices"
	"sync"

	"github.com/flokoa/flokoa/ci/cmd/traffic/report"
)

// chunkSize keeps the cost of one more record small: a full chunk is never copied again.
const chunkSize = 4096

// Records holds what was recorded, some 130 bytes a request: 100 a second over 30 minutes are 25 MB. It also knows which
// requests have not ended yet, so that a window can be read when it is whole.
type Records struct {
	mu      sync.Mutex
	chunks  [][]report.Record
	names   map[string]string // one copy of each pod's name and version
	pending map[uint64]int64  // when each request that has not ended was due, Unix milliseconds
	last    uint64            // the last key of pending
	ended   chan struct{}     // closed and made anew when a request ends
}

func newRecords() *Records {
	return &Records{names: map[string]string{}, pending: map[uint64]int64{}, ended: make(chan struct{})}
}

// expect records that a request is due at start, in Unix milliseconds, and returns its key.
func (r *Records) expect(start int64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	r.pending[r.last] = start
	return r.last
}

// end records how the request of that key went.
func (r *Records) end(key uint64, record report.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.append(record)
	r.forget(key)
}

// cancel takes back a request that was not started.
func (r *Records) cancel(key uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(key)
}

func (r *Records) forget(key uint64) {
	delete(r.pending, key)
	close(r.ended)
	r.ended = make(chan struct{})
}

// add records a request without a key from expect.
func (r *Records) add(record report.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.append(record)
}

func (r *Records) append(record report.Record) {
	record.Pod, record.Version, record.Outcome = r.name(record.Pod), r.name(record.Version), r.name(record.Outcome)
	last := len(r.chunks) - 1
	if last < 0 || len(r.chunks[last]) == chunkSize {
		r.chunks = append(r.chunks, make([]report.Record, 0, chunkSize))
		last++
	}
	r.chunks[last] = append(r.chunks[last], record)
}

func (r *Records) name(text string) string {
	if one, known := r.names[text]; known {
		return one
	}
	r.names[text] = text
	return text
}

// Reset forgets what was recorded. What is in flight is recorded when it ends.
func (r *Records) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chunks, r.names = nil, map[string]string{}
}

// All returns what was recorded so far, in the order in which it ended.
func (r *Records) All() []report.Record {
	r.mu.Lock()
	chunks := slices.Clone(r.chunks)
	r.mu.Unlock()
	return slices.Concat(chunks...)
}

// Settle waits until every post and get that was due before to, in Unix milliseconds, has ended. The error is the context's.
func (r *Records) Settle(ctx context.Context, to int64) error {
	for {
		ended, open := r.openBefore(to)
		if !open {
			return nil
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (r *Records) openBefore(to int64) (<-chan struct{}, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, start := range r.pending {
		if start < to {
			return r.ended, true
		}
	}
	return r.ended, false
}
