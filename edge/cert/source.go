package cert

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A Source is where a pair comes from, and what it must be good for.
type Source struct {
	Names []string // host names and one-label wildcards
	Cert  string   // file with the chain in PEM, leaf first
	Key   string   // file with its private key in PEM
}

// Folder is the source of a name in a state folder: DIR/NAME/cert.pem and key.pem (see [FolderName]). [Save] writes there.
func Folder(dir, name string) Source {
	dir = filepath.Join(dir, FolderName(name))
	return Source{Names: []string{name}, Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
}

// maxPEM bounds a file that is read: a long chain has some 20 KB.
const maxPEM = 1 << 20

// read reads the pair and checks it.
func (s *Source) read() (*Pair, error) {
	chain, err := readPEM(s.Cert)
	if err != nil {
		return nil, err
	}
	key, err := readPEM(s.Key)
	if err != nil {
		return nil, err
	}
	return parsePair(chain, key, s.Names...)
}

// readPEM reads a file whole. A pipe would have it wait.
func readPEM(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, unfit{Unreadable, err}
	}
	if !info.Mode().IsRegular() {
		return nil, unfit{Unreadable, fmt.Errorf("%s is no file", path)}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, unfit{Unreadable, err}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(data) > maxPEM {
		err = fmt.Errorf("%s: at most %d bytes are read", path, maxPEM)
	}
	if err != nil {
		return nil, unfit{Unreadable, err}
	}
	return data, nil
}

// A stamp tells one version of a source's files from the next. Zero stands for files that are not there.
type stamp [2]version

type version struct {
	size              int64
	modified, changed int64 // nanoseconds since 1970; the latter is the inode's own time, which nobody can set back
	inode             uint64
}

// stamp looks at the files, through symbolic links.
func (s *Source) stamp() (at stamp) {
	for i, path := range [...]string{s.Cert, s.Key} {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		modified := info.ModTime().UnixNano()
		v := version{size: info.Size(), modified: modified, changed: modified}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			v.changed, v.inode = st.Ctim.Nano(), st.Ino
		}
		at[i] = v
	}
	return at
}

// settled is how long ago a file must have changed for its next version to have another time in any file system.
const settled = 3 * time.Second

// settled reports whether whatever is written to the files from now on changes their stamp.
func (at stamp) settled() bool {
	latest := time.Now().Add(-settled).UnixNano()
	return at[0].changed < latest && at[1].changed < latest
}

// A Reason is why a pair was not taken.
type Reason string

// The reasons.
const (
	Unreadable Reason = "unreadable" // a file is not there, or cannot be read
	Damaged    Reason = "damaged"    // a file is cut off, or has something else in it
	Mismatch   Reason = "mismatch"   // the key is not the certificate's
	WrongName  Reason = "name"       // the certificate is not good for a name that it is to serve
	WrongTime  Reason = "time"       // it has ended or not begun, and the one in use is better
)

// Reasons are all of them.
var Reasons = []Reason{Unreadable, Damaged, Mismatch, WrongName, WrongTime}

// unfit is the error of what makes no pair.
type unfit struct {
	reason Reason
	error
}

func (u unfit) Unwrap() error { return u.error }

// A Refusal is a pair that was not taken.
type Refusal struct {
	Source Source
	Reason Reason
	Kept   bool // the one before is in use as ever; else there is none
	Err    error
}

func (r *Refusal) Error() string {
	kept := "there is none yet"
	if r.Kept {
		kept = "the old one stays"
	}
	more := ""
	if n := len(r.Source.Names); n > 1 {
		more = fmt.Sprintf(" and %d more", n-1)
	}
	return fmt.Sprintf("cert: pair of %s%s: %v; %s", r.Source.Names[0], more, r.Err, kept)
}

func (r *Refusal) Unwrap() error { return r.Err }

// refusal says why source's files are not taken.
func refusal(s Source, kept bool, err error) *Refusal {
	r := &Refusal{Source: s, Reason: Damaged, Kept: kept, Err: err}
	var u unfit
	if errors.As(err, &u) {
		r.Reason = u.reason
	}
	return r
}
