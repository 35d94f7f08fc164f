package load

import (
	"errors"
	"fmt"
	"io/fs"
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
	CPU time.Duration // user and system, of all its threads, since it began; to the nanosecond
	RSS int64         // bytes of memory now
}

// errEnded is of a process that is not there, or no more.
var errEnded = errors.New("no process of that number runs")

// ReadUsage reads the usage of a process.
func ReadUsage(pid int) (Usage, error) {
	line, err := readStat(pid)
	if err != nil {
		return Usage{}, err
	}
	rss, err := parseRSS(line, int64(os.Getpagesize()))
	if err != nil {
		return Usage{}, fmt.Errorf("load: usage of process %d: %w", pid, err)
	}
	cpu, err := processCPU(pid)
	if err != nil {
		return Usage{}, err
	}
	return Usage{CPU: cpu, RSS: rss}, nil
}

// readStat reads a process's line of proc_pid_stat(5).
func readStat(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		err = errEnded
	}
	if err != nil {
		return "", fmt.Errorf("load: usage of process %d: %w", pid, err)
	}
	return string(text), nil
}

// parseRSS reads a line of proc_pid_stat(5). The program's name in it may hold spaces and brackets.
func parseRSS(line string, page int64) (int64, error) {
	f := strings.Fields(line[strings.LastIndexByte(line, ')')+1:]) // from the third field on
	if len(f) < 22 {
		return 0, errors.New("its stat line is cut")
	}
	if f[0] == "Z" || f[0] == "X" {
		return 0, errEnded
	}
	pages, err := strconv.ParseInt(f[21], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("its stat line: %w", err)
	}
	return pages * page, nil
}

// processCPU is the processor time of a process: what clock_getcpuclockid(3) finds it by. It is in nanoseconds, where /proc has
// hundredths of a second, and includes threads that have ended.
func processCPU(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	err := unix.ClockGettime(int32(^pid<<3|sched), &t)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESRCH) {
		err = errEnded // the clock went with it
	}
	if err != nil {
		return 0, fmt.Errorf("load: processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
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
