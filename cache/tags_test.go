package cache

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a tag costs the memory of an object: its text with the field's, and four bytes. The texts are of 15 bytes, of
// which each object has other ones.
func TestTagMemory(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("measures the heap")
	}
	const objects, tags = 20_000, 50
	measure := func(tagged bool) (heap, accounted int64) {
		list := make([]*Object, objects)
		before := heapNow()
		for i := range list {
			h := http.Header{"Cache-Control": {"max-age=60"}}
			if tagged {
				var line strings.Builder
				for j := range tags {
					fmt.Fprintf(&line, "product-%07d ", i*tags+j)
				}
				h["Surrogate-Key"] = []string{strings.TrimSpace(line.String())}
			}
			o, why := Policy{}.admit(Key{Site: "www", Path: "/"}, http.Header{}, 200, h, time.Time{}, time.Time{})
			if why != "" {
				t.Fatal(why)
			}
			list[i] = o
			accounted += o.Size()
		}
		heap = heapNow() - before
		runtime.KeepAlive(list)
		return heap, accounted
	}
	plain, plainSize := measure(false)
	with, withSize := measure(true)
	each := float64(with-plain) / (objects * tags)
	accounted := float64(withSize-plainSize) / (objects * tags)
	t.Logf("%.1f bytes of heap for each (tag, object) of 15 bytes, accounted %.1f", each, accounted)
	if each > 24 || each > accounted*1.25 {
		t.Errorf("%.1f bytes of heap for each (tag, object), want at most 24, accounted are %.1f", each, accounted)
	}
}

func heapNow() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// Tags of equal hashes are told apart.
func TestTagsOfOneHash(t *testing.T) {
	o := &Object{Fields: NewFields(http.Header{surrogateKey: {"a b"}, cacheTag: {"C d"}}), tags: "\x01\x00\x00\x00"}
	for tag, want := range map[string]bool{"a": true, "b": true, "A": false, "c": false, "C d": true, "c D": true, "d": false, "x": false, "": false} {
		if o.tagged(tag, 1) != want {
			t.Errorf("tagged %q: %v", tag, !want)
		}
	}
	if o.tagged("a", 2) {
		t.Error("the hash does not count")
	}
}

// Every tag that a response has finds it, in the form in which it came and, of Cache-Tag, in any case; nothing else does.
func FuzzTags(f *testing.F) {
	f.Add("a b\tc", "A, b c,,d")
	f.Add("a,b", "é ,É")
	f.Fuzz(func(t *testing.T, keys, tags string) {
		if strings.Contains(keys+tags, "\n") {
			t.Skip("no field value has it")
		}
		h := http.Header{surrogateKey: {keys}, cacheTag: {tags}}
		hashes, ok := tagsOf(h)
		o := &Object{Fields: NewFields(h), tags: hashes}
		if !ok {
			return
		}
		list := o.Tags()
		if len(hashes)%4 != 0 || len(hashes)/4 > len(list) || (len(list) == 0) != (hashes == "") {
			t.Errorf("%d tags, %d bytes of hashes", len(list), len(hashes))
		}
		for _, tag := range list {
			if !o.tagged(tag, tagHash(tag)) {
				t.Errorf("%q does not find what has it", tag)
			}
		}
		eachTag(cacheTag, tags, func(tag string) bool {
			if up := strings.ToUpper(tag); lower(up) == lower(tag) && !o.tagged(up, tagHash(up)) {
				t.Errorf("%q does not find %q", up, tag)
			}
			return true
		})
		if other := "x" + strings.Join(list, ""); !slices.Contains(list, other) && !slices.ContainsFunc(list, func(l string) bool { return lower(l) == lower(other) }) && o.tagged(other, tagHash(other)) {
			t.Errorf("%q finds %q", other, list)
		}
	})
}
