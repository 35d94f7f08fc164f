package fleet

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A bundle file is a tar with the folders that a state folder begins with.
var bundleFolders = []string{"identity", "revision", "certs"}

// Bounds of a bundle file: a certificate and a key for each of thousands of hosts fit.
const (
	mostBundleFiles = 20_000
	mostBundleBytes = 64 << 20
)

// tarEnd is how many bytes of zero a tar file ends with (POSIX.1-2024, pax, ustar interchange format).
const tarEnd = 1024

// Pack writes the state folder dir, as [Authority.Add] made it, as a bundle file. It holds private keys.
func Pack(w io.Writer, dir string) error {
	room := &bounded{w: w, left: mostBundleBytes}
	t, files := tar.NewWriter(room), 0
	for _, folder := range bundleFolders {
		err := filepath.WalkDir(filepath.Join(dir, folder), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && path == filepath.Join(dir, folder) {
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			if !d.Type().IsRegular() {
				return fmt.Errorf("%s is no file", path)
			}
			if files++; files > mostBundleFiles {
				return fmt.Errorf("%s has more than %d files, as many as a bundle may have; copy the folder as it is", dir, mostBundleFiles)
			}
			data, err := readFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			if err := t.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Mode: 0o600, Size: int64(len(data)), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}); err != nil {
				return err
			}
			_, err = t.Write(data)
			return err
		})
		if err != nil {
			return fmt.Errorf("fleet: pack bundle: %w", err)
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("fleet: pack bundle: %w", err)
	}
	return nil
}

// A bounded writer is one that takes no more than some bytes.
type bounded struct {
	w    io.Writer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, fmt.Errorf("it is larger than %d bytes, as many as a bundle may have; copy the folder as it is", mostBundleBytes)
	}
	return b.w.Write(p)
}

// Unpack makes a state folder of a bundle file. It is read as a whole before anything is written, so that one which is cut short
// or is no bundle leaves nothing. A folder that has an identity is refused with an error that wraps fs.ErrExist.
func Unpack(r io.Reader, dir string) error {
	files, err := readBundle(r)
	if err != nil {
		return fmt.Errorf("fleet: unpack bundle: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "identity")); err == nil {
		return fmt.Errorf("fleet: unpack bundle: %s has an identity: %w", dir, fs.ErrExist)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("fleet: unpack bundle: %w", err)
	}
	// The identity comes into its place last and at once.
	work, err := os.MkdirTemp(dir, ".bundle-*")
	if err != nil {
		return fmt.Errorf("fleet: unpack bundle: %w", err)
	}
	defer os.RemoveAll(work)
	for _, f := range files {
		path := filepath.Join(work, filepath.FromSlash(f.name))
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err == nil {
			err = writeFile(path, f.data)
		}
		if err != nil {
			return fmt.Errorf("fleet: unpack bundle: %w", err)
		}
	}
	if _, err := LoadIdentity(filepath.Join(work, "identity")); err != nil {
		return fmt.Errorf("fleet: unpack bundle: %w", err)
	}
	for _, folder := range slices.Backward(bundleFolders) {
		from, to := filepath.Join(work, folder), filepath.Join(dir, folder)
		if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.Rename(from, to); err != nil && !(folder != "identity" && errors.Is(err, fs.ErrExist)) {
			return fmt.Errorf("fleet: unpack bundle: %w", err)
		}
	}
	return syncDir(dir)
}

type bundleFile struct {
	name string
	data []byte
}

// readBundle reads and checks a bundle file.
func readBundle(r io.Reader) ([]bundleFile, error) {
	raw, err := io.ReadAll(io.LimitReader(r, mostBundleBytes+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > mostBundleBytes {
		return nil, errors.New("it is too large for a bundle")
	}
	// A reader of tar takes one that is cut between two files for whole.
	if !bytes.HasSuffix(raw, make([]byte, tarEnd)) {
		return nil, errors.New("it is no tar file, or cut short")
	}
	t := tar.NewReader(bytes.NewReader(raw))
	var files []bundleFile
	names, size := make(map[string]bool), 0
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("it is no tar file, or cut short: %w", err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		folder, rest, inside := strings.Cut(h.Name, "/")
		if h.Typeflag != tar.TypeReg || sparse(h) || !inside || !slices.Contains(bundleFolders, folder) || !plainName(h.Name) || strings.Count(rest, "/") > 1 {
			return nil, fmt.Errorf("%.100q in it does not belong to a bundle", h.Name)
		}
		if names[h.Name] {
			return nil, fmt.Errorf("%.100q is in it twice", h.Name)
		}
		names[h.Name] = true
		most := mostFile(path.Base(h.Name))
		data, err := io.ReadAll(io.LimitReader(t, int64(most)+1))
		if err != nil {
			return nil, fmt.Errorf("it is cut short: %w", err)
		}
		if size += len(data); size > mostBundleBytes || len(data) > most || len(files) == mostBundleFiles {
			return nil, errors.New("it is too large for a bundle")
		}
		files = append(files, bundleFile{h.Name, data})
	}
	if len(files) == 0 {
		return nil, errors.New("it is empty")
	}
	return files, nil
}
