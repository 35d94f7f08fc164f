package cache_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hither/cache"
)

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

// One that runs alone because what is stored is validated each time leaves no pass either.
func TestSoloLeavesNoPass(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	w := b.want("/")
	w.Solo = true
	r := b.Join(t.Context(), w)
	defer r.Close()
	go b.origin.next().head(200, 0, "Cache-Control", "private")
	state(t, r, cache.Alone)
	if b.look("/").Pass {
		t.Error("a pass")
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

// A client that has the last byte of a response of known length has all of it, and may ask again at once: what it
// then asks finds the response stored, also where it would not join this fill.
func TestLastByteComesWhenItIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, newTable(8<<20))
		r := b.join("/", "Accept-Language", "de, en;q=0.5")
		c := b.origin.next()
		go func() {
			c.head(200, 5, "Cache-Control", "max-age=60", "Vary", "Accept-Language", "Content-Language", "de")
			c.write([]byte("hello"))
		}()
		done := make(chan struct{})
		var got atomic.Int64
		go func() {
			defer close(done)
			for {
				p, err := r.Next(t.Context(), -1)
				got.Add(int64(len(p)))
				if err != nil {
					return
				}
			}
		}()
		state(t, r, cache.Streaming)
		synctest.Wait() // the origin has written all of it, and has not ended it
		if b.stored("/", "Accept-Language", "de, fr;q=0.5") == "" && got.Load() == 5 {
			t.Error("a client has all of it, and its next request would go to the origin")
		}
		c.end()
		<-done
		r.Close()
		if s := b.stored("/", "Accept-Language", "de, fr;q=0.5"); s != "hello" || got.Load() != 5 {
			t.Errorf("stored %q, %d bytes read", s, got.Load())
		}
		b.idle()
	})
}
