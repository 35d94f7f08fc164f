package cache

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestLayout(t *testing.T) {
	l := newLayout(1000, 300)
	m := &Object{Key: Key{Site: "www", Path: "/", Vary: "1\n=de"}, Kind: Manifest, Fields: NewFields(http.Header{"Etag": {`"1"`}}), Body: l.body()}
	if got := m.Layout(); got != l || m.Length() != 1000 || l.Count() != 4 || l.epoch == newLayout(1000, 300).epoch {
		t.Errorf("%+v of %+v", got, l)
	}
	for i, want := range []string{"bytes 0-299/1000", "bytes 300-599/1000", "bytes 600-899/1000", "bytes 900-999/1000"} {
		if s := l.span(int64(i)); s.String() != want {
			t.Errorf("slice %d: %v, want %s", i, s, want)
		}
	}
	huge := Layout{Length: math.MaxInt64, Slice: 1 << 20}
	if s := huge.span(huge.Count() - 1); s.last != math.MaxInt64-1 || s.size() <= 0 {
		t.Errorf("the last slice of %d: %+v", huge.Length, s)
	}
	for name, o := range map[string]*Object{
		"another kind": {Kind: Response, Body: l.body()},
		"short":        {Kind: Manifest, Body: NewBody([]byte("short"))},
		"no length":    {Kind: Manifest, Body: Layout{Slice: 1}.body()},
		"no slices":    {Kind: Manifest, Body: Layout{Length: 1}.body()},
	} {
		if o.Layout() != (Layout{}) {
			t.Errorf("%s: %+v", name, o.Layout())
		}
	}
	a, b := &part{m, l, 1}, &part{m, l, 2}
	if a.key() == b.key() || a.key() == m.Key || a.key().Primary() != m.Key.Primary() || a.fields() == b.fields() {
		t.Errorf("%+v, %+v", a.key(), b.key())
	}
}

func TestStrongTag(t *testing.T) {
	for tag, want := range map[string]bool{`"1"`: true, `""`: true, `W/"1"`: false, `1`: false, `"`: false, "": false, `"a"b"`: false, `"1" `: false} {
		if got := strongTag([]string{tag}) != ""; got != want {
			t.Errorf("%s: %v", tag, got)
		}
	}
	if strongTag(nil) != "" || strongTag([]string{`"1"`, `"1"`}) != "" {
		t.Error("none, or two, are one")
	}
}

func TestRangeFrom(t *testing.T) {
	for line, want := range map[string]int64{
		"bytes=0-9": 0, "bytes=5-": 5, "bytes=-5": 0, "bytes=7-8, 1-2": 7, "bytes= ,9-": 9, "Bytes=3-3": 3, "bytes=-5, 3-": 0,
		"lines=1-2": -1, "bytes=": -1, "bytes=5-4": -1, "bytes=1-2, x": -1, "bytes": -1, "": -1, "bytes=9223372036854775807-": -1,
		"bytes=" + strings.Repeat("1-2,", 16): 1, "bytes=" + strings.Repeat("1-2,", 17): -1,
	} {
		if got, ok := RangeFrom([]string{line}); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %d, %v, want %d", line, got, ok, want)
		}
	}
	if _, ok := RangeFrom([]string{"bytes=0-1", "bytes=0-1"}); ok {
		t.Error("two lines are one")
	}
}

// tight is a store of which only the largest object matters.
type tight struct {
	Store
	max int64
}

func (s tight) MaxObject() int64 { return s.max }

// keeping is one of which something outlives the process.
type keeping struct {
	tight
	kept int64
}

func (s keeping) MaxKept() int64 { return s.kept }

func TestSliceSize(t *testing.T) {
	for _, test := range []struct{ slice, max, filling, want int64 }{
		{4 << 20, 1 << 30, 1 << 30, 4 << 20},
		{4 << 20, 16 << 20, 1 << 30, 512 << 10}, // a memory of 16 MiB
		{4 << 20, 1 << 30, 4 << 20, 512 << 10},  // fills that may have a quarter of that
		{4 << 20, 1600 << 10, 1 << 30, 0},       // there is no room even for 64 KiB
		{4 << 20, 2 << 20, 1 << 30, 64 << 10},   // but just for them
		{10, 1 << 20, 1 << 20, 10},
		{0, 1 << 30, 1 << 30, 0},
		{4 << 20, 0, 1 << 30, 0}, // nothing is stored at all
	} {
		c := New(Config{Store: tight{nil, test.max}, Filling: test.filling})
		if got := c.SliceSize(Policy{Slice: test.slice}); got != test.want {
			t.Errorf("%+v: %d", test, got)
		}
	}
	for kept, want := range map[int64]int64{16 << 20: 4 << 20, 16<<20 - 1: 2 << 20, 1 << 20: 256 << 10, 100 << 10: 0} {
		c := New(Config{Store: keeping{tight{nil, 1 << 30}, kept}, Filling: 1 << 30})
		if got := c.SliceSize(Policy{Slice: 4 << 20}); got != want {
			t.Errorf("%d bytes are kept: %d, want %d", kept, got, want)
		}
	}
}

func TestUnslicedMark(t *testing.T) {
	k := Key{Site: "www", Path: "/"}
	c := New(Config{Store: heapStore{heap{unslicedKey(k): unslicedMark(k, noon, time.Minute)}}})
	if !c.Unsliced(k, noon.Add(59*time.Second)) || c.Unsliced(k, noon.Add(61*time.Second)) || c.Unsliced(Key{Site: "www", Path: "/b"}, noon) {
		t.Error("the mark is not for its key and time")
	}
}

// heapStore is a heap that nothing is put into.
type heapStore struct{ heap }

func (heapStore) Put(*Object)             {}
func (heapStore) Delete(Key) bool         { return false }
func (heapStore) Each(func(*Object) bool) {}
func (heapStore) MaxObject() int64        { return 1 << 20 }
