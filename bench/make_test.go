package main

import (
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
