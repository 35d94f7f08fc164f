package fleet

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxFile bounds what is read from a folder of the fleet: a network file is the
// largest that lies there.
const maxFile = 1 << 20

// writeFile puts data at path, readable by its owner only, so that a crash at any
// moment leaves the old file or the new one, whole.
func writeFile(path string, data []byte) error {
	return place(path, data, os.Rename)
}

// createFile is writeFile for what must never be overwritten: when path exists, it
// fails with fs.ErrExist.
func createFile(path string, data []byte) error {
	return place(path, data, func(from, to string) error {
		defer os.Remove(from)
		return os.Link(from, to)
	})
}

func place(path string, data []byte, move func(from, to string) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := move(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes renames in a folder survive a crash of the machine.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// mostFile is how large a file of that name may be. Identities that were revoked are many.
func mostFile(name string) int {
	if name == revokedFile {
		return maxRevoked
	}
	return maxFile
}

// readFile reads a file of at most maxFile bytes, or maxRevoked if it says who is revoked.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	most := mostFile(filepath.Base(path))
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err == nil && len(data) > most {
		err = fmt.Errorf("read %s: larger than %d bytes", path, most)
	}
	return data, err
}

// readPrivate reads a file that only its owner may read.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o); run `chmod 600` on it, and think of who may have read it", path, mode)
	}
	return readFile(path)
}

// keepFile writes data to path unless that is what lies there, and says whether it
// wrote.
func keepFile(path string, data []byte) (bool, error) {
	old, err := readFile(path)
	if err == nil && string(old) == string(data) {
		return false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, writeFile(path, data)
}
