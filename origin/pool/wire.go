package pool

import (
	"crypto/tls"
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

// wire is a TLS connection which watches the HTTP/2 frames that the peer sends, without changing them. It is not a
// *tls.Conn to net/http, which therefore leaves the dial and the handshake to this package.
type wire struct {
	*tls.Conn
	notify  func()        // a GOAWAY was processed; called by the reader, must not block
	settled chan struct{} // closed when the peer's first SETTINGS were processed
	dead    chan struct{} // closed when the connection has ended

	scan    scanner      // of the goroutine that reads
	longest atomic.Int64 // of the peer's field sections, in bytes as they came

	mu     sync.Mutex
	goaway bool
	ended  bool
	err    error // why it ended, as the reader saw it; nil when this side closed it first
}

func newWire(c *tls.Conn, notify func()) *wire {
	return &wire{Conn: c, notify: notify, settled: make(chan struct{}), dead: make(chan struct{})}
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
		w.end(err)
	}
	return n, err
}

// Close closes the connection in 250 ms at most: the close_notify alert of TLS may find a peer that reads no more.
func (w *wire) Close() error {
	w.end(nil)
	t := time.AfterFunc(250*time.Millisecond, func() { w.NetConn().Close() })
	defer t.Stop()
	return w.Conn.Close()
}

func (w *wire) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.ended, w.err = true, err
		close(w.dead)
	}
}

// cause is why the connection ended; net.ErrClosed when this side closed it.
func (w *wire) cause() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		return net.ErrClosed
	}
	return w.err
}

// outgrew reports that the peer sent a field section which net/http, whose limit for the whole and for each string
// in it is the same, may have ended the connection for. On the wire a string has at least five eighths of its length
// (RFC 7541 appendix B: the shortest code is of five bits).
func (w *wire) outgrew(limit int) bool { return w.longest.Load() >= int64(limit)*5/8 }

// leaving reports that the peer said GOAWAY.
func (w *wire) leaving() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.goaway
}

// scanner follows a stream of HTTP/2 frames by their headers (RFC 9113 section 4.1) and counts those which arrived whole.
type scanner struct {
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
