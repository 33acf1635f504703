package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// asPause makes the test's own binary be the program: nothing must be built inside a test.
const asPause = "FLOKOA_TEST_AS_PAUSE"

func TestMain(m *testing.M) {
	if os.Getenv(asPause) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestChildrenThatEndedAreReaped(t *testing.T) {
	var children []*exec.Cmd
	for range 3 {
		child := exec.Command("true")
		require.NoError(t, child.Start())
		children = append(children, child)
	}
	require.Eventually(t, func() bool {
		reap()
		for _, child := range children {
			if unix.Kill(child.Process.Pid, 0) != unix.ESRCH { // a zombie can still be signalled
				return false
			}
		}
		return true
	}, 10*time.Second, 10*time.Millisecond)
}

func TestItReapsOnEverySIGCHLDAndEndsOnAnyOtherSignal(t *testing.T) {
	signals := make(chan os.Signal, 4)
	signals <- unix.SIGCHLD
	signals <- unix.SIGCHLD
	signals <- unix.SIGTERM
	signals <- unix.SIGCHLD
	reaped := 0
	hold(signals, func() { reaped++ })
	require.Equal(t, 3, reaped, "at start, and for each of the two signals before the end")
}

// The program reports no readiness. A reaped child of its own shows that it is ready.
func TestItReapsChildrenAndExitsZeroOnSIGTERM(t *testing.T) {
	for _, signal := range []os.Signal{unix.SIGTERM, unix.SIGINT} {
		program := exec.Command("/bin/sh", "-c", "sleep 0.1 & exec /proc/"+strconv.Itoa(os.Getpid())+"/exe")
		program.Env = append(os.Environ(), asPause+"=1")
		require.NoError(t, program.Start())
		require.Eventually(t, func() bool { return isPause(program.Process.Pid) && childless(program.Process.Pid) }, 10*time.Second, 10*time.Millisecond)
		require.NoError(t, program.Process.Signal(signal))
		require.NoError(t, program.Wait())
	}
}

// isPause reports whether the shell has become the program.
func isPause(pid int) bool {
	own, _ := os.Readlink("/proc/self/exe")
	of, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return of == own
}

// childless reports whether no child of a process is left, zombies among them.
func childless(pid int) bool {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		if children, err := os.ReadFile(task); err != nil || len(children) > 0 {
			return false
		}
	}
	return len(tasks) > 0
}
