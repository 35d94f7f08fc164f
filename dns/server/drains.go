package server

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"hither/deploy/fleet/bus"
)

// drainsFile is where in its state folder a server keeps which PoPs the operator drains and which were revoked, so that one which starts
// while the hub is away leaves them out of answers as before.
const drainsFile = "drains.json"

// keptDrains is what lies there, of at most bus.MostMessage bytes.
type keptDrains struct {
	Drains map[string]bus.Drain `json:"drains"` // by PoP
}

// loadDrains reads what an earlier process kept. Where there is no file there are none; the error says what is wrong with one.
func loadDrains(folder string) (map[string]bus.Drain, error) {
	f, err := os.Open(filepath.Join(folder, drainsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, bus.MostMessage+1))
	var kept keptDrains
	if err == nil {
		err = bus.Decode(data, &kept)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return kept.Drains, nil
}

// recall goes on with the drains that an earlier process kept.
func (s *Server) recall() {
	drains, err := loadDrains(s.o.State)
	if err != nil {
		s.o.Log.Warn("which PoPs drain or were revoked cannot be read; until the hub says it they are in answers", "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.told.drains, drains)
	s.publish(s.world.Load())
}

// saveDrains writes them, so that a crash at any moment leaves the older file or the newer, whole.
func saveDrains(folder string, drains map[string]bus.Drain) (err error) {
	data := append(bus.Encode(keptDrains{drains}), '\n')
	if len(data) > bus.MostMessage {
		return fmt.Errorf("%d drains have %d bytes; at most %d are kept", len(drains), len(data), bus.MostMessage)
	}
	f, err := os.CreateTemp(folder, ".drains-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), filepath.Join(folder, drainsFile)); err != nil {
		return err
	}
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// remember writes the drains down behind what changes them, until the server ends. A disk that hangs keeps no answer waiting.
func (s *Server) remember() {
	each := time.NewTicker(time.Second)
	defer each.Stop()
	for {
		select {
		case <-each.C:
			s.keepDrains()
		case <-s.stopped:
			s.keepDrains()
			return
		}
	}
}

// keepDrains writes the drains down, where they are others than what was written last.
func (s *Server) keepDrains() {
	s.mu.Lock()
	unkept := s.unkept
	s.unkept = false
	drains := maps.Clone(s.told.drains)
	s.mu.Unlock()
	if !unkept {
		return
	}
	if err := saveDrains(s.o.State, drains); err != nil {
		s.said.Warn("which PoPs drain or were revoked cannot be written down; after a start without the hub this server names them again", "error", err)
		s.mu.Lock()
		s.unkept = true
		s.mu.Unlock()
	}
}

// Drains are the PoPs of which the server knows that they drain, or were revoked, be it from an earlier process: whoever follows the fleet's
// tables says with Drained what has become of each.
func (s *Server) Drains() (pops []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pop := range s.told.drains {
		pops = append(pops, pop)
	}
	return pops
}
