package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ErrNoProc is returned on machines without /proc.
var ErrNoProc = errors.New("this machine has no /proc")

// Memory is what a process holds, in KiB: now, and the most it ever did. Anonymous is what it has allocated; the rest of RSS are pages of the
// program's file, of which the kernel maps now more, now fewer.
type Memory struct{ RSS, Peak, Anonymous int }

// MemoryOf reads what a process holds; ErrNoProc where that cannot be known.
func MemoryOf(pid int) (Memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}, ErrNoProc
	}
	return Memory{RSS: kib(status, "VmRSS"), Peak: kib(status, "VmHWM"), Anonymous: kib(status, "RssAnon")}, nil
}

func kib(status []byte, field string) int {
	match := regexp.MustCompile(field + `:\s+(\d+) kB`).FindSubmatch(status)
	if match == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(match[1]))
	return n
}

// tick is the unit of the times in /proc on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// CPUOf is the CPU time that a process has used; ErrNoProc where that cannot be known.
func CPUOf(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, ErrNoProc
	}
	return cpuIn(string(stat))
}

// cpuIn reads user and system time, the 14th and 15th field. The second is the program's name in brackets, which may have
// anything in it.
func cpuIn(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("cannot parse the stat file %q", stat)
	}
	ticks := time.Duration(0)
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += time.Duration(n)
	}
	return ticks * tick, nil
}

// CPU is the CPU time that all components of a control plane have used; ErrNoProc where that cannot be known.
func (c Cluster) CPU() (time.Duration, error) {
	files, err := filepath.Glob(filepath.Join(c.Folder, "pids", "*.pid"))
	if err != nil {
		return 0, err
	}
	sum := time.Duration(0)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		used, err := CPUOf(pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}
