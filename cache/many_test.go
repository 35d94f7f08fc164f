package cache_test

import (
	"fmt"
	"strings"
	"testing"

	"hither/cache"
	"hither/cache/store"
)

// sorts fills one variant of a target, with a body of 100 bytes.
func (b *bed) sorts(path string, n int) {
	b.t.Helper()
	kind := fmt.Sprint(n)
	r := b.join(path, "X-Kind", kind)
	defer r.Close()
	body := fmt.Sprintf("%0100d", n)
	c := b.origin.next()
	go c.fresh(body, "Vary", "X-Kind")
	if got, err := read(b.t, r); got != body || err != nil {
		b.t.Fatalf("variant %d: %q, %v", n, got, err)
	}
}

// A client that asks for one target in ever other variants gets each of them right and fills a part of the store with them: what
// others ask for often stays, an explanation lists a few, and a purge finds all that are there.
func TestManyVariants(t *testing.T) {
	const size, hot, variants, listed = 1 << 20, 20, 10_000, 10
	m, err := store.NewMemory(size)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b := newBed(t, m)
	for i := range hot {
		path := fmt.Sprintf("/hot/%d", i)
		b.fill(path, strings.Repeat("h", 10<<10))
		for range 3 {
			b.look(path)
		}
	}
	for n := range variants {
		b.sorts("/v", n)
	}
	for i := range hot {
		if b.stored(fmt.Sprintf("/hot/%d", i)) == "" {
			t.Errorf("%d of those that are asked for often is gone", i)
		}
	}
	if got, want := b.stored("/v", "X-Kind", fmt.Sprint(variants-1)), fmt.Sprintf("%0100d", variants-1); got != want {
		t.Errorf("the last variant is %q", got)
	}
	s := m.Stats()
	stored, evicted := s.Objects[store.Front]+s.Objects[store.Queue], int(s.Evicted[store.Queue][store.Size])
	if bytes := s.Bytes[store.Front] + s.Bytes[store.Queue]; bytes > size || stored+evicted < variants {
		t.Errorf("%d bytes in %d objects, %d evicted", bytes, stored, evicted)
	}
	list, total, known := b.Variants(b.Explain(key("/v"), request([]string{"X-Kind", "0"}), b.clock.now()), listed)
	if !known || len(list) != listed || total < variants/100 || total > stored {
		t.Errorf("%d variants of %d are listed, of %d objects", len(list), total, stored)
	}
	if done := b.Purge(cache.Purge{Kind: cache.PurgeURL, Site: "www", Value: "/v"}); done.Objects != total {
		t.Errorf("a purge finds %d variants of %d", done.Objects, total)
	}
	if got := b.stored("/v", "X-Kind", fmt.Sprint(variants-1)); got != "" {
		t.Errorf("after it there is %q", got)
	}
	b.origin.count(hot + variants)
	b.idle()
}

// Responses with as many tags as they may have, half a million in all, take no more than the store was made for; each is purged by
// each of its own and by no other's, and what was evicted by nothing.
func TestManyTags(t *testing.T) {
	const size, objects, tags = 4 << 20, 500, 1000
	m, err := store.NewMemory(size)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b := newBed(t, m)
	for i := range objects {
		var line strings.Builder
		for j := range tags {
			fmt.Fprintf(&line, "t%d-%d ", i, j)
		}
		b.fill(fmt.Sprintf("/%d", i), "body", "Surrogate-Key", line.String())
	}
	s := m.Stats()
	if bytes := s.Bytes[store.Front] + s.Bytes[store.Queue]; bytes > size || s.Evicted[store.Queue][store.Size] == 0 {
		t.Errorf("%d bytes in a store of %d, %d evicted", bytes, size, s.Evicted[store.Queue][store.Size])
	}
	purge := func(i, j int) int {
		return b.Purge(cache.Purge{Kind: cache.PurgeTag, Value: fmt.Sprintf("t%d-%d", i, j)}).Objects
	}
	if got := purge(0, 0); got != 0 {
		t.Errorf("%d objects have a tag of what was evicted", got)
	}
	for i, j := range map[int]int{objects - 1: 0, objects - 2: tags / 2, objects - 3: tags - 1} {
		if got := purge(i, j); got != 1 || b.stored(fmt.Sprintf("/%d", i)) != "" {
			t.Errorf("a tag of %d alone finds %d objects, and it is there: %q", i, got, b.stored(fmt.Sprintf("/%d", i)))
		}
	}
	if b.stored(fmt.Sprintf("/%d", objects-4)) == "" {
		t.Error("a purge took what has other tags")
	}
	r := b.join("/over")
	go b.origin.next().head(200, 0, "Cache-Control", "max-age=60", "Surrogate-Key", strings.Repeat("x ", 1025))
	state(t, r, cache.Alone)
	r.Close()
	if b.stored("/over") != "" || b.Overtagged() != 1 {
		t.Errorf("more tags than a response may have are stored, or not counted: %d", b.Overtagged())
	}
}
