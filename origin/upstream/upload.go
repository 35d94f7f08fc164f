package upstream

import (
	"io"
	"maps"
	"net/http"
	"sync"
	"time"
)

// keep is how much of a request's content is remembered until it has an answer: what was read by an attempt that certainly
// was not processed can be sent again. An instance that says GOAWAY has taken, as a rule, the first window of a stream from
// us (64 KiB, RFC 9113 section 6.9.2), and nothing else would save a POST from a restart.
const keep = 64 << 10

// upload is a request's content over all attempts. A [Sender] closes the content of every attempt; the content itself is
// closed when no attempt comes any more.
type upload struct {
	getBody func() (io.ReadCloser, error) // Request.GetBody, may be nil
	trailer http.Header                   // Request.Trailer: the content sets its values before its end
	named   http.Header                   // it, as it was before anything was read
	now     func() time.Time

	mu      sync.Mutex
	from    *source
	last    *sending // nil when no attempt has the content
	settled bool     // no attempt comes any more
	read    time.Time
}

// source is a content that is read once, and what is remembered of it.
type source struct {
	rc      io.ReadCloser
	reading sync.Mutex // held by a Read of rc

	// Guarded by upload.mu.
	busy  bool // a Read is under way
	kept  []byte
	total int64 // bytes read; more than kept when they were too many
	err   error // of the last read
}

// sending is the content of one attempt, read by its Sender.
type sending struct {
	u    *upload
	from *source

	// trailer is this attempt's own: a Read that an earlier one has left behind may set the values while the head of this one is
	// written, which names them. Set by the Read that returns io.EOF.
	trailer http.Header

	// Guarded by u.mu.
	at     int64
	closed bool
}

// newUpload returns nil for a request without content; all methods may be called on nil.
func newUpload(req *http.Request, now func() time.Time) *upload {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	return &upload{from: &source{rc: req.Body}, getBody: req.GetBody, trailer: req.Trailer, named: req.Trailer.Clone(), now: now}
}

// attempt is the content for one more attempt.
func (u *upload) attempt() *sending {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last = &sending{u: u, from: u.from, trailer: u.named.Clone()}
	return u.last
}

// rewind makes the content ready for another attempt, if it can.
func (u *upload) rewind() bool {
	if u == nil {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if old := u.from; old.total > int64(len(old.kept)) {
		if u.getBody == nil {
			return false
		}
		rc, err := u.getBody()
		if err != nil {
			return false
		}
		u.from = &source{rc: rc}
		go old.rc.Close() // it may wait for a Read
	}
	if u.last != nil {
		u.last.closed = true
		u.last = nil
	}
	return true
}

// settle says that no attempt comes any more, and makes up for a Close that was held back: a RoundTripper closes the content
// in every case.
func (u *upload) settle() {
	if u == nil {
		return
	}
	u.mu.Lock()
	u.settled = true
	if u.last != nil && u.last.at == u.from.total && !u.from.busy { // else brought forgets it
		u.from.kept = nil
	}
	owed, busy := u.last == nil || u.last.closed, u.from.busy
	u.mu.Unlock()
	switch {
	case owed && busy:
		go u.from.rc.Close() // it may wait for that Read, and so for the client
	case owed:
		u.from.rc.Close()
	}
}

// end is when something of the content was last read, zero without any.
func (u *upload) end() time.Time {
	if u == nil {
		return time.Time{}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.read
}

func (s *sending) Read(p []byte) (int, error) {
	n, err := s.read(p)
	if err == io.EOF && s.trailer != nil {
		maps.Copy(s.trailer, s.u.trailer)
	}
	return n, err
}

func (s *sending) read(p []byte) (int, error) {
	if n, err, ok := s.remembered(p, false); ok {
		return n, err
	}
	// A Read that an earlier attempt has left behind is waited for: what it brings is this one's.
	s.from.reading.Lock()
	defer s.from.reading.Unlock()
	if n, err, ok := s.remembered(p, true); ok {
		return n, err
	}
	n, err := s.from.rc.Read(p)
	s.brought(p[:n], err)
	return n, err
}

// remembered gives what was read before; ok is false when more must be read, which from now on is under way.
func (s *sending) remembered(p []byte, read bool) (n int, err error, ok bool) {
	s.u.mu.Lock()
	defer s.u.mu.Unlock()
	f := s.from
	switch {
	case s.closed:
		return 0, http.ErrBodyReadAfterClose, true
	case s.at < int64(len(f.kept)):
		n = copy(p, f.kept[s.at:])
		s.at += int64(n)
		return n, nil, true
	case f.err != nil:
		return 0, f.err, true
	}
	f.busy = f.busy || read
	return 0, nil, false
}

// brought takes into account what a Read of the source has given. What one that was left behind brings is remembered in any
// case: the attempt of now has not had it. The attempt of now itself has had all that came before.
func (s *sending) brought(p []byte, err error) {
	now := s.u.now()
	s.u.mu.Lock()
	defer s.u.mu.Unlock()
	f := s.from
	f.busy, f.err, s.u.read = false, err, now
	if all := f.total == int64(len(f.kept)); all && (s != s.u.last || !s.u.settled && f.total+int64(len(p)) <= keep) {
		f.kept = append(f.kept, p...)
	} else if len(p) > 0 {
		f.kept = nil
	}
	f.total += int64(len(p))
	s.at += int64(len(p))
}

// Close ends the attempt's reading. What is closed while another attempt may come is closed by rewind or settle.
func (s *sending) Close() error {
	s.u.mu.Lock()
	hold := s.closed || !s.u.settled
	s.closed = true
	s.u.mu.Unlock()
	if hold {
		return nil
	}
	return s.from.rc.Close()
}
