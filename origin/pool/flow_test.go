package pool

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// reading is one stream whose peer sends all it may, and whose reader takes it all after a while.
type reading struct {
	f     *flows
	id    uint32
	at    time.Time
	given int64 // what the peer may send still
}

func newReading(f *flows, id uint32) *reading {
	return &reading{f: f, id: id, at: time.Now(), given: minWindow + f.open(id)}
}

// come has so many bytes come.
func (r *reading) come(n int64) {
	r.given -= n
	r.f.data(r.id, n)
}

// read has them read, some time later.
func (r *reading) read(n int64, after time.Duration) {
	r.at = r.at.Add(after)
	r.given += r.f.back(r.id, n, r.at)
}

// round is a round trip in which the peer sends what it may, and all is read as it comes.
func (r *reading) round(took time.Duration) {
	for range 4 {
		n := r.given / 4
		r.come(n)
		r.read(n, took/4)
	}
}

func TestWindowFollowsItsReader(t *testing.T) {
	const rtt = 200 * time.Millisecond
	w := &windows{budget: 64 << 20}
	f := newFlows(w, rtt)
	fast := newReading(f, 1)
	for range 8 {
		fast.round(rtt)
	}
	if fast.given != maxWindow || w.extra.Load() != maxWindow-minWindow {
		t.Errorf("a window that is all used in each round trip is %d, of the budget %d are taken", fast.given, w.extra.Load())
	}
	steady := newReading(newFlows(&windows{budget: 64 << 20}, rtt), 1)
	for range 8 {
		steady.round(10 * rtt)
	}
	if steady.given != baseWindow {
		t.Errorf("a window that lasts for ten round trips is %d", steady.given)
	}
	// The next ones need not find out again.
	next := newReading(f, 3)
	if next.given != startWindow {
		t.Errorf("after a fast one, a stream begins with %d", next.given)
	}
	// Its reader falls behind: what it has more than others is taken back, and it goes on.
	for range 100 {
		n := min(next.given, 64<<10)
		next.come(n)
		next.read(n/2, rtt)
	}
	for unread := f.unread(3); unread > 0; unread = f.unread(3) {
		next.read(min(unread, 64<<10), rtt)
	}
	if next.given != baseWindow {
		t.Errorf("a slow reader's window is %d", next.given)
	}
	if other := newReading(f, 5); other.given != baseWindow {
		t.Errorf("after a slow one, a stream begins with %d", other.given)
	}
	for id := range uint32(6) {
		f.forget(id)
	}
	if w.extra.Load() != 0 || w.held.Load() != 0 || len(f.streams) != 0 {
		t.Errorf("of nothing %d bytes are taken, %d held, by %d streams", w.extra.Load(), w.held.Load(), len(f.streams))
	}
}

// A reader that is behind for a moment loses nothing by it.
func TestWindowOfAReaderThatWasAway(t *testing.T) {
	const rtt = 200 * time.Millisecond
	w := &windows{budget: 64 << 20}
	r := newReading(newFlows(w, rtt), 1)
	for range 8 {
		r.round(rtt)
	}
	for range 3 {
		r.come(maxWindow)
		for range 4 {
			r.read(maxWindow/4, slowAfter)
		}
	}
	if r.given != maxWindow || w.start.Load() != startWindow {
		t.Errorf("its window is %d, and others begin with %d", r.given, w.start.Load())
	}
}

// The budget is for all: who comes late has to do with what every stream has, and when much waits for readers, slow ones as well.
func TestWindowsShareABudget(t *testing.T) {
	const rtt = 200 * time.Millisecond
	w := &windows{budget: 4*(maxWindow-minWindow) + 100<<10}
	f := newFlows(w, rtt)
	var all []*reading
	for i, want := range []int64{maxWindow, maxWindow, maxWindow, maxWindow, minWindow + 100<<10, minWindow} {
		r := newReading(f, uint32(2*i+1))
		for range 12 {
			r.round(rtt)
		}
		if r.given != want {
			t.Errorf("stream %d has %d, want %d", i, r.given, want)
		}
		all = append(all, r)
	}
	for _, r := range all[:3] {
		r.come(r.given) // and nobody reads it: more than half of the budget
	}
	if r := newReading(f, 99); r.given != minWindow {
		t.Errorf("when much waits, a stream begins with %d", r.given)
	}
	r := all[3]
	r.come(r.given)
	for unread := f.unread(r.id); unread > 0; unread = f.unread(r.id) {
		r.read(min(unread, 32<<10), rtt)
	}
	if r.given != minWindow {
		t.Errorf("when much waits, a slow reader has %d", r.given)
	}
}

// What has come whole and waits is of the budget until it is read, or given up.
func TestWhatWaitsIsOfTheBudget(t *testing.T) {
	w := &windows{budget: 64 << 20}
	f := newFlows(w, time.Second)
	r, other := newReading(f, 1), newReading(f, 3)
	for _, x := range []*reading{r, other} {
		x.come(baseWindow / 2)
		f.end(x.id)
	}
	if got := w.extra.Load(); got != 2*(baseWindow/2-minWindow) {
		t.Errorf("two halves of a window wait, and %d of the budget are taken", got)
	}
	r.read(baseWindow/4, time.Second)
	if got := w.extra.Load(); got != baseWindow/4+baseWindow/2-2*minWindow {
		t.Errorf("half of one was read, and %d of the budget are taken", got)
	}
	f.forget(1)
	f.forget(3)
	if w.extra.Load() != 0 || w.held.Load() != 0 {
		t.Errorf("of nothing %d bytes are taken, %d held", w.extra.Load(), w.held.Load())
	}
}

// Whatever is sent, read and given up: no peer has more than net/http takes, none waits for ever, and the books are right.
func TestFlowsProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &windows{budget: rapid.Int64Range(0, 64<<20).Draw(t, "budget")}
		f := newFlows(w, 200*time.Millisecond)
		live := map[uint32]*reading{}
		last := uint32(1)
		pick := func(t *rapid.T) *reading {
			ids := make([]uint32, 0, len(live))
			for id := range last {
				if live[id] != nil {
					ids = append(ids, id)
				}
			}
			if len(ids) == 0 {
				t.Skip("none")
			}
			return live[rapid.SampledFrom(ids).Draw(t, "stream")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				live[last] = newReading(f, last)
				last += 2
			},
			"come": func(t *rapid.T) {
				if r := pick(t); r.given > 0 && !f.streams[r.id].ended {
					r.come(rapid.Int64Range(1, r.given).Draw(t, "bytes"))
				}
			},
			"read": func(t *rapid.T) {
				r := pick(t)
				if unread := f.unread(r.id); unread > 0 {
					r.read(rapid.Int64Range(1, unread).Draw(t, "bytes"), time.Duration(rapid.IntRange(0, 1000).Draw(t, "ms"))*time.Millisecond)
				}
			},
			"end":    func(t *rapid.T) { f.end(pick(t).id) },
			"forget": func(t *rapid.T) { r := pick(t); f.forget(r.id); delete(live, r.id) },
			"": func(t *rapid.T) {
				var extra, held int64
				for id, r := range live {
					s := f.streams[id]
					held += s.came - s.read
					extra += s.extra
					if s.ended {
						continue
					}
					if s.extra != s.window-minWindow {
						t.Fatalf("stream %d has %d of the budget, and a window of %d", id, s.extra, s.window)
					}
					if out := r.given + s.came - s.read; out != s.window || out > maxWindow {
						t.Fatalf("stream %d has %d out, its window is %d", id, out, s.window)
					}
					if s.came == s.read && r.given < minWindow {
						t.Fatalf("stream %d waits for ever with %d", id, r.given)
					}
				}
				if most := w.budget + int64(len(live))*minWindow; held > most {
					t.Fatalf("%d wait for %d readers, at most %d may", held, len(live), most)
				}
				if extra != w.extra.Load() || extra > w.budget || held != w.held.Load() {
					t.Fatalf("taken %d of %d, counted %d; held %d, counted %d", extra, w.budget, w.extra.Load(), held, w.held.Load())
				}
			},
		})
	})
}

// TestWindowsOverTheWire has fast, slow and absent readers of a real origin, over connections that look far away.
func TestWindowsOverTheWire(t *testing.T) {
	content := make([]byte, 12<<20)
	rand.NewChaCha8([32]byte{}).Read(content)
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Write(content)
	})
	p := warm(t, config(o.addr))
	p.mu.Lock()
	conns := slices.Clone(p.conns)
	p.mu.Unlock()
	for _, c := range conns {
		f := c.flows()
		f.mu.Lock()
		f.rtt = time.Hour // all that is read was waited for
		f.mu.Unlock()
	}
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			res, err := p.RoundTrip(request(t, "POST", "/", bytes.NewReader(content[:i<<16])).WithContext(t.Context()))
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			n := int64(len(content))
			if i%3 == 2 { // gives up in the middle
				n /= 2
			}
			piece := int64(1)<<(8+i) - 1
			got := make([]byte, 0, n)
			for int64(len(got)) < n {
				m, err := io.ReadFull(res.Body, got[len(got):min(int64(len(got))+piece, n)])
				got = got[:len(got)+m]
				if err != nil {
					t.Errorf("%d bytes: %v", len(got), err)
					return
				}
			}
			if !bytes.Equal(got, content[:n]) {
				t.Error("other bytes came")
			}
		})
	}
	all.Wait()
	if p.windows.extra.Load() != 0 || p.windows.held.Load() != 0 {
		t.Errorf("of nothing %d bytes are taken, %d held", p.windows.extra.Load(), p.windows.held.Load())
	}
}

// Trailers of an upload that goes on when its answer has been read begin no stream: nobody would forget it.
func TestTrailersAreNoStream(t *testing.T) {
	w := &windows{budget: 64 << 20}
	w.start.Store(startWindow)
	f := newFlows(w, 0)
	if more := f.open(1); more != startWindow-minWindow {
		t.Fatalf("a stream begins with %d more", more)
	}
	f.forget(1)
	if more := f.open(1); more != 0 || len(f.streams) != 0 || w.extra.Load() != 0 {
		t.Errorf("trailers are given %d more, %d streams take %d of the budget", more, len(f.streams), w.extra.Load())
	}
}
