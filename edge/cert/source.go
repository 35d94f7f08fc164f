package cert

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	// RSACert and RSAKey are a second pair with an RSA key, for clients that cannot verify the first one's. "": there is none.
	RSACert, RSAKey string

	spare bool // the second pair need not be there
}

// Folder is the source of a name in a state folder: DIR/NAME/cert.pem and key.pem (see [FolderName]), which [Save] writes; and where they
// are there, rsa-cert.pem and rsa-key.pem.
func Folder(dir, name string) Source {
	dir = filepath.Join(dir, FolderName(name))
	return Source{
		Names: []string{name}, Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"),
		RSACert: filepath.Join(dir, "rsa-cert.pem"), RSAKey: filepath.Join(dir, "rsa-key.pem"), spare: true,
	}
}

// files are its paths, "" where it has none.
func (s *Source) files() [4]string { return [...]string{s.Cert, s.Key, s.RSACert, s.RSAKey} }

// maxPEM bounds a file that is read: a long chain has some 20 KB.
const maxPEM = 1 << 20

// read reads the pair and checks it, and the second one.
func (s *Source) read() (*Pair, error) {
	pair, err := readPair(s.Cert, s.Key, s.Names)
	if err != nil || s.RSACert == "" || s.spare && absent(s.RSACert) && absent(s.RSAKey) {
		return pair, err
	}
	rsa, err := readPair(s.RSACert, s.RSAKey, s.Names)
	if err == nil {
		err = pair.add(rsa)
	}
	if err != nil {
		return nil, fmt.Errorf("the second one, for RSA: %w", err)
	}
	return pair, nil
}

func absent(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func readPair(certFile, keyFile string, names []string) (*Pair, error) {
	chain, err := readPEM(certFile)
	if err != nil {
		return nil, err
	}
	key, err := readPEM(keyFile)
	if err != nil {
		return nil, err
	}
	return parsePair(chain, key, names...)
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

// A stamp tells one version of a source's files from the next.
type stamp struct {
	sum     [sha256.Size]byte // of each file's size, times and inode; zeros for one that is not there
	changed int64             // the last of them, in nanoseconds since 1970
}

// stamp looks at the files, through symbolic links.
func (s *Source) stamp() (at stamp) {
	seen := make([]byte, 0, 128)
	for _, path := range s.files() {
		var size, modified, changed int64
		var inode uint64
		if path != "" {
			if info, err := os.Stat(path); err == nil {
				size, modified = info.Size(), info.ModTime().UnixNano()
				changed = modified
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					changed, inode = st.Ctim.Nano(), st.Ino // the inode's own time, which nobody can set back
				}
			}
		}
		for _, v := range [...]uint64{uint64(size), uint64(modified), uint64(changed), inode} {
			seen = binary.NativeEndian.AppendUint64(seen, v)
		}
		at.changed = max(at.changed, changed)
	}
	at.sum = sha256.Sum256(seen)
	return at
}

// settled is how long ago a file must have changed for its next version to have another time in any file system.
const settled = 3 * time.Second

// settled reports whether whatever is written to the files from now on changes their stamp.
func (at stamp) settled() bool { return at.changed < time.Now().Add(-settled).UnixNano() }

// A Reason is why a pair was not taken.
type Reason string

// The reasons.
const (
	Unreadable Reason = "unreadable" // a file is not there, or cannot be read
	Damaged    Reason = "damaged"    // a file is cut off, or has something else in it
	Mismatch   Reason = "mismatch"   // the key is not the certificate's
	WrongName  Reason = "name"       // the certificate is not good for a name that it is to serve
	WrongTime  Reason = "time"       // it has ended or not begun, and the one in use is better
	WrongKind  Reason = "kind"       // of two pairs, not just the second one's key is RSA
)

// Reasons are all of them.
var Reasons = []Reason{Unreadable, Damaged, Mismatch, WrongName, WrongTime, WrongKind}

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
