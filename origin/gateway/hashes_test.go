package gateway

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"
)

func TestStaticHashesAFileOnce(t *testing.T) {
	s, dir := folder(t, map[string]string{"a.txt": strings.Repeat("x", 1<<20)})
	c := &countingFS{FS: s.cfg.Files}
	s.cfg.Files = c
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { ask(t, s, "HEAD", "/a.txt") })
	}
	wg.Wait()
	if n := c.bytes.Load(); n != 1<<20 {
		t.Errorf("%d bytes read for 20 HEAD requests of a file of 1 MiB", n)
	}
	before := ask(t, s, "HEAD", "/a.txt").Header.Get("Etag")
	put(t, dir, "a.txt", strings.Repeat("y", 1<<20))
	past := time.Now().Add(-time.Minute) // the kernel's clock goes in steps, and may give both contents one time
	if err := os.Chtimes(filepath.Join(dir, "a.txt"), past, past); err != nil {
		t.Fatal(err)
	}
	if after := ask(t, s, "HEAD", "/a.txt").Header.Get("Etag"); after == before {
		t.Error("another content has the same entity-tag")
	}
}

// A file changed within the step of the file system's clock looks unchanged; so nothing is remembered of young files.
func TestStaticBelievesNoYoungFile(t *testing.T) {
	s, dir := folder(t, map[string]string{"a.txt": "one"})
	s.hashes.now = time.Now
	tags := make(map[string]bool)
	for i := range 100 {
		put(t, dir, "a.txt", fmt.Sprintf("%03d", i))
		res := ask(t, s, "GET", "/a.txt")
		if got := text(t, res); got != fmt.Sprintf("%03d", i) {
			t.Fatalf("got %q in round %d", got, i)
		}
		tags[res.Header.Get("Etag")] = true
	}
	if len(tags) != 100 {
		t.Errorf("%d entity-tags for 100 contents", len(tags))
	}
}

// A file may become old enough to be believed while its samples are read: the weak entity-tag of before is not remembered.
func TestStaticLargeFileThatSettlesMeanwhile(t *testing.T) {
	s, dir := folder(t, map[string]string{"huge": ""})
	if err := os.Truncate(filepath.Join(dir, "huge"), sampledAbove+1); err != nil {
		t.Fatal(err)
	}
	began, asked := time.Now(), 0
	s.hashes.now = func() time.Time {
		asked++
		return began.Add(time.Duration(asked-1) * time.Minute)
	}
	var tags []string
	for range 2 {
		tags = append(tags, ask(t, s, "HEAD", "/huge").Header.Get("Etag"))
	}
	if !strings.HasPrefix(tags[0], "W/") || strings.HasPrefix(tags[1], "W/") {
		t.Errorf("%q", tags)
	}
}

// Where files have no inodes, two in different folders may have one name, size and time; each has the entity-tag of its own content.
func TestStaticFilesAlike(t *testing.T) {
	s := NewStatic(StaticConfig{Files: fstest.MapFS{"a/index.html": {Data: []byte("one")}, "b/index.html": {Data: []byte("two")}}})
	a, b := ask(t, s, "GET", "/a/"), ask(t, s, "GET", "/b/")
	if text(t, a) != "one" || text(t, b) != "two" || a.Header.Get("Etag") == b.Header.Get("Etag") {
		t.Errorf("%v and %v", a.Header, b.Header)
	}
}

func TestStaticTableIsBounded(t *testing.T) {
	h := newHashes(time.Now)
	for i := range 3 * remembered {
		h.mu.Lock()
		h.keepLocked(fileKey{name: fmt.Sprint(i)}, "x")
		h.mu.Unlock()
	}
	if n := len(h.young) + len(h.old); n > 2*remembered {
		t.Errorf("%d entries", n)
	}
	if _, ok := h.lookLocked(fileKey{name: fmt.Sprint(3*remembered - 1)}); !ok {
		t.Error("the youngest entry is lost")
	}
}

// While a file is sent it is written to in place: the answer breaks off, so that nobody takes the mixture for whole.
func TestStaticFileThatChangesWhileItIsSent(t *testing.T) {
	t.Run("written", func(t *testing.T) { changedWhileSent(t, false) })
	t.Run("written, its time set back", func(t *testing.T) { changedWhileSent(t, true) })
}

func changedWhileSent(t *testing.T, back bool) {
	const size = 8 << 20
	s, dir := folder(t, map[string]string{"big": strings.Repeat("a", size)})
	ask(t, s, "HEAD", "/big") // hashed
	c := &countingFS{FS: s.cfg.Files}
	var once sync.Once
	c.after = func(read int64) {
		if read > size/2 {
			once.Do(func() {
				f, err := os.OpenFile(filepath.Join(dir, "big"), os.O_WRONLY, 0)
				if err != nil {
					t.Error(err)
					return
				}
				defer f.Close()
				was, err := f.Stat()
				if err != nil {
					t.Error(err)
					return
				}
				f.WriteAt(bytes.Repeat([]byte("b"), size/2), 0)
				for is := was; back && err == nil && identify(is) == identify(was); { // the kernel's clock goes in steps
					if err = os.Chtimes(f.Name(), was.ModTime(), was.ModTime()); err == nil {
						is, err = f.Stat()
					}
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	s.cfg.Files = c
	srv := newServer(t, s)
	res, err := srv.get(t, "/big")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil {
		t.Errorf("%d bytes and no error", n)
	}
}

// While it is hashed it is written to: it is hashed again, and what is sent fits its entity-tag.
func TestStaticFileThatChangesWhileItIsHashed(t *testing.T) {
	s, dir := folder(t, map[string]string{"a.txt": strings.Repeat("a", 200<<10)})
	c := &countingFS{FS: s.cfg.Files}
	var once sync.Once
	c.after = func(int64) { once.Do(func() { put(t, dir, "a.txt", "new") }) }
	s.cfg.Files = c
	res := ask(t, s, "GET", "/a.txt")
	if body := text(t, res); body != "new" || res.Header.Get("Content-Length") != "3" {
		t.Errorf("%d bytes: %v", len(body), res.Header)
	}
	clean, _ := folder(t, map[string]string{"a.txt": "new"})
	if want := ask(t, clean, "GET", "/a.txt").Header.Get("Etag"); res.Header.Get("Etag") != want {
		t.Errorf("ETag %q, want %q", res.Header.Get("Etag"), want)
	}
}

// A file replaced while it is sent is sent as it was.
func TestStaticFileThatIsReplacedWhileItIsSent(t *testing.T) {
	s, dir := folder(t, map[string]string{"a": strings.Repeat("a", 4<<20), "b": "b"})
	c := &countingFS{FS: s.cfg.Files}
	var once sync.Once
	c.after = func(int64) { once.Do(func() { os.Rename(filepath.Join(dir, "b"), filepath.Join(dir, "a")) }) }
	ask(t, s, "HEAD", "/a")
	s.cfg.Files = c
	if body := text(t, ask(t, s, "GET", "/a")); strings.Trim(body, "a") != "" || len(body) != 4<<20 && body != "b" {
		t.Errorf("a mixture of %d bytes", len(body))
	}
}

func TestStaticLargeFileIsStreamed(t *testing.T) {
	s, dir := folder(t, nil)
	const size = 3 << 30 // sparse
	f, err := os.Create(filepath.Join(dir, "huge"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	f.Close()
	c := &countingFS{FS: s.cfg.Files}
	s.cfg.Files = c
	now := time.Now()
	s.hashes.now = func() time.Time { return now }
	young := ask(t, s, "HEAD", "/huge").Header.Get("Etag")
	if !strings.HasPrefix(young, "W/") {
		t.Errorf("%s of a large file that was written to a moment ago", young)
	}
	now = now.Add(time.Minute)
	tag := ask(t, s, "HEAD", "/huge").Header.Get("Etag")
	if n := c.bytes.Load(); n < 2*samples*sampleSize || n > 2*samples*sampleSize+4096 || strings.HasPrefix(tag, "W/") {
		t.Errorf("%d bytes read for the entity-tag %s", n, tag)
	}
	if young == "W/"+tag {
		t.Errorf("%s would confirm what had %s", tag, young)
	}
	if f, err = os.OpenFile(filepath.Join(dir, "huge"), os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	was := ""
	for _, at := range []int64{-1, 0, (size - sampleSize) * 31 / (samples - 1), size - 1} { // inside of samples, whatever the times say
		if at >= 0 {
			if _, err := f.WriteAt([]byte("x"), at); err != nil {
				t.Fatal(err)
			}
		}
		sum := sha256.New()
		if err := sampled(sum, f, identity{size: size}, "", make([]byte, sampleSize)); err != nil {
			t.Fatal(err)
		}
		if is := string(sum.Sum(nil)); is == was {
			t.Errorf("a change at %d is in no sample", at)
		} else {
			was = is
		}
	}
	res := ask(t, s, "GET", "/huge", "Range", "bytes=3221225400-3221225409")
	if body := text(t, res); res.StatusCode != 206 || len(body) != 10 || res.Header.Get("Content-Range") != "bytes 3221225400-3221225409/3221225472" {
		t.Errorf("%d, %d bytes, %v", res.StatusCode, len(body), res.Header)
	}
}

// A large file that is changed where no sample is, and has its size and time of before, has another entity-tag: parts of both must not
// be put together.
func TestStaticLargeFileThatKeepsItsTime(t *testing.T) {
	s, dir := folder(t, nil)
	name := filepath.Join(dir, "image")
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, sampledAbove+1); err != nil {
		t.Fatal(err)
	}
	s.hashes.now = func() time.Time { return time.Now().Add(time.Minute) }
	tag := ask(t, s, "HEAD", "/image").Header.Get("Etag")
	was, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), sampleSize+1); err != nil {
		t.Fatal(err)
	}
	for is := was; identify(is) == identify(was); { // the kernel's clock goes in steps
		if err := os.Chtimes(name, was.ModTime(), was.ModTime()); err != nil {
			t.Fatal(err)
		}
		if is, err = os.Stat(name); err != nil {
			t.Fatal(err)
		}
	}
	if next := ask(t, s, "HEAD", "/image").Header.Get("Etag"); next == tag || strings.HasPrefix(next, "W/") {
		t.Errorf("%s, and before the change %s", next, tag)
	}
}
