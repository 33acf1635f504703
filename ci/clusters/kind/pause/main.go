// Command pause is the first container of every pod: it holds the pod's namespaces while the others come and go, and reaps
// orphans where the pod shares its process namespace. It ends with 0 on SIGTERM or SIGINT.
package main

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGCHLD, unix.SIGTERM, unix.SIGINT)
	hold(signals, reap)
}

// hold runs until it receives SIGTERM or SIGINT.
func hold(signals <-chan os.Signal, reap func()) {
	reap() // children that ended before
	for received := range signals {
		if received != unix.SIGCHLD {
			return
		}
		reap()
	}
}

// reap takes every child that has ended: one signal may stand for several.
func reap() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if pid <= 0 {
			return
		}
	}
}
