package server

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hither/deploy"
)

// What Check finds becomes FILE:LINE:COL of the network file, or a line of the zone file that it names. Each file of
// testdata/mistakes has the messages beside it.
func TestMistakes(t *testing.T) {
	files, err := filepath.Glob("testdata/mistakes/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	dir, err := filepath.Abs("testdata/mistakes")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(strings.TrimSuffix(file, ".yaml") + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		data = []byte(strings.ReplaceAll(string(data), "@DIR@", dir))
		name := filepath.Base(file)
		_, err = deploy.Parse(name, data, Check)
		var mistakes deploy.Mistakes
		if !errors.As(err, &mistakes) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), dir, "@DIR@") + "\n"; got != string(want) {
			t.Errorf("%s:\n%swant\n%s", name, got, want)
		}

		// A server that gets such a file all the same names the same places.
		n := parsed(t, string(data))
		if _, err := newWorld(n, time.Unix(0, 0)); err == nil || strings.Count(err.Error(), "\n") < len(mistakes)-1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
