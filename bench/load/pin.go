package load

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// StartOn starts a program on one core: it sees no other, and it ends with us, however we end, or is sent the Pdeathsig that it
// was given before.
func StartOn(cmd *exec.Cmd, core int) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if cmd.SysProcAttr.Pdeathsig == 0 {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	// A child has the cores of the thread that started it, from its first instruction.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("which cores this program has: %w", err)
	}
	if err := unix.SchedSetaffinity(0, coreSet(core)); err != nil {
		return fmt.Errorf("run on core %d: %w", core, err)
	}
	defer unix.SchedSetaffinity(0, &before)
	return cmd.Start()
}

// MoveTo has all of this process run on one core from now on.
func MoveTo(core int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	for _, t := range tasks {
		id, _ := strconv.Atoi(t.Name())
		if err := unix.SchedSetaffinity(id, coreSet(core)); err != nil && err != unix.ESRCH {
			return fmt.Errorf("load: run on core %d: %w", core, err)
		}
	}
	return nil
}

func coreSet(core int) *unix.CPUSet {
	var set unix.CPUSet
	set.Set(core)
	return &set
}

// Cores lists the cores that this process may use.
func Cores() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("load: which cores this program has: %w", err)
	}
	var cores []int
	for i := range 8 * len(set) * 8 {
		if set.IsSet(i) {
			cores = append(cores, i)
		}
	}
	return cores, nil
}
