package main

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
)

// files are all below a folder, by their paths.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// operatorFolder makes the folder of the operator of a network.
func operatorFolder(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	file := bytes.Replace(fleetFile("one"), []byte("name: demo"), []byte("name: "+name), 1)
	network, err := deploy.Parse("network.yaml", file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fleet.Init(network, file, dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "network.yaml"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// backupOf makes a backup of a folder's authority, with what is given of a hub.
func backupOf(t *testing.T, dir string, change func(*fleet.ArchiveWriter)) []byte {
	t.Helper()
	a, err := fleet.FindAuthority(filepath.Join(dir, "authority"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := fleet.NewArchive(&b, a.Network(), time.Now())
	if err := a.BackUp(w); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(w)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRestoreRefuses: what is no backup for a folder is refused with one line and status 1, and nothing in the folder is another.
func TestRestoreRefuses(t *testing.T) {
	demo, other := operatorFolder(t, "demo"), operatorFolder(t, "other")
	without := func(from string, names ...string) string {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if err := os.RemoveAll(filepath.Join(dir, n)); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	hub := func(lines string) func(*fleet.ArchiveWriter) {
		return func(w *fleet.ArchiveWriter) {
			w.Manifest().Hub = true
			if err := w.Add("hub/TABLES.000001", []byte(lines)); err != nil {
				t.Fatal(err)
			}
		}
	}
	const drain = `{"subject":"table.drain.fra","sequence":1,"data":""}` + "\n"
	waiting := without(demo, "authority")
	if err := os.MkdirAll(filepath.Join(waiting, "nodes/origin-us/hub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(waiting, "nodes/origin-us/hub/restore.tar"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := backupOf(t, demo, hub(drain))
	for name, c := range map[string]struct {
		dir  string
		data []byte
		want string
	}{
		"junk":                           {demo, []byte(strings.Repeat("junk", 1000)), "this is no backup"},
		"cut short":                      {without(demo, "authority"), good[:len(good)-2048], "no backup"},
		"another network's authority":    {other, good, "is of network demo, and the authority in"},
		"another network's operator":     {without(other, "authority", "network.yaml"), good, "is of network demo, and the operator in"},
		"another network's file":         {without(other, "authority", "operator"), good, "is of network demo, and the network file in"},
		"another network's node":         {filepath.Join(other, "nodes/origin-us"), good, "is of network demo, and the node in"},
		"another authority of this name": {operatorFolder(t, "demo"), good, "it stays, and nothing was changed"},
		"a hub's entries":                {without(demo, "authority"), backupOf(t, demo, hub("x\n")), "stream TABLES"},
		"a command to the hub": {without(demo, "authority"), backupOf(t, demo, hub(strings.Replace(drain, "fra", `fra\t0\r\n\r\nPUB\tjournal\t0`,
			1))), "an entry 1 of"},
		"a move": {without(demo, "authority"), backupOf(t, demo,
			func(w *fleet.ArchiveWriter) { hub(drain)(w); w.Manifest().Move = true }), "and no backup"},
		"one waits already": {waiting, good, "waits already to be restored"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "in.tar")
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			before := files(t, c.dir)
			var out, says bytes.Buffer
			status := run(t.Context(), []string{"fleet", "restore", path, "--state", c.dir}, &out, &says)
			line, rest, _ := strings.Cut(says.String(), "\n")
			if status != exitWrong || out.Len() > 0 || rest != "" || !strings.Contains(line, c.want) {
				t.Errorf("status %d\n%s%s\nwanted %q", status, &out, &says, c.want)
			}
			if after := files(t, c.dir); !maps.Equal(before, after) {
				t.Errorf("the folder is another:\n%q\n%q", before, after)
			}
		})
	}
	dir := without(demo, "authority")
	path := filepath.Join(t.TempDir(), "in.tar")
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	var out, says bytes.Buffer
	if status := run(t.Context(), []string{"fleet", "restore", path, "--state", dir}, &out, &says); status != 0 {
		t.Fatalf("a good one: status %d\n%s%s", status, &out, &says)
	}
	after := files(t, dir)
	for path, data := range files(t, filepath.Join(demo, "authority")) {
		if after[strings.Replace(path, demo, dir, 1)] != data {
			t.Errorf("%s is another, or not there", path)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "nodes/origin-us/hub/restore.tar")); errors.Is(err, fs.ErrNotExist) {
		t.Error("the hub gets nothing")
	}
}

// TestBundleRefused: what is no bundle of an operator is refused with one line, and nothing of it stays.
func TestBundleRefused(t *testing.T) {
	demo := operatorFolder(t, "demo")
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	packed := func(dir string) []byte {
		var b bytes.Buffer
		if err := fleet.Pack(&b, dir); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	edge := packed(filepath.Join(demo, "nodes/edge-fra"))
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"junk":        {[]byte(strings.Repeat("junk", 1000)), "cut short"},
		"a backup":    {backupOf(t, demo, nil), "does not belong to a bundle"},
		"outside":     {bytes.ReplaceAll(edge, []byte("identity/"), []byte("../entity")), "cut short"},
		"an edge's":   {edge, "is edge-fra's, and no operator's"},
		"half of one": {edge[:len(edge)/2], "cut short"},
	} {
		path := filepath.Join(t.TempDir(), "in.tar")
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		var out, says bytes.Buffer
		status := run(t.Context(), []string{"fleet", "nodes", "--bundle", path}, &out, &says)
		if line, rest, _ := strings.Cut(says.String(), "\n"); status != exitUsage || out.Len() > 0 || rest != "" || !strings.Contains(line, c.want) {
			t.Errorf("%s: status %d\n%s%s\nwanted %q", name, status, &out, &says, c.want)
		}
		if left := files(t, tmp); len(left) > 0 {
			t.Errorf("%s: left %q", name, left)
		}
	}
}
