package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"hither/cache"
)

// failed tests that the store is off, said so once, and does no harm.
func failed(t *testing.T, h *house) {
	t.Helper()
	if h.Off() == nil || h.Stats().On {
		t.Fatal("the store is still on")
	}
	for i := range 10 {
		h.put(object(key(fmt.Sprint("/later/", i)), 1, 100))
		h.Change(key("/0"), Deleted, func() {})
		h.purge(cache.Purge{Kind: cache.PurgeAll})
		if h.get(key(fmt.Sprint("/later/", i))) != 0 || h.Peek(key("/0")) != nil {
			t.Error("a store that is off has something")
		}
	}
	if n := strings.Count(h.said.String(), "the disk tier is off"); n != 1 {
		t.Errorf("said %d times:\n%s", n, h.said)
	}
	if s := h.Stats(); s.Objects != 0 || s.Waiting != 0 {
		t.Errorf("stats %+v", s)
	}
}

// A full disk turns the store off. What is on it is not used later: purges no longer reach it.
func TestFullDisk(t *testing.T) {
	folder := t.TempDir()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip("needs a file system of its own, so root:", err)
	}
	t.Cleanup(func() { syscall.Unmount(folder, syscall.MNT_DETACH) })
	h := build(t, Config{Folder: folder, Size: 64 * mib, segment: mib})
	for i := 0; h.Off() == nil && i < 1000; i++ {
		h.put(object(key(fmt.Sprint("/", i)), 1, 10_000))
	}
	failed(t, h)
	h.Close()
	h.open()
	h.want("/0", 0)
	h.put(object(key("/again"), 1, 10))
	h.want("/again", 1)
	// Full from the start.
	h.shut()
	for i := 0; ; i++ {
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprint("filler", i)), make([]byte, 64<<10), 0o600); err != nil {
			break
		}
	}
	h.said.text.Reset()
	h.open()
	failed(t, h)
	h.Close()
	h.Store = nil
}

// A folder that is taken away turns it off as well.
func TestFolderIsRemoved(t *testing.T) {
	h := build(t, Config{})
	h.put(object(key("/0"), 1, 10))
	if err := os.RemoveAll(h.folder); err != nil {
		t.Fatal(err)
	}
	for i := 0; h.Off() == nil && i < 1000; i++ {
		h.put(object(key(fmt.Sprint("/", i)), 1, 10_000))
	}
	failed(t, h)
	h.Close()
	h.Store = nil
}

// Reads that fail: a few are bad sectors, more are a bad disk.
func TestReadsFail(t *testing.T) {
	h := build(t, Config{})
	for i := range 2 * mostErrors {
		h.put(object(key(fmt.Sprint("/", i)), 1, 10))
	}
	h.mu.RLock()
	for _, g := range h.order {
		g.file.Close() // a read of it fails, and is no early end
	}
	h.mu.RUnlock()
	for i := range mostErrors {
		if h.Off() != nil {
			t.Fatalf("off after %d errors", i)
		}
		h.want(fmt.Sprint("/", i), 0)
	}
	failed(t, h)
	h.Close()
	h.Store = nil
}

// One object that cannot be read, however often somebody tries, is a bad sector and no bad disk.
func TestReadFailsAgainAndAgain(t *testing.T) {
	h := build(t, Config{Size: 64 * mib, segment: 8 * mib})
	h.put(object(key("/large"), 1, 3*mib))
	var found []*cache.Object
	for range 2 * mostErrors { // as many readers, who all have it before anybody reads
		found = append(found, h.Get(key("/large"), nowhere{}))
	}
	h.mu.RLock()
	for _, g := range h.order {
		g.file.Close()
	}
	h.mu.RUnlock()
	for _, o := range found {
		if err := o.Body.Range(0, o.Body.Len(), func([]byte) bool { return true }); err == nil {
			t.Error("a body was read from a closed file")
		}
		if !o.Dead() {
			t.Error("it is not dead")
		}
	}
	h.want("/large", 0)
	if s := h.Stats(); !s.On || s.Corrupt != 1 || s.Objects != 0 {
		t.Errorf("stats %+v, off: %v", s, h.Off())
	}
}

// A folder where nothing can be made leaves the edge with its memory.
func TestFolderCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := build(t, Config{Folder: filepath.Join(file, "cache")})
	failed(t, h)
	h.Close()
	h.Store = nil
}
