package cache_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"hither/cache"
	"hither/cache/store"
	"hither/cache/store/disk"
)

// Slices whose bodies on disk are damaged are asked for anew, however many, within the answer that found them so, and once.
func TestDamagedSlices(t *testing.T) {
	const slice, size, at = 4 << 20, 24 << 20, 2 << 20
	folder := t.TempDir()
	clk := new(clock)
	begin := func() (*cache.Cache, *store.Tiered) {
		m, err := store.NewMemory(128 << 20)
		if err != nil {
			t.Fatal(err)
		}
		d, err := disk.Open(disk.Config{Folder: folder, Size: 1 << 30, Log: slog.New(slog.DiscardHandler)})
		if err != nil || d.Off() != nil {
			t.Fatal(err, d.Off())
		}
		s := store.NewTiered(m, d, nil)
		return cache.New(cache.Config{Store: s, Now: clk.now, Filling: 128 << 20, Epoch: d.Run() << 40}), s
	}
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(i / 1000)
	}
	var asked atomic.Int64
	fetch := func(_ context.Context, h http.Header, _ func(int, http.Header)) (*http.Response, error) {
		asked.Add(1)
		r := &http.Response{StatusCode: http.StatusOK, ProtoMajor: 2, Header: http.Header{"Etag": {`"1"`}, "Cache-Control": {"max-age=3600"}, "Accept-Ranges": {"bytes"}}}
		first, last := 0, size-1
		if h.Get("Range") != "" {
			if _, err := fmt.Sscanf(h.Get("Range"), "bytes=%d-%d", &first, &last); err != nil {
				return nil, err
			}
			last = min(last, size-1)
			r.StatusCode = http.StatusPartialContent
			r.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, size))
		}
		r.ContentLength, r.Body = int64(last-first+1), io.NopCloser(bytes.NewReader(content[first:last+1]))
		return r, nil
	}
	get := func(c *cache.Cache) {
		t.Helper()
		want := cache.Want{Look: c.Look(key("/x"), bare(), clk.now()), Request: bare(), Policy: cache.Policy{Slice: slice}, Fetch: fetch}
		o, r := want.Look.Object, (*cache.Reader)(nil)
		if o == nil {
			r = c.Join(t.Context(), want)
			defer r.Close()
			o = state(t, r, cache.Sliced).Object
		}
		w := c.Walk(t.Context(), want, o, r)
		defer w.Close()
		n := 0
		err := w.Range(0, size, func(b []byte) bool {
			if !bytes.Equal(b, content[n:n+len(b)]) {
				t.Errorf("wrong bytes at %d", n)
			}
			n += len(b)
			return true
		})
		if err != nil || n != size {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
	c, s := begin()
	for range 3 { // so that it is hot, and written down
		get(c)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c, s = begin()
	defer s.Close()
	before := asked.Load()
	get(c) // memory has all of it, and the bodies lie on disk
	if asked.Load() != before {
		t.Fatalf("after a restart the origin was asked %d times", asked.Load()-before)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.data"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	f, err := os.OpenFile(files[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range int64(size / slice) { // every slice has a damaged piece
		if _, err := f.WriteAt([]byte("garbage"), i*slice+at); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		get(c)
	}
	if n := asked.Load() - before; n != int64(size/slice) {
		t.Errorf("the origin was asked %d times for %d damaged slices", n, size/slice)
	}
	if st := s.Disk().Stats(); !st.On || st.Corrupt != size/slice {
		t.Errorf("disk: %+v", st)
	}
}
