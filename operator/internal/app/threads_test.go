package app

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOneThreadRunsGoCodeUnlessGOMAXPROCSIsSet(t *testing.T) {
	for _, r := range []struct {
		variable      string
		started, want int
	}{{"", 2, 1}, {"2", 2, 2}} {
		t.Setenv("GOMAXPROCS", r.variable)
		before := runtime.GOMAXPROCS(r.started)
		limitThreads()
		require.Equal(t, r.want, runtime.GOMAXPROCS(before), "GOMAXPROCS=%q", r.variable)
	}
}
