package deploy_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hither/deploy"
)

// TestBadFiles reads every file in testdata/bad and compares its mistakes with the
// text beside it, word for word. `go test ./deploy -run TestBadFiles -update` writes
// the texts; read them before you keep them.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files in testdata/bad: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = deploy.Parse(filepath.Base(file), data)
			var mistakes deploy.Mistakes
			if !errors.As(err, &mistakes) {
				t.Fatalf("error is %T: %v", err, err)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			pointAtSomething(t, string(data), mistakes)
		})
	}
}

// pointAtSomething wants every mistake to lie inside the file.
func pointAtSomething(t *testing.T, file string, mistakes deploy.Mistakes) {
	t.Helper()
	lines := strings.Count(file, "\n") + 1
	for _, m := range mistakes {
		if m.Line < 1 || m.Line > lines || m.Col < 1 || m.Msg == "" || strings.ContainsAny(m.Msg, "\n\r\x1b") {
			t.Errorf("%#v does not point into a file of %d lines, or is not one line of text", m, lines)
		}
	}
}

// FuzzParse holds Parse to its promise on any input: it returns, with a network or
// with mistakes that each have a line.
func FuzzParse(f *testing.F) {
	f.Add(deploy.Example())
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/good/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := deploy.Parse("fuzz.yaml", data)
		if err == nil {
			if n == nil || n.Version != deploy.Version || n.Name == "" {
				t.Errorf("no mistake, and the network is %+v", n)
			}
			return
		}
		var mistakes deploy.Mistakes
		if !errors.As(err, &mistakes) || len(mistakes) == 0 || n != nil {
			t.Fatalf("error is %T: %v", err, err)
		}
		pointAtSomething(t, string(data), mistakes)
		if !slices.IsSortedFunc(mistakes, func(a, b deploy.Mistake) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Col - b.Col
		}) {
			t.Errorf("not in the order of the file:\n%v", err)
		}
	})
}

// TestHostile are files made to take time, memory or stack. Each is refused with one
// mistake; the test's own deadline is what it would fail by.
func TestHostile(t *testing.T) {
	const many = 100_000
	for name, c := range map[string]struct{ file, want string }{
		"too large":   {"version: 1\n" + strings.Repeat("#", deploy.MaxBytes), "f:1:1: the file has 786443 bytes; a network file may have 786432 bytes (768KiB), for it is one message to the nodes"},
		"flow":        {"a: " + strings.Repeat("[", many), "f:1:27: lists and mappings are nested more than 24 deep here"},
		"flow maps":   {"a: " + strings.Repeat("{a: ", many), "f:1:96: lists and mappings are nested more than 24 deep here"},
		"block lists": {"a:\n " + strings.Repeat("- ", many), "f:2:48: lists and mappings are nested more than 24 deep here"},
		"keys":        {strings.Repeat("a: 1\n", many), "f:16385:2: a mapping has more than 16384 keys here; write it in braces"},
		"in braces":   {"{" + strings.Repeat("? a\n", many), "f:1:2: keys behind a question mark are not used in a network file; write KEY: VALUE"},
		"explicit":    {strings.Repeat("? ", many), "f:1:1: keys behind a question mark are not used in a network file; write KEY: VALUE"},
		"binary":      {"version: 1\nname: \x00\n", "f:2:1: the line is not valid UTF-8 text, or has a control character"},
		"bare CR":     {"version: 1\r\nname: a\rb\n", "f:2:1: the line is not valid UTF-8 text, or has a control character"},
		"latin 1":     {"version: 1\n# caf\xe9\n", "f:2:1: the line is not valid UTF-8 text, or has a control character"},
		"empty":       {"", "f:1:1: the file is empty; it must begin with `version: 1`"},
		"comments":    {"# nothing\n", "f:1:1: the file is empty; it must begin with `version: 1`"},
		"documents":   {"version: 1\n---\nversion: 1\n", "f:3:1: a second document begins here; a network is one"},
		"not YAML":    {"version: 1\nname: [demo\n", "f:2:7: this cannot be read as YAML: sequence end token ']' not found"},
		"a list":      {"- 1\n", "f:1:1: wants a mapping of keys to values, not a list"},
		"a word":      {"network\n", "f:1:1: wants a mapping of keys to values, not text"},
		"newer":       {"version: 2\npopps: []\n", "f:1:10: version: `2` is not known to this program, which reads version 1; bring the program to the version that wrote the file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := deploy.Parse("f", []byte(c.file))
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// TestManyMistakes reads a large file that is all mistakes: a thousand are told, the
// rest is counted.
func TestManyMistakes(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\nname: demo\npops:\n")
	const count = 5000
	for range count {
		b.WriteString("  - {name: a, place: {lat: 100, lon: 0}, adresses: [1]}\n")
	}
	_, err := deploy.Parse("f", []byte(b.String()))
	var mistakes deploy.Mistakes
	if !errors.As(err, &mistakes) || len(mistakes) != 1001 {
		t.Fatalf("%d mistakes are told, want 1000 and the count of the rest", len(mistakes))
	}
	// Four in each PoP, but that the first one's name is new.
	if got, want := mistakes[1000].Msg, "there are 18999 more mistakes in this file; mend these first"; got != want {
		t.Errorf("the last is %q, want %q", got, want)
	}
}

// TestAliasBomb: what an alias stands for is never expanded.
func TestAliasBomb(t *testing.T) {
	file := "version: 1\nname: demo\nsites: &a [x, x]\n"
	for i := range 30 {
		file += string(rune('b'+i%24)) + ": &x [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
	}
	_, err := deploy.Parse("f", []byte(file))
	if err == nil || !strings.Contains(err.Error(), "f:3:8: sites: anchors and aliases") {
		t.Errorf("got %v", err)
	}
}
