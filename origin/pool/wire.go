package pool

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// HTTP/2 frame types the scanner looks for (RFC 9113 section 6).
const (
	frameHeaders      = 0x1
	frameSettings     = 0x4
	frameGoAway       = 0x7
	frameContinuation = 0x9
	flagAck           = 0x1
)

// wire is the connection below an h2 session. It watches the HTTP/2 frames that the peer sends, without changing them, and
// changes the windows that net/http announces (see [flows]).
type wire struct {
	link
	limit   int           // bytes of a field section
	notify  func()        // a GOAWAY was processed; called by the reader, must not block
	settled chan struct{} // closed when the peer's first SETTINGS were processed

	flows *flows
	out   outgoing // of the goroutine that writes
	owed  int      // of it: bytes that net/http writes once more, as not all were written, and that have passed

	scan    scanner      // of the goroutine that reads
	longest atomic.Int64 // of the peer's field sections, in bytes as they came

	mu     sync.Mutex
	goaway bool
}

func newWire(c, raw net.Conn, limit int, f *flows, notify func()) *wire {
	return &wire{
		link: newLink(c, raw), limit: limit, flows: f, out: outgoing{flows: f}, scan: scanner{flows: f}, notify: notify, settled: make(chan struct{}),
	}
}

// Read hands on what the peer sent. net/http has one reader, which processes a frame before it reads more; so whatever
// was whole at the end of one Read has been processed at the beginning of the next.
func (w *wire) Read(b []byte) (int, error) {
	if w.scan.settings > 0 {
		select {
		case <-w.settled:
		default:
			close(w.settled)
		}
	}
	if w.scan.goaways > 0 {
		w.scan.goaways = 0
		w.mu.Lock()
		w.goaway = true
		w.mu.Unlock()
		w.notify()
	}
	n, err := w.Conn.Read(b)
	w.scan.feed(b[:n])
	w.longest.Store(w.scan.longest)
	if err != nil {
		w.ended(err)
	}
	return n, err
}

// Write sends what net/http writes, with other windows. Where not all could be sent in time it returns how much of b was, as far as
// that can be said.
func (w *wire) Write(b []byte) (n int, err error) {
	if w.owed > 0 {
		n, err = w.Conn.Write(b[:min(w.owed, len(b))])
		w.owed -= n
		if err != nil || n == len(b) {
			return n, err
		}
	}
	rest := b[n:]
	out := w.out.pass(rest, time.Now())
	if len(out) == 0 {
		return len(b), nil
	}
	sent, err := w.Conn.Write(out)
	switch {
	case err == nil:
		return len(b), nil
	case &out[0] != &rest[0]: // another length, perhaps: of a partial write nothing can be told
		return n, err
	}
	w.owed = len(rest) - sent
	return n + sent, err
}

// outgrew reports that the peer sent a field section which net/http, whose limit for the whole and for each string
// in it is the same, may have ended the connection for. On the wire a string has at least five eighths of its length
// (RFC 7541 appendix B: the shortest code is of five bits).
func (w *wire) outgrew() bool { return w.longest.Load() >= int64(w.limit)*5/8 }

// leaving reports that the peer said GOAWAY.
func (w *wire) leaving() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.goaway
}

// scanner follows a stream of HTTP/2 frames by their headers (RFC 9113 section 4.1) and counts those which arrived whole.
type scanner struct {
	flows             *flows // told what comes; nil = nobody
	settings, goaways int
	section, longest  int64 // bytes of field section: of the one that comes or came last, of the longest
	head              [9]byte
	have              int    // bytes of head
	body              uint32 // bytes of the frame still to come, when have is 9
}

func (s *scanner) feed(b []byte) {
	for {
		if s.have < len(s.head) {
			n := copy(s.head[s.have:], b)
			s.have, b = s.have+n, b[n:]
			if s.have < len(s.head) {
				return
			}
			s.body = binary.BigEndian.Uint32(s.head[:4]) >> 8
			if s.head[3] == frameHeaders {
				s.section = 0
			}
		}
		n := min(int(s.body), len(b))
		s.body, b = s.body-uint32(n), b[n:]
		if s.head[3] == frameHeaders || s.head[3] == frameContinuation {
			s.section += int64(n)
			s.longest = max(s.longest, s.section)
		}
		if s.body > 0 {
			return
		}
		s.tell()
		switch s.head[3] {
		case frameSettings:
			if s.head[4]&flagAck == 0 {
				s.settings++
			}
		case frameGoAway:
			s.goaways++
		}
		s.have = 0
	}
}

// tell says what the frame that has come whole means for its stream.
func (s *scanner) tell() {
	if s.flows == nil {
		return
	}
	kind, flags, id := s.head[3], s.head[4], binary.BigEndian.Uint32(s.head[5:])&(1<<31-1)
	switch kind {
	case frameData:
		s.flows.data(id, int64(length(s.head[:])))
	case frameRstStream:
		s.flows.end(id)
	}
	if flags&flagEndStream != 0 && (kind == frameData || kind == frameHeaders) {
		s.flows.end(id)
	}
}
