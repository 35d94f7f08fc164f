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

// What a tag costs the memory of an object: what it is found by, beyond the text of a field that is stored whether or not it
// has tags, and is sent to clients that are trusted. No two objects have a tag in common.
func TestTagMemory(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("measures the heap")
	}
	const tags = 50
	measure := func(field string, objects, length int) (heap, accounted float64) {
		list := make([]*Object, objects)
		before, size := heapNow(), int64(0)
		for i := range list {
			var line strings.Builder
			for j := range tags {
				fmt.Fprintf(&line, "%0*d ", length, i*tags+j)
			}
			h := http.Header{"Cache-Control": {"max-age=60"}}
			if field != "" {
				h[field] = []string{line.String()}
			}
			o, why := Policy{}.admit(Key{Site: "www", Path: "/"}, http.Header{}, 200, h, time.Time{}, time.Time{})
			if why != "" {
				t.Fatal(why)
			}
			list[i] = o
			size += o.Size()
		}
		heap = float64(heapNow()-before) / float64(objects*tags)
		runtime.KeepAlive(list)
		return heap, float64(size) / float64(objects*tags)
	}
	none, _ := measure("", 20_000, 15)
	all, _ := measure(surrogateKey, 20_000, 15)
	t.Logf("tags of 15 bytes: %.1f bytes of heap for each (tag, object) with the field", all-none)
	if all-none > 24 {
		t.Errorf("tags of 15 bytes: %.1f bytes of heap for each (tag, object) with the field, want at most 24", all-none)
	}
	for _, c := range []struct{ length, objects int }{{15, 20_000}, {60, 10_000}, {300, 2_000}} {
		text, textSize := measure("Surrogate-Nil", c.objects, c.length)
		with, withSize := measure(surrogateKey, c.objects, c.length)
		each, accounted := with-text, withSize-textSize
		t.Logf("tags of %d bytes: %.1f bytes of heap for each (tag, object) beyond the field, accounted %.1f", c.length, each, accounted)
		if each > 24 || each > accounted*1.25 {
			t.Errorf("tags of %d bytes: %.1f bytes of heap for each (tag, object), want at most 24, accounted are %.1f", c.length, each, accounted)
		}
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
