package node

import (
	"errors"
	"log/slog"
	"testing"

	"hither/cache"
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

// What lies on disk is gone after a process that has no disk, whose purges did not reach it.
func TestNewStoreWithoutDisk(t *testing.T) {
	state := t.TempDir()
	run := func(memory, disk deploy.Size, do func(cache.Store)) {
		t.Helper()
		n := &Node{o: Options{State: state, Log: slog.New(slog.DiscardHandler)}}
		n.edge.Cache.Memory, n.edge.Cache.Disk = memory, disk
		var err error
		if n.store, _, err = n.newStore(); err != nil {
			t.Fatal(err)
		}
		do(n.store)
		n.closeStore()
	}
	k := cache.Key{Site: "www", Class: cache.ClassGet, Path: "/"}
	fill := func(s cache.Store) {
		s.Put(&cache.Object{Key: k, Status: 200})
		s.Get(k) // so that it is worth a write
	}
	find := func(want bool) func(cache.Store) {
		return func(s cache.Store) {
			if got := s.Get(k) != nil; got != want {
				t.Errorf("found: %v", got)
			}
		}
	}
	run(1<<20, 0, find(false)) // there is no folder yet
	for _, memory := range []deploy.Size{1 << 20, 0} {
		run(1<<20, disk.MinSize, fill)
		run(1<<20, disk.MinSize, find(true))
		run(memory, 0, find(false))
		run(1<<20, disk.MinSize, find(false))
	}
}
