package gateway

import (
	"io/fs"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

var (
	link     = regexp.MustCompile(`(?:href|src)="([^"]*)"`)
	external = regexp.MustCompile(`(?i)(?:https?:)?//[a-z0-9.-]+|@import|url\(`)
)

// The built-in site is small, whole, and needs nothing from elsewhere.
func TestBuiltInSite(t *testing.T) {
	files, err := fs.Sub(builtIn, "site")
	if err != nil {
		t.Fatal(err)
	}
	s := NewStatic(StaticConfig{Files: files})
	seen := make(map[string]bool)
	todo := []string{"/"}
	for len(todo) > 0 {
		page := todo[0]
		todo = todo[1:]
		if seen[page] {
			continue
		}
		seen[page] = true
		res := ask(t, s, "GET", page)
		body := text(t, res)
		if res.StatusCode != 200 || len(res.Header.Get("Etag")) != 24 {
			t.Errorf("%s: %d, ETag %q", page, res.StatusCode, res.Header.Get("Etag"))
		}
		if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
			continue
		}
		base, _ := url.Parse(page)
		for _, m := range link.FindAllStringSubmatch(body, -1) {
			to, err := base.Parse(m[1])
			if err != nil || to.Host != "" {
				t.Errorf("%s leads out to %s", page, m[1])
				continue
			}
			todo = append(todo, to.Path)
		}
		for _, want := range []string{`<html lang="en">`, `name="viewport"`, `name="description"`, "<title>", "</html>"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s has no %s", page, want)
			}
		}
	}
	total := 0
	fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		total += len(b)
		if page := "/" + strings.TrimSuffix(name, "index.html"); !seen[page] && name != "404.html" {
			t.Errorf("%s is linked from nowhere", name)
		}
		if strings.HasSuffix(name, ".css") || strings.HasSuffix(name, ".js") {
			if m := external.Find(b); m != nil && !strings.HasPrefix(string(m), "// ") {
				t.Errorf("%s needs %s", name, m)
			}
		}
		return nil
	})
	if total > 100<<10 {
		t.Errorf("%d bytes", total)
	}
	if res := ask(t, s, "GET", "/none"); res.StatusCode != 404 || !strings.Contains(text(t, res), "Nothing lies here") {
		t.Errorf("the site's own page for what is not there: %d", res.StatusCode)
	}
}
