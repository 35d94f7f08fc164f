package fleet

import (
	"encoding/json"
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

// A Mark is what a node knows of where its network files came from.
type Mark struct {
	// Number and Hash are those of the fleet's revision that it put into use last. The zero ones: it never heard of one.
	Number int    `json:"number"`
	Hash   string `json:"hash"`

	// File is the hash of the file that an operator gave the node itself, when that was read last. One that is as it was
	// says nothing new.
	File string `json:"file,omitempty"`

	// Own says that such a file was put into use in the revision's place.
	Own bool `json:"own,omitempty"`
}

// Mark returns the mark kept last (current.json). One that is missing or damaged is the zero Mark: what the fleet says then
// counts as new.
func (r *Revisions) Mark() Mark {
	var m Mark
	data, err := readFile(filepath.Join(r.dir, "current.json"))
	if err != nil || json.Unmarshal(data, &m) != nil || m.Number < 0 {
		return Mark{}
	}
	return m
}

// SetMark keeps m.
func (r *Revisions) SetMark(m Mark) error {
	data, err := json.Marshal(m)
	if err == nil {
		err = os.MkdirAll(r.dir, 0o700)
	}
	if err == nil {
		_, err = keepFile(filepath.Join(r.dir, "current.json"), append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("fleet: keep the number of the revision: %w", err)
	}
	return nil
}

// A Canary is what a node remembers while it tries a revision before others do, so that it finds back by itself, after a new start
// too. The zero Canary: it tries none.
type Canary struct {
	Number int    `json:"number"`
	Hash   string `json:"hash"`

	// What to go back to; its file is kept as stable.yaml.
	Stable     int    `json:"stable"`
	StableHash string `json:"stable_hash"`
}

// Canary returns what was kept last (canary.json). One that is missing or damaged is the zero Canary.
func (r *Revisions) Canary() Canary {
	var c Canary
	data, err := readFile(filepath.Join(r.dir, "canary.json"))
	if err != nil || json.Unmarshal(data, &c) != nil || c.Number < 0 || c.Stable < 0 {
		return Canary{}
	}
	return c
}

// SetCanary keeps c with the file to go back to; the zero Canary forgets both.
func (r *Revisions) SetCanary(c Canary, stable []byte) error {
	err := r.setCanary(c, stable)
	if err != nil {
		return fmt.Errorf("fleet: keep the way back from a canary: %w", err)
	}
	return nil
}

func (r *Revisions) setCanary(c Canary, stable []byte) error {
	note, file := filepath.Join(r.dir, "canary.json"), filepath.Join(r.dir, "stable.yaml")
	if c == (Canary{}) {
		for _, path := range []string{note, file} { // the note first: it names the file
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	}
	data, err := json.Marshal(c)
	if err == nil {
		err = os.MkdirAll(r.dir, 0o700)
	}
	if err == nil {
		_, err = keepFile(file, stable)
	}
	if err == nil {
		_, err = keepFile(note, append(data, '\n'))
	}
	return err
}

// Find returns a network file that the node keeps for which is says yes; nil = it keeps none.
func (r *Revisions) Find(is func(data []byte) bool) []byte {
	for _, name := range []string{"current.yaml", "stable.yaml", "previous.yaml"} {
		if data, err := readFile(filepath.Join(r.dir, name)); err == nil && is(data) {
			return data
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
