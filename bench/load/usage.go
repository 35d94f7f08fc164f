package load

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of processor time in /proc, the same on every machine with Linux that Go runs on.
const tick = 10 * time.Millisecond

// A Usage is what the kernel has accounted to a process.
type Usage struct {
	CPU time.Duration // user and system, of all its threads, since it began
	RSS int64         // bytes of memory now
}

// ReadUsage reads the usage of a process.
func ReadUsage(pid int) (Usage, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, fmt.Errorf("load: usage of process %d: %w", pid, err)
	}
	u, err := parseStat(string(text), int64(os.Getpagesize()))
	if err != nil {
		return Usage{}, fmt.Errorf("load: usage of process %d: %w", pid, err)
	}
	return u, nil
}

// parseStat reads a line of proc_pid_stat(5). The program's name in it may hold spaces and brackets.
func parseStat(line string, page int64) (Usage, error) {
	f := strings.Fields(line[strings.LastIndexByte(line, ')')+1:]) // from the third field on
	if len(f) < 22 {
		return Usage{}, errors.New("its stat line is cut")
	}
	if f[0] == "Z" {
		return Usage{}, errors.New("it has ended")
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	pages, err3 := strconv.ParseInt(f[21], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Usage{}, fmt.Errorf("its stat line: %w", err)
	}
	return Usage{CPU: time.Duration(user+system) * tick, RSS: pages * page}, nil
}

// SelfCPU is the processor time of this process and its threads.
func SelfCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// MachineCPU is the processor time that all of the machine has been busy.
func MachineCPU() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("load: usage of the machine: %w", err)
	}
	return parseMachine(string(text))
}

// parseMachine reads proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal. What waits is not busy, and
// what another guest took is.
func parseMachine(text string) (time.Duration, error) {
	first, _, _ := strings.Cut(text, "\n")
	f := strings.Fields(first)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, errors.New("load: usage of the machine: no line of all cores")
	}
	var busy int64
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("load: usage of the machine: %w", err)
		}
		busy += n
	}
	return time.Duration(busy) * tick, nil
}
