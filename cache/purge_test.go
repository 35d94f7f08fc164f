package cache_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"hither/cache"
)

func purge(kind cache.PurgeKind, value string) cache.Purge {
	return cache.Purge{Kind: kind, Site: "www", Value: value}
}

func soft(p cache.Purge) cache.Purge {
	p.Soft = true
	return p
}

// Each kind takes what it is about and nothing else, hard and soft.
func TestPurge(t *testing.T) {
	paths := []string{"/img/a", "/img/b", "/image", "/c"}
	for _, c := range []struct {
		purge cache.Purge
		takes string
	}{
		{purge(cache.PurgeURL, "/img/a"), "/img/a"},
		{purge(cache.PurgeURL, "/img"), ""},
		{purge(cache.PurgeTag, "red"), "/img/a /image"},
		{purge(cache.PurgeTag, "t2"), "/image"},
		{purge(cache.PurgeTag, "re"), ""},
		{purge(cache.PurgeTag, "RED"), "/image"}, // of Cache-Tag, which has no case
		{cache.Purge{Kind: cache.PurgeTag, Value: "red"}, "/img/a /image"},
		{cache.Purge{Kind: cache.PurgeTag, Site: "other", Value: "red"}, ""},
		{purge(cache.PurgePrefix, "/img"), "/img/a /img/b"},
		{purge(cache.PurgePrefix, "/im"), "/img/a /img/b /image"},
		{purge(cache.PurgeHost, ""), "/img/a /img/b /image /c"},
		{cache.Purge{Kind: cache.PurgeHost, Site: "other"}, ""},
		{cache.Purge{Kind: cache.PurgeAll}, "/img/a /img/b /image /c"},
	} {
		for _, p := range []cache.Purge{c.purge, soft(c.purge)} {
			t.Run(fmt.Sprintf("%v %s %s soft=%v", p.Kind, p.Site, p.Value, p.Soft), func(t *testing.T) {
				eachStore(t, func(t *testing.T, s cache.Store) {
					b := newBed(t, s)
					b.fill("/img/a", "a", "Surrogate-Key", "red  t1", "ETag", `"1"`)
					b.fill("/img/b", "b", "Surrogate-Key", "blue")
					b.fill("/image", "i", "Cache-Tag", " t2 ,Red, a b")
					b.fill("/c", "c")
					done := b.Purge(p)
					if want := len(strings.Fields(c.takes)); done.Objects != want || done.Sequence != 1 || done.Fills != 0 {
						t.Errorf("%+v, want %d objects", done, want)
					}
					for _, path := range paths {
						taken := strings.Contains(" "+c.takes+" ", " "+path+" ")
						l := b.look(path)
						if l.Fresh() == taken || (l.Object != nil) != (!taken || p.Soft) {
							t.Errorf("%s: taken %v, stored %v, ttl %v", path, taken, l.Object != nil, l.TTL)
						}
					}
					if purges, objects := b.PurgeCounts(p.Kind); purges != 1 || objects != uint64(done.Objects) {
						t.Errorf("counted %d, %d", purges, objects)
					}
				})
			})
		}
	}
}

// A fill that was under way is neither stored nor joined; one of something else is both.
func TestPurgeDuringFill(t *testing.T) {
	for _, soften := range []bool{false, true} {
		for _, p := range []cache.Purge{
			purge(cache.PurgeURL, "/"), purge(cache.PurgePrefix, "/"), purge(cache.PurgeHost, ""), {Kind: cache.PurgeAll}, purge(cache.PurgeTag, "x"),
		} {
			p.Soft = soften
			for _, when := range []string{"waiting", "streaming"} {
				t.Run(fmt.Sprintf("%v %s soft=%v", p.Kind, when, soften), func(t *testing.T) {
					eachStore(t, func(t *testing.T, s cache.Store) {
						b := newBed(t, s)
						old := b.join("/")
						defer old.Close()
						c := b.origin.next()
						if when == "streaming" {
							go c.head(200, 3, "Cache-Control", "max-age=60", "Surrogate-Key", "x", "Vary", "Accept")
							state(t, old, cache.Streaming)
						}
						b.Purge(p)
						next := b.join("/")
						defer next.Close()
						d := b.origin.next() // it asks by itself
						if when == "waiting" {
							go c.head(200, 3, "Cache-Control", "max-age=60", "Surrogate-Key", "x", "Vary", "Accept")
							state(t, old, cache.Streaming)
						}
						c.write([]byte("old"))
						c.end()
						if got, err := read(t, old); got != "old" || err != nil {
							t.Errorf("who asked before reads %q, %v", got, err)
						}
						if got := b.stored("/"); got != "" {
							t.Errorf("stored %q", got)
						}
						go d.fresh("new", "Surrogate-Key", "x", "Vary", "Accept")
						if got, err := read(t, next); got != "new" || err != nil {
							t.Errorf("who asked after reads %q, %v", got, err)
						}
						if got := b.stored("/"); got != "new" || !b.look("/").Fresh() {
							t.Errorf("stored %q", got)
						}
						b.idle()
					})
				})
			}
		}
	}
	t.Run("of another tag", func(t *testing.T) {
		b := newBed(t, newTable(1<<20))
		r := b.join("/known")
		defer r.Close()
		c := b.origin.next()
		go c.head(200, 1, "Cache-Control", "max-age=60", "Surrogate-Key", "y")
		state(t, r, cache.Streaming)
		waits := b.join("/waits")
		defer waits.Close()
		d := b.origin.next()
		if done := b.Purge(purge(cache.PurgeTag, "x")); done != (cache.Purged{Sequence: 1}) {
			t.Errorf("%+v", done)
		}
		joins := b.join("/known")
		defer joins.Close()
		if h := state(t, joins, cache.Streaming); h.Leader {
			t.Error("nobody joins any more")
		}
		c.write([]byte("1"))
		c.end()
		go d.fresh("2", "Cache-Tag", "z")
		for _, r := range []*cache.Reader{r, joins, waits} {
			if _, err := read(t, r); err != nil {
				t.Error(err)
			}
		}
		if a, b := b.stored("/known"), b.stored("/waits"); a != "1" || b != "2" {
			t.Errorf("stored %q and %q", a, b)
		}
		b.idle()
	})
}

// A validation that was under way when its object, or what it becomes, was purged brings nothing back; one that begins
// afterwards makes what was softly purged fresh.
func TestPurgeDuringValidation(t *testing.T) {
	for _, soften := range []bool{false, true} {
		for _, tag := range []string{"old", "new"} {
			b := newBed(t, newTable(1<<20))
			b.fill("/", "body", "ETag", `"1"`, "Surrogate-Key", "old")
			b.clock.advance(time.Minute)
			r := b.join("/")
			c := b.origin.next()
			p := purge(cache.PurgeTag, tag)
			p.Soft = soften
			b.Purge(p)
			go c.head(304, -1, "Cache-Control", "max-age=60", "ETag", `"1"`, "Surrogate-Key", "new")
			state(t, r, cache.Refreshed)
			r.Close()
			if b.look("/").Fresh() {
				t.Errorf("%s, soft %v: fresh again", tag, soften)
			}
			b.idle()
		}
	}
	b := newBed(t, newTable(1<<20))
	b.fill("/", "body", "ETag", `"1"`, "Surrogate-Key", "old", "Cache-Tag", "stays")
	b.Purge(soft(purge(cache.PurgeTag, "old")))
	r := b.join("/")
	c := b.origin.next()
	if c.validators.Get("If-None-Match") != `"1"` {
		t.Errorf("validates with %v", c.validators)
	}
	go c.head(304, -1, "Cache-Control", "max-age=60", "ETag", `"1"`, "Surrogate-Key", "new")
	state(t, r, cache.Refreshed)
	r.Close()
	l := b.look("/")
	if tags := fmt.Sprint(l.Object.Tags()); !l.Fresh() || tags != "[stays new]" {
		t.Errorf("fresh %v, tags %s", l.Fresh(), tags)
	}
	for tag, want := range map[string]int{"old": 0, "new": 1, "stays": 1} {
		if done := b.Purge(soft(purge(cache.PurgeTag, tag))); done.Objects != want {
			t.Errorf("%s: %+v", tag, done)
		}
	}
}

// What was looked up before a purge does not come back by a 304 that is asked for afterwards, nor does it stand in.
func TestPurgeAfterLook(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	b.policy.IfError = time.Hour
	b.fill("/", "body", "ETag", `"1"`)
	b.fill("/else", "body")
	b.clock.advance(time.Minute)
	want, other := b.want("/"), b.look("/else")
	b.Purge(purge(cache.PurgeURL, "/"))
	if l := b.Still(want.Look, b.clock.now()); l.Object != nil {
		t.Error("it still stands in")
	}
	if l := b.Still(other, b.clock.now()); l.Object == nil || l.TTL != 0 {
		t.Errorf("what was not purged: %+v", l)
	}
	r := b.Join(t.Context(), want)
	defer r.Close()
	c := b.origin.next()
	if c.validators != nil {
		t.Errorf("validates with %v", c.validators)
	}
	go c.fresh("new")
	if got, err := read(t, r); got != "new" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// The answer to a POST that was sent before a purge is not stored, whatever was purged: nobody knows when it was made.
func TestPurgeAfterSent(t *testing.T) {
	for _, purged := range []bool{false, true} {
		b := newBed(t, newTable(1<<20))
		want := cache.Want{Look: b.Blank(key("/")), Request: request(nil), Fetch: b.origin.fetch, Solo: true, Sent: b.clock.now()}
		if purged {
			b.Purge(purge(cache.PurgeURL, "/x"))
		}
		r := b.Join(t.Context(), want)
		go b.origin.next().fresh("posted")
		if _, err := read(t, r); err != nil {
			t.Fatal(err)
		}
		r.Close()
		if got := b.stored("/"); (got == "") != purged {
			t.Errorf("purged %v, stored %q", purged, got)
		}
	}
}

// A soft purge opens the windows of stale use at its own moment, also where the lifetime has long to go.
func TestSoftWindows(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	b.policy.WhileRevalidate, b.policy.IfError = 10*time.Second, 20*time.Second
	b.fill("/", "body", "ETag", `"1"`)
	b.clock.advance(5 * time.Second)
	b.Purge(soft(purge(cache.PurgeURL, "/")))
	if at := b.look("/").Object.PurgedSoftly(); !at.Equal(b.clock.now()) {
		t.Errorf("purged at %v", at)
	}
	for _, c := range []struct {
		at                time.Duration
		updating, ifError bool
	}{{0, true, true}, {9, true, true}, {1, false, true}, {9, false, true}, {1, false, false}, {-30, true, true}} {
		b.clock.advance(c.at * time.Second)
		if l := b.look("/"); l.Fresh() || l.Updating() != c.updating || l.IfError() != c.ifError {
			t.Errorf("%+v: ttl %v, fresh %v, updating %v, if error %v", c, l.TTL, l.Fresh(), l.Updating(), l.IfError())
		}
		b.Purge(soft(purge(cache.PurgeURL, "/"))) // the second changes nothing
	}
}

// All variants go, with the signpost, the leads of languages and the markers of what could not be shared.
func TestPurgeVariants(t *testing.T) {
	eachStore(t, func(t *testing.T, s cache.Store) {
		b := newBed(t, s)
		fill := func(accept, body string) {
			r := b.join("/", "Accept-Language", accept)
			defer r.Close()
			c := b.origin.next()
			go c.fresh(body, "Vary", "Accept-Language", "Content-Language", accept, "Surrogate-Key", "v "+accept)
			if got, err := read(t, r); got != body || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
		}
		both := func() string {
			return b.stored("/", "Accept-Language", "de") + b.stored("/", "Accept-Language", "en") + b.stored("/", "Accept-Language", "de, en;q=0.5")
		}
		fill("de", "eins")
		fill("en", "one")
		if got := both(); got != "einsoneeins" {
			t.Fatal(got)
		}
		if done := b.Purge(purge(cache.PurgeTag, "de")); done.Objects != 1 || both() != "one" {
			t.Errorf("by tag: %+v, %q", done, both())
		}
		fill("de", "zwei")
		if done := b.Purge(purge(cache.PurgeURL, "/")); done.Objects != 2 || both() != "" {
			t.Errorf("by URL: %+v, %q", done, both())
		}
		s.Each(func(o *cache.Object) bool { t.Errorf("left: %v %+v", o.Kind, o.Key); return true })
		b.idle()
	})
}

// Nothing is stored that could not be purged by all its tags.
func TestTagLimits(t *testing.T) {
	for _, c := range []struct {
		name, line string
		stored     bool
	}{
		{"Surrogate-Key", strings.Repeat("x", cache.MostTag), true},
		{"Surrogate-Key", strings.Repeat("x", cache.MostTag+1), false},
		{"Cache-Tag", strings.Repeat("x", cache.MostTag+1), false},
		{"Surrogate-Key", strings.Repeat("x ", 1024), true},
		{"Surrogate-Key", strings.Repeat("x ", 1025), false},
		{"Cache-Tag", strings.Repeat(strings.Repeat("x", 512)+",", 32), true},
		{"Cache-Tag", strings.Repeat(strings.Repeat("x", 512)+",", 33), false},
		{"Cache-Tag", strings.Repeat(" ,\t", 5000), true},
		{"Surrogate-Key", "", true},
	} {
		b := newBed(t, newTable(1<<20))
		r := b.join("/")
		go b.origin.next().fresh("body", c.name, c.line)
		h := head(t, r)
		if h.State == cache.Streaming {
			if _, err := read(t, r); err != nil {
				t.Error(err)
			}
		} else {
			io.Copy(io.Discard, h.Response.Body)
		}
		r.Close()
		if stored := b.stored("/") != ""; stored != c.stored || !stored && h.Reason != cache.ReasonTags || (b.Overtagged() == 0) != c.stored {
			t.Errorf("%s of %d bytes: stored %v, reason %q, counted %d", c.name, len(c.line), stored, h.Reason, b.Overtagged())
		}
	}
}

// A response that keeps its tags from others by a qualified private is found by them all the same.
func TestQualifiedTags(t *testing.T) {
	b := newBed(t, newTable(1<<20))
	b.fill("/", "body", "Cache-Control", `private="Surrogate-Key"`, "Surrogate-Key", "x")
	if done := b.Purge(purge(cache.PurgeTag, "x")); done.Objects != 1 || b.stored("/") != "" {
		t.Errorf("%+v", done)
	}
}
