package cache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hither/cache"
	"hither/cache/store"
)

// A ledger knows from the outside what purges there were, and so what may still be served. What the origin gives says in
// X-Made how many there had been when it was asked for.
type ledger struct{ purges []cache.Purge }

// taken tells whether a response that was asked for after `made` purges is meant by one since, of the first `until`.
func (l *ledger) taken(made int, path string, tags []string, until int) (hard, softly bool) {
	for _, p := range l.purges[min(made, until):until] {
		means := p.Kind == cache.PurgeHost || p.Kind == cache.PurgeAll || p.Kind == cache.PurgeURL && path == p.Value ||
			p.Kind == cache.PurgePrefix && strings.HasPrefix(path, p.Value) || p.Kind == cache.PurgeTag && slices.Contains(tags, p.Value)
		hard, softly = hard || means && !p.Soft, softly || means && p.Soft
	}
	return hard, softly
}

// of is taken for an object, by what it says of itself.
func (l *ledger) of(o *cache.Object, until int) (hard, softly bool) {
	made, _ := strconv.Atoi(o.Fields.Get("X-Made"))
	return l.taken(made, o.Key.Path, o.Tags(), until)
}

// pick returns one of list.
func pick[T any](rnd *rand.Rand, list ...T) T { return list[rnd.IntN(len(list))] }

var propertyPaths = []string{"/a", "/a/1", "/b", "/b/1"} // those below /b vary on Accept

func drawPurge(rnd *rand.Rand) cache.Purge {
	p := cache.Purge{Site: "www", Soft: rnd.IntN(2) == 0}
	switch rnd.IntN(10) {
	case 0, 1, 2:
		p.Kind, p.Value = cache.PurgeURL, pick(rnd, propertyPaths...)
	case 3, 4, 5, 6:
		p.Kind, p.Value = cache.PurgeTag, pick(rnd, "x", "y", "z", "w")
	case 7, 8:
		p.Kind, p.Value = cache.PurgePrefix, pick(rnd, "/a", "/a/", "/b/", "/c")
	default:
		p.Kind = pick(rnd, cache.PurgeHost, cache.PurgeAll)
	}
	return p
}

// An underway is a fill under way that the test leads.
type underway struct {
	*cache.Reader
	call   *call
	slot   string
	path   string
	made   int
	asked  time.Time
	was    *cache.Object // that is validated
	head   bool
	text   string
	tags   []string
	solely bool // not for sharing
}

// A joined is a reader of another's fill, and how many purges there were when it came.
type joined struct {
	*cache.Reader
	purges int
}

// A world is one interleaving under way.
type world struct {
	*bed
	ledger
	rnd     *rand.Rand
	table   *table
	purge   func(*cache.Cache, cache.Purge)
	fills   []*underway
	joined  []joined
	late    []cache.Want
	expects map[string]kept // by slot: what must be stored
	serial  int
}

type kept struct {
	text  string
	asked time.Time
	made  int
	tags  []string
}

func slotOf(path, accept string) string {
	if strings.HasPrefix(path, "/b") {
		return path + " " + accept
	}
	return path
}

// interleave plays random steps and tells the first that leaves anything wrong behind.
func interleave(t *testing.T, seed uint64, purge func(*cache.Cache, cache.Purge)) error {
	s := newTable(1 << 20)
	w := &world{bed: newBed(t, s), table: s, rnd: rand.New(rand.NewPCG(seed, 1)), purge: purge, expects: make(map[string]kept)}
	var err error
	for step := 0; step < 60 && err == nil; step++ {
		what := w.step()
		if err = w.check(); err != nil {
			err = fmt.Errorf("seed %d, step %d, %s: %w", seed, step, what, err)
		}
	}
	for len(w.fills) > 0 {
		w.goOn(0)
	}
	if err == nil {
		err = w.check()
	}
	for _, j := range w.joined {
		if e := w.checkJoined(j); e != nil && err == nil {
			err = fmt.Errorf("seed %d: %w", seed, e)
		}
		j.Close()
	}
	w.idle()
	return err
}

func (w *world) step() string {
	path, accept := pick(w.rnd, propertyPaths...), pick(w.rnd, "1", "2")
	switch n := w.rnd.IntN(20); {
	case n < 6:
		w.ask(w.want(path, "Accept", accept), path, accept)
		return "ask " + path
	case n < 12 && len(w.fills) > 0:
		return "go on " + w.goOn(w.rnd.IntN(len(w.fills)))
	case n < 14:
		w.late = append(w.late, w.want("/a"))
		return "look at /a"
	case n < 16 && len(w.late) > 0:
		i := w.rnd.IntN(len(w.late))
		want := w.late[i]
		w.late = slices.Delete(w.late, i, i+1)
		w.ask(want, "/a", "")
		return "ask late for /a"
	case n == 16:
		if k := w.look(path, "Accept", accept); k.Object != nil {
			w.table.evict(k.Key)
			delete(w.expects, slotOf(path, accept))
		}
		return "evict " + path
	case n == 17:
		w.clock.advance(2 * cache.PassLifetime)
		return "wait"
	}
	p := drawPurge(w.rnd)
	w.purges = append(w.purges, p)
	w.purge(w.Cache, p)
	for slot, k := range w.expects {
		path, _, _ := strings.Cut(slot, " ")
		if hard, _ := w.taken(k.made, path, k.tags, len(w.purges)); hard {
			delete(w.expects, slot)
		}
	}
	return fmt.Sprintf("purge %+v", p)
}

// ask joins or leads a fill.
func (w *world) ask(want cache.Want, path, accept string) {
	filling := w.Explain(key(path), request([]string{"Accept", accept}), w.clock.now()).Filling
	r := w.Join(w.t.Context(), want)
	if r == nil {
		return
	}
	if filling {
		w.joined = append(w.joined, joined{r, len(w.purges)})
		return
	}
	w.serial++
	p := &underway{
		Reader: r, call: w.origin.next(), slot: slotOf(path, accept), path: path, made: len(w.purges), asked: w.clock.now(), text: fmt.Sprint("body ", w.serial),
		tags: strings.Fields(pick(w.rnd, "", "x", "y", "x y", "x z")), solely: !strings.HasPrefix(path, "/b") && w.rnd.IntN(10) == 0, // else the marker takes the signpost's place, and all variants are gone
	}
	if p.call.validators != nil {
		p.was = want.Look.Object
	}
	w.fills = append(w.fills, p)
}

// goOn gives a fill its field section, or its body.
func (w *world) goOn(i int) string {
	p := w.fills[i]
	fields := []string{"ETag", `"1"`, "X-Made", strconv.Itoa(p.made), "Surrogate-Key", strings.Join(p.tags, " "), "Cache-Control", "max-age=3600"}
	if strings.HasPrefix(p.path, "/b") {
		fields = append(fields, "Vary", "Accept")
	}
	if p.solely {
		fields[len(fields)-1] += ", private"
		fields = append(fields, "Cache-Control", "private")
	}
	switch {
	case !p.head && p.was != nil && !p.solely:
		go p.call.head(304, -1, fields...)
		head(w.t, p.Reader)
		hard, softly := w.taken(p.made, p.path, append(slices.Clone(p.tags), p.was.Tags()...), len(w.purges))
		w.landed(p, bodyOf(p.was), !hard && !softly)
	case !p.head:
		go p.call.head(200, int64(len(p.text)), fields...)
		h := head(w.t, p.Reader)
		p.head = true
		if h.State == cache.Alone {
			p.call.body.Close()
			delete(w.expects, p.slot) // a marker lies there, or nothing
			break
		}
		return p.path
	default:
		p.call.write([]byte(p.text))
		p.call.end()
		if _, err := read(w.t, p.Reader); err != nil {
			w.t.Error(err)
		}
		hard, softly := w.taken(p.made, p.path, p.tags, len(w.purges))
		w.landed(p, p.text, !hard && !softly)
	}
	p.Close()
	w.fills = slices.Delete(w.fills, i, i+1)
	return p.path
}

// landed notes what must be stored from now on.
func (w *world) landed(p *underway, text string, stored bool) {
	if old, ok := w.expects[p.slot]; stored && !(ok && old.asked.After(p.asked)) {
		w.expects[p.slot] = kept{text, p.asked, p.made, p.tags}
	}
}

func bodyOf(o *cache.Object) string {
	var text []byte
	o.Body.Range(0, o.Body.Len(), func(p []byte) bool { text = append(text, p...); return true })
	return string(text)
}

// check looks at everything there is.
func (w *world) check() error {
	for _, path := range propertyPaths {
		for _, accept := range []string{"1", "2"} {
			l := w.look(path, "Accept", accept)
			slot := slotOf(path, accept)
			if l.Object == nil {
				continue
			}
			hard, softly := w.of(l.Object, len(w.purges))
			switch {
			case hard:
				return fmt.Errorf("%s is purged, and found", slot)
			case softly && l.Fresh():
				return fmt.Errorf("%s is purged softly, and fresh", slot)
			case !softly && !l.Fresh():
				return fmt.Errorf("%s is not purged, and stale", slot)
			}
		}
	}
	for slot, want := range w.expects {
		path, accept, _ := strings.Cut(slot, " ")
		l := w.look(path, "Accept", accept)
		if l.Object == nil || bodyOf(l.Object) != want.text {
			return fmt.Errorf("%s is lost: %q", slot, want.text)
		}
	}
	return nil
}

// checkJoined reads what one got who joined.
func (w *world) checkJoined(j joined) error {
	h := head(w.t, j.Reader)
	if h.State != cache.Streaming && h.State != cache.Refreshed {
		return nil
	}
	if hard, softly := w.of(h.Object, j.purges); hard || softly {
		return fmt.Errorf("%s joined after %d purges what was asked for after %s", h.Object.Key.Path, j.purges, h.Object.Fields.Get("X-Made"))
	}
	return nil
}

// evict forgets without killing, as a store does that needs room.
func (s *table) evict(k cache.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.m[k]; o != nil {
		delete(s.m, k)
		o.Drop()
	}
}

// After any interleaving of looking, asking, answering, evicting and purging: what is found was asked for after the last
// hard purge that means it, and is fresh exactly where there was no soft one since; nobody joins what was asked for before a
// purge that means it; and what was stored and not purged is still there.
func TestPurgeProperty(t *testing.T) {
	for seed := range uint64(500) {
		if err := interleave(t, seed, func(c *cache.Cache, p cache.Purge) { c.Purge(p) }); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPlantedPurges shows the check failing: each of these caches purges wrongly in one way.
func TestPlantedPurges(t *testing.T) {
	for name, c := range map[string]struct {
		says string
		do   func(*cache.Cache, cache.Purge)
	}{
		"soft for hard":   {"is purged, and found", func(c *cache.Cache, p cache.Purge) { p.Soft = true; c.Purge(p) }},
		"hard for soft":   {"is lost", func(c *cache.Cache, p cache.Purge) { p.Soft = false; c.Purge(p) }},
		"no tags":         {"is purged", func(c *cache.Cache, p cache.Purge) { _ = p.Kind == cache.PurgeTag || c.Purge(p).Sequence > 0 }},
		"too wide":        {"is lost", func(c *cache.Cache, p cache.Purge) { p.Value = strings.TrimSuffix(p.Value, "/"); c.Purge(p) }},
		"fills forgotten": {"is purged", func(c *cache.Cache, p cache.Purge) { c.PurgeStored(p) }},
		"fills joined":    {"joined after", func(c *cache.Cache, p cache.Purge) { c.PurgeStored(p) }},
		"one of two": {"is purged", func() func(*cache.Cache, cache.Purge) {
			n := 0
			return func(c *cache.Cache, p cache.Purge) {
				if n++; n%2 == 0 {
					c.Purge(p)
				}
			}
		}()},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(3000) {
				if err := interleave(t, seed, c.do); err != nil && strings.Contains(err.Error(), c.says) {
					t.Log(err)
					return
				}
			}
			t.Errorf("nothing says %q", c.says)
		})
	}
}

// While purges, fills and evictions run at once, nobody who asks after a purge has returned gets what was there before it.
func TestPurgeStorm(t *testing.T) {
	m, err := store.NewMemory(256 << 10)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	purgeStorm(t, m)
}

// The same while objects move between memory and disk.
func TestPurgeStormTiered(t *testing.T) {
	s := openTiers(t, t.TempDir(), 128<<10)
	defer s.Close()
	for range 5 { // where the disk gets no time, purges are faster
		purgeStorm(t, s)
		if st := s.Disk().Stats(); st.Written > 0 && st.Hits > 0 {
			return
		}
	}
	t.Errorf("nothing moved: %+v", s.Disk().Stats())
}

func purgeStorm(t *testing.T, m cache.Store) {
	clk := new(clock)
	c := cache.New(cache.Config{Store: m, Now: clk.now})
	var version, floor, hits atomic.Int64
	done := make(chan struct{})
	var purger, workers sync.WaitGroup
	for i := range 2 {
		rnd := rand.New(rand.NewPCG(7, uint64(i)))
		purger.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				v := version.Add(1)
				c.Purge(pick(rnd, purge(cache.PurgeTag, "all"), purge(cache.PurgePrefix, "/"), purge(cache.PurgeHost, ""), cache.Purge{Kind: cache.PurgeAll}, soft(purge(cache.PurgeTag, "ALL"))))
				for old := floor.Load(); old < v && !floor.CompareAndSwap(old, v); old = floor.Load() {
				}
			}
		})
	}
	for i := range 8 {
		rnd := rand.New(rand.NewPCG(8, uint64(i)))
		workers.Go(func() {
			for range 2000 {
				path := fmt.Sprint("/", rnd.IntN(300))
				least := floor.Load()
				l := c.Look(key(path), http.Header{}, clk.now())
				var text string
				var err error
				if l.Fresh() {
					text = bodyOf(l.Object)
					hits.Add(1)
				} else if r := c.Join(t.Context(), cache.Want{Look: l, Request: http.Header{}, Fetch: versioned(&version)}); r != nil {
					text, err = read(t, r)
					if err != nil && !errors.Is(err, cache.ErrBehind) {
						t.Error(err)
					}
					r.Close()
				}
				if v, _ := strconv.ParseInt(strings.TrimSpace(text), 10, 64); text != "" && v < least {
					t.Errorf("%s is of version %d; everything before %d was purged", path, v, least)
				}
			}
		})
	}
	workers.Wait()
	close(done)
	purger.Wait()
	t.Logf("%d purges, %d hits", version.Load(), hits.Load())
	c.Purge(cache.Purge{Kind: cache.PurgeAll})
	m.Each(func(o *cache.Object) bool { t.Errorf("left: %+v", o.Key); return false })
}

// versioned is an origin whose every body is the version that held when it was asked.
func versioned(version *atomic.Int64) cache.Fetch {
	return func(context.Context, http.Header, func(int, http.Header)) (*http.Response, error) {
		text := fmt.Sprintf("%1000d", version.Load())
		return &http.Response{
			StatusCode: 200, ContentLength: int64(len(text)), Body: io.NopCloser(strings.NewReader(text)),
			Header: http.Header{"Cache-Control": {"max-age=60"}, "Surrogate-Key": {"all"}, "Cache-Tag": {"All"}},
		}, nil
	}
}
