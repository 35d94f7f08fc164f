package member

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hither/deploy/fleet/bus"
)

// positionFile is where, in the node's state folder, the position in the journal lies.
const positionFile = "journal.json"

// A place is how far a node has come: its position, and that by which a journal is known that has the same name and another history: the
// number of the order that comes next, 0 where it is not known, and what the entry there is, [bus.HashOf] it, "" where that is not known.
type place struct {
	bus.Position
	Next uint64 `json:"next,omitempty"`
	Sum  string `json:"sum,omitempty"`
}

// saveEvery is how often the position is written at most. What came since is carried out once more after a crash.
const saveEvery = time.Second

// mostPosition bounds what is read of the file.
const mostPosition = 4 << 10

// loadPlace reads a position. Where there is none it is the zero place; the error says what is wrong with the file.
func loadPlace(folder string) (place, error) {
	f, err := os.Open(filepath.Join(folder, positionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return place{}, nil
	}
	if err != nil {
		return place{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostPosition))
	if err != nil {
		return place{}, err
	}
	var p place
	if err := bus.Decode(data, &p); err != nil {
		return place{}, err
	}
	if len(p.Journal) > 64 || p.Journal == "" {
		return place{}, fmt.Errorf("it names the journal %.64q", p.Journal)
	}
	return p, nil
}

// savePlace writes a position, so that a crash at any moment leaves the older or the newer, whole.
func savePlace(folder string, p place) (err error) {
	f, err := os.CreateTemp(folder, ".journal-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(append(bus.Encode(p), '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	// That the rename itself is on disk is not waited for: the older position does as well.
	return os.Rename(f.Name(), filepath.Join(folder, positionFile))
}

// remember writes the position down behind what changes it, until run has ended. A disk that hangs keeps no purge waiting.
func (j *journal) remember() {
	var last place
	save := func() {
		j.mu.Lock()
		now := j.reached
		j.mu.Unlock()
		if now == last || now.Journal == "" {
			return
		}
		if err := savePlace(j.m.o.State, now); err != nil {
			if j.m.once("save") {
				j.m.o.Log.Error("how far the journal came cannot be written down; after a crash more is carried out twice", "error", err)
			}
			return
		}
		last = now
	}
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			save()
		case <-j.ended:
			save()
			return
		}
	}
}
