package cache_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hither/cache"
	"hither/cache/store"
	"hither/cache/store/disk"
)

// openEncoded opens a cache over a folder, with an origin of its own.
func openEncoded(t *testing.T, folder string, clk *clock) (*bed, *store.Tiered) {
	t.Helper()
	m, err := store.NewMemory(8 << 20)
	if err != nil {
		t.Fatal(err)
	}
	d, err := disk.Open(disk.Config{Folder: folder, Size: disk.MinSize, Log: slog.New(slog.DiscardHandler), Now: clk.now})
	if err != nil || d.Off() != nil {
		t.Fatal(err, d.Off())
	}
	s := store.NewTiered(m, d, clk.now)
	b := &bed{t: t, clock: clk}
	b.origin = newOrigin(t, clk.now)
	b.Cache = cache.New(cache.Config{Store: s, Now: clk.now, Epoch: d.Run() << 40})
	return b, s
}

// What is encoded outlives the process with its response, on disk, and is found for that content alone afterwards.
func TestEncodedOnDisk(t *testing.T) {
	folder := t.TempDir()
	clk := new(clock)
	page := strings.Repeat("page ", 200)
	b, s := openEncoded(t, folder, clk)
	b.fill("/", page, "Etag", `"1"`)
	if !b.PutEncoded(b.look("/").Object, cache.Brotli, [][]byte{[]byte("br of one")}) {
		t.Fatal("not put")
	}
	for range 3 { // hot, so that it is written down
		b.Encoded(b.look("/").Object, cache.Brotli)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	b, s = openEncoded(t, folder, clk)
	o := b.look("/").Object
	if o == nil || bytesOf(o.Body) != page {
		t.Fatalf("after a restart: %v", o)
	}
	if e := b.Encoded(o, cache.Brotli); e == nil || bytesOf(e.Body) != "br of one" {
		t.Errorf("its coded content: %v", e)
	}
	b.confirm("/")
	if e := b.Encoded(b.look("/").Object, cache.Brotli); e == nil {
		t.Error("a 304 takes it away")
	}
	clk.advance(61 * time.Second)
	b.fill("/", "other", "Etag", `"1"`)
	if e := b.Encoded(b.look("/").Object, cache.Brotli); e != nil {
		t.Errorf("other content has %q", bytesOf(e.Body))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A bit of the disk's state that is another would have an epoch come again, and with it the coded content of another response: nothing
// that lies there is used.
func TestEncodedAfterADamagedState(t *testing.T) {
	folder := t.TempDir()
	clk := new(clock)
	b, s := openEncoded(t, folder, clk)
	b.fill("/", strings.Repeat("page ", 200), "Etag", `"1"`)
	if !b.PutEncoded(b.look("/").Object, cache.Brotli, [][]byte{[]byte("br of one")}) {
		t.Fatal("not put")
	}
	for range 3 {
		b.Encoded(b.look("/").Object, cache.Brotli)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "state.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), `"run":1`, `"run":0`, 1)
	if changed == string(text) {
		t.Fatalf("the state has no such start: %s", text)
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	b, s = openEncoded(t, folder, clk)
	clk.advance(61 * time.Second)
	b.fill("/", "other", "Etag", `"2"`)
	if e := b.Encoded(b.look("/").Object, cache.Brotli); e != nil {
		t.Errorf("other content has %q", bytesOf(e.Body))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
