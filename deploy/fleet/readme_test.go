package fleet_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestBadInputTable holds the table of bad input in the README to what there is: each test that it names is one, and each metric, and each line of
// it has both.
func TestBadInputTable(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(readme), "\n## Bad input\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if !ok {
		t.Fatal("the README has no section about bad input")
	}
	tests, program := sources(t)
	named, metric, word := regexp.MustCompile("`(Test[A-Z][A-Za-z]*)`"), regexp.MustCompile(`hither_[a-z_]+`), regexp.MustCompile(`[a-z]+="([a-z]+)"`)
	rows := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 5 || cells[0] == "| what comes" {
			continue
		}
		rows++
		found := named.FindAllStringSubmatch(cells[4], -1)
		if len(found) == 0 {
			t.Errorf("no test: %s", line)
		}
		for _, f := range found {
			if !strings.Contains(tests, "\nfunc "+f[1]+"(t *testing.T)") {
				t.Errorf("there is no test %s", f[1])
			}
		}
		for _, m := range metric.FindAllString(cells[2], -1) {
			if !strings.Contains(program, `"`+m+`"`) {
				t.Errorf("there is no metric %s", m)
			}
		}
		for _, w := range word.FindAllStringSubmatch(cells[2], -1) {
			if !strings.Contains(program, `"`+w[1]+`"`) {
				t.Errorf("no program says %s", w[1])
			}
		}
	}
	if rows < 20 {
		t.Errorf("the table has %d rows", rows)
	}
}

// sources are the texts of all tests of the repository, and of all that is none.
func sources(t *testing.T) (tests, program string) {
	t.Helper()
	var of [2]strings.Builder
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		i := 0
		if strings.HasSuffix(path, "_test.go") {
			i = 1
		}
		of[i].Write(text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return of[1].String(), of[0].String()
}
