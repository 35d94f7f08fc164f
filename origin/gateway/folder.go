package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
)

// errFolder marks errors of a site's folder as a whole: no file is missing, all are.
var errFolder = errors.New("gateway: the site's folder cannot be read")

// A siteFolder is the site at a path: whatever lies there when a name is opened. Builds remove
// their output and make it anew, and releases are switched by a link: a directory that was
// opened once would stay the old one, or an empty one. No name leads out of it (os.Root).
// It is safe for concurrent use.
type siteFolder struct {
	path string
	now  atomic.Pointer[opened]
}

// opened is a directory with what tells whether it is still the one at the path. Its root is
// not closed, for requests may still use it, but let go of by the collector.
type opened struct {
	fs.FS
	is fs.FileInfo
}

func openFolder(path string) (*siteFolder, error) {
	f := &siteFolder{path: path}
	_, err := f.current()
	return f, err
}

// current returns what lies at the path; its errors are errFolder.
func (f *siteFolder) current() (*opened, error) {
	is, err := os.Stat(f.path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFolder, err)
	}
	if o := f.now.Load(); o != nil && os.SameFile(o.is, is) {
		return o, nil
	}
	root, err := os.OpenRoot(f.path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFolder, err)
	}
	if is, err = root.Stat("."); err != nil {
		root.Close()
		return nil, fmt.Errorf("%w: %w", errFolder, err)
	}
	o := &opened{root.FS(), is}
	f.now.Store(o)
	return o, nil
}

// Open opens a file or folder by a name of fs.ValidPath. Files are io.Seekers.
func (f *siteFolder) Open(name string) (fs.File, error) {
	o, err := f.current()
	if err != nil {
		return nil, err
	}
	return o.Open(name)
}

// Stat is what fs.Stat asks, without opening: a pipe would wait for who writes to it.
func (f *siteFolder) Stat(name string) (fs.FileInfo, error) {
	o, err := f.current()
	if err != nil {
		return nil, err
	}
	return fs.Stat(o.FS, name)
}

// problem says what keeps the folder from being served; "" is nothing.
func (f *siteFolder) problem() string {
	if _, err := f.current(); err != nil {
		return fmt.Sprintf("the site's folder %s cannot be read: every request is answered 503", f.path)
	}
	return ""
}
