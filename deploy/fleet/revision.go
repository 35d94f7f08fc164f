package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Revisions are the network files that a node has been given, in its state folder: the
// one in use, the one before, and the last one it refused. A node starts with the one in
// use when nobody tells it another. Not for concurrent use.
type Revisions struct {
	dir string
}

// OpenRevisions finds a node's revisions, and makes their folder.
func OpenRevisions(state string) (*Revisions, error) {
	r := &Revisions{dir: filepath.Join(state, "revision")}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	return r, nil
}

// ErrNoRevision: the node was never given a network file.
var ErrNoRevision = errors.New("fleet: no network file in the state folder yet; give one with --network")

// Current returns the network file in use and its number.
func (r *Revisions) Current() (data []byte, number int, err error) {
	data, err = os.ReadFile(r.path("current.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, ErrNoRevision
	} else if err != nil {
		return nil, 0, fmt.Errorf("fleet: %w", err)
	}
	text, err := os.ReadFile(r.path("number"))
	if err == nil {
		number, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		number = 1 // the count is for people; a lost one starts again
	}
	return data, number, nil
}

// Accept makes data the file in use and returns its number: that of the one before and
// one, or the same where data is the same.
func (r *Revisions) Accept(data []byte) (int, error) {
	old, number, err := r.Current()
	switch {
	case errors.Is(err, ErrNoRevision):
		number = 0
	case err != nil:
		return 0, err
	case bytes.Equal(old, data):
		return number, r.clear()
	default:
		if err := write(r.path("previous.yaml"), old); err != nil {
			return 0, err
		}
	}
	number++
	if err := write(r.path("number"), []byte(strconv.Itoa(number)+"\n")); err != nil {
		return 0, err
	}
	if err := write(r.path("current.yaml"), data); err != nil {
		return 0, err
	}
	return number, r.clear()
}

// Refuse keeps data and why it was not taken, for the operator to read.
func (r *Revisions) Refuse(data []byte, why error) error {
	return errors.Join(write(r.path("refused.yaml"), data), write(r.path("refused.txt"), []byte(why.Error()+"\n")))
}

// clear forgets the refused file once another was taken.
func (r *Revisions) clear() error {
	for _, name := range [...]string{"refused.yaml", "refused.txt"} {
		if err := os.Remove(r.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("fleet: %w", err)
		}
	}
	return nil
}

func (r *Revisions) path(name string) string { return filepath.Join(r.dir, name) }
