package app

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
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

func TestTheHeapGrowsByTwiceWhatIsInUseUnlessGOGCIsSet(t *testing.T) {
	limit := debug.SetMemoryLimit(-1)
	for gogc, want := range map[string]int{"": 200, "100": 100, "50": 50} {
		t.Setenv("GOGC", gogc)
		set, _ := strconv.Atoi(cmp.Or(gogc, "100")) // as Go does when it starts
		before := debug.SetGCPercent(set)
		debug.SetMemoryLimit(256 << 20)
		limitMemory()
		require.Equal(t, want, debug.SetGCPercent(before), "GOGC=%s", gogc)
		require.InDelta(t, (256<<20)*memoryPercent/100, debug.SetMemoryLimit(limit), 100)
	}
}

func TestTheAlertAboutMemoryKnowsTheLimitOfGo(t *testing.T) {
	rule, err := os.ReadFile("../../../charts/flokoa-operator/templates/prometheusrule.yaml")
	require.NoError(t, err)
	threshold := regexp.MustCompile(`> (.*) \* go_gc_gomemlimit_bytes`).FindStringSubmatch(string(rule))
	require.Len(t, threshold, 2)
	require.Equal(t, fmt.Sprintf("0.80 / 0.%d", memoryPercent), threshold[1], "four fifths of the limit of the container")
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
