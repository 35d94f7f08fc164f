package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What was measured for minutes is printed, whatever becomes of its picture.
func TestPictureIsLost(t *testing.T) {
	const svg = "/nowhere/at/all.svg"
	for name, print := range map[string]func(*bytes.Buffer) error{
		"rtt":   func(b *bytes.Buffer) error { return rttDoc(traveled()).print(rttOptions{svg: svg}, b) },
		"load":  func(b *bytes.Buffer) error { return loaded(true).print(loadOptions{svg: svg}, b) },
		"trace": func(b *bytes.Buffer) error { return replayed(t).print(traceOptions{svg: svg}, b) },
	} {
		var out bytes.Buffer
		err := print(&out)
		if err == nil || !strings.Contains(err.Error(), "write the picture: open "+svg) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(out.String(), "commit 0123456789ab; A <Processor>") {
			t.Errorf("%s: printed %q", name, &out)
		}
		if name == "rtt" && !errors.Is(err, errDoesNotHold) {
			t.Errorf("%s: it does not tell what does not hold: %v", name, err)
		}
	}
}

func TestCheckPicture(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "old.svg")
	if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for svg, want := range map[string]string{
		"":                          "",
		"/dev/null":                 "",
		old:                         "",
		filepath.Join(dir, "a.svg"): "",
		dir:                         "it is a folder; name a file in it",
		old + "/a.svg":              old + " is not a folder",
		"/nowhere/a.svg":            "/nowhere is not a folder",
		"/proc/self/a.svg":          "name a file that can be written",
		filepath.Join(dir, strings.Repeat("long", 100)): "file name too long",
	} {
		if err := checkPicture(svg); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("--svg %q: %v, want %q", svg, err, want)
		}
	}
	files, err := os.ReadDir(dir)
	text, _ := os.ReadFile(old)
	if err != nil || len(files) != 1 || string(text) != "old" {
		t.Errorf("it left %v, and %q of the old picture, %v", files, text, err)
	}
}
