package pool

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"
)

// hands is a clock that the test moves.
type hands struct {
	mu sync.Mutex
	at time.Time
}

func (h *hands) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at
}

func (h *hands) advance(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = h.at.Add(d)
}

// TestUnread has more responses waiting for their readers than may wait: those whose readers have been away for longest are
// cut off once the grace is over, whether their origin has sent all of them or not; the others come whole.
func TestUnread(t *testing.T) {
	const most, n = 300 << 10, 6 // bytes, which the first one has three quarters of, and each one minWindow besides
	whole := bytes.Repeat([]byte("x"), 100<<10)
	cut := make(chan struct{}, n)
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(whole)
		if r.URL.Path == "/large" {
			for w.(http.Flusher).Flush(); r.Context().Err() == nil; {
				if _, err := w.Write(whole); err != nil {
					break
				}
			}
			cut <- struct{}{}
		}
	})
	clock := &hands{at: time.Now()}
	cfg := config(o.addr)
	cfg.Window, cfg.Now = most, clock.now
	p := warm(t, cfg)
	var bodies []io.ReadCloser
	for i := range n {
		path := "/small"
		if i == 0 {
			path = "/large"
		}
		res, err := p.RoundTrip(request(t, "GET", path, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		bodies = append(bodies, res.Body)
		clock.advance(time.Second / 2)
	}
	for ctx := deadline(t); p.windows.held.Load() < most/4*3+n*minWindow; runtime.Gosched() {
		if ctx.Err() != nil {
			t.Fatalf("only %d bytes have come", p.windows.held.Load())
		}
	}
	// The second one's reader comes back for a moment: it has been away for less time than all others.
	one := make([]byte, 1)
	if _, err := bodies[1].Read(one); err != nil {
		t.Fatal(err)
	}
	if got := p.unread.excess(most, clock.now()); len(got) != 0 {
		t.Errorf("%d cut off within the grace", len(got))
	}
	clock.advance(unreadGrace)
	p.poke()
	<-cut // the origin hears of it
	for i, b := range bodies {
		got, err := io.ReadAll(b)
		var e *Error
		switch behind := i == 0 || i == 2; {
		case behind && (!errors.As(err, &e) || e.Kind != KindUnread || e.Whose != Client):
			t.Errorf("response %d: %d bytes, %v; want it cut off", i, len(got), err)
		case !behind && (err != nil || len(got) < len(whole)-1):
			t.Errorf("response %d: %d bytes, %v; want it whole", i, len(got), err)
		}
	}
	if n := p.unread.away.Len(); n != 0 {
		t.Errorf("%d readers are away of bodies that have ended", n)
	}
}
