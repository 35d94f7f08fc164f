package gateway

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hang bounds each test: what hangs fails.
const hang = 20 * time.Second

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	t.Cleanup(cancel)
	return ctx
}

// folder is a site in a temporary folder, seen long after its files were written.
func folder(t *testing.T, files map[string]string) (*Static, string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		put(t, dir, name, content)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return NewStatic(StaticConfig{Files: root.FS(), CacheControl: "public, max-age=60", Now: func() time.Time { return time.Now().Add(time.Hour) }}), dir
}

func put(t *testing.T, dir, name, content string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// ask returns the answer of h; fields are names and values in turn.
func ask(t *testing.T, h http.Handler, method, target string, fields ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, "https://www.hither.test/", nil)
	u, err := url.ParseRequestURI(target) // as a server does with :path
	if err != nil {
		t.Fatal(err)
	}
	r.URL = u
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestStaticNames(t *testing.T) {
	s, dir := folder(t, map[string]string{
		"index.html": "root", "a.txt": "a", "sub/index.html": "sub", "sub/b.css": "b", "empty/keep.txt": "", "%2f": "percent",
		"with space.txt": "space", "?.txt": "question", "ü.txt": "umlaut", ".env": "secret", "sub/.git/config": "secret",
		".well-known/security.txt": "contact", "sub/.well-known/x": "secret", "noext": "plain words",
	})
	outside := t.TempDir()
	put(t, outside, "secret", "secret")
	for link, to := range map[string]string{
		"inside.txt": "a.txt", "out.txt": filepath.Join(outside, "secret"), "up.txt": "../../../../../../etc/hostname",
		"outdir": outside, "loop": "loop",
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		target   string
		status   int
		body     string // or, of a redirection, where to
		typeWant string
	}{
		{"/", 200, "root", "text/html; charset=utf-8"},
		{"/index.html", 200, "root", "text/html; charset=utf-8"},
		{"/a.txt", 200, "a", "text/plain; charset=utf-8"},
		{"/a.txt?x=1", 200, "a", ""},
		{"/sub/", 200, "sub", "text/html; charset=utf-8"},
		{"/sub", 301, "/sub/", ""},
		{"/sub?x=1&y", 301, "/sub/?x=1&y", ""},
		{"/s%75b", 301, "/s%75b/", ""},
		{"/sub/b.css", 200, "b", "text/css; charset=utf-8"},
		{"/with%20space.txt", 200, "space", ""},
		{"/%3F.txt", 200, "question", ""},
		{"/%C3%BC.txt", 200, "umlaut", ""},
		{"/noext", 200, "plain words", "text/plain; charset=utf-8"},
		{"/%252f", 200, "percent", ""},
		{"/inside.txt", 200, "a", ""},
		{"/.well-known/security.txt", 200, "contact", ""},

		{"/none", 404, "", ""},
		{"/a.txt/", 404, "", ""},
		{"/a.txt/x", 404, "", ""},
		{"/empty/", 404, "", ""},
		{"/empty", 404, "", ""},
		{"/.env", 404, "", ""},
		{"/%2eenv", 404, "", ""},
		{"/sub/.git/config", 404, "", ""},
		{"/sub/.well-known/x", 404, "", ""},
		{"//a.txt", 404, "", ""},
		{"//evil.example/", 404, "", ""},
		{"/sub//b.css", 404, "", ""},
		{"/sub/%2e%2e/a.txt", 404, "", ""},
		{"/..%2fetc/passwd", 404, "", ""},
		{"/sub%2fb.css", 404, "", ""},
		{"/sub%2Fb.css", 404, "", ""},
		{"/a.txt%00.html", 404, "", ""},
		{"/%ff", 404, "", ""},
		{"/out.txt", 404, "", ""},
		{"/up.txt", 404, "", ""},
		{"/outdir/secret", 404, "", ""},
		{"/loop", 404, "", ""},
		{"/pipe", 404, "", ""},
		{"/" + strings.Repeat("x", 300), 404, "", ""},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			res := ask(t, s, method, test.target)
			body := text(t, res)
			if res.StatusCode != test.status {
				t.Errorf("%s %s: %d, want %d", method, test.target, res.StatusCode, test.status)
				continue
			}
			want := test.body
			switch {
			case test.status == 301 && res.Header.Get("Location") != test.body:
				t.Errorf("%s %s: to %q, want %q", method, test.target, res.Header.Get("Location"), test.body)
			case method == "HEAD" && body != "":
				t.Errorf("HEAD %s: has a body", test.target)
			case method == "GET" && test.status == 200 && body != want:
				t.Errorf("GET %s: %q, want %q", test.target, body, want)
			case test.typeWant != "" && res.Header.Get("Content-Type") != test.typeWant:
				t.Errorf("%s %s: type %q, want %q", method, test.target, res.Header.Get("Content-Type"), test.typeWant)
			case method == "HEAD" && test.status == 200 && res.Header.Get("Content-Length") != fmt.Sprint(len(want)):
				t.Errorf("HEAD %s: length %q", test.target, res.Header.Get("Content-Length"))
			case strings.Contains(body, "secret"):
				t.Errorf("%s: tells what it must not", test.target)
			case res.Header.Get("X-Content-Type-Options") != "nosniff":
				t.Errorf("%s: no nosniff", test.target)
			case test.status == 200 && res.Header.Get("Cache-Control") != "public, max-age=60":
				t.Errorf("%s: Cache-Control %q", test.target, res.Header.Get("Cache-Control"))
			}
		}
	}
}

func TestStaticMethods(t *testing.T) {
	s, _ := folder(t, map[string]string{"a.txt": "a"})
	for method, status := range map[string]int{"POST": 405, "PUT": 405, "DELETE": 405, "PURGE": 405, "TRACE": 405, "OPTIONS": 204} {
		res := ask(t, s, method, "/a.txt")
		if res.StatusCode != status || res.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
			t.Errorf("%s: %d, Allow %q", method, res.StatusCode, res.Header.Get("Allow"))
		}
	}
}

func TestStaticForbidden(t *testing.T) {
	if os.Geteuid() == 0 {
		files := failingFS{fs.ErrPermission}
		if res := ask(t, NewStatic(StaticConfig{Files: files}), "GET", "/a"); res.StatusCode != 403 {
			t.Errorf("%d", res.StatusCode)
		}
		return // root may read everything
	}
	s, dir := folder(t, map[string]string{"a": "a"})
	os.Chmod(filepath.Join(dir, "a"), 0)
	if res := ask(t, s, "GET", "/a"); res.StatusCode != 403 {
		t.Errorf("%d", res.StatusCode)
	}
}

func TestStaticBrokenDisk(t *testing.T) {
	for err, status := range map[error]int{syscall.EIO: 500, syscall.EMFILE: 503} {
		res := ask(t, NewStatic(StaticConfig{Files: failingFS{err}}), "GET", "/a")
		if res.StatusCode != status || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v: %d, %q", err, res.StatusCode, res.Header.Get("Cache-Control"))
		}
	}
}

type failingFS struct{ err error }

func (f failingFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: f.err}
}

func TestStaticOwnNotFoundPage(t *testing.T) {
	s, _ := folder(t, map[string]string{"404.html": "lost"})
	if res := ask(t, s, "GET", "/none"); res.StatusCode != 404 || text(t, res) != "lost" || res.Header.Get("Etag") != "" {
		t.Errorf("%v", res)
	}
}

func TestStaticConditions(t *testing.T) {
	s, _ := folder(t, map[string]string{"a.txt": "0123456789", "same.txt": "0123456789", "other.txt": "other"})
	res := ask(t, s, "GET", "/a.txt")
	tag, modified := res.Header.Get("Etag"), res.Header.Get("Last-Modified")
	if len(tag) != 24 || strings.HasPrefix(tag, "W/") || modified == "" {
		t.Fatalf("ETag %q, Last-Modified %q", tag, modified)
	}
	if ask(t, s, "GET", "/same.txt").Header.Get("Etag") != tag || ask(t, s, "GET", "/other.txt").Header.Get("Etag") == tag {
		t.Error("the entity-tag is not that of the content")
	}
	for _, test := range []struct {
		fields string
		status int
		body   string
	}{
		{"If-None-Match|" + tag, 304, ""},
		{`If-None-Match|"x", W/` + tag, 304, ""},
		{"If-None-Match|*", 304, ""},
		{`If-None-Match|"x"`, 200, "0123456789"},
		{`If-None-Match|"x"|If-Modified-Since|` + modified, 200, "0123456789"}, // RFC 9110 section 13.1.3
		{"If-Modified-Since|" + modified, 304, ""},
		{"If-Modified-Since|Mon, 01 Jan 2001 00:00:00 GMT", 200, "0123456789"},
		{"If-Match|" + tag, 200, "0123456789"},
		{`If-Match|"x"`, 412, ""},
		{"If-Match|W/" + tag, 412, ""}, // strong comparison, RFC 9110 section 13.1.1
		{"If-Unmodified-Since|Mon, 01 Jan 2001 00:00:00 GMT", 412, ""},
		{"Range|bytes=2-4", 206, "234"},
		{"Range|Bytes=2-4", 206, "234"},
		{"Range|bytes=-3", 206, "789"},
		{"Range|bytes=8-100", 206, "89"},
		{"Range|bytes=10-", 416, ""},
		{"Range|lines=1-2", 200, "0123456789"}, // RFC 9110 section 14.2
		{"Range|bytes=2-4|If-Range|" + tag, 206, "234"},
		{`Range|bytes=2-4|If-Range|"x"`, 200, "0123456789"},
		{"Range|bytes=2-4|If-Range|W/" + tag, 200, "0123456789"}, // RFC 9110 section 13.1.5
		{"Range|bytes=2-4|If-None-Match|" + tag, 304, ""},
		{"Range|bytes=0-7,1-8,2-9", 200, "0123456789"}, // more than the whole
	} {
		fields := strings.Split(test.fields, "|")
		res := ask(t, s, "GET", "/a.txt", fields...)
		if body := text(t, res); res.StatusCode != test.status || test.body != "" && body != test.body {
			t.Errorf("%s: %d %q, want %d %q", test.fields, res.StatusCode, body, test.status, test.body)
		}
		if ok := res.StatusCode < 400; ok && (res.Header.Get("Etag") != tag || res.Header.Get("Cache-Control") == "") {
			t.Errorf("%s: a %d without ETag or Cache-Control: %v", test.fields, res.StatusCode, res.Header)
		}
	}
	if r := ask(t, s, "GET", "/a.txt", "Range", "bytes=10-").Header.Get("Content-Range"); r != "bytes */10" {
		t.Errorf("416 says %q", r)
	}
	// A range means nothing for HEAD (RFC 9110 section 14.2).
	if res := ask(t, s, "HEAD", "/a.txt", "Range", "bytes=2-4"); res.StatusCode != 200 || res.Header.Get("Content-Length") != "10" {
		t.Errorf("HEAD with Range: %d, %v", res.StatusCode, res.Header)
	}
}

func TestStaticSeveralRanges(t *testing.T) {
	s, _ := folder(t, map[string]string{"a.txt": "0123456789"})
	res := ask(t, s, "GET", "/a.txt", "Range", "bytes=0-1,-2")
	kind, params, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/byteranges" || res.StatusCode != 206 {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	parts := multipart.NewReader(res.Body, params["boundary"])
	for _, want := range []string{"bytes 0-1/10 01", "bytes 8-9/10 89"} {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(p)
		if got := p.Header.Get("Content-Range") + " " + string(b); got != want {
			t.Errorf("part %q, want %q", got, want)
		}
	}
}

// countingFS counts the bytes read of its files.
type countingFS struct {
	fs.FS
	bytes, opens atomic.Int64
	after        func(read int64) // called after each Read, with the bytes read so far
}

type countingFile struct {
	*os.File
	c *countingFS
}

func (c *countingFS) Open(name string) (fs.File, error) {
	f, err := c.FS.Open(name)
	if err != nil {
		return nil, err
	}
	c.opens.Add(1)
	return &countingFile{f.(*os.File), c}, nil
}

func (f *countingFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	total := f.c.bytes.Add(int64(n))
	if f.c.after != nil && n > 0 {
		f.c.after(total)
	}
	return n, err
}

// FuzzStatic asks for anything at all: only what is in the folder and not hidden may come.
func FuzzStatic(f *testing.F) {
	dir := f.TempDir()
	os.WriteFile(filepath.Join(dir, "a.txt"), []byte("public"), 0o644)
	os.WriteFile(filepath.Join(dir, ".env"), []byte("secret"), 0o644)
	os.Mkdir(filepath.Join(dir, "sub"), 0o755)
	os.WriteFile(filepath.Join(dir, "sub", "index.html"), []byte("public"), 0o644)
	root, err := os.OpenRoot(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { root.Close() })
	s := NewStatic(StaticConfig{Files: root.FS()})
	for _, seed := range []string{"/", "/a.txt", "/sub", "/sub/", "/../etc/passwd", "/%2e%2e/x", "//x", "/.env", "/sub/..%2f.env", "/\x00", "*", "/./a.txt"} {
		f.Add(seed, "bytes=0-2")
	}
	f.Fuzz(func(t *testing.T, target, ranges string) {
		r := httptest.NewRequest("GET", "/", nil)
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r.URL = u
		r.Header.Set("Range", ranges)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		body := w.Body.String()
		if strings.Contains(body, "secret") || w.Code < 300 && len(body) > 6 && w.Header().Get("Content-Range") == "" && !strings.HasPrefix(w.Header().Get("Content-Type"), "multipart/") {
			t.Errorf("%q: %d %q", target, w.Code, body)
		}
		if to := w.Header().Get("Location"); strings.HasPrefix(to, "//") {
			t.Errorf("%q leads to another host: %q", target, to)
		}
	})
}

func BenchmarkStatic(b *testing.B) {
	content := make([]byte, 16<<10)
	r := rand.NewChaCha8([32]byte{})
	r.Read(content)
	dir := b.TempDir()
	os.WriteFile(filepath.Join(dir, "a"), content, 0o644)
	root, _ := os.OpenRoot(dir)
	defer root.Close()
	s := NewStatic(StaticConfig{Files: root.FS(), Now: func() time.Time { return time.Now().Add(time.Hour) }})
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/a", nil))
	}
}
