package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrUnavailable marks that this machine, or this user on it, cannot make a lab.
var ErrUnavailable = errors.New("lab: distance cannot be made here")

// entered is set in the environment of the program that Enter runs: it must not enter once more.
const entered = "HITHER_LAB_ENTERED"

// unavailable says of an error while making a namespace or a device what to do.
func unavailable(err error) error {
	var hint string
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		hint = "load the kernel's module (modprobe tun); for a container: docker run --device " + tunPath + " --cap-add NET_ADMIN --cap-add SYS_ADMIN"
	case errors.Is(err, fs.ErrPermission) && os.Getenv(entered) != "":
		hint = "user namespaces have no rights here (sysctl kernel.apparmor_restrict_unprivileged_userns=0 gives them, or run this as root)"
	case errors.Is(err, fs.ErrPermission):
		hint = "run this as root (sudo), or let your user open " + tunPath + " (mode 0666) and make user namespaces; for a container: docker run --device " + tunPath + " --cap-add NET_ADMIN --cap-add SYS_ADMIN"
	case errors.Is(err, unix.ENOSPC):
		hint = "the limit of namespaces is reached; raise it (sysctl user.max_user_namespaces, user.max_net_namespaces), or run this as root"
	default:
		return fmt.Errorf("lab: %w", err)
	}
	return fmt.Errorf("%w: %w; %s", ErrUnavailable, err, hint)
}

// privileged reports whether the process may make network namespaces and their devices.
func privileged() bool {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		return false
	}
	const need = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_SYS_ADMIN
	return d[0].Effective&need == need
}

// Enter runs the program again as root of a user namespace of its own, with the same arguments and files, if this
// process may not make a lab by itself. ran tells whether it did; the caller then ends with the status. When ctx ends,
// the program inside is told to (SIGTERM), and it does not outlive this process.
//
// A command that makes a lab calls it before anything else.
func Enter(ctx context.Context) (status int, ran bool, err error) {
	if privileged() || os.Getenv(entered) != "" {
		return 0, false, nil
	}
	tun, err := os.OpenFile(tunPath, os.O_RDWR, 0)
	if err != nil {
		return 0, false, unavailable(err)
	}
	tun.Close()
	return enter(ctx, os.Args[1:])
}

func enter(ctx context.Context, args []string) (status int, ran bool, err error) {
	c := exec.CommandContext(ctx, "/proc/self/exe", args...)
	c.Args[0] = os.Args[0]
	c.Env = append(os.Environ(), entered+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = time.Minute
	// The program inside dies with the thread that started it, so that must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := c.Start(); err != nil {
		return 0, false, unavailable(fmt.Errorf("make user namespace: %w", err))
	}
	err = c.Wait()
	if c.ProcessState == nil {
		return 0, true, fmt.Errorf("lab: wait for the program inside the user namespace: %w", err)
	}
	// By a signal it has no status, which is -1.
	if status = c.ProcessState.ExitCode(); status < 0 {
		status = 1
	}
	return status, true, nil
}
