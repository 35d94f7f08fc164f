package peers

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Folder is where a bench keeps all it writes, private keys as well: it is gone with the bench, however that ends.
type Folder struct {
	Dir    string
	Memory bool // its files are in memory, and on no disk

	keeper *exec.Cmd
	alive  io.Closer // ends with us
}

// folderPrefix begins the name of each folder that a bench works in: no other is ever removed.
const folderPrefix = "hither-bench-"

// memoryFolder is what Linux has for files in memory, and room is how much must be free there: caches of half a gigabyte, their
// objects, a log in memory.
const (
	memoryFolder = "/dev/shm"
	room         = 2 << 30
)

// NewFolder makes one: in TMPDIR if that is set, else in memory if there is room, else where temporary files are. self is this
// program, which is started again with [HoldCommand] to remove it.
func NewFolder(self string) (*Folder, error) {
	parent := os.Getenv("TMPDIR")
	if memory, fits := inMemory(memoryFolder); parent == "" && memory && fits {
		parent = memoryFolder
	}
	dir, err := os.MkdirTemp(parent, folderPrefix)
	if err != nil {
		return nil, fmt.Errorf("peers: make a folder: %w", err)
	}
	f := &Folder{Dir: dir, keeper: exec.Command(self, HoldCommand, dir)}
	f.Memory, _ = inMemory(dir)
	f.keeper.Stderr = os.Stderr
	f.keeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us
	if f.alive, err = f.keeper.StdinPipe(); err == nil {
		err = f.keeper.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("peers: keep a folder: %w", err), os.RemoveAll(dir))
	}
	return f, nil
}

// inMemory finds out whether files in a folder are in memory, and whether a bench has what it needs there: room, and that programs
// may be loaded, as Varnish does with its configuration.
func inMemory(folder string) (memory, fits bool) {
	var s unix.Statfs_t
	if unix.Statfs(folder, &s) != nil || s.Type != unix.TMPFS_MAGIC {
		return false, false
	}
	return true, s.Bavail*uint64(s.Bsize) >= room && s.Flags&unix.MS_NOEXEC == 0
}

// Close removes the folder. What writes there must have ended.
func (f *Folder) Close() error {
	f.alive.Close()
	f.keeper.Wait()
	if err := os.RemoveAll(f.Dir); err != nil { // somebody has ended the keeper
		return fmt.Errorf("peers: remove a folder: %w", err)
	}
	return nil
}

// keep waits until who started this process has closed the folder or is gone, and removes it. Servers may still write while they are
// ended.
func keep(folder string) error {
	io.Copy(io.Discard, os.Stdin)
	var err error
	for range 10 {
		if err = os.RemoveAll(folder); err == nil {
			break
		}
	}
	return err
}
