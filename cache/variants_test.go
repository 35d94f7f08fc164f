package cache_test

import (
	"testing"

	"hither/cache"
)

// Two variants asked for at once: the second waits for the first's field section, learns
// that it is not its own, and gets its own.
func TestTwoVariantsAtOnce(t *testing.T) {
	eachStore(t, func(t *testing.T, s cache.Store) {
		b := newBed(t, s)
		x, y := b.join("/", "Accept", "x"), b.join("/", "Accept", "y")
		also := b.join("/", "Accept", " x")
		defer x.Close()
		defer also.Close()
		c := b.origin.next()
		go c.head(200, 1, "Cache-Control", "max-age=60", "Vary", "Accept")
		state(t, x, cache.Streaming)
		state(t, also, cache.Streaming)
		state(t, y, cache.Elsewhere)
		y.Close()
		// The flight has moved to its variant: one for x joins it, one for y leads another.
		joined := b.join("/", "Accept", "x")
		defer joined.Close()
		if h := state(t, joined, cache.Streaming); h.Leader {
			t.Error("another fill for the same variant")
		}
		y = b.join("/", "Accept", "y")
		defer y.Close()
		d := b.origin.next()
		go d.fresh("y", "Vary", "Accept")
		if got, err := read(t, y); got != "y" || err != nil {
			t.Errorf("y reads %q, %v", got, err)
		}
		c.write([]byte("x"))
		c.end()
		for _, r := range []*cache.Reader{x, also, joined} {
			if got, err := read(t, r); got != "x" || err != nil {
				t.Errorf("x reads %q, %v", got, err)
			}
		}
		if gotX, gotY := b.stored("/", "Accept", "x"), b.stored("/", "Accept", "y"); gotX != "x" || gotY != "y" {
			t.Errorf("stored %q and %q", gotX, gotY)
		}
		if got := b.stored("/", "Accept", "z"); got != "" {
			t.Errorf("z finds %q", got)
		}
		b.origin.count(2)
		b.idle()
		// All variants go with their primary key.
		b.Invalidate(key("/"))
		if gotX, gotY := b.stored("/", "Accept", "x"), b.stored("/", "Accept", "y"); gotX+gotY != "" {
			t.Errorf("after Invalidate: %q and %q", gotX, gotY)
		}
	})
}

func TestSignposts(t *testing.T) {
	fill := func(b *bed, body, vary string, pairs ...string) {
		b.t.Helper()
		r := b.join("/", pairs...)
		defer r.Close()
		c := b.origin.next()
		go c.fresh(body, "Vary", vary)
		if got, err := read(b.t, r); got != body || err != nil {
			b.t.Fatalf("%q, %v", got, err)
		}
	}
	t.Run("one that says less stays under the one that says more", func(t *testing.T) {
		b := newBed(t, newTable(1<<20))
		fill(b, "1", "Accept, Accept-Language", "Accept", "x", "Accept-Language", "en")
		fill(b, "2", "Accept", "Accept", "y", "Accept-Language", "en")
		if got := b.stored("/", "Accept", "x", "Accept-Language", "en"); got != "1" {
			t.Errorf("the first variant: %q", got)
		}
		if got := b.stored("/", "Accept", "y", "Accept-Language", "en"); got != "2" {
			t.Errorf("the second variant: %q", got)
		}
		if got := b.stored("/", "Accept", "y", "Accept-Language", "de"); got != "" {
			t.Errorf("wider than its key: %q", got)
		}
	})
	t.Run("another one takes all under the old one along", func(t *testing.T) {
		b := newBed(t, newTable(1<<20))
		fill(b, "1", "Accept", "Accept", "x", "Accept-Language", "en")
		fill(b, "2", "Accept-Language", "Accept", "y", "Accept-Language", "en")
		if got := b.stored("/", "Accept", "x", "Accept-Language", "en"); got != "2" {
			t.Errorf("finds %q, want what does not vary on Accept", got)
		}
		fill(b, "3", "Accept", "Accept", "x", "Accept-Language", "de")
		if got := b.stored("/", "Accept", "y", "Accept-Language", "en"); got != "" {
			t.Errorf("a variant of a signpost that is gone: %q", got)
		}
	})
	t.Run("a response that does not vary replaces it", func(t *testing.T) {
		b := newBed(t, newTable(1<<20))
		fill(b, "1", "Accept", "Accept", "x")
		r := b.join("/", "Accept", "y")
		defer r.Close()
		go b.origin.next().fresh("2")
		read(t, r)
		if got := b.stored("/", "Accept", "x"); got != "2" {
			t.Errorf("finds %q", got)
		}
	})
	t.Run("a pass is the variant's", func(t *testing.T) {
		b := newBed(t, newTable(1<<20))
		fill(b, "1", "Accept", "Accept", "x")
		r := b.join("/", "Accept", "y")
		go b.origin.next().head(200, 0, "Cache-Control", "private", "Vary", "Accept")
		state(t, r, cache.Alone)
		r.Close()
		if got := b.stored("/", "Accept", "x"); got != "1" {
			t.Errorf("one private variant threw out another: %q", got)
		}
		if !b.look("/", "Accept", "y").Pass {
			t.Error("no pass for the private one")
		}
	})
	t.Run("planted by a fill that runs alone", func(t *testing.T) {
		b := newBed(t, newTable(1<<20))
		w := b.want("/", "Accept", "x", "Authorization", "Basic x")
		w.Solo = true
		r := b.Join(t.Context(), w)
		defer r.Close()
		go b.origin.next().fresh("1", "Cache-Control", "public", "Vary", "Accept")
		read(t, r)
		if got := b.stored("/", "Accept", "x"); got != "1" {
			t.Errorf("finds %q", got)
		}
	})
}

// A fill that learns its variant when another one for it is under way does not take the
// other's place.
func TestVariantTaken(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	first := b.join("/", "Accept", "x")
	defer first.Close()
	c := b.origin.next()
	w := b.want("/", "Accept", "y")
	w.Solo = true
	solo := b.Join(t.Context(), w)
	defer solo.Close()
	go b.origin.next().fresh("y", "Vary", "Accept")
	read(t, solo) // and now there is a signpost
	second := b.join("/", "Accept", "x")
	defer second.Close()
	d := b.origin.next()
	go c.fresh("x", "Vary", "Accept")
	if got, err := read(t, first); got != "x" || err != nil {
		t.Errorf("the first reads %q, %v", got, err)
	}
	if got := b.stored("/", "Accept", "x"); got != "x" {
		t.Errorf("stored %q", got)
	}
	go d.fresh("xx", "Vary", "Accept")
	if got, err := read(t, second); got != "xx" || err != nil {
		t.Errorf("the second reads %q, %v", got, err)
	}
	b.origin.count(3)
	b.idle()
}
