//go:build linux

package ops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxPath is the longest path of a unix socket: sun_path of unix(7) has 108 bytes, the
// last of them zero.
const maxPath = 107

// probeTime is how long a process that listens on a unix socket may take to be
// connected to. The kernel does that by itself as long as its queue has room.
const probeTime = time.Second

// A socket is a listening unix socket at its place in a state folder.
type socket struct {
	listener *net.UnixListener
	path     string
	info     fs.FileInfo // to recognise our own file
}

// openSocket makes the admin socket in dir.
//
// It is bound in a folder of its own that nobody else can enter, given its mode, and
// moved into place only then: at no time can another user open it, whatever the
// process's umask is, which must not be changed because it belongs to all goroutines.
func openSocket(dir string) (_ *socket, err error) {
	path := filepath.Join(dir, SocketName)
	defer func() {
		if err != nil {
			err = fmt.Errorf("ops: open admin socket %s: %w", path, err)
		}
	}()
	// Of two processes that start at once, one must see the other's socket.
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := checkPlace(dir, path); err != nil {
		return nil, err
	}
	private, err := os.MkdirTemp(dir, ".admin-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	short, release, err := shortPath(private, "s")
	if err != nil {
		return nil, err
	}
	defer release()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it would unlink the name that it was bound by
	bound := filepath.Join(private, "s")
	if err := errors.Join(os.Chmod(bound, 0o600), os.Rename(bound, path)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &socket{listener: l, path: path, info: info}, nil
}

// checkPlace returns an error if the place is taken by anything but a dead socket.
func checkPlace(dir, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("there is a file that is not a socket (%v); move it away", info.Mode())
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	conn, err := dialSocket(ctx, dir)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	if err == nil {
		_ = conn.Close()
	}
	// EAGAIN and a timeout are a process that is there and slow.
	return errors.New("another process serves it; stop that one, or use another state folder")
}

// remove takes the socket's file away, unless it is another process's by now.
func (s *socket) remove() {
	unlock, err := lockDir(filepath.Dir(s.path))
	if err != nil {
		return // the folder is gone, and the socket with it
	}
	defer unlock()
	if info, err := os.Lstat(s.path); err == nil && os.SameFile(info, s.info) {
		_ = os.Remove(s.path) // if it stays, the next start replaces it
	}
}

// lockDir holds off other processes that open or remove a socket in dir.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), d.Close())
	}
	return func() { _ = d.Close() }, nil
}

// shortPath returns a path of dir/name that fits a socket address: a longer one goes by
// way of an open folder. The path holds until release.
func shortPath(dir, name string) (path string, release func(), err error) {
	path = filepath.Join(dir, name)
	if len(path) <= maxPath {
		return path, func() {}, nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name), func() { _ = d.Close() }, nil
}
