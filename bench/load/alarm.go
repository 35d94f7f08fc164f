package load

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// An alarm wakes one goroutine at a time, to some microseconds. The library's own timers are a millisecond late while sockets are
// waited for, and whoever sleeps in a system call keeps others from a core meanwhile; this is a timer of the kernel
// (timerfd_create(2)) that is waited for as sockets are.
type alarm struct {
	fd   int
	file *os.File // of fd
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("load: make a timer: %w", err)
	}
	return &alarm{fd, os.NewFile(uintptr(fd), "timer")}, nil
}

// sleep returns after d, which is more than 0.
func (a *alarm) sleep(d time.Duration) error {
	if err := unix.TimerfdSettime(a.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}, nil); err != nil {
		return fmt.Errorf("load: set a timer: %w", err)
	}
	var expired [8]byte
	if _, err := a.file.Read(expired[:]); err != nil {
		return fmt.Errorf("load: wait for a timer: %w", err)
	}
	return nil
}

func (a *alarm) close() { a.file.Close() }
