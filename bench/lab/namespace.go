package lab

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// A namespace is a network namespace with a TUN device that leads out of it. It has no name: the kernel removes it with
// the last process that is in it or holds it open, however that process ends.
type namespace struct {
	place  Place
	fd     int // of the namespace
	device int // of the TUN device, non-blocking
	calls  chan func()
	ended  chan struct{}
}

// deviceName is what the device is called inside each namespace.
const deviceName = "wan0"

// newNamespace makes the namespace of a place, with its address.
func newNamespace(p Place) (*namespace, error) {
	n := &namespace{place: p, fd: -1, device: -1, calls: make(chan func()), ended: make(chan struct{})}
	made := make(chan error)
	go n.live(made)
	if err := <-made; err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

// live is the namespace's own thread. Processes are started from it: the kernel ends them when it ends (Pdeathsig), so
// no thread that may end earlier will do.
func (n *namespace) live(made chan<- error) {
	defer close(n.ended)
	runtime.LockOSThread()
	home, err := openNamespace()
	if err != nil {
		runtime.UnlockOSThread()
		made <- err
		return
	}
	defer unix.Close(home)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		made <- fmt.Errorf("make network namespace: %w", err)
		return
	}
	made <- n.furnish()
	for call := range n.calls {
		call()
	}
	// A thread that cannot be brought home stays locked, and ends with this goroutine.
	if unix.Setns(home, unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
}

// furnish opens the namespace for others, and gives it its devices.
func (n *namespace) furnish() (err error) {
	if n.fd, err = openNamespace(); err != nil {
		return err
	}
	if err := up("lo"); err != nil {
		return err
	}
	if n.device, err = openTUN(deviceName); err != nil {
		return err
	}
	if n.place == Client {
		if err := crowd(); err != nil {
			return err
		}
	}
	return address(n.place.Addr().As4())
}

// openNamespace opens the calling thread's network namespace.
func openNamespace() (int, error) {
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open network namespace: %w", err)
	}
	return fd, nil
}

// do runs f on a thread inside the namespace and waits for it. Calls run beside one another.
func (n *namespace) do(f func()) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := openNamespace()
		if err == nil {
			defer unix.Close(home)
			if err = unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
				err = fmt.Errorf("enter the namespace of the %v: %w", n.place, err)
			}
		}
		if err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		defer close(result)
		// As above: a thread that cannot go home ends here. Nor does one go home by a panic.
		f()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return <-result
}

// own runs f on the namespace's own thread, one call after another.
func (n *namespace) own(f func()) {
	done := make(chan struct{})
	n.calls <- func() {
		defer close(done)
		f()
	}
	<-done
}

// close leaves the namespace, and removes its device.
func (n *namespace) close() {
	close(n.calls)
	<-n.ended
	if n.device >= 0 {
		unix.Close(n.device)
	}
	if n.fd >= 0 {
		unix.Close(n.fd)
	}
}
