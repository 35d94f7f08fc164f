package fleet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// write puts data under path, 0600, so that a reader or a crash finds either the old
// content or the new.
func write(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("fleet: write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	defer d.Close()
	return d.Sync()
}
