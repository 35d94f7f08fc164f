package load

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Tree is what the kernel has accounted to all processes below one: to a server with its workers.
type Tree struct {
	CPU       time.Duration // of all since they began, those that have ended as well; it never becomes less
	RSS       int64         // bytes of memory now; what several share counts for each
	Processes int           // that run now
}

// ReadTree reads the processes below pid, without itself. That none is there is an error.
func ReadTree(pid int) (Tree, error) {
	below, err := Below(pid)
	if err != nil {
		return Tree{}, err
	}
	if len(below) == 0 {
		return Tree{}, fmt.Errorf("load: usage of what process %d has started: nothing runs", pid)
	}
	t := Tree{Processes: len(below)}
	for _, p := range append(below, pid) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			return Tree{}, fmt.Errorf("load: usage of process %d: %w", p, err)
		}
		ended, err := parseEnded(string(line))
		if err != nil {
			return Tree{}, fmt.Errorf("load: usage of process %d: %w", p, err)
		}
		t.CPU += ended
		if p == pid {
			break
		}
		u, err := parseStat(string(line), int64(os.Getpagesize()))
		if err != nil {
			return Tree{}, fmt.Errorf("load: usage of process %d: %w", p, err)
		}
		cpu, err := processCPU(p)
		if err != nil {
			return Tree{}, err
		}
		t.CPU, t.RSS = t.CPU+cpu, t.RSS+u.RSS
	}
	return t, nil
}

// parseEnded reads from a line of proc_pid_stat(5) the processor time of the process's children that have ended.
func parseEnded(line string) (time.Duration, error) {
	f := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(f) < 15 {
		return 0, errors.New("its stat line is cut")
	}
	user, err1 := strconv.ParseInt(f[13], 10, 64)
	system, err2 := strconv.ParseInt(f[14], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("its stat line: %w", err)
	}
	return time.Duration(user+system) * tick, nil
}

// Below lists the processes that descend from pid, without itself and without those that have ended.
func Below(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("load: list processes: %w", err)
	}
	children := make(map[int][]int)
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended since
		}
		if err != nil {
			return nil, fmt.Errorf("load: list processes: %w", err)
		}
		parent, ended, err := parseParent(string(text))
		if err != nil {
			return nil, fmt.Errorf("load: %s: %w", name, err)
		}
		if id, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && !ended {
			children[parent] = append(children[parent], id)
		}
	}
	var below []int
	for next := children[pid]; len(next) > 0; next = next[1:] {
		below = append(below, next[0])
		next = append(next, children[next[0]]...)
	}
	return below, nil
}

// parseParent reads who started a process from its line of proc_pid_stat(5).
func parseParent(line string) (parent int, ended bool, err error) {
	f := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(f) < 2 {
		return 0, false, errors.New("its stat line is cut")
	}
	parent, err = strconv.Atoi(f[1])
	return parent, f[0] == "Z" || f[0] == "X", err
}

// processCPU is the processor time of a process: what clock_getcpuclockid(3) finds it by. It is in nanoseconds, where /proc has
// hundredths of a second, and includes threads that have ended.
func processCPU(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &t); err != nil {
		return 0, fmt.Errorf("load: processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
