package cache_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"hither/cache"
	"hither/cache/store"
	"hither/cache/store/disk"
)

// What is encoded outlives the process with its response, on disk, and is found for that content alone afterwards.
func TestEncodedOnDisk(t *testing.T) {
	folder := t.TempDir()
	clk := new(clock)
	open := func() (*bed, *store.Tiered) {
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
	page := strings.Repeat("page ", 200)
	b, s := open()
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

	b, s = open()
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
