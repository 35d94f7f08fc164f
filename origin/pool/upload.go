package pool

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// upload is a request's body over all attempts. net/http closes the body of every attempt; one that was not read must
// still be there for the next.
type upload struct {
	getBody func() (io.ReadCloser, error) // Request.GetBody, may be nil

	mu      sync.Mutex
	rc      io.ReadCloser
	last    *attempt // nil when rc belongs to none
	settled bool     // no attempt comes any more
	err     error    // why rc could not be read to its end
}

// attempt is the body of one attempt, read by net/http.
type attempt struct {
	u     *upload
	x     *exchange
	rc    io.ReadCloser
	ended chan struct{} // closed when closed is set
	buf   []byte        // of the goroutine that reads

	// Guarded by u.mu.
	started bool // a byte may have been read
	closed  bool
}

// mostRead bounds what one Read asks for, and so buf.
const mostRead = 32 << 10

// newUpload returns nil for a request without a body; all methods may be called on nil.
func newUpload(req *http.Request) *upload {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	return &upload{rc: req.Body, getBody: req.GetBody}
}

// attempt is the body for one more attempt.
func (u *upload) attempt(x *exchange) *attempt {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last = &attempt{u: u, x: x, rc: u.rc, ended: make(chan struct{})}
	return u.last
}

// rewind makes the body ready for another attempt, if it can.
func (u *upload) rewind() bool {
	if u == nil {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last.started {
		if u.getBody == nil {
			return false
		}
		rc, err := u.getBody()
		if err != nil {
			return false
		}
		u.rc = rc
	}
	u.last.closeLocked()
	u.last, u.err = nil, nil
	return true
}

// settle says that no attempt comes any more, and makes up for a Close that was held back: a RoundTripper closes the body
// in every case.
func (u *upload) settle() {
	if u == nil {
		return
	}
	u.mu.Lock()
	u.settled = true
	owed := u.last == nil || u.last.closed && !u.last.started
	u.mu.Unlock()
	if owed {
		u.rc.Close()
	}
}

// failure is the error that reading the body returned, nil when there was none.
func (u *upload) failure() error {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

func (a *attempt) Read(p []byte) (int, error) {
	a.u.mu.Lock()
	if a.closed {
		a.u.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	}
	a.started = true
	a.u.mu.Unlock()

	a.x.pause() // the client is the one to act
	n, err := a.read(p)
	a.x.wait()
	if err != nil && err != io.EOF && !errors.Is(err, http.ErrBodyReadAfterClose) {
		a.u.mu.Lock()
		if !a.closed { // else the read was broken off by Close
			a.u.err = err
		}
		a.u.mu.Unlock()
	}
	return n, err
}

// read is a Read of the client's content that Close ends: not every content's own Close does, and net/http's HTTP/2 does not
// let go of a stream that was reset, or whose connection has ended, while it is in Read. One that is left behind reads into buf,
// which nobody looks at any more.
func (a *attempt) read(p []byte) (int, error) {
	p = p[:min(len(p), mostRead)]
	if len(a.buf) < len(p) {
		a.buf = make([]byte, len(p))
	}
	type result struct {
		n   int
		err error
	}
	buf, done := a.buf[:len(p)], make(chan result, 1)
	go func() {
		n, err := a.rc.Read(buf)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return copy(p, buf[:r.n]), r.err
	case <-a.ended:
		return 0, http.ErrBodyReadAfterClose
	}
}

// closeLocked notes that no Read begins any more, and ends one that is under way.
func (a *attempt) closeLocked() {
	if !a.closed {
		a.closed = true
		close(a.ended)
	}
}

func (a *attempt) Close() error {
	a.u.mu.Lock()
	hold := a.closed || !a.started && !a.u.settled
	a.closeLocked()
	a.u.mu.Unlock()
	if hold {
		return nil
	}
	return a.rc.Close()
}

// end ends an upload that goes on when nobody wants it any more, nil or not. Close may wait for a Read in progress.
func (a *attempt) end() {
	if a == nil {
		return
	}
	a.u.mu.Lock()
	closed, started := a.closed, a.started
	a.u.mu.Unlock()
	switch {
	case closed:
	case started:
		go a.Close()
	default:
		a.Close()
	}
}
