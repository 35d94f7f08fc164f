package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"hither/deploy"
)

// Revisions are the network files that a node keeps in its state folder, under
// revision/: the current one, the one before, and the last that it refused, with the
// reason. A node starts from them with nobody to ask. Only the node itself writes
// there, one call at a time.
type Revisions struct {
	dir string
}

// A Revision is a network file from the node's own folder.
type Revision struct {
	Network *deploy.Network
	Data    []byte

	// Damaged says why current.yaml could not be used, when this is previous.yaml
	// instead; nil otherwise. It belongs in the log.
	Damaged error
}

// RevisionsIn returns the revisions of the node with that state folder.
func RevisionsIn(state string) *Revisions {
	return &Revisions{dir: filepath.Join(state, "revision")}
}

// Current returns the last good revision: the current one or, if that was damaged on
// disk, the one before. When there is none the error is fs.ErrNotExist.
func (r *Revisions) Current() (*Revision, error) {
	rev, err := r.load("current.yaml")
	if err == nil {
		return rev, nil
	}
	previous, err2 := r.load("previous.yaml")
	if err2 == nil {
		previous.Damaged = err
		return previous, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("fleet: no network file in %s; start the node once with --network FILE: %w", r.dir, fs.ErrNotExist)
	}
	return nil, err
}

func (r *Revisions) load(name string) (*Revision, error) {
	path := filepath.Join(r.dir, name)
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("fleet: read revision: %w", err)
	}
	n, err := deploy.Parse(path, data)
	if err != nil {
		return nil, fmt.Errorf("fleet: revision is damaged:\n%w", err)
	}
	return &Revision{Network: n, Data: data}, nil
}

// Accept makes data, which the node has checked and put into use, the current
// revision, and the current one the previous. What was refused before is forgotten.
// Accepting the current revision again changes nothing. A crash at any moment leaves a
// current revision.
func (r *Revisions) Accept(data []byte) error {
	if err := r.accept(data); err != nil {
		return fmt.Errorf("fleet: keep revision: %w", err)
	}
	return nil
}

func (r *Revisions) accept(data []byte) error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	current := filepath.Join(r.dir, "current.yaml")
	old, err := readFile(current)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = writeFile(current, data)
	case err == nil && string(old) != string(data):
		// First a copy, then the change, so that no moment is without a current one. A
		// damaged file must not push out a good one.
		if _, damaged := deploy.Parse(current, old); damaged == nil {
			err = writeFile(filepath.Join(r.dir, "previous.yaml"), old)
		}
		if err == nil {
			err = writeFile(current, data)
		}
	}
	if err != nil {
		return err
	}
	for _, name := range []string{"refused.yaml", "refused.txt"} {
		if err := os.Remove(filepath.Join(r.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Refuse keeps data, which the node did not take, and why, for the operator to read
// (refused.yaml, refused.txt). The current revision stays.
func (r *Revisions) Refuse(data []byte, why error) error {
	err := os.MkdirAll(r.dir, 0o700)
	if err == nil {
		err = writeFile(filepath.Join(r.dir, "refused.yaml"), data[:min(len(data), maxFile)])
	}
	if err == nil {
		err = writeFile(filepath.Join(r.dir, "refused.txt"), []byte(why.Error()+"\n"))
	}
	if err != nil {
		return fmt.Errorf("fleet: keep refused revision: %w", err)
	}
	return nil
}
