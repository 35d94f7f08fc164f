package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMakeSources holds the Makefile to what programs are built from: a file that is embedded and not in SOURCES leaves an old program
// where it was after a change.
func TestMakeSources(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make is not here")
	}
	out, err := exec.Command("make", "-s", "-C", "..", "--no-print-directory", "--eval", "sources:;@printf '%s\\n' $(SOURCES)", "sources").Output()
	if err != nil {
		t.Fatalf("make: %v", err)
	}
	var known []string
	for _, name := range strings.Fields(string(out)) {
		known = append(known, filepath.Clean(name))
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	list := exec.Command("go", "list", "-deps", "-f", `{{if not .Standard}}{{$dir := .Dir}}{{range .EmbedFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{end}}`, "./deploy/hither", "./bench")
	list.Dir = root
	if out, err = list.Output(); err != nil {
		t.Fatalf("go list: %v", err)
	}
	embedded := 0
	for _, name := range strings.Fields(string(out)) {
		name, err := filepath.Rel(root, name)
		if err != nil || strings.HasPrefix(name, "..") {
			continue // of a module that go.sum holds
		}
		if embedded++; !slices.Contains(known, name) {
			t.Errorf("%s is embedded, and SOURCES of the Makefile has it not", name)
		}
	}
	if embedded < 20 {
		t.Errorf("%d embedded files found: does go list tell them?", embedded)
	}
}

// TestMakeBench has what must hold with a clock not hold, and a test fail: all the rest runs, and what failed is named at the end.
func TestMakeBench(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make is not here")
	}
	text, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, folder := range []string{"bin", "bench/lab", "bench/peers"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\necho ${0##*/} $* >>" + dir + "/ran\ncase \"${0##*/} $*\" in FAIL) exit 1;; esac\n"
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	for fail, want := range map[string]string{
		"nothing":                "",
		"'bench dns'|lab.test*":  "make bench: failed: bin/lab.test; bin/bench dns",
		"bench*peers*":           "make bench: failed: bin/bench dns peers; bin/bench peers",
		"peers.test*|bench?rtt*": "make bench: failed: bin/peers.test; bin/bench rtt",
	} {
		os.Remove(filepath.Join(dir, "ran"))
		built := []string{"-s", "-C", dir, "-o", "bin/hither", "-o", "bin/bench", "-o", "bin/lab.test", "-o", "bin/peers.test", "bench"}
		for _, name := range []string{"bin/bench", "bin/lab.test", "bin/peers.test"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Replace(script, "FAIL", fail, 1)), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command("make", built...).CombinedOutput()
		if (err != nil) != (want != "") || !strings.Contains(string(out), want) {
			t.Errorf("%s fails: %v, %s; want %q", fail, err, out, want)
		}
		ran, _ := os.ReadFile(filepath.Join(dir, "ran"))
		for _, must := range []string{"peers.test ", "lab.test ", "bench dns\n", "bench rtt\n", "bench far\n", "bench purge\n", "bench steer\n", "bench reports\n", "bench dns peers --readme", "bench peers --readme"} {
			if !strings.Contains(string(ran), must) {
				t.Errorf("%s fails, and this was not run: %q", fail, must)
			}
		}
	}
}
