//go:build linux

package fleet

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock takes a folder for this process alone, waiting for whoever has it, so that two
// commands at once do not make two authorities. The lock is on the open folder, so it
// ends with the process whatever happens.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		d.Close()
		return nil, &os.PathError{Op: "flock", Path: dir, Err: err}
	}
	return func() { d.Close() }, nil
}
