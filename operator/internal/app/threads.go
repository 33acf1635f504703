package app

import (
	"os"
	"runtime"
)

// limitThreads lets one thread at a time run Go code, unless GOMAXPROCS is set. Go's default is one for each CPU of the node. The operator
// mostly waits, and hands each event from goroutine to goroutine: with more threads, an eighth of its CPU goes into waking them. One thread
// handles some 40 Agents per second, created or rolled.
func limitThreads() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}
