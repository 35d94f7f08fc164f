package pool

import (
	"sync"
	"time"
)

// flows is the flow control of one HTTP/2 connection (RFC 9113 section 6.9) in the direction of this side. net/http knows one
// window for all streams and gives back what was read, whoever reads. It is told of maxWindow, and the peer of less: the
// [wire] below announces minWindow, has a stream begin with more as far as there is any, adds to what net/http gives
// back where a reader waits for a far origin, and keeps some of that where one is slow. So no stream has more than net/http
// allows, and no more than its reader uses.
type flows struct {
	w   *windows
	rtt time.Duration // of the connection when it was opened; 0 = unknown, and no window grows

	mu      sync.Mutex
	streams map[uint32]*flow
	last    uint32 // the stream that was begun last
}

// flow is one stream, from its HEADERS until its exchange is over.
type flow struct {
	window     int64 // bytes beyond those given back that the peer may send
	extra      int64 // of the budget: what the window has above minWindow, and once the peer sends no more, what waits
	came, read int64 // bytes, the second as far as net/http has given them back
	ended      bool  // the peer sends no more

	began   time.Time // of the present measurement of the reader's speed
	covered int64     // bytes read since
	behind  time.Time // since when more than half of the window waits for the reader; zero: less does
}

// slowAfter is for how long, and two round trips, a reader must be behind to be a slow one: all are for a moment, when the machine
// has much to do.
const slowAfter = 100 * time.Millisecond

func newFlows(w *windows, rtt time.Duration) *flows {
	return &flows{w: w, rtt: rtt, streams: make(map[uint32]*flow)}
}

// open notes that HEADERS are written, and returns how much their stream's window is to be larger than announced. Streams
// begin in the order of their numbers (RFC 9113 section 5.1.1): what is not above the last one are trailers, perhaps of an upload
// that goes on after its answer was read and forgotten.
func (f *flows) open(id uint32) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id <= f.last {
		return 0
	}
	f.last = id
	s := &flow{window: f.w.first(), began: time.Now()}
	s.extra = s.window - minWindow
	f.streams[id] = s
	return s.extra
}

// opened is the stream that was begun last. net/http calls WroteHeaders before it writes anything else.
func (f *flows) opened() uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// data notes that a frame of a stream's body has come.
func (f *flows) data(id uint32, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.streams[id]; s != nil {
		s.came += n
		f.w.held.Add(n)
	}
}

// end notes that the peer sends no more on a stream, or is told to.
func (f *flows) end(id uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.streams[id]; s != nil {
		f.endLocked(s)
	}
}

func (f *flows) endLocked(s *flow) {
	s.ended = true
	if waits := max(s.came-s.read-minWindow, 0); waits < s.extra {
		f.w.release(s.extra - waits)
		s.extra = waits
	}
}

// forget notes that nobody will read more of a stream.
func (f *flows) forget(id uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.streams[id]; s != nil {
		f.w.release(s.extra)
		f.w.held.Add(s.read - s.came)
		delete(f.streams, id)
	}
}

// unread is how much of a stream has come and was not read.
func (f *flows) unread(id uint32) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.streams[id]; s != nil {
		return s.came - s.read
	}
	return 0
}

// back takes what net/http gives back of a stream that was read, and returns what the peer is to be given.
func (f *flows) back(id uint32, n int64, now time.Time) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.streams[id]
	if s == nil {
		return n
	}
	// A peer may not have sent what it is given back for: padding is given back by net/http itself.
	s.read += n
	f.w.held.Add(-n)
	if s.ended {
		f.endLocked(s)
		return n
	}
	unread := s.came - s.read
	if unread > s.window/2 {
		s.began, s.covered = now, 0
		if s.behind.IsZero() {
			s.behind = now
		}
		if now.Sub(s.behind) < slowAfter+2*f.rtt && !f.w.crowded() {
			return n
		}
		less := f.w.shrink(s.window, n)
		s.window, s.extra = s.window-less, s.extra-less
		return n - less
	}
	s.behind = time.Time{}
	s.covered += n
	if s.covered < s.window/2 {
		return n
	}
	// Half a window in two round trips and nothing left to read: the peer may well have waited for this.
	if unread <= s.window/4 && now.Sub(s.began) <= 2*f.rtt {
		more := f.w.grow(s.window)
		s.window, s.extra = s.window+more, s.extra+more
		n += more
	}
	s.began, s.covered = now, 0
	return n
}

// opened is called by net/http when the request's header is written, of whatever protocol.
func (x *exchange) opened() {
	f := x.c.flows()
	if f == nil {
		return
	}
	id := f.opened()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.left {
		f.forget(id) // the answer was quicker than this call
		return
	}
	x.stream = id
}

// leave says that nothing more is read of the exchange.
func (x *exchange) leave() {
	x.mu.Lock()
	id := x.stream
	x.left, x.stream = true, 0
	x.mu.Unlock()
	if id != 0 {
		x.c.flows().forget(id)
	}
}

// unread is how many bytes of the answer wait here for its reader. In HTTP/1.1 they wait in the kernel; in HTTP/3 nobody
// tells, so it is as many as may.
func (x *exchange) unread() int64 {
	if _, ok := x.c.session.(*h3); ok {
		return startWindow
	}
	x.mu.Lock()
	id := x.stream
	x.mu.Unlock()
	if id == 0 {
		return 0
	}
	return x.c.flows().unread(id)
}

// flows is the flow control of an HTTP/2 connection, nil of any other.
func (c *conn) flows() *flows {
	if s, ok := c.session.(*h2); ok {
		return s.wire.flows
	}
	return nil
}
