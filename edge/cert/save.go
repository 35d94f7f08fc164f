package cert

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Save writes a pair where [Folder] has it, folder 0700 and files 0600. It refuses what [Load] would. The two
// files are renamed into place one after the other; a Load in between finds a pair that does not fit
// and keeps the old one.
func Save(dir, name string, chain, key []byte) error {
	name = Canonical(name)
	if err := CheckName(name); err != nil {
		return err
	}
	if _, err := parsePair(chain, key, name); err != nil {
		return fmt.Errorf("cert: pair of %s: %w", name, err)
	}
	folder := filepath.Join(dir, FolderName(name))
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("cert: %w", err)
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{"key.pem", key}, {"cert.pem", chain}} {
		if err := writeFile(folder, f.name, f.data); err != nil {
			return fmt.Errorf("cert: pair of %s: %w", name, err)
		}
	}
	return nil
}

// writeFile puts a whole file into place, or none.
func writeFile(folder, name string, data []byte) error {
	tmp, err := os.CreateTemp(folder, "."+name+"-*") // created 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(folder, name))
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}
