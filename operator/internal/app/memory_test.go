package app

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMemoryIsReleasedOnceAfterABurst(t *testing.T) {
	burst := burst{}
	const live = 20 << 20
	for _, step := range []struct {
		name      string
		allocated uint64
		want      bool
	}{
		{"busy since the start", 30 << 20, false},
		{"still busy", 90 << 20, false},
		{"almost idle", 91 << 20, true},
		{"idle", 92 << 20, false},
		{"idle", 93 << 20, false},
		{"idle", 94 << 20, false},
		{"idle", 95 << 20, false},
		{"idle, with a quarter of the live heap allocated since the release", 96 << 20, true},
		{"busy", 140 << 20, false},
		{"idle again", 140 << 20, true},
	} {
		require.Equal(t, step.want, burst.isOver(step.allocated, live), step.name)
	}
}

func TestHeapCountsAllocatedAndLiveBytes(t *testing.T) {
	before, _ := heap()
	held := make([]byte, 1<<20)
	runtime.GC()
	after, live := heap()
	require.GreaterOrEqual(t, after-before, uint64(len(held)))
	require.GreaterOrEqual(t, live, uint64(len(held)))
	runtime.KeepAlive(held)
}
