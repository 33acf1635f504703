package app

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMemoryIsReturnedOnceWhenATimeOfWorkIsOver(t *testing.T) {
	work := work{}
	const live = 10 << 20
	for _, step := range []struct {
		name      string
		allocated uint64
		want      bool
	}{
		{"at work since the start", 30 << 20, false},
		{"still at work", 90 << 20, false},
		{"hardly", 91 << 20, true},
		{"at rest", 92 << 20, false},
		{"at rest", 93 << 20, false},
		{"at rest", 94 << 20, false},
		{"at rest", 95 << 20, false},
		{"at rest, and half of what is in use was allocated meanwhile", 96 << 20, true},
		{"at work", 140 << 20, false},
		{"and over", 140 << 20, true},
	} {
		require.Equal(t, step.want, work.isOver(step.allocated, live), step.name)
	}
}

func TestTheHeapIsSeen(t *testing.T) {
	before, _ := heap()
	held := make([]byte, 1<<20)
	runtime.GC()
	after, live := heap()
	require.GreaterOrEqual(t, after-before, uint64(len(held)))
	require.GreaterOrEqual(t, live, uint64(len(held)))
	runtime.KeepAlive(held)
}
