package load

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Tree is what the kernel has accounted to processes together: to a server with its workers.
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
	for _, p := range below {
		u, err := readWithEnded(p)
		if err != nil {
			return Tree{}, err
		}
		t.CPU, t.RSS = t.CPU+u.CPU, t.RSS+u.RSS
	}
	ended, err := readEnded(pid)
	t.CPU += ended
	return t, err
}

// ReadTrees reads processes and all below them, each once, whoever of them was named. One that is named and does not run is an
// error; one below that ends meanwhile is left out, as its parent then accounts for it.
func ReadTrees(pids []int) (Tree, error) {
	all, err := family(pids)
	if err != nil {
		return Tree{}, err
	}
	return account(all, pids)
}

// family lists processes and all below them, each once. It reads all of /proc, which takes a millisecond or more.
func family(pids []int) ([]int, error) {
	if len(pids) == 0 {
		return nil, nil
	}
	below, err := Below(pids...)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(below, pids)
	slices.Sort(all)
	return slices.Compact(all), nil
}

// account adds up what a family has been accounted to; those that were named must run.
func account(all, named []int) (t Tree, err error) {
	for _, p := range all {
		u, err := readWithEnded(p)
		if errors.Is(err, errEnded) && !slices.Contains(named, p) {
			continue
		}
		if err != nil {
			return Tree{}, err
		}
		t.CPU, t.RSS, t.Processes = t.CPU+u.CPU, t.RSS+u.RSS, t.Processes+1
	}
	return t, nil
}

// readWithEnded is the usage of a process, with the processor time of its children that have ended.
func readWithEnded(pid int) (Usage, error) {
	u, err := ReadUsage(pid)
	if err != nil {
		return u, err
	}
	ended, err := readEnded(pid)
	u.CPU += ended
	return u, err
}

// readEnded is the processor time of a process's children that have ended.
func readEnded(pid int) (time.Duration, error) {
	line, err := readStat(pid)
	if err != nil {
		return 0, err
	}
	ended, err := parseEnded(line)
	if err != nil {
		return 0, fmt.Errorf("load: usage of process %d: %w", pid, err)
	}
	return ended, nil
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

// Below lists the processes that descend from any of those, each once: without those themselves where none descends from another, and
// without what has ended.
func Below(pids ...int) ([]int, error) {
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
	for next := slices.Clone(pids); len(next) > 0; next = next[1:] {
		below, next = append(below, children[next[0]]...), append(next, children[next[0]]...)
		delete(children, next[0])
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
