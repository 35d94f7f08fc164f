package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestOwnerSet(t *testing.T) {
	for text, want := range map[string]owner{
		"65532:65532":  {65532, 65532, true},
		"0:0":          {0, 0, true},
		"":             {},
		"65532":        {},
		"65532:":       {},
		"nobody:":      {},
		"1:2:3":        {},
		"-1:-1":        {}, // chown would take it for "as it is"
		"4294967296:0": {},
	} {
		var o owner
		if err := o.Set(text); o != want || (err == nil) != want.set {
			t.Errorf("%q: %+v, %v", text, o, err)
		}
		if want.set && o.String() != text {
			t.Errorf("%q is written as %q", text, o.String())
		}
	}
}

func TestOwnerTake(t *testing.T) {
	to := owner{os.Getuid(), os.Getgid(), true}
	if to.uid == 0 {
		to.uid, to.gid = 65532, 65531
	}
	outside, dir := filepath.Join(t.TempDir(), "outside"), t.TempDir()
	for _, path := range []string{outside, filepath.Join(dir, "nodes", "edge-fra", "node.key")} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := to.take(dir); err != nil {
		t.Fatal(err)
	}
	of := func(path string) (int, int) {
		t.Helper()
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		s := info.Sys().(*syscall.Stat_t)
		return int(s.Uid), int(s.Gid)
	}
	for _, name := range []string{".", "nodes", "nodes/edge-fra", "nodes/edge-fra/node.key", "link"} {
		if uid, gid := of(filepath.Join(dir, name)); uid != to.uid || gid != to.gid {
			t.Errorf("%s belongs to %d:%d, not to %v", name, uid, gid, &to)
		}
	}
	if uid, gid := of(outside); uid != os.Getuid() || gid != os.Getgid() {
		t.Errorf("what a link leads to belongs to %d:%d now", uid, gid)
	}
	if err := to.take(filepath.Join(dir, "none")); err == nil {
		t.Error("no error for a folder that is not there")
	}
}
