package node

import (
	"errors"
	"log/slog"
	"testing"

	"hither/cache/store"
	"hither/cache/store/disk"
	"hither/deploy"
)

// A store that cannot be made is no store at all: one that holds a nil pointer would be closed, and crash.
func TestNewStore(t *testing.T) {
	state := t.TempDir()
	of := func(memory, disk deploy.Size) *Node {
		n := &Node{o: Options{State: state, Log: slog.New(slog.DiscardHandler)}}
		n.edge.Cache.Memory, n.edge.Cache.Disk = memory, disk
		return n
	}
	if s, _, err := of(1, 0).newStore(); err == nil || s != nil {
		t.Errorf("a store of one byte: %v, %v", s, err)
	}
	if s, _, err := of(0, 0).newStore(); err != nil || s == nil {
		t.Errorf("a store of nothing: %v, %v", s, err)
	}
	if s, _, err := of(1<<20, 1).newStore(); err == nil || s != nil {
		t.Errorf("a disk of one byte: %v, %v", s, err)
	}
	first := of(1<<20, disk.MinSize)
	s, epoch, err := first.newStore()
	if err != nil || epoch == 0 {
		t.Fatalf("both tiers: epoch %d, %v", epoch, err)
	}
	if _, ok := s.(*store.Tiered); !ok {
		t.Errorf("both tiers: %T", s)
	}
	if _, _, err := of(1<<20, disk.MinSize).newStore(); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("a second one in the same folder: %v", err)
	}
	first.store = s
	first.closeStore()
	again := of(1<<20, disk.MinSize)
	var next uint64
	if again.store, next, err = again.newStore(); err != nil || next <= epoch {
		t.Errorf("after a restart: epoch %d after %d, %v", next, epoch, err)
	}
	again.closeStore()
}
