package cache_test

import (
	"net/http"
	"testing"
	"time"

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

func TestInvalidateDuringAFill(t *testing.T) {
	for name, pairs := range map[string][]string{
		"plain": nil,
		"moved": {"Vary", "Accept"},
		"solo":  nil,
	} {
		for _, when := range []string{"waiting", "streaming"} {
			t.Run(name+" "+when, func(t *testing.T) {
				b := newBed(t, newTable(1<<20))
				w := b.want("/")
				w.Solo = name == "solo"
				r := b.Join(t.Context(), w)
				defer r.Close()
				c := b.origin.next()
				begin := func() { c.head(200, 3, append([]string{"Cache-Control", "max-age=60"}, pairs...)...) }
				if when == "streaming" {
					begin()
					state(t, r, cache.Streaming)
				}
				b.Invalidate(key("/"))
				// It is not to be joined any more.
				next := b.join("/")
				defer next.Close()
				d := b.origin.next()
				if when == "waiting" {
					begin()
				}
				go func() { c.write([]byte("old")); c.end() }()
				if got, err := read(t, r); got != "old" || err != nil {
					t.Errorf("who asked before reads %q, %v", got, err)
				}
				if got := b.stored("/"); got != "" {
					t.Errorf("stored after the invalidation: %q", got)
				}
				go d.fresh("new")
				if got, err := read(t, next); got != "new" || err != nil {
					t.Errorf("who asked after reads %q, %v", got, err)
				}
				if got := b.stored("/"); got != "new" {
					t.Errorf("stored: %q", got)
				}
				b.idle()
			})
		}
	}
}

func TestInvalidateDuringARevalidation(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	b.fill("/", "old", "Etag", `"1"`)
	b.clock.advance(time.Hour)
	r := b.join("/")
	defer r.Close()
	c := b.origin.next()
	b.Invalidate(key("/"))
	go c.head(304, 0, "Etag", `"1"`)
	state(t, r, cache.Refreshed)
	if got := b.stored("/"); got != "" {
		t.Errorf("brought back: %q", got)
	}
	b.idle()
}

func TestRevalidation(t *testing.T) {
	eachStore(t, func(t *testing.T, s cache.Store) {
		b := newBed(t, s)
		b.fill("/", "hello", "Etag", `"1"`, "Last-Modified", noon.Add(-time.Hour).Format(http.TimeFormat))
		b.clock.advance(time.Hour)
		leader, other := b.join("/"), b.join("/")
		defer leader.Close()
		defer other.Close()
		c := b.origin.next()
		if c.validators.Get("If-None-Match") != `"1"` || c.validators.Get("If-Modified-Since") == "" {
			t.Errorf("validators %v (RFC 9111 section 4.3.1)", c.validators)
		}
		go c.head(304, 0, "Etag", `"1"`, "Cache-Control", "max-age=7200")
		h, g := state(t, leader, cache.Refreshed), state(t, other, cache.Refreshed)
		if h.Object != g.Object || h.Object.Body.Len() != 5 || !h.Stored || g.Stored || h.Length != 5 {
			t.Errorf("heads %+v and %+v", h, g)
		}
		if l := b.look("/"); !l.Fresh() || l.Object != h.Object {
			t.Errorf("look %+v", l)
		}
		b.origin.count(2)
		b.idle()
		<-c.body.gone
	})
}

// A 304 about something else is no answer: the fill asks again, for the whole.
func TestRevalidationOfAnotherRepresentation(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	b.fill("/", "old", "Etag", `"1"`)
	b.clock.advance(time.Hour)
	r := b.join("/")
	defer r.Close()
	c := b.origin.next()
	go c.head(304, 0, "Etag", `"2"`)
	d := b.origin.next()
	if d.validators != nil {
		t.Errorf("asked again with %v", d.validators)
	}
	<-c.body.gone
	go d.fresh("new")
	if got, err := read(t, r); got != "new" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	b.idle()
}

func TestRevalidationThatForbidsReuse(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	b.fill("/", "hello", "Etag", `"1"`)
	b.clock.advance(time.Hour)
	leader, other := b.join("/"), b.join("/")
	defer leader.Close()
	defer other.Close()
	go b.origin.next().head(304, 0, "Etag", `"1"`, "Cache-Control", "private")
	if h := state(t, leader, cache.Refreshed); h.Stored || h.Reason != cache.ReasonPrivate || h.Object == nil {
		t.Errorf("leader's head %+v", h)
	}
	if h := state(t, other, cache.Alone); h.Object != nil {
		t.Errorf("other's head %+v", h)
	}
	if l := b.look("/"); l.Object != nil || !l.Pass {
		t.Errorf("look %+v", l)
	}
	b.idle()
}

// What must be validated for each request is no answer to the others who wait.
func TestNoCacheIsNotShared(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	leader, other := b.join("/"), b.join("/")
	defer leader.Close()
	defer other.Close()
	c := b.origin.next()
	go func() {
		c.head(200, 0, "Cache-Control", "no-cache, max-age=60", "Etag", `"1"`)
		c.end()
	}()
	state(t, other, cache.Alone)
	if _, err := read(t, leader); err != nil {
		t.Error(err)
	}
	if l := b.look("/"); l.Object == nil || l.Fresh() || l.Object.Shareable() {
		t.Errorf("look %+v", l)
	}
}

// A download that takes longer than its response's lifetime is not joined past it.
func TestStaleWhileStreaming(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	leader := b.join("/")
	defer leader.Close()
	c := b.origin.next()
	go c.head(200, 1, "Cache-Control", "max-age=60", "Age", "20")
	state(t, leader, cache.Streaming)
	b.clock.advance(39 * time.Second)
	r := b.join("/")
	if h := state(t, r, cache.Streaming); h.Age != 59*time.Second {
		t.Errorf("age %v, want its age now", h.Age)
	}
	r.Close()
	b.clock.advance(time.Second)
	r = b.join("/")
	state(t, r, cache.Alone)
	r.Close()
	c.end()
}

func TestUpdatingAsksOnce(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	b.fill("/", "old", "Cache-Control", "stale-while-revalidate=60")
	b.clock.advance(61 * time.Second)
	for range 10 {
		if l := b.look("/"); !l.Updating() {
			t.Fatalf("look %+v", l)
		}
		b.join("/").Close() // each is answered at once and leaves
	}
	c := b.origin.next()
	c.fresh("new")
	<-c.body.gone
	if got := b.stored("/"); got != "new" {
		t.Errorf("stored %q", got)
	}
	b.origin.count(2)
}

func TestSolo(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	shared := b.join("/")
	defer shared.Close()
	c := b.origin.next()
	w := b.want("/", "Authorization", "Basic x")
	w.Solo = true
	alone := b.Join(t.Context(), w)
	defer alone.Close()
	d := b.origin.next()
	go d.head(401, 0)
	if h := state(t, alone, cache.Alone); h.Response == nil {
		t.Error("no response")
	}
	if b.look("/").Pass {
		t.Error("one user's 401 is no word about the key")
	}
	go c.fresh("hello")
	if got, err := read(t, shared); got != "hello" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if b.stored("/") != "hello" {
		t.Error("not stored")
	}
}

func TestAuthorizedLeaderLeavesNoPass(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	b.fill("/", "old", "Cache-Control", "public, stale-while-revalidate=60")
	b.clock.advance(61 * time.Second)
	r := b.join("/", "Authorization", "made up")
	go b.origin.next().head(401, 0)
	state(t, r, cache.Alone)
	r.Close()
	if b.stored("/") != "old" {
		t.Error("a made-up Authorization threw out what was stored")
	}
}

func TestTooEarlyLeavesNoPass(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	r := b.join("/")
	go b.origin.next().head(425, 0)
	state(t, r, cache.Alone)
	r.Close()
	if b.look("/").Pass {
		t.Error("425 is about the leader's early data alone (RFC 8470)")
	}
}

func TestSlowFillDoesNotReplaceANewerResponse(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	w := b.want("/")
	w.Solo = true
	slow := b.Join(t.Context(), w)
	defer slow.Close()
	c := b.origin.next()
	c.head(200, 3, "Cache-Control", "max-age=60")
	b.clock.advance(time.Second)
	b.fill("/", "new")
	go func() { c.write([]byte("old")); c.end() }()
	if got, err := read(t, slow); got != "old" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if got := b.stored("/"); got != "new" {
		t.Errorf("stored %q", got)
	}
}

// Between a look and a join a response may have come: then Join says so.
func TestJoinAfterTheFill(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	w := b.want("/")
	b.fill("/", "hello")
	if b.Join(t.Context(), w) != nil {
		t.Error("a second fill for what is stored")
	}
	b.origin.count(1)
}
